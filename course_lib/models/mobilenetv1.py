"""MobileNet (V1): depthwise separable convolutions, one after another, without shortcuts.

Source: A. Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision
applications", 2017, table 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_lib import init
from course_lib.models.inputs import check_choice, check_count, check_images, check_width, smallest_side
from course_lib.models.mobilenetv2 import STEMS, make_divisible

# Output channels and stride of each depthwise separable convolution: Howard et al., table 1.
TABLE = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


def separable(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """A depthwise separable convolution: 3×3 within each channel, then 1×1 across them.

    BatchNorm and ReLU follow each of the two. (N, in_channels, H, W) → (N, out_channels, H / stride, W /
    stride).
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class MobileNetV1(nn.Module):
    """MobileNet: a 3×3 convolution, 13 depthwise separable ones, the mean over the image, a linear layer.

    Args:
        in_channels: of the images.
        num_classes: how many logits.
        width: the width multiplier α: every layer's channels times α, to the nearest multiple of 8.
        stem: ``"imagenet"`` divides the side by 32 in all; ``"small"`` leaves out the first two strides, so
            by 8.
        weight_init: what :func:`course_lib.init.initialize` takes.
        generator: where the weights are drawn from; ``None`` is torch's global generator.

    Shape: (N, in_channels, H, W) → (N, num_classes), for images of any size from 17 pixels (small stem: 5).

    Raises:
        ValueError: a width multiplier of 0 or less, an unknown stem, images of another number of channels or
            too small.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        width: float = 1.0,
        stem: str = "imagenet",
        weight_init: str | float = "kaiming",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_count(in_channels=in_channels, num_classes=num_classes)
        check_width(width)
        check_choice("stem", stem, STEMS)
        self.in_channels, self.stride = in_channels, 32 if stem == "imagenet" else 8
        channels = make_divisible(32 * width)
        layers: list[nn.Module] = [
            nn.Sequential(
                nn.Conv2d(in_channels, channels, 3, 2 if stem == "imagenet" else 1, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            )
        ]
        for index, (wide, stride) in enumerate(TABLE):
            out_channels = make_divisible(wide * width)
            first_stride = index == 1  # the first separable convolution with a stride
            layers.append(
                separable(channels, out_channels, 1 if stem == "small" and first_stride else stride)
            )
            channels = out_channels
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        init.initialize(self, weight_init, generator)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, in_channels=self.in_channels, smallest=smallest_side(self.stride))
        x = self.features(x)  # (N, 1024 α, H / 32, W / 32)
        x = self.avgpool(x).flatten(1)  # (N, 1024 α)
        return self.classifier(x)  # (N, num_classes)
