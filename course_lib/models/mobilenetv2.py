"""MobileNetV2: inverted residuals with linear bottlenecks.

Parameters have torchvision's names and shapes, so its state dicts load strictly, and the logits are the same
to the bit.

Source: M. Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018,
tables 1 and 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from course_lib import init
from course_lib.models.inputs import check_choice, check_count, check_images, check_width, smallest_side

STEMS = ("imagenet", "small")
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu6": nn.ReLU6, "relu": nn.ReLU}

# Expansion t, output channels c, how many blocks n, stride s of the first of them: Sandler et al., table 2.
TABLE = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The multiple of ``divisor`` nearest to ``channels``, at least ``divisor``, never more than 10 % below.

    Processors add and multiply in groups of 8 or 16: a layer of 17 channels costs as much as one of 24.
    Raises ``ValueError`` for channels that are not positive.
    """
    if not channels > 0 or not math.isfinite(channels):
        raise ValueError(f"channels is {channels!r}; it must be a number above 0")
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def scaled_side(multiplier: float, base: int = 224, stride: int = 32) -> int:
    """The side of an image under the resolution multiplier ρ: ρ · base, to the nearest multiple of
    ``stride``.

    ρ = 1, 6/7, 5/7, 4/7 and 3/7 of 224 give the 224, 192, 160, 128 and 96 of the papers.
    Raises ``ValueError`` for a multiplier of 0 or less.
    """
    if not multiplier > 0 or not math.isfinite(multiplier):
        raise ValueError(f"multiplier is {multiplier!r}; a resolution multiplier is a number above 0")
    return max(stride, round(multiplier * base / stride) * stride)


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: str = "relu6",
) -> nn.Sequential:
    """Convolution without bias, BatchNorm, activation; the image keeps its size, divided by ``stride``."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(out_channels),
        ACTIVATIONS[activation](inplace=True),
    )


class InvertedResidual(nn.Module):
    """Narrow → wide → narrow: 1×1 to ``expansion`` times the channels, depthwise, 1×1 back without
    activation.

    Where the stride is 1 and the channels are the same, y = x + F(x); else y = F(x).

    Args:
        in_channels: of x.
        out_channels: of y.
        stride: of the depthwise convolution, 1 or 2.
        expansion: t. With 1 there is no first 1×1 convolution.
        kernel_size: of the depthwise convolution, odd.
        activation: ``"relu6"`` or ``"relu"``, after the first two convolutions, never after the third.
        shortcut: ``False`` leaves the addition out.

    Shape: (N, in_channels, H, W) → (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        expansion: int = 6,
        *,
        kernel_size: int = 3,
        activation: str = "relu6",
        shortcut: bool = True,
    ) -> None:
        super().__init__()
        check_count(in_channels=in_channels, out_channels=out_channels, expansion=expansion)
        check_choice("stride", stride, (1, 2))
        check_choice("activation", activation, tuple(ACTIVATIONS))
        hidden = expansion * in_channels
        self.residual = shortcut and stride == 1 and in_channels == out_channels
        expand = [conv_norm(in_channels, hidden, 1, activation=activation)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            conv_norm(hidden, hidden, kernel_size, stride, groups=hidden, activation=activation),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    @property
    def branch_end(self) -> nn.Module:
        """The layer whose output is F(x)."""
        return self.conv[-1]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2: a 3×3 convolution, 17 inverted residuals, a 1×1 convolution, mean, dropout, linear layer.

    Args:
        in_channels: of the images.
        num_classes: how many logits.
        width: the width multiplier α: every layer's channels times α, made divisible by 8; the last
            convolution's 1,280 grow with α above 1 but do not shrink below.
        stem: ``"imagenet"`` divides the side by 32 in all; ``"small"`` leaves out the first two strides, so
            by 8.
        activation: ``"relu6"`` or ``"relu"``.
        shortcut: ``False`` leaves all additions out.
        dropout: probability of dropping one of the features before the linear layer.
        weight_init: what :func:`course_lib.init.initialize` takes.
        generator: where the weights are drawn from; ``None`` is torch's global generator.

    Shape: (N, in_channels, H, W) → (N, num_classes), for images of any size from 17 pixels (small stem: 5).
    The resolution multiplier ρ is no part of the network: give it images of side ``scaled_side(ρ)``.

    Raises:
        ValueError: a width multiplier of 0 or less, an unknown stem or activation, images of another number
            of channels or too small.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        width: float = 1.0,
        stem: str = "imagenet",
        activation: str = "relu6",
        shortcut: bool = True,
        dropout: float = 0.2,
        weight_init: str | float = "kaiming",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_count(in_channels=in_channels, num_classes=num_classes)
        check_width(width)
        check_choice("stem", stem, STEMS)
        check_choice("activation", activation, tuple(ACTIVATIONS))
        small = stem == "small"
        self.in_channels, self.stride = in_channels, 8 if small else 32
        channels = make_divisible(32 * width)
        layers: list[nn.Module] = [
            conv_norm(in_channels, channels, stride=1 if small else 2, activation=activation)
        ]
        for row, (t, c, n, s) in enumerate(TABLE):
            out_channels = make_divisible(c * width)
            first_stride = 1 if small and row == 1 else s
            for block in range(n):
                stride = first_stride if block == 0 else 1
                layers.append(
                    InvertedResidual(
                        channels, out_channels, stride, t, activation=activation, shortcut=shortcut
                    )
                )
                channels = out_channels
        features = make_divisible(1280 * max(1.0, width))
        layers.append(conv_norm(channels, features, 1, activation=activation))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, num_classes))
        init.initialize(self, weight_init, generator)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, in_channels=self.in_channels, smallest=smallest_side(self.stride))
        x = self.features(x)  # (N, 1280, H / 32, W / 32)
        x = self.avgpool(x).flatten(1)  # (N, 1280)
        return self.classifier(x)  # (N, num_classes)
