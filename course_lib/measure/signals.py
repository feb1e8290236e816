"""What goes on inside a network: activations and gradients, read through hooks.

Nothing here changes a network. Hooks are removed when the ``with`` block ends, however it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.device import in_float64


@dataclass(frozen=True)
class Statistics:
    """One tensor in five numbers, of its finite values."""

    mean: float
    std: float  # over all elements, population form (divided by N)
    rms: float  # √mean(x²), the size of the signal
    zero: float  # fraction of elements that are exactly 0
    nonfinite: int  # how many elements are NaN or infinite


def statistics(values: Tensor) -> Statistics:
    """Mean, standard deviation, root mean square, fraction of zeros and count of non-finite values.

    ``values`` may have any shape and number type. Moments are accumulated in float64, so that
    a signal of 1e-30 or 1e+30 is measured and not rounded away.
    Raises ``ValueError`` for an empty tensor.
    """
    if values.numel() == 0:
        raise ValueError(f"values is empty, of shape {tuple(values.shape)}; there is nothing to measure")
    flat = in_float64(values.detach().flatten())
    finite = flat[flat.isfinite()]
    if finite.numel() == 0:
        nan = float("nan")
        return Statistics(nan, nan, nan, 0.0, flat.numel())
    return Statistics(
        mean=finite.mean().item(),
        std=finite.std(correction=0).item(),
        rms=finite.square().mean().sqrt().item(),
        zero=(flat == 0).double().mean().item(),
        nonfinite=flat.numel() - finite.numel(),
    )


def input_spread(activations: Tensor) -> float:
    """How much of ``activations``, (N, …), depends on the input: the rest is the same for all N.

    The standard deviation of each unit over the N inputs, then the root mean square over units.
    A layer whose histogram is wide can still have a spread of 0: units that differ from each
    other, each of them saying the same thing about every input.
    Raises ``ValueError`` for fewer than two inputs.
    """
    if activations.dim() < 2 or len(activations) < 2:
        raise ValueError(
            f"activations has shape {tuple(activations.shape)}; it must be (N, …) with N of 2 or more"
        )
    return in_float64(activations.detach()).std(dim=0, correction=0).square().mean().sqrt().item()


@dataclass
class Recording:
    """What :func:`record` saw in the last forward and backward pass.

    Both dictionaries go from a layer's name to what ``keep`` made of the tensor, in the order in
    which the forward pass reached the layers. A layer that runs twice in one pass is there as
    ``name`` and ``name#2``.
    """

    activations: dict[str, Any] = field(default_factory=dict)
    gradients: dict[str, Any] = field(default_factory=dict)


@contextmanager
def record(
    model: nn.Module,
    layers: Sequence[str] | None = None,
    *,
    gradients: bool = True,
    keep: Callable[[Tensor], Any] | None = None,
) -> Iterator[Recording]:
    """Record the output of each layer, and the loss's gradient with respect to it.

    Args:
        model: any network.
        layers: names as in ``model.named_modules()``; ``None`` is every module that has no children.
        gradients: whether to record ∂L/∂output too, once ``backward`` is called in the block.
        keep: what to store of a tensor, :func:`statistics` say; ``None`` stores a copy, because a
            later layer may overwrite its input in place.

    A new forward pass starts a new recording. Raises ``ValueError`` for a layer that is not there.

    Example::

        with measure.record(model, keep=measure.statistics) as seen:
            F.cross_entropy(model(x), y).backward()
        seen.gradients["layers.0"].std
    """
    modules = dict(model.named_modules())
    if layers is None:
        layers = [name for name, module in modules.items() if not any(module.children())]
    absent = [name for name in layers if name not in modules]
    if absent:
        raise ValueError(
            f"layers names {absent[0]!r}, which this network does not have; it has "
            f"{', '.join(name for name in modules if name)}"
        )
    keep = keep or (lambda tensor: tensor.clone())
    recording = Recording()

    def start_afresh(*_: object) -> None:
        recording.activations.clear()
        recording.gradients.clear()

    def watch(name: str) -> Callable[..., None]:
        def after_forward(_module: nn.Module, _inputs: object, output: object) -> None:
            if not isinstance(output, Tensor):
                return
            key, runs = name, 1
            while key in recording.activations:
                runs += 1
                key = f"{name}#{runs}"
            recording.activations[key] = keep(output.detach())
            if gradients and output.requires_grad:
                output.register_hook(lambda gradient: _store(recording.gradients, key, gradient))

        return after_forward

    def _store(into: dict[str, Any], key: str, gradient: Tensor) -> None:
        into[key] = keep(gradient.detach())

    handles = [model.register_forward_pre_hook(start_afresh)]
    try:
        handles += [modules[name].register_forward_hook(watch(name)) for name in layers]
        yield recording
        # Backward meets the layers last to first; give both dictionaries the same order.
        recording.gradients = {
            key: recording.gradients[key] for key in recording.activations if key in recording.gradients
        }
    finally:
        for handle in handles:
            handle.remove()


def propagate(
    model: nn.Module,
    x: Tensor,
    *,
    generator: torch.Generator | None = None,
    keep: Callable[[Tensor], Any] | None = None,
) -> Recording:
    """Send ``x`` forward through ``model`` and a gradient of independent N(0, 1) numbers back.

    With a unit gradient at the output, the size of the gradient at a layer is the factor by which
    the layers above it shrink or enlarge any gradient. Parameters' ``.grad`` are left as they were.
    """
    with torch.enable_grad(), record(model, keep=keep) as seen:
        x = x.detach().requires_grad_()
        y = model(x)
        upstream = torch.randn(y.shape, generator=generator, dtype=y.dtype, device=y.device)
        torch.autograd.grad(y, x, upstream)
    return seen
