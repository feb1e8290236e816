"""GoogLeNet: Inception blocks, which look at four sizes at once, and a tenth of AlexNet's parameters.

Parameters have torchvision's names and shapes, so its state dicts load strictly, and the logits are the same
to the bit. That includes two things that are not in the paper: BatchNorm after each convolution, and 3×3
filters in the branch that the paper gives 5×5.

Sources: C. Szegedy et al., "Going deeper with convolutions", CVPR 2015, table 1; BatchNorm from S. Ioffe,
C. Szegedy, "Batch normalization", ICML 2015.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import init
from course_lib.models.inputs import check_choice, check_count, check_images, check_width, scaled

STEMS = ("imagenet", "small")

# For each Inception block the channels of: 1×1; 1×1 and then 3×3; 1×1 and then 3×3 (the paper's 5×5); 1×1
# after the pooling. Szegedy et al., table 1.
TABLE = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class Outputs(NamedTuple):
    """What a GoogLeNet with auxiliary heads gives in training: three times logits (N, num_classes)."""

    logits: Tensor
    aux_logits2: Tensor  # from the head behind block 4d
    aux_logits1: Tensor  # from the head behind block 4a


def loss_with_heads(outputs: Tensor | Outputs, y: Tensor, weight: float = 0.3) -> Tensor:
    """Cross-entropy of the logits, plus ``weight`` times that of each auxiliary head where there are any.

    What ``fit`` takes as ``loss``. In evaluation the heads are silent, and this is the plain cross-entropy.
    """
    if isinstance(outputs, Tensor):
        return F.cross_entropy(outputs, y)
    main, *heads = (F.cross_entropy(logits, y) for logits in outputs)
    return main + weight * sum(heads)


class ConvNorm(nn.Module):
    """Convolution without bias, BatchNorm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **options: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, bias=False, **options)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """Four branches side by side, their channels one after another: 1×1, 3×3, 3×3 and pooling.

    The 1×1 convolutions in front of the larger ones are what makes it affordable: they bring the channels
    down first. Shape: (N, in_channels, H, W) → (N, c1 + c3 + c5 + pool, H, W).
    """

    def __init__(
        self, in_channels: int, c1: int, c3_reduce: int, c3: int, c5_reduce: int, c5: int, pool: int
    ) -> None:
        super().__init__()
        self.branch1 = ConvNorm(in_channels, c1, 1)
        self.branch2 = nn.Sequential(
            ConvNorm(in_channels, c3_reduce, 1), ConvNorm(c3_reduce, c3, 3, padding=1)
        )
        self.branch3 = nn.Sequential(
            ConvNorm(in_channels, c5_reduce, 1), ConvNorm(c5_reduce, c5, 3, padding=1)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), ConvNorm(in_channels, pool, 1)
        )
        self.out_channels = c1 + c3 + c5 + pool

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1)


class AuxiliaryHead(nn.Module):
    """A small classifier in the middle of the network, which brings its gradient there in training.

    Shape: (N, in_channels, H, W) → (N, num_classes).
    """

    def __init__(self, in_channels: int, num_classes: int, dropout: float = 0.7) -> None:
        super().__init__()
        self.conv = ConvNorm(in_channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.adaptive_avg_pool2d(x, 4))  # (N, 128, 4, 4)
        x = self.dropout(F.relu(self.fc1(x.flatten(1)), inplace=True))
        return self.fc2(x)


class GoogLeNet(nn.Module):
    """Nine Inception blocks and a mean over the image; 6,624,904 parameters without auxiliary heads.

    Args:
        in_channels: of the images.
        num_classes: how many logits.
        aux_logits: build the two auxiliary heads, 6,379,984 parameters more. They are used in training only,
            where the network then gives :class:`Outputs`; train it with :func:`loss_with_heads`.
        transform_input: take images normalised with ImageNet's statistics and bring them to (pixel − ½) / ½,
            which torchvision's ImageNet weights were trained on.
        stem: ``"imagenet"`` divides the side by 8 before the first block; ``"small"`` by 2, for images of 16
            to 64 pixels.
        width: a factor on the channels of every convolution but the heads'.
        dropout: the probability of dropping a feature before the last layer.
        weight_init: what :func:`course_lib.init.initialize` takes.
        generator: where the weights are drawn from; ``None`` is torch's global generator.

    Shape: (N, in_channels, H, W) → (N, num_classes), for images of any size from 15 pixels (small stem: 5).

    Raises:
        ValueError: an unknown stem, a number below 1, a width of 0 or less, ``transform_input`` with
            channels other than 3, images of another number of channels or too small.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        aux_logits: bool = False,
        transform_input: bool = False,
        stem: str = "imagenet",
        width: float = 1.0,
        dropout: float = 0.2,
        weight_init: str | float = "kaiming",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_choice("stem", stem, STEMS)
        check_count(in_channels=in_channels, num_classes=num_classes)
        check_width(width)
        if transform_input and in_channels != 3:
            raise ValueError(
                f"in_channels is {in_channels}; transform_input=True is for images of 3 channels"
            )
        self.in_channels, self.transform_input = in_channels, transform_input
        self.smallest = 5 if stem == "small" else 15
        first, third = scaled(64, width), scaled(192, width)
        if stem == "imagenet":
            self.conv1 = ConvNorm(in_channels, first, 7, stride=2, padding=3)
            self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        else:
            self.conv1 = ConvNorm(in_channels, first, 3, padding=1)
            self.maxpool1 = nn.Identity()
        self.conv2 = ConvNorm(first, first, 1)
        self.conv3 = ConvNorm(first, third, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        channels, behind = third, {}
        for name, row in TABLE.items():
            block = Inception(channels, *(scaled(entry, width) for entry in row))
            self.add_module(f"inception{name}", block)
            channels = behind[name] = block.out_channels
        self.aux1 = AuxiliaryHead(behind["4a"], num_classes) if aux_logits else None
        self.aux2 = AuxiliaryHead(behind["4d"], num_classes) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        init.initialize(self, weight_init, generator)

    def forward(self, x: Tensor) -> Tensor | Outputs:
        check_images(x, in_channels=self.in_channels, smallest=self.smallest)
        if self.transform_input:
            x = _from_imagenet_statistics(x)
        x = self.maxpool1(self.conv1(x))  # from 224: 112, 56
        x = self.maxpool2(self.conv3(self.conv2(x)))  # 28
        x = self.maxpool3(self.inception3b(self.inception3a(x)))  # 14
        x = self.inception4a(x)
        aux1 = self.aux1(x) if self.aux1 is not None and self.training else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x) if self.aux2 is not None and self.training else None
        x = self.maxpool4(self.inception4e(x))  # 7
        x = self.inception5b(self.inception5a(x))
        x = self.avgpool(x).flatten(1)  # (N, 1024), whatever H and W
        x = self.fc(self.dropout(x))  # (N, num_classes)
        return x if aux1 is None else Outputs(x, aux2, aux1)


def _from_imagenet_statistics(x: Tensor) -> Tensor:
    """(pixel − mean) / std of ImageNet → (pixel − ½) / ½, channel by channel as torchvision does."""
    means, stds = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    channels = [
        x[:, k : k + 1] * (std / 0.5) + (mean - 0.5) / 0.5
        for k, (mean, std) in enumerate(zip(means, stds, strict=True))
    ]
    return torch.cat(channels, dim=1)
