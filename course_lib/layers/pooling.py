"""Pooling: one number for each window of each channel, the largest or the mean. No parameters.

On the same windows as convolution; see :mod:`course_lib.layers.windows`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.layers.tracing import apply, one_node
from course_lib.layers.windows import Size, add_windows, check_floating, check_images, like, pair, windows


class MaxPool2dFunction(torch.autograd.Function):
    """The largest of each window, and on the way back the whole gradient to the place where it stood."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernel_size: Size, stride: Size, padding: Size, dilation: Size
    ) -> Tensor:
        """(N, C, H, W) → (N, C, OH, OW). The border counts as −∞, so it never wins."""
        least = -torch.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
        placed = windows(x, kernel_size, stride, padding, dilation, fill=least)  # (N, C, kh, kw, OH, OW)
        y, winner = placed.flatten(2, 3).max(2)  # the first of equals, as torch has it
        ctx.save_for_backward(winner)
        ctx.shapes, ctx.where = (x.shape, placed.shape), (stride, padding, dilation)
        ctx.x_is_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        return like(y, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """A nudge at any place but the winner's changes nothing: the gradient goes to the winner alone."""
        (winner,) = ctx.saved_tensors  # (N, C, OH, OW): which place of its window, 0 … kh·kw − 1
        shape, placed = ctx.shapes
        values = grad.new_zeros(placed).flatten(2, 3)
        values.scatter_(2, winner.unsqueeze(2), grad.unsqueeze(2))
        grad_x = add_windows(values.view(placed), shape[2:], *ctx.where)
        layout = torch.channels_last if ctx.x_is_last else torch.contiguous_format
        return grad_x.contiguous(memory_format=layout), None, None, None, None


class AvgPool2dFunction(torch.autograd.Function):
    """The mean of each window, and on the way back an equal share to every place in it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel_size: Size, stride: Size, padding: Size) -> Tensor:
        """(N, C, H, W) → (N, C, OH, OW). The border counts as zeros, and counts."""
        placed = windows(x, kernel_size, stride, padding)
        ctx.shapes, ctx.where = (x.shape, placed.shape), (stride, padding)
        ctx.x_is_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        return like(placed.mean((2, 3)), x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """∂L/∂y → ∂L/∂x, an equal share of each window's gradient to all its pixels."""
        shape, placed = ctx.shapes
        share = (grad / (placed[2] * placed[3]))[:, :, None, None].expand(placed)
        grad_x = add_windows(share, shape[2:], *ctx.where)
        layout = torch.channels_last if ctx.x_is_last else torch.contiguous_format
        return grad_x.contiguous(memory_format=layout), None, None, None


class _Pool2d(nn.Module):
    """What both poolings check and remember."""

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair("stride", stride, 1)
        self.padding = pair("padding", padding, 0)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                f"padding is {padding!r} with kernel_size {kernel_size!r}; it may be half the kernel at most "
                "(2 · padding ≤ kernel_size), else some windows would lie in the border alone"
            )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool2d(_Pool2d):
    """The largest value of each window, channel by channel: ``nn.MaxPool2d``.

    Args:
        kernel_size, stride, padding, dilation: a number, or (height, width). The stride is ``kernel_size``
            unless given, so that windows tile the image; rows and columns that are left over are dropped.
            The padding, half the kernel at most, is with −∞, or the least number of a type of whole numbers.

    Shape: (N, C, H, W) → (N, C, OH, OW). Raises ``ValueError`` for an argument out of range, an input that
    is not 4-D or is smaller than the window.
    """

    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.dilation = pair("dilation", dilation, 1)

    @one_node
    def forward(self, x: Tensor) -> Tensor:
        return apply(MaxPool2dFunction, x, self.kernel_size, self.stride, self.padding, self.dilation)


class AvgPool2d(_Pool2d):
    """The mean of each window, channel by channel: ``nn.AvgPool2d``, border included.

    Arguments, shape and errors as :class:`MaxPool2d`, without dilation; the padding is with zeros. A mean
    of whole numbers is none, so their types are refused.
    """

    @one_node
    def forward(self, x: Tensor) -> Tensor:
        check_images(x)
        check_floating(x)
        return apply(AvgPool2dFunction, x, self.kernel_size, self.stride, self.padding)
