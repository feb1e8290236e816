"""The scratch Conv2d beside NumPy's im2col, as classic teaching code has it, and beside ``F.conv2d``.

Every number is a ratio of two times, forward and backward with the gradients of input, weight and bias,
measured in turn in one process. NumPy's is the code that many learnt convolution from: columns and their
inverse by a loop over the kernel, a transposed copy, and one product in float64, because that is what NumPy's
random numbers are; the second row gives it float32, the fairer of the two.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks._measuring import ratios, row
from course_lib.device import resolve
from course_lib.layers import Conv2d

BATCH = 100
REPETITIONS = 9


class NumPyConvolution:
    """Convolution without torch: no padding, stride 1, nothing but loops over the kernel and ``np.dot``.

    Source: the style of K. Saitoh, "Deep Learning from Scratch", 2019, chapter 7; written anew.
    """

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        self.weight, self.bias = weight, bias

    def forward(self, x: np.ndarray) -> np.ndarray:
        """(N, C, H, W) → (N, O, OH, OW); the columns are kept for the way back."""
        filters, _, height, width = self.weight.shape
        down, across = x.shape[2] - height + 1, x.shape[3] - width + 1
        columns = np.zeros((*x.shape[:2], height, width, down, across), dtype=x.dtype)
        for i in range(height):
            for j in range(width):
                columns[:, :, i, j] = x[:, :, i : i + down, j : j + across]
        self.shape = x.shape
        self.columns = columns.transpose(0, 4, 5, 1, 2, 3).reshape(len(x) * down * across, -1)
        y = np.dot(self.columns, self.weight.reshape(filters, -1).T) + self.bias
        return y.reshape(len(x), down, across, filters).transpose(0, 3, 1, 2)

    def backward(self, grad: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """∂L/∂y → ∂L/∂x, ∂L/∂W, ∂L/∂b."""
        filters, channels, height, width = self.weight.shape
        n, _, down, across = grad.shape
        grad = grad.transpose(0, 2, 3, 1).reshape(-1, filters)
        grad_weight = np.dot(self.columns.T, grad).T.reshape(self.weight.shape)
        columns = np.dot(grad, self.weight.reshape(filters, -1))
        columns = columns.reshape(n, down, across, channels, height, width).transpose(0, 3, 4, 5, 1, 2)
        x = np.zeros(self.shape, dtype=grad.dtype)
        for i in range(height):
            for j in range(width):
                x[:, :, i : i + down, j : j + across] += columns[:, :, i, j]
        return x, grad_weight, grad.sum(axis=0)


def steps(function: Callable[[Tensor], Tensor], x: Tensor, upstream: Tensor, n: int) -> Callable[[], None]:
    """``n`` times forward and backward."""

    def call() -> None:
        for _ in range(n):
            x.grad = None
            function(x).backward(upstream)

    return call


def numpy_steps(layer: Conv2d, x: Tensor, upstream: Tensor, kind: type, n: int) -> Callable[[], None]:
    """``n`` times forward and backward in NumPy, from the same numbers.

    Raises ``AssertionError`` where its results are not those of ``layer``: a race of unequals says nothing.
    """
    weight, bias, pixels, grad = (
        t.detach().cpu().numpy().astype(kind) for t in (layer.weight, layer.bias, x, upstream)
    )
    twin = NumPyConvolution(weight, bias)
    layer.zero_grad()
    x.grad = None
    y = layer(x)
    y.backward(upstream)
    results = twin.forward(pixels), *twin.backward(grad)
    for mine, theirs in zip((y, x.grad, layer.weight.grad, layer.bias.grad), results, strict=True):
        expected = torch.from_numpy(np.ascontiguousarray(theirs)).to(mine)
        torch.testing.assert_close(mine.detach(), expected, rtol=1e-2, atol=1e-2)

    def call() -> None:
        for _ in range(n):
            twin.forward(pixels)
            twin.backward(grad)

    return call


def run() -> list[dict]:
    """Rows of the table of benchmarks."""
    at = resolve()
    torch.manual_seed(0)
    rows = []

    def layer(channels: int, filters: int, size: int, **arguments: int) -> tuple[Conv2d, Tensor, Tensor]:
        mine = Conv2d(channels, filters, **arguments).to(at)
        x = torch.randn(BATCH, channels, size, size, device=at).requires_grad_()
        return mine, x, torch.randn_like(mine(x))

    mine, x, upstream = layer(1, 30, 28, kernel_size=5)
    scratch = steps(mine, x, upstream, 3)
    torchs = steps(lambda x: F.conv2d(x, mine.weight, mine.bias), x, upstream, 3)
    what = f"batch {BATCH}, 1×28×28 → 30 @ 5×5"
    for kind, limit in ((np.float64, "≥ 8"), (np.float32, None)):
        values = ratios(numpy_steps(mine, x, upstream, kind, 3), scratch, at, REPETITIONS)
        rows.append(row(f"NumPy im2col in {kind.__name__} / scratch Conv2d, {what}", values, limit))
    rows.append(row(f"F.conv2d / scratch Conv2d, {what}", ratios(torchs, scratch, at, REPETITIONS), None))

    mine, x, upstream = layer(64, 64, 32, kernel_size=3, padding=1)
    scratch = steps(mine, x, upstream, 1)
    torchs = steps(lambda x: F.conv2d(x, mine.weight, mine.bias, padding=1), x, upstream, 1)
    what = f"batch {BATCH}, 64×32×32 → 64 @ 3×3"
    rows.append(row(f"scratch Conv2d / F.conv2d, {what}", ratios(scratch, torchs, at, REPETITIONS), "≤ 3"))
    return rows


if __name__ == "__main__":
    for line in run():
        print(line)
