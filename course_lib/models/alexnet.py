"""AlexNet, which won ImageNet in 2012.

Parameters have torchvision's names and shapes, so its state dicts load strictly, and the logits are the same
to the bit.

Sources: A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with deep convolutional neural
networks", NeurIPS 2012; the variant of one column, A. Krizhevsky, "One weird trick for parallelizing
convolutional neural networks", 2014, which is torchvision's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_lib import init
from course_lib.models.inputs import check_choice, check_count, check_images, check_width, scaled

STEMS = ("imagenet", "small")
CHANNELS = (64, 192, 384, 256, 256)  # of the five convolutions


class AlexNet(nn.Module):
    """Five convolutions, three poolings, three fully connected layers, dropout: 61,100,840 parameters.

    Args:
        in_channels: of the images.
        num_classes: how many logits.
        stem: ``"imagenet"`` starts with 11×11 filters and stride 4; ``"small"`` with 3×3 and stride 1, and
            averages over 3×3 places instead of 6×6 at the end, for images of 15 to 64 pixels.
        width: a factor on the channels of every convolution.
        hidden: units of each of the two hidden fully connected layers.
        dropout: the probability of dropping an input of these.
        weight_init: what :func:`course_lib.init.initialize` takes.
        generator: where the weights are drawn from; ``None`` is torch's global generator.

    Shape: (N, in_channels, H, W) → (N, num_classes), for images of any size from 63 pixels (small stem: 15).

    Raises:
        ValueError: an unknown stem, a number below 1, a width of 0 or less, images of another number of
            channels or too small.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        stem: str = "imagenet",
        width: float = 1.0,
        hidden: int = 4096,
        dropout: float = 0.5,
        weight_init: str | float = "kaiming",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_choice("stem", stem, STEMS)
        check_count(in_channels=in_channels, num_classes=num_classes, hidden=hidden)
        check_width(width)
        small = stem == "small"
        self.in_channels, self.smallest = in_channels, 15 if small else 63
        a, b, c, d, e = (scaled(channels, width) for channels in CHANNELS)
        first = nn.Conv2d(in_channels, a, 3, padding=1) if small else nn.Conv2d(in_channels, a, 11, 4, 2)
        self.features = nn.Sequential(
            first,
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(a, b, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(b, c, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c, d, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(d, e, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        )
        side = 3 if small else 6
        self.avgpool = nn.AdaptiveAvgPool2d(side)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(e * side * side, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, num_classes),
        )
        init.initialize(self, weight_init, generator)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, in_channels=self.in_channels, smallest=self.smallest)
        x = self.features(x)  # from 224: 55 → 27 → 13 → 6
        x = self.avgpool(x).flatten(1)  # (N, 256 · 6 · 6), whatever H and W
        return self.classifier(x)  # (N, num_classes)
