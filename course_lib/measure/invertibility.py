"""What a ReLU loses: a signal sent through it and back, and how often a layer of a network can be undone.

A ReLU passes on what is above 0 and forgets the rest; a ReLU6 forgets what is above 6 too. A unit that
passes its number on is called *open*. As long as enough units are open, nothing is lost.

Source: M. Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018, figure 1,
section 3.2 and appendix A.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.device import in_float64

# Each activation, and where it passes its number on so that it can be had back from the output alone.
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "linear": (lambda z: z, lambda y: torch.ones_like(y, dtype=torch.bool)),
    "relu": (F.relu, lambda y: y > 0),
    "relu6": (F.relu6, lambda y: (y > 0) & (y < 6)),
}


def spiral(points: int = 200, turns: float = 2.0, radius: float = 1.0) -> Tensor:
    """Points along a spiral from near the origin out to ``radius``, (points, 2).

    Raises ``ValueError`` for fewer than two points.
    """
    if points < 2:
        raise ValueError(f"points is {points}; a spiral needs at least 2")
    t = torch.linspace(0.02, 1, points, dtype=torch.float64)
    angle = 2 * math.pi * turns * t
    return radius * t[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)


@dataclass(frozen=True)
class Embedding:
    """A signal of d numbers sent through n units and back.

    Attributes:
        x: the signal, (N, d).
        matrix: T, (n, d).
        hidden: φ(T x), (N, n).
        open: which units passed their number on, (N, n).
        projected: T⁺ φ(T x), (N, d): what the inverse of T alone makes of it.
        restored: x computed from the open units, (N, d); NaN where no computation can.
    """

    x: Tensor
    matrix: Tensor
    hidden: Tensor
    open: Tensor
    projected: Tensor
    restored: Tensor

    @property
    def lost(self) -> Tensor:
        """For which points, (N,), fewer than d units are open; infinitely many x have their output then."""
        return self.open.sum(1) < self.x.shape[1]


def there_and_back(
    x: Tensor, n: int, activation: str = "relu", *, generator: torch.Generator | None = None
) -> Embedding:
    """Send ``x``, (N, d), through a random matrix of n rows and an activation, and try to get it back.

    T has independent N(0, 1) entries. ``projected`` applies T's pseudoinverse to the output, as in the
    paper's figure. ``restored`` solves the equations of the open units alone, which are linear: from d
    open units on, the solution is x (for almost every T).

    Raises ``ValueError`` for an unknown activation, n below 1 and x that is not (N, d).
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; it must be one of {', '.join(ACTIVATIONS)}")
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"n is {n!r}; it must be a whole number of at least 1")
    if x.dim() != 2:
        raise ValueError(f"x has shape {tuple(x.shape)}; it must be (points, dimensions)")
    apply, is_open = ACTIVATIONS[activation]
    x = in_float64(x)
    matrix = torch.randn(n, x.shape[1], generator=generator, dtype=x.dtype, device=x.device)
    hidden = apply(x @ matrix.T)  # (N, n)
    opened = is_open(hidden)
    projected = hidden @ torch.linalg.pinv(matrix).T  # (N, d)
    # Each point has its own equations: the rows of T whose units are open for it.
    rows = matrix * opened[:, :, None]  # (N, n, d), closed rows 0
    restored = (torch.linalg.pinv(rows) @ (hidden * opened)[:, :, None]).squeeze(2)  # (N, d)
    restored[opened.sum(1) < x.shape[1]] = math.nan
    return Embedding(x, matrix, hidden, opened, projected, restored)


def chance_lost(d: int, n: int) -> float:
    """The probability that a ReLU of n random units loses a signal of d numbers: fewer than d are open.

    Each unit is open with probability ½, independently: Σ_{k<d} C(n, k) / 2ⁿ.
    """
    return sum(math.comb(n, k) for k in range(min(d, n + 1))) / 2**n


@dataclass(frozen=True)
class OpenUnits:
    """How many units of one activation layer are open, over all inputs and positions.

    Attributes:
        name: of the activation, as in ``model.named_modules()``.
        carried: d, how many numbers arrive for each position of the output.
        units: n, how many units there are at each position.
        mean: open units at a position, on average.
        least: the fewest.
        most: the most.
        invertible: share of the positions at which at least d are open, 0 to 1.
    """

    name: str
    carried: int
    units: int
    mean: float
    least: int
    most: int
    invertible: float


@torch.no_grad()
def open_units(model: nn.Module, x: Tensor) -> list[OpenUnits]:
    """How often each ReLU or ReLU6 of a network can be undone on the inputs ``x``, (N, …), in order.

    The linear map before the activation brings d numbers to each position: a linear layer or a 1×1
    convolution its input channels, a convolution with stride s its input channels times s². A convolution
    within each channel (depthwise) makes no new dimensions: it has the d of what it was given, times s².
    Where at least d of the n units are open, what arrived can be computed from what leaves, for almost
    every weight matrix; else it cannot.

    Runs in evaluation mode, through hooks; the model is left as it was. Raises ``ValueError`` for a network
    without a ReLU that a linear layer or convolution feeds.
    """
    found: list[OpenUnits] = []
    with _evaluating(model):
        handles = []
        carried: int | None = None

        def after_linear(module: nn.Module, _inputs: object, _output: Tensor) -> None:
            nonlocal carried
            carried = _carried(module, carried)

        def watch(name: str, kind: str) -> Callable[..., None]:
            def after_activation(_module: nn.Module, _inputs: object, output: Tensor) -> None:
                if carried is None:
                    return
                is_open = ACTIVATIONS[kind][1](output)
                counts = is_open.sum(1 if output.dim() > 1 else 0).flatten()  # a position, open units
                found.append(
                    OpenUnits(
                        name,
                        carried,
                        output.shape[1],
                        in_float64(counts).mean().item(),
                        int(counts.min()),
                        int(counts.max()),
                        in_float64(counts >= carried).mean().item(),
                    )
                )

            return after_activation

        try:
            for name, module in model.named_modules():
                if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
                    handles.append(module.register_forward_hook(after_linear))
                elif isinstance(module, nn.ReLU | nn.ReLU6):
                    kind = "relu6" if isinstance(module, nn.ReLU6) else "relu"
                    handles.append(module.register_forward_hook(watch(name, kind)))
            model(x)
        finally:
            for handle in handles:
                handle.remove()
    if not found:
        raise ValueError(
            f"model has no ReLU or ReLU6 module after a linear layer or a convolution: {type(model).__name__}"
        )
    return found


def _carried(module: nn.Module, before: int | None) -> int:
    """How many numbers ``module`` brings to a position of its output, given what it found at its input's."""
    if isinstance(module, nn.Linear):
        return module.in_features
    depthwise = module.groups == module.in_channels > 1
    channels = before if depthwise and before is not None else module.in_channels
    return channels * math.prod(module.stride)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
