"""What every convolutional network of the book checks about what it is given, with one wording."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def check_images(x: Tensor, *, in_channels: int, smallest: int = 1, exactly: int | None = None) -> None:
    """``x`` must be a batch (N, in_channels, H, W) with H and W of ``smallest`` pixels or more.

    ``exactly``: for a network whose fully connected layers have weights for each pixel, H and W must be this.
    Raises ``ValueError`` with the shape and the rule otherwise. Nothing is checked where ``torch.fx`` or
    ``torch.jit.trace`` make a graph: the one has no shapes, and to the other they are no numbers.
    """
    if not has_shape(x):
        return
    if x.dim() != 4 or x.shape[1] != in_channels:
        raise ValueError(
            f"x has shape {tuple(x.shape)}; this network takes images of shape (N, {in_channels}, H, W)"
        )
    if min(x.shape[2:]) < smallest:
        raise ValueError(
            f"x has shape {tuple(x.shape)}, images of {x.shape[2]}×{x.shape[3]}; this network halves "
            f"them until nothing is left to halve, so each side must have at least {smallest} pixels"
        )
    if exactly is not None and tuple(x.shape[2:]) != (exactly, exactly):
        raise ValueError(
            f"x has shape {tuple(x.shape)}, images of {x.shape[2]}×{x.shape[3]}; this network was built for "
            f"image_size={exactly}, because its fully connected layers have weights for each pixel"
        )


def has_shape(x: Tensor) -> bool:
    """Whether ``x`` has a shape of numbers, as all tensors but a tracer's have."""
    return not isinstance(x, torch.fx.Proxy) and not torch.jit.is_tracing()


def smallest_side(stride: int) -> int:
    """The smallest side of an image for which the last halving of a network still has two pixels to halve.

    A network of total ``stride`` s brings a side of n pixels to ⌈n / s⌉; before its last halving that was
    ⌈2n / s⌉, and it must be 2 or more.
    """
    return stride // 2 + 1


def check_count(**values: int) -> None:
    """Each value must be a whole number of at least 1. Raises ``ValueError`` naming the first that is not."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")


def check_choice(name: str, value: object, choices: tuple) -> None:
    """``value`` must be one of ``choices``. Raises ``ValueError`` naming them otherwise."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, choices))}")


def check_width(width: float) -> None:
    """A width multiplier must be above 0. Raises ``ValueError`` otherwise."""
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width < math.inf:
        raise ValueError(
            f"width is {width!r}; a width multiplier is a number above 0, such as 1.0, 0.75, 0.5 or 0.35"
        )


def scaled(channels: int, width: float) -> int:
    """``channels`` times the width multiplier, to the nearest whole number, at least 1."""
    return max(1, round(channels * width))
