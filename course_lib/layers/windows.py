"""Where a window goes: sizes, steps and padding, checked once for convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.layers.tracing import constant, pinned, traced

Size = int | Sequence[int]


def pair(name: str, value: Size, least: int) -> tuple[int, int]:
    """``value`` as (height, width). Raises ``ValueError`` unless it is one or two whole numbers ≥ least."""
    values = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
    values = tuple(map(constant, values))
    if len(values) != 2 or not all(
        isinstance(v, Integral | torch.SymInt) and not isinstance(v, bool) and v >= least for v in values
    ):
        raise ValueError(
            f"{name} is {value!r}; it must be a whole number of at least {least}, or two, (height, width)"
        )
    return values


def output_size(
    size: Size, kernel_size: Size, stride: Size = 1, padding: Size = 0, dilation: Size = 1
) -> tuple[int, int]:
    """How many windows fit, down and across: ⌊(size + 2·padding − extent) / stride⌋ + 1 on each axis.

    The extent of a window is dilation·(kernel_size − 1) + 1. Each argument is one number or (height, width).
    Raises ``ValueError`` where not even one window fits.
    """
    size, kernel, padding = (
        pair("size", size, 0),
        pair("kernel_size", kernel_size, 1),
        pair("padding", padding, 0),
    )
    stride, dilation = pair("stride", stride, 1), pair("dilation", dilation, 1)
    padded = tuple(n + 2 * p for n, p in zip(size, padding, strict=True))
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    if any(e > n for e, n in zip(extent, padded, strict=True)):
        spread = f" with dilation {dilation[0]}×{dilation[1]}" if dilation != (1, 1) else ""
        raise ValueError(
            f"a window of {kernel[0]}×{kernel[1]}{spread} covers {extent[0]}×{extent[1]} pixels, and the "
            f"input of {size[0]}×{size[1]} with padding {padding[0]}×{padding[1]} has only {padded[0]}×"
            f"{padded[1]}: no window fits. The rule: dilation · (kernel_size − 1) + 1 ≤ size + 2 · padding"
        )
    down, across = ((n - e) // s + 1 for n, e, s in zip(padded, extent, stride, strict=True))
    return down, across


def windows(
    x: Tensor, kernel_size: Size, stride: Size = 1, padding: Size = 0, dilation: Size = 1, fill: float = 0.0
) -> Tensor:
    """Every window of (N, C, H, W), as a view (N, C, kh, kw, OH, OW) of the padded images: nothing is copied.

    ``fill`` is what the border is padded with. Element [n, c, i, j, r, q] is pixel
    (r·stride + i·dilation, q·stride + j·dilation) of the padded image.
    """
    check_images(x)
    down, across = output_size(x.shape[2:], kernel_size, stride, padding, dilation)
    (kh, kw), (sh, sw) = pair("kernel_size", kernel_size, 1), pair("stride", stride, 1)
    (ph, pw), (dh, dw) = pair("padding", padding, 0), pair("dilation", dilation, 1)
    if ph or pw:
        x = F.pad(x, (pw, pw, ph, ph), value=fill)
    if traced():
        x = pinned(x)
    n, c, h, w = x.stride()
    return x.as_strided((*x.shape[:2], kh, kw, down, across), (n, c, h * dh, w * dw, h * sh, w * sw))


def add_windows(
    values: Tensor, size: Size, stride: Size = 1, padding: Size = 0, dilation: Size = 1
) -> Tensor:
    """Put windows (N, C, kh, kw, OH, OW) back where they came from: (N, C, H, W), overlaps added up.

    The transpose of :func:`windows`. One pass for each place in the window: the values that stand there
    go to pixels a stride apart, which never overlap.
    """
    kh, kw, down, across = values.shape[2:]
    (height, width), (sh, sw) = pair("size", size, 0), pair("stride", stride, 1)
    (ph, pw), (dh, dw) = pair("padding", padding, 0), pair("dilation", dilation, 1)
    x = values.new_zeros(*values.shape[:2], height + 2 * ph, width + 2 * pw)
    for i in range(kh):
        for j in range(kw):
            top, left = i * dh, j * dw
            x[:, :, top : top + sh * down : sh, left : left + sw * across : sw] += values[:, :, i, j]
    return x[:, :, ph : ph + height, pw : pw + width]


def check_images(x: Tensor) -> None:
    """``x`` must be (N, C, H, W). Raises ``ValueError`` with its shape otherwise."""
    if x.dim() != 4:
        raise ValueError(
            f"x has shape {tuple(x.shape)}; it must have four dimensions, (N, C, H, W): "
            "images, channels, height, width. One image is a batch of one: x[None]"
        )


def check_floating(x: Tensor) -> None:
    """``x`` must be of a floating-point type. Raises ``ValueError`` with its type otherwise."""
    if not x.is_floating_point():
        raise ValueError(
            f"x is {x.dtype}; it must be of a floating-point type, such as x.float() / 255 of pixels"
        )


def like(y: Tensor, x: Tensor) -> Tensor:
    """``y`` in the memory layout of ``x``: channels_last stays channels_last, anything else is contiguous."""
    last = torch.channels_last
    if x.is_contiguous(memory_format=last) and not x.is_contiguous():
        return y.contiguous(memory_format=last)
    return y.contiguous()
