"""What ``training.fit`` costs beside the loops that one would write without it.

Every number is a ratio of two loops timed in one process, in turn, on the same network, the same images
and the same number of steps, so a slow machine slows both. A busy one does not slow them evenly: torch's
threads then wait for each other, and the spread, a few hundredths on a quiet machine, says so.

- ``fit / bare loop``: the shortest correct PyTorch loop, with the images as normalised floats in memory.
  Both include the shuffling; ``fit`` also turns pixels into floats, watches for a loss that is not
  finite, and keeps a history.
- ``DataLoader loop / fit``: torchvision's usual recipe, ``DataLoader`` over a data set whose transforms,
  ``ToTensor`` and ``Normalize``, run image by image in the main process.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks._measuring import ratios, row
from course_lib import data
from course_lib.data import Images
from course_lib.device import resolve
from course_lib.training import fit

BATCH = 128
REPETITIONS = 21
EPOCHS = 6


def mlp(device: torch.device) -> tuple[nn.Module, torch.optim.Optimizer]:
    """784-100-100-100-100-10 with ReLU, the network of the initialisation chapter, and plain SGD."""
    torch.manual_seed(0)
    widths = 784, 100, 100, 100, 100
    layers = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(100, 10)).to(device)
    return model, torch.optim.SGD(model.parameters(), 0.01)


def fitted(train: Images) -> None:
    model, optimizer = mlp(train.device)
    fit(model, train, optimizer, epochs=EPOCHS, batch_size=BATCH, progress=False)


def bare(x: torch.Tensor, y: torch.Tensor) -> None:
    model, optimizer = mlp(x.device)
    for _ in range(EPOCHS):
        order = torch.randperm(len(x), device=x.device)
        for start in range(0, len(x), BATCH):
            index = order[start : start + BATCH]
            loss = F.cross_entropy(model(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


class PerSample(datasets.VisionDataset):
    """The same images as torchvision's data sets serve them: a PIL image at a time, then transforms."""

    def __init__(self, images: Images) -> None:
        normalise = transforms.Normalize(images.mean, images.std)
        super().__init__(transform=transforms.Compose([transforms.ToTensor(), normalise]))
        self.images = [transforms.functional.to_pil_image(x) for x in images.x.cpu()]
        self.labels = images.y.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def loaded(loader: DataLoader, device: torch.device) -> None:
    model, optimizer = mlp(device)
    for _ in range(EPOCHS):
        for x, y in loader:
            loss = F.cross_entropy(model(x.to(device)), y.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def run() -> list[dict]:
    """Rows of the table of benchmarks; see the top of this file for what each compares."""
    device = resolve()
    train = data.mnist()[0].to(device)
    x, y = train.tensors()
    loader = DataLoader(PerSample(train), BATCH, shuffle=True)
    return [
        row(
            "fit / bare loop, MLP 784-100×4-10, batch 128",
            ratios(lambda: fitted(train), lambda: bare(x, y), device, REPETITIONS),
            "≤ 1.05",
        ),
        row(
            "DataLoader loop with per-sample transforms / fit",
            ratios(lambda: loaded(loader, device), lambda: fitted(train), device, 5),
            "≥ 3",
        ),
    ]


if __name__ == "__main__":
    for line in run():
        print(line)
