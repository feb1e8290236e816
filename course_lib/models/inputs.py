"""What every convolutional network of the book checks about what it is given, with one wording."""

from __future__ import annotations

from torch import Tensor


def check_images(x: Tensor, *, in_channels: int, smallest: int) -> None:
    """``x`` must be a batch (N, in_channels, H, W) with H and W of ``smallest`` pixels or more.

    Raises ``ValueError`` with the shape and the rule otherwise.
    """
    if x.dim() != 4 or x.shape[1] != in_channels:
        raise ValueError(
            f"x has shape {tuple(x.shape)}; this network takes images of shape (N, {in_channels}, H, W)"
        )
    if min(x.shape[2:]) < smallest:
        raise ValueError(
            f"x has shape {tuple(x.shape)}, images of {x.shape[2]}×{x.shape[3]}; this network halves "
            f"them until nothing is left to halve, so each side must have at least {smallest} pixels"
        )


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
