"""What a tracer needs to know of a layer: what is one node of its graph, and what may change afterwards.

``torch.fx`` hands a layer a stand-in without a shape; ``torch.jit.trace`` and ``torch.export`` hand it a real
batch, and write down what is done with it, for a graph that shall take any number of images.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

Forward = Callable[[Any, Tensor], Tensor]


def one_node(forward: Forward) -> Forward:
    """For ``torch.fx``: the layer is one node of the graph, as torch's own layers are."""

    @functools.wraps(forward)
    def forward_or_node(self: nn.Module, x: Tensor) -> Tensor:
        if isinstance(x, torch.fx.Proxy):
            return x.tracer.create_proxy("call_module", x.tracer.path_of_module(self), (x,), {})
        return forward(self, x)

    return forward_or_node


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """``function.apply``; for ``torch.jit.trace`` its operations, as a saved graph has no Python to call."""
    if torch.jit.is_tracing():
        ignored = SimpleNamespace(save_for_backward=lambda *_: None, mark_non_differentiable=lambda *_: None)
        return function.forward(ignored, *arguments)
    return function.apply(*arguments)


def traced() -> bool:
    """Whether a graph is being made of the operations."""
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


def constant(value: Tensor | int) -> int:
    """A side or a number of channels as a plain number: ``torch.jit.trace`` makes tensors of them."""
    if not isinstance(value, Tensor):
        return value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # that it is a constant now: see pinned
        return int(value)


def pinned(x: Tensor) -> Tensor:
    """``x``, (N, C, H, W), laid out plainly and of just these C, H and W.

    A tracer takes strides for constants. So the graph raises an error for images of another size, where it
    would read the wrong pixels.
    """
    sizes = [constant(n) for n in x.shape[1:]]
    return x.expand(-1, *sizes).clone(memory_format=torch.contiguous_format)
