"""The small residual networks of the ResNet paper, made for the 32×32 images of CIFAR-10.

Three stages of n blocks of two 3×3 convolutions, at full, half and quarter size: 6n + 2 layers of weights.

Source: K. He et al., "Deep residual learning for image recognition", CVPR 2016, section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.models.inputs import check_choice, check_count, check_images, smallest_side
from course_lib.models.resnet import (
    SHORTCUTS,
    BasicBlock,
    PreActBasicBlock,
    conv3x3,
    initialize,
    make_norm,
    make_stage,
)

DEPTHS = (20, 32, 44, 56, 110)


class CifarResNet(nn.Module):
    """ResNet-20, 32, 44, 56 or 110 for small images, or its plain twin.

    Args:
        depth: 6n + 2, with n blocks in each of the three stages: 20, 32, 44, 56 and 110 are the paper's.
        in_channels: of the images.
        num_classes: how many logits.
        widths: channels of the three stages. (8, 16, 32) trains four times as fast on small grey images.
        shortcut: ``"A"`` (the paper's choice here: no parameters), ``"B"``, ``"C"``, or ``"A-centred"``, for
            the public CIFAR weights of akamaster; see :func:`course_lib.models.resnet.make_shortcut`.
        residual: ``False`` for the plain twin: the same layers and parameters as with option A, no addition.
        pre_activation: BatchNorm and ReLU before each convolution, and once more after the last block.
        batch_norm: ``False`` leaves BatchNorm out; convolutions then have biases.
        zero_init_residual: start from F(x) = 0 in every block.
        weight_init: of the convolutions; what :func:`course_lib.init.initialize` takes.
        generator: where the weights are drawn from; ``None`` is torch's global generator.

    A state dict notes the shortcut, and does not load into a network with another. One with akamaster's names
    (``linear.weight``, ``module.`` in front) is known by them, and loads into ``"A-centred"`` only.

    Shape: (N, in_channels, H, W) → (N, num_classes), for images of any size from 3 pixels.

    Raises:
        ValueError: a depth that is not 6n + 2, an unknown shortcut, widths that are not three growing whole
            numbers, images of another number of channels or too small.
    """

    stride = 4

    def __init__(
        self,
        depth: int,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        widths: Sequence[int] = (16, 32, 64),
        shortcut: str = "A",
        residual: bool = True,
        pre_activation: bool = False,
        batch_norm: bool = True,
        zero_init_residual: bool = False,
        weight_init: str | float = "kaiming",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(depth, int) or isinstance(depth, bool) or depth < 8 or depth % 6 != 2:
            raise ValueError(
                f"depth is {depth!r}; these networks have 6n + 2 layers, n of 1 or more: the paper's have "
                f"{', '.join(map(str, DEPTHS))}"
            )
        check_choice("shortcut", shortcut, SHORTCUTS)
        check_count(in_channels=in_channels, num_classes=num_classes)
        _check_widths(widths)
        block = PreActBasicBlock if pre_activation else BasicBlock
        options = {"shortcut": shortcut, "residual": residual, "batch_norm": batch_norm}
        first, second, third = widths
        blocks = (depth - 2) // 6
        self.in_channels, self.pre_activation, self.shortcut = in_channels, pre_activation, shortcut
        self.conv1 = conv3x3(in_channels, first, bias=not batch_norm)
        if not pre_activation:
            self.bn1 = make_norm(first, batch_norm)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = make_stage(block, first, first, blocks, 1, **options)
        self.layer2 = make_stage(block, first, second, blocks, 2, **options)
        self.layer3 = make_stage(block, second, third, blocks, 2, **options)
        if pre_activation:
            self.norm = make_norm(third, batch_norm)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(third, num_classes)
        initialize(self, weight_init, zero_init_residual, generator)
        self.register_state_dict_post_hook(_note_shortcut)
        self.register_load_state_dict_pre_hook(_check_shortcut)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, in_channels=self.in_channels, smallest=smallest_side(self.stride))
        x = self.conv1(x)  # (N, widths[0], H, W)
        if not self.pre_activation:
            x = self.relu(self.bn1(x))
        x = self.layer1(x)  # (N, widths[0], H, W)
        x = self.layer2(x)  # (N, widths[1], H / 2, W / 2)
        x = self.layer3(x)  # (N, widths[2], H / 4, W / 4)
        if self.pre_activation:
            x = self.relu(self.norm(x))
        x = self.avgpool(x).flatten(1)  # (N, widths[2])
        return self.fc(x)  # (N, num_classes)


def _note_shortcut(model: CifarResNet, state: dict, prefix: str, notes: dict) -> None:
    """Into the notes that torch keeps with a state dict, beside each module's version."""
    state._metadata[prefix[:-1]]["shortcut"] = model.shortcut


def _check_shortcut(model: CifarResNet, state: dict, prefix: str, notes: dict, *rest: Any) -> None:
    """Refuse the weights of another shortcut; give akamaster's names ours."""
    if f"{prefix}module.linear.weight" in state or f"{prefix}linear.weight" in state:
        notes = {"shortcut": "A-centred"}
        for name in [name for name in state if name.startswith(prefix)]:
            ours = name[len(prefix) :].removeprefix("module.")
            ours = f"fc.{ours.removeprefix('linear.')}" if ours.startswith("linear.") else ours
            state[prefix + ours] = state.pop(name)
    there = notes.get("shortcut", model.shortcut)
    if there != model.shortcut:
        raise ValueError(
            f"the weights are of a network with shortcut={there!r}, and this one has {model.shortcut!r}: "
            f"they would fit, and what it says be wrong. Build the network with shortcut={there!r}"
        )


def _check_widths(widths: Sequence[int]) -> None:
    good = len(widths) == 3 and all(isinstance(width, int) and width > 0 for width in widths)
    if not good or sorted(widths) != list(widths):
        raise ValueError(
            f"widths are {tuple(widths)}; they must be three whole numbers of at least 1, none smaller than "
            "the one before it, such as (16, 32, 64)"
        )
