"""The scratch BatchNorm beside ``nn.BatchNorm2d``: forward and backward in training, a ratio of times.

Torch's is one fused kernel each way. Ours is the formula operation by operation, and each operation reads
and writes the whole batch once more: the ratio is the price of being readable.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from benchmarks._measuring import ratios, row
from course_lib.device import resolve
from course_lib.layers import BatchNorm

SHAPES = [(128, 64, 16, 16), (128, 100)]  # a convolutional layer's output; a hidden layer's
REPETITIONS = 9


def training_steps(layer: nn.Module, x: torch.Tensor, upstream: torch.Tensor, n: int) -> Callable[[], None]:
    """``n`` times forward and backward through ``layer``."""

    def steps() -> None:
        for _ in range(n):
            x.grad = None
            layer(x).backward(upstream)

    return steps


def run() -> list[dict]:
    """Rows of the table of benchmarks, one a shape."""
    at = resolve()
    rows = []
    for shape in SHAPES:
        twin = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(shape[1]).to(at)
        mine = BatchNorm(shape[1]).to(at)
        x = torch.randn(shape, device=at).requires_grad_()
        upstream = torch.randn(shape, device=at)
        n = 5 if x.numel() > 1e6 else 200
        values = ratios(
            training_steps(mine, x, upstream, n), training_steps(twin, x, upstream, n), at, REPETITIONS
        )
        rows.append(row(f"scratch BatchNorm / nn.{type(twin).__name__}, {shape}", values, None))
    return rows


if __name__ == "__main__":
    for line in run():
        print(line)
