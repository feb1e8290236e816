"""VGG: nothing but 3×3 convolutions, 11 to 19 layers deep.

Parameters have torchvision's names and shapes, so its state dicts load strictly, and the logits are the same
to the bit.

Source: K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR
2015, table 1, columns A, B, D and E.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_lib import init
from course_lib.models.inputs import check_choice, check_count, check_images, check_width, scaled

STEMS = ("imagenet", "small")
CHANNELS = (64, 128, 256, 512, 512)  # of the five stages
# Depth → how many convolutions each stage has, before its pooling. Three fully connected layers follow.
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(nn.Module):
    """VGG-11, 13, 16 or 19, with or without Batch Normalization: 138,357,544 parameters for 16.

    Args:
        depth: 11, 13, 16 or 19 layers of weights.
        batch_norm: put BatchNorm between each convolution and its ReLU. The paper has none; it came later.
        in_channels: of the images.
        num_classes: how many logits.
        stem: ``"imagenet"`` as published; ``"small"``, for images of 16 to 64 pixels, leaves the last
            pooling out and takes the mean over the image where the original has 7×7 places.
        width: a factor on the channels of every convolution.
        hidden: units of each of the two hidden fully connected layers.
        dropout: the probability of dropping one of these.
        weight_init: what :func:`course_lib.init.initialize` takes.
        generator: where the weights are drawn from; ``None`` is torch's global generator.

    Shape: (N, in_channels, H, W) → (N, num_classes), for images of any size from 32 pixels (small stem: 16).

    Raises:
        ValueError: a depth or stem that does not exist, a number below 1, a width of 0 or less, images of
            another number of channels or too small.
    """

    def __init__(
        self,
        depth: int = 16,
        *,
        batch_norm: bool = False,
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
        if depth not in DEPTHS:
            raise ValueError(f"depth is {depth!r}; a VGG has {', '.join(map(str, DEPTHS))} layers")
        check_choice("stem", stem, STEMS)
        check_count(in_channels=in_channels, num_classes=num_classes, hidden=hidden)
        check_width(width)
        small = stem == "small"
        self.in_channels, self.smallest = in_channels, 16 if small else 32
        layers: list[nn.Module] = []
        before = in_channels
        for stage, (count, channels) in enumerate(zip(DEPTHS[depth], CHANNELS, strict=True)):
            wide = scaled(channels, width)
            for _ in range(count):
                layers.append(nn.Conv2d(before, wide, 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(wide))
                layers.append(nn.ReLU(inplace=True))
                before = wide
            if not (small and stage == 4):
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        side = 1 if small else 7
        self.avgpool = nn.AdaptiveAvgPool2d(side)
        self.classifier = nn.Sequential(
            nn.Linear(before * side * side, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        init.initialize(self, weight_init, generator)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, in_channels=self.in_channels, smallest=self.smallest)
        x = self.features(x)  # from 224, a half after each stage: 112, 56, 28, 14, 7
        x = self.avgpool(x).flatten(1)  # (N, 512 · 7 · 7), whatever H and W
        return self.classifier(x)  # (N, num_classes)
