"""LeNet-5, which read cheques in the 1990s.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
recognition", Proceedings of the IEEE, 1998, section II.B.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_lib import init
from course_lib.models.inputs import check_count, check_images
from course_lib.models.mlp import make_activation


class LeNet5(nn.Module):
    """6 filters of 5×5, average pooling, 16 of 5×5, average pooling, 120, 84, logits.

    As it is built today, not to the letter of 1998: each of the 16 filters sees all 6 maps (there it saw 3 to
    6 of them), pooling has no weights of its own, and the output is linear instead of distances to drawn
    digits. 61,706 parameters with one channel and ten classes.

    Args:
        in_channels: of the images.
        num_classes: how many logits.
        image_size: the side of the images. Below the paper's 32 the first convolution pads by 2, so that
            28×28 digits sit in the middle of 32×32, as they did there.
        activation: after each layer but the last; the paper's is a scaled tanh.
        weight_init: what :func:`course_lib.init.initialize` takes.
        generator: where the weights are drawn from; ``None`` is torch's global generator.

    Shape: (N, in_channels, image_size, image_size) → (N, num_classes).

    Raises:
        ValueError: an unknown activation, a number below 1, an image too small for two convolutions and two
            poolings, images of another shape.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: int = 28,
        activation: str = "tanh",
        weight_init: str | float = "xavier",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_count(in_channels=in_channels, num_classes=num_classes, image_size=image_size)
        padding = 2 if image_size < 32 else 0
        side = ((image_size + 2 * padding - 4) // 2 - 4) // 2
        if side < 1:
            raise ValueError(
                f"image_size is {image_size}; two 5×5 convolutions, each followed by a pooling of 2, need at "
                "least 12 pixels"
            )
        self.in_channels, self.image_size = in_channels, image_size
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=padding),
            make_activation(activation),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            make_activation(activation),
            nn.AvgPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(16 * side * side, 120),
            make_activation(activation),
            nn.Linear(120, 84),
            make_activation(activation),
            nn.Linear(84, num_classes),
        )
        init.initialize(self, weight_init, generator)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, in_channels=self.in_channels, exactly=self.image_size)
        x = self.features(x)  # (N, 6, 14, 14) after the first pooling, (N, 16, 5, 5) after the second
        return self.classifier(x.flatten(1))  # (N, num_classes)
