"""Memory bought with time: gradients accumulated over small batches, activations computed twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.gpu._clock import Deadline, free
from benchmarks.gpu._networks import batch, training_step
from benchmarks.gpu._settings import Settings
from benchmarks.gpu.switches import Row, off_on_off
from course_lib.device import autocast
from course_lib.models.resnet import BasicBlock, Bottleneck

PARTS = 4  # small batches that make a large one


def run(device: torch.device, settings: Settings, deadline: Deadline) -> dict[str, Any]:
    """``rows`` of times and MiB, off, on and off again; ``equal``, how far apart the gradients are."""
    free(device)
    name = "ResNet-50" if "ResNet-50" in settings.networks else "ResNet-18"
    measures = [accumulated, checkpointed]
    rows = [measure(name, device, settings) for measure in measures if deadline.allows(3)]
    return {"rows": rows, "equal": [difference(kind, device, settings) for kind in settings.networks][:2]}


def gradients(model: nn.Module, x: Tensor, y: Tensor, parts: int) -> None:
    """Leave in ``.grad`` the gradient of the mean loss over the whole batch, ``parts`` pieces in turn.

    Each piece's mean counts as much as its share of the images: without the weight the sum would be
    ``parts`` times too large.
    """
    for x_part, y_part in zip(x.chunk(parts), y.chunk(parts), strict=True):
        loss = F.cross_entropy(model(x_part), y_part) * (len(x_part) / len(x))
        loss.backward()


def difference(name: str, device: torch.device, settings: Settings) -> dict[str, Any]:
    """‖accumulated − whole‖ / ‖whole‖ of all gradients, in float64: rounding, or BatchNorm's doing."""
    network = settings.networks[name]
    torch.manual_seed(0)
    model = network.make().to(device, torch.float64).train()
    x, y = batch(network, max(2 * PARTS, 16), device)
    found = []
    for parts in (1, PARTS):
        model.zero_grad()
        gradients(model, x.double(), y, parts)
        found.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    whole, accumulated = found
    apart = ((accumulated - whole).norm() / whole.norm()).item()
    norms = any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    return {"network": name, "batch_norm": norms, "parts": PARTS, "difference": float(f"{apart:.3g}")}


def accumulated(name: str, device: torch.device, settings: Settings) -> Row:
    """One step on the whole batch, against its parts in turn and one update."""
    network = settings.networks[name]
    model = network.make().to(device, memory_format=torch.channels_last).train()
    x, y = batch(network, settings.batch, device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step(parts: int) -> None:
        optimizer.zero_grad()
        with autocast(device, "bf16"):
            gradients(model, x, y, parts)
        optimizer.step()

    what = f"{name}, bf16: {PARTS} × {settings.batch // PARTS} images accumulated"
    return off_on_off(what, partial(step, 1), partial(step, PARTS), device, settings)


def checkpointed(name: str, device: torch.device, settings: Settings) -> Row:
    """Every residual block computed again in the backward pass, instead of remembered."""
    network = settings.networks[name]
    model = network.make().to(device, memory_format=torch.channels_last)
    step = training_step(model, *batch(network, settings.batch, device), "bf16")
    what = f"{name}, bf16: activation checkpointing, block by block"
    return off_on_off(what, step, step, device, settings, blocks_computed_twice(model))


@contextmanager
def blocks_computed_twice(model: nn.Module) -> Iterator[None]:
    """Keep only what enters each residual block, inside; compute the rest again when it is needed.

    A block's BatchNorms then see each batch twice, and their running statistics move twice a step.

    Source: T. Chen et al., "Training deep nets with sublinear memory cost", 2016.
    """
    blocks = [module for module in model.modules() if isinstance(module, (BasicBlock, Bottleneck))]
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's own is there again
