"""What augmentation costs an image: a batch on the device beside torchvision's transforms, image by image.

Both do the same four things with the same distribution to 32×32 colour images: crop with padding 4, flip,
jitter of brightness, contrast, saturation and hue, rotation by up to 10 degrees. torchvision's run as a data
set runs them, on PIL images, with ``ToTensor`` and ``Normalize`` at the end, which is their faster way; ours
take and give normalised batches of 128, as ``fit`` does. Ratios of two loops timed in turn.
"""

from __future__ import annotations

import torch
from torchvision import transforms
from torchvision.transforms import functional

from benchmarks._measuring import ratios, row
from course_lib.data import Images
from course_lib.data.augment import Augmentation, Crop, Flip, Jitter, Rotation
from course_lib.device import resolve

BATCH, SIDE, REPETITIONS = 128, 32, 15
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def run() -> list[dict]:
    """One row: torchvision's time per image over ours."""
    device = resolve()
    noise = torch.randint(
        256, (BATCH, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    x = functional.resize(noise, [SIDE, SIDE])
    images = Images(x, torch.zeros(BATCH, dtype=torch.int64), ("any",), MEAN, STD).to(device)
    batch, _ = images.tensors()
    ours = Augmentation(images, Crop(4), Flip(), Jitter(0.2, 0.2, 0.2, 0.1), Rotation(10))
    theirs = transforms.Compose(
        [
            transforms.RandomCrop(SIDE, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.2, 0.2, 0.2, 0.1),
            transforms.RandomRotation(10, functional.InterpolationMode.BILINEAR),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    pictures = [functional.to_pil_image(each) for each in x]

    def one_by_one() -> None:
        torch.stack([theirs(picture) for picture in pictures]).to(device)

    def together() -> None:
        for _ in range(5):  # long enough to time
            ours(batch)

    measured = [5 * ratio for ratio in ratios(one_by_one, together, device, REPETITIONS)]
    return [row("torchvision's transforms image by image / augmentation on the device", measured, "≥ 5")]


if __name__ == "__main__":
    for line in run():
        print(line)
