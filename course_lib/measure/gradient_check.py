"""Is a backward right? Nudge each number, see what the loss does, and compare."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GradientCheck:
    """What a backward said and what differences say, for one tensor."""

    name: str
    backward: Tensor
    differences: Tensor

    @property
    def error(self) -> float:
        """The largest deviation over the largest gradient. 1e-8 is right, 1e-2 is wrong."""
        size = max(self.backward.abs().max().item(), self.differences.abs().max().item())
        return (self.backward - self.differences).abs().max().item() / size if size else 0.0

    @property
    def all_zero(self) -> bool:
        """Whether nothing was tested, for a gradient of zeros agrees with nearly any code."""
        return not self.differences.any()

    def __str__(self) -> str:
        return f"{self.name}: error {self.error:.1g}" + (
            ", but all gradients are zero" if self.all_zero else ""
        )


def gradient_check(
    function: Callable[..., Tensor],
    inputs: Mapping[str, Tensor] | Sequence[Tensor],
    *,
    step: float = 1e-6,
    seed: int = 0,
) -> dict[str, GradientCheck]:
    """Compare the gradients that ``function``'s backward gives with central differences.

    The loss is Σ uᵢ yᵢ with fixed random numbers u, so that no error can cancel another. For each number x in
    the inputs, (loss(x + step) − loss(x − step)) / (2 step): two forward passes a number, so keep them small.

    Args:
        function: takes the inputs, in their order, and gives one tensor of any shape.
        inputs: ``float64`` tensors, by name or not; with half as many digits the differences would be noise.
        step: in the units of the inputs. The error of the method is about step² + 1e-16 / step.

    Returns one :class:`GradientCheck` for each input. Raises ``ValueError`` for inputs of another type, a
    step that is not above 0, and a function that does not depend on an input.
    """
    named = dict(inputs) if isinstance(inputs, Mapping) else {str(k): x for k, x in enumerate(inputs)}
    for name, x in named.items():
        if x.dtype != torch.float64:
            raise ValueError(
                f"input {name!r} is {x.dtype}; it must be torch.float64, or rounding hides errors"
            )
    if not step > 0:
        raise ValueError(f"step is {step!r}; it must be above 0")
    leaves = {name: x.detach().clone().requires_grad_() for name, x in named.items()}
    y = function(*leaves.values())
    generator = torch.Generator().manual_seed(seed)
    upstream = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.device)
    found = torch.autograd.grad(y, list(leaves.values()), upstream, allow_unused=True)
    plain = [x.detach().clone() for x in leaves.values()]
    results = {}
    for x, gradient, name in zip(plain, found, named, strict=True):
        if gradient is None:
            raise ValueError(f"the function does not depend on input {name!r}, or its backward gives None")
        differences = torch.empty_like(x, memory_format=torch.contiguous_format)
        with torch.no_grad():
            for at in itertools.product(*map(range, x.shape)):
                kept = x[at].item()
                x[at] = kept + step
                above = (upstream * function(*plain)).sum()
                x[at] = kept - step
                below = (upstream * function(*plain)).sum()
                x[at] = kept
                differences[at] = (above - below) / (2 * step)
        results[name] = GradientCheck(name, gradient, differences)
    return results
