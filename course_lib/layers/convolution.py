"""Convolution as one matrix product: the windows laid out as columns, the filters as rows.

Source: K. Chellapilla, S. Puri, P. Simard, "High performance convolutional neural networks for document
processing", 2006 (the unrolling); V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep
learning", 2016 (the sizes).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from course_lib.layers.windows import Size, add_windows, check_images, like, output_size, pair, windows


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
        columns = _grouped(im2col(x, *where), groups)  # (N, G, C/G·kh·kw, OH·OW)
        filters = _as_rows(weight, groups)  # (G, O/G, C/G·kh·kw)
        y = _product(filters, columns)  # (N, G, O/G, OH·OW)
        if bias is not None:
            y += bias.view(groups, len(bias) // groups, 1)

        ctx.save_for_backward(x, weight)
        ctx.where, ctx.groups = where, groups
        return like(y.view(len(x), len(weight), down, across), x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """∂L/∂y → ∂L/∂x, ∂L/∂W, ∂L/∂b: a matrix product's two gradients, and im2col's transpose.

        The columns are made anew rather than remembered: kh·kw times the input is too much to keep.
        """
        x, weight = ctx.saved_tensors
        kind = torch.promote_types(x.dtype, weight.dtype)  # the two differ under autocast
        grad_x = grad_weight = grad_bias = None
        grad_y = _grouped(grad.to(kind).contiguous().flatten(2), ctx.groups)  # (N, G, O/G, OH·OW)
        if ctx.needs_input_grad[1]:
            columns = _grouped(im2col(x.to(kind), *ctx.where), ctx.groups)
            grad_weight = (grad_y @ columns.mT).sum(0).view(weight.shape).to(weight.dtype)
        if ctx.needs_input_grad[0]:
            back = _product(_as_rows(weight.to(kind), ctx.groups).mT.contiguous(), grad_y).flatten(1, 2)
            grad_x = like(col2im(back, x.shape[2:], *ctx.where), x).to(x.dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = grad_y.sum((0, 3)).flatten().to(weight.dtype)
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
            that is not 4-D, has other channels, or is smaller than the kernel.
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

    def forward(self, x: Tensor) -> Tensor:
        check_images(x)
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, so {x.shape[1]} channels; this layer's weights of shape "
                f"{tuple(self.weight.shape)} with groups={self.groups} take in_channels={self.in_channels}"
            )
        return Conv2dFunction.apply(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
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


def _grouped(rows: Tensor, groups: int) -> Tensor:
    """(N, G·K, L) → (N, G, K, L)."""
    return rows.unflatten(1, (groups, rows.shape[1] // groups))


def _as_rows(weight: Tensor, groups: int) -> Tensor:
    """(O, C/G, kh, kw) → (G, O/G, C/G·kh·kw): each filter a row."""
    return weight.reshape(groups, len(weight) // groups, weight[0].numel())


def _product(rows: Tensor, columns: Tensor) -> Tensor:
    """(G, A, B) times (N, G, B, L) → (N, G, A, L)."""
    if len(rows) == 1:  # one group: the matrix need not be copied for each image
        return torch.matmul(rows[0], columns)
    return torch.matmul(rows, columns)
