"""Residual blocks from outside: how much each adds, what gradient reaches it, what the network is without it.

Everything works through hooks, on the book's networks and on torchvision's. The network is left as it was
found, its BatchNorm statistics included.

Source: A. Veit, M. Wilber, S. Belongie, "Residual networks behave like ensembles of relatively shallow
networks", NeurIPS 2016 (blocks removed).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.device import in_float64
from course_lib.measure.signals import record


@dataclass(frozen=True)
class Block:
    """A block y = shortcut(x) + F(x) of a network, or of a plain twin, where y = F(x)."""

    module: nn.Module
    branch: nn.Module  # its output is F(x)
    shortcut: nn.Module | None  # its output is what F(x) is added to; None: x itself
    residual: bool  # whether there is an addition at all


def residual_blocks(model: nn.Module, branches: Mapping[str, str] | None = None) -> dict[str, Block]:
    """The blocks of ``model``, name → block, in the order of ``model.named_modules()``.

    Args:
        model: one of the book's networks or of torchvision's (ResNet, MobileNetV2).
        branches: for another network: the name of each block → the name of the module whose output is F(x).
            Such a block's shortcut is its child ``downsample`` if it has one, else its input.

    Raises:
        ValueError: no block was found, or ``branches`` names a module that is not there.
    """
    modules = dict(model.named_modules())
    if branches is not None:
        absent = [name for pair in branches.items() for name in pair if name not in modules]
        if absent:
            raise ValueError(f"branches names {absent[0]!r}, which this network does not have")
        return {
            name: Block(modules[name], modules[end], getattr(modules[name], "downsample", None), True)
            for name, end in branches.items()
        }
    blocks = {name: block for name, module in modules.items() if (block := _block(module)) is not None}
    if not blocks:
        raise ValueError(
            f"model is a {type(model).__name__} without a residual block known here; say with branches= "
            "which modules are blocks, and which module in each gives F(x)"
        )
    return blocks


def _block(module: nn.Module) -> Block | None:
    shortcut = getattr(module, "downsample", None)
    if isinstance(getattr(module, "branch_end", None), nn.Module):  # the book's
        return Block(module, module.branch_end, shortcut, module.residual)
    if hasattr(module, "use_res_connect"):  # torchvision's inverted residual
        return Block(module, module.conv, None, module.use_res_connect)
    if hasattr(module, "downsample") and hasattr(module, "bn2"):  # torchvision's BasicBlock and Bottleneck
        return Block(module, getattr(module, "bn3", module.bn2), shortcut, True)
    return None


def residual_ratios(
    model: nn.Module, x: Tensor, branches: Mapping[str, str] | None = None
) -> dict[str, float]:
    """‖F(x)‖ / ‖x‖ of every block that adds, mean over the images of the batch ``x``, (N, C, H, W).

    Where the shortcut is a projection, x is what comes out of it: what F(x) is added to. The mode is the
    network's own: before training, call ``model.train()`` first, for BatchNorm has no statistics of its own
    yet.
    """
    blocks = {name: block for name, block in residual_blocks(model, branches).items() if block.residual}
    added: dict[str, Tensor] = {}
    kept: dict[str, Tensor] = {}
    handles = []
    for name, block in blocks.items():
        # The norm is taken at once: the addition that follows may overwrite the tensor.
        handles.append(block.branch.register_forward_hook(_keep_norm(added, name)))
        if block.shortcut is None:
            handles.append(
                block.module.register_forward_pre_hook(
                    lambda _module, inputs, name=name: kept.update({name: _norms(inputs[0])})
                )
            )
        else:
            handles.append(block.shortcut.register_forward_hook(_keep_norm(kept, name)))
    try:
        with _statistics_kept(model), torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return {name: (added[name] / kept[name]).mean().item() for name in blocks}


def _keep_norm(into: dict[str, Tensor], name: str) -> Callable[..., None]:
    return lambda _module, _inputs, output: into.update({name: _norms(output)})


def _norms(values: Tensor) -> Tensor:
    return in_float64(values.detach().flatten(1)).norm(dim=1)  # (N,)


def gradient_norms(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    branches: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """‖∂L/∂output‖ of every block for the batch (x, y): what is left of the gradient on its way back.

    ``x`` is (N, C, H, W), ``y`` what ``loss(model(x), y)`` takes. Parameters' ``.grad`` are left as they
    were; the mode is the network's own.
    """
    names = list(residual_blocks(model, branches))
    with _statistics_kept(model), torch.enable_grad():
        x = x.detach().requires_grad_()
        with record(model, names, keep=lambda tensor: in_float64(tensor).norm().item()) as seen:
            torch.autograd.grad(loss(model(x), y), x)
    return seen.gradients


@contextmanager
def without(
    model: nn.Module, names: str | Sequence[str], branches: Mapping[str, str] | None = None
) -> Iterator[nn.Module]:
    """``model`` with these blocks removed: each hands on shortcut(x) alone; a plain block hands on x.

    Nothing is retrained and nothing is deleted: when the ``with`` block ends, the network is whole again.

    Raises:
        ValueError: a name that is no block's; or, at the forward pass, a plain block whose x has not the
            shape of its output, so that nothing can stand in for it.

    Example::

        with measure.without(model, "layer1.2"):
            training.evaluate(model, test)
    """
    blocks = residual_blocks(model, branches)
    names = [names] if isinstance(names, str) else list(names)
    absent = [name for name in names if name not in blocks]
    if absent:
        raise ValueError(f"names has {absent[0]!r}, which is no block; the blocks are {', '.join(blocks)}")
    handles = []
    try:
        for name in names:
            block = blocks[name]
            if block.residual:
                handles.append(block.branch.register_forward_hook(lambda _m, _i, out: torch.zeros_like(out)))
            else:
                handles.append(block.module.register_forward_hook(_hand_on(name)))
        yield model
    finally:
        for handle in handles:
            handle.remove()


def _hand_on(name: str) -> Callable[..., Tensor]:
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if inputs[0].shape != output.shape:
            raise ValueError(
                f"names has {name!r}, a plain block from {tuple(inputs[0].shape)} to {tuple(output.shape)}; "
                "without it nothing of the shape that the next block takes is left"
            )
        return inputs[0]

    return hook


@contextmanager
def _statistics_kept(model: nn.Module) -> Iterator[None]:
    """A forward pass in training mode moves BatchNorm's running statistics; put them back afterwards."""
    saved = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in saved:
                buffer.copy_(value)
