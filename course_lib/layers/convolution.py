"""Convolution as one matrix product: the windows laid out as columns, the filters as rows.

Source: K. Chellapilla, S. Puri, P. Simard, "High performance convolutional neural networks for document
processing", 2006 (the unrolling); V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep
learning", 2016 (the sizes).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.layers.tracing import apply, constant, one_node, traced
from course_lib.layers.windows import (
    Size,
    add_windows,
    check_floating,
    check_images,
    like,
    output_size,
    pair,
    windows,
)

CACHED = 2**20  # values in the columns of the images that are worked on at once: 4 MB in float32


def im2col(x: Tensor, kernel_size: Size, stride: Size = 1, padding: Size = 0, dilation: Size = 1) -> Tensor:
    """Each window of (N, C, H, W) as a column: (N, C·kh·kw, OH·OW), as ``F.unfold`` orders it.

    Raises ``ValueError`` for an input that is not 4-D, or one that no window fits into.
    """
    return windows(x, kernel_size, stride, padding, dilation).flatten(4).flatten(1, 3)


def col2im(
    columns: Tensor, size: Size, kernel_size: Size, stride: Size = 1, padding: Size = 0, dilation: Size = 1
) -> Tensor:
    """The transpose of :func:`im2col`: (N, C·kh·kw, OH·OW) → (N, C, H, W), where windows overlap they add up.

    Args:
        size: (H, W) of the images, without padding.

    Not the inverse: a pixel that stood in nine columns comes back nine times as large. As ``F.fold``.
    Raises ``ValueError`` for columns that no images of this size give.
    """
    kh, kw = pair("kernel_size", kernel_size, 1)
    down, across = output_size(size, kernel_size, stride, padding, dilation)
    if columns.dim() != 3 or columns.shape[1] % (kh * kw) or columns.shape[2] != down * across:
        raise ValueError(
            f"columns has shape {tuple(columns.shape)}; images of {pair('size', size, 0)} give "
            f"(N, C·{kh}·{kw}, {down}·{across} = {down * across})"
        )
    places = columns.unflatten(1, (columns.shape[1] // (kh * kw), kh, kw)).unflatten(
        4, (down, across)
    )  # (N, C, kh, kw, OH, OW)
    return add_windows(places, size, stride, padding, dilation)


class Conv2dFunction(torch.autograd.Function):
    """y = W · im2col(x) + b, for each image and, where the channels are in groups, for each group."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Size,
        padding: Size,
        dilation: Size,
        groups: int,
    ) -> Tensor:
        """(N, C, H, W) and (O, C/groups, kh, kw) → (N, O, OH, OW)."""
        where = (weight.shape[2:], stride, padding, dilation)
        down, across = output_size(x.shape[2:], *where)
        filters = _as_rows(weight, groups)  # (G, O/G, C/G·kh·kw)
        at_once = _images_at_once(x, weight, down * across)
        parts = []
        for (images,) in _together(at_once, x):
            columns = im2col(images, *where).unflatten(1, (groups, -1))  # (n, G, C/G·kh·kw, OH·OW)
            sums = _product(filters, columns)  # (n, G, O/G, OH·OW)
            parts.append(sums.flatten(1, 2).unflatten(2, (down, across)))
        y = torch.cat(parts)  # (N, O, OH, OW)
        if bias is not None:
            y += bias.view(-1, 1, 1)

        ctx.save_for_backward(x, weight)
        ctx.where, ctx.groups, ctx.at_once = where, groups, at_once
        return like(y, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """∂L/∂y → ∂L/∂x, ∂L/∂W, ∂L/∂b: a matrix product's two gradients, and im2col's transpose.

        The columns are made anew rather than remembered: kh·kw times the input is too much to keep. So all
        is computed from x, W and the gradient, and can be differentiated once more.
        """
        x, weight = ctx.saved_tensors
        # Under autocast they differ. The wider one: sums over many images must not be rounded to 16 bits.
        wide = torch.promote_types(x.dtype, weight.dtype)
        x, weight, grad = x.to(wide), weight.to(wide), grad.to(wide)
        grad_y = grad.contiguous().flatten(2).unflatten(1, (ctx.groups, -1))  # (N, G, O/G, OH·OW)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[1]:
            grad_weight = 0
            for images, above in _together(ctx.at_once, x, grad_y):
                columns = im2col(images, *ctx.where).unflatten(1, (ctx.groups, -1))
                grad_weight = grad_weight + (above @ columns.mT).sum(0)  # (G, O/G, C/G·kh·kw)
            grad_weight = grad_weight.view(weight.shape)
        if ctx.needs_input_grad[0]:
            transposed = _as_rows(weight, ctx.groups).mT.contiguous()
            parts = []
            for (above,) in _together(ctx.at_once, grad_y):
                columns = _product(transposed, above).flatten(1, 2)  # (n, C·kh·kw, OH·OW)
                parts.append(col2im(columns, x.shape[2:], *ctx.where))
            grad_x = like(torch.cat(parts), x)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum((0, 2, 3))
        return grad_x, grad_weight, grad_bias, None, None, None, None


class Conv2d(nn.Module):
    """Every filter, at every place of the image: ``nn.Conv2d`` on top of :func:`im2col`.

    Args:
        in_channels: C.
        out_channels: O, the number of filters.
        kernel_size, stride, padding, dilation: a number, or (height, width). Padding is with zeros.
        groups: cut the channels into so many parts that do not see each other.
        bias: add a number to each output channel.

    Parameters ``weight`` (O, C/groups, kh, kw) and ``bias`` (O,), named and initialised as ``nn.Conv2d``.
    Shape: (N, C, H, W) → (N, O, OH, OW), with OH and OW from :func:`output_size`.

    Raises:
        ValueError: an argument out of range, groups that do not divide both numbers of channels; an input
            that is not 4-D, has other channels, is smaller than the kernel, or is no floating-point tensor.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        for name, value in {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "groups": groups,
        }.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups is {groups}; it must divide both in_channels={in_channels} and "
                f"out_channels={out_channels}, for every group gets as many"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = pair("kernel_size", kernel_size, 1), pair("stride", stride, 1)
        self.padding, self.dilation = pair("padding", padding, 0), pair("dilation", dilation, 1)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Uniform within ±1/√fan_in, weights first: as torch does, with the same numbers from a seed."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        self.weight.uniform_(-bound, bound)
        if self.bias is not None:
            self.bias.uniform_(-bound, bound)

    @one_node
    def forward(self, x: Tensor) -> Tensor:
        check_images(x)
        check_floating(x)
        if constant(x.shape[1]) != self.in_channels:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, so {x.shape[1]} channels; this layer's weights of shape "
                f"{tuple(self.weight.shape)} with groups={self.groups} take in_channels={self.in_channels}"
            )
        return apply(
            Conv2dFunction, x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        )
        unusual = {"padding": (0, 0), "dilation": (1, 1), "groups": 1}
        text += "".join(
            f", {n}={getattr(self, n)}" for n, usual in unusual.items() if getattr(self, n) != usual
        )
        return text + (", bias=False" if self.bias is None else "")


def _as_rows(weight: Tensor, groups: int) -> Tensor:
    """(O, C/G, kh, kw) → (G, O/G, C/G·kh·kw): each filter a row."""
    return weight.flatten(1).unflatten(0, (groups, -1))


def _images_at_once(x: Tensor, weight: Tensor, windows: int) -> int:
    """So many images that their columns fit the processor's cache: a third of the time of all at once.

    Their size is kh·kw times that of the images, and memory is slower than multiplication. 0 is all of them,
    for a tracer: it would take the number of parts for a constant.
    """
    if traced():
        return 0
    column = x.shape[1] * weight.shape[2] * weight.shape[3]
    most = CACHED if x.device.type == "cpu" else 2**27
    return max(1, most // (column * windows))


def _together(n: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The tensors ``n`` images at a time, in step."""
    return zip(*(tensor.split(n) for tensor in tensors), strict=True) if n else iter([tensors])


def _product(rows: Tensor, columns: Tensor) -> Tensor:
    """(G, A, B) times (N, G, B, L) → (N, G, A, L).

    ``matmul`` would make one product of it with everything transposed, and copy it back: half as fast.
    """
    each = rows.expand(columns.shape[0], -1, -1, -1).flatten(0, 1)  # with one group a view, not a copy
    return torch.bmm(each, columns.flatten(0, 1)).unflatten(0, (-1, rows.shape[0]))
