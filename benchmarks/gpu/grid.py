"""Batch size × precision × memory format → images a second and memory, for an explorer."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import nn

from benchmarks.gpu._clock import Deadline, peak_mib, tf32, times
from benchmarks.gpu._networks import LAYOUTS, Network, batch, precisions, training_step
from benchmarks.gpu._settings import Settings


def run(device: torch.device, settings: Settings, deadline: Deadline) -> list[dict[str, Any]]:
    """A dict a cell; ``milliseconds`` is None where there was no time left to measure it.

    The batch sizes go outermost, so that what a short budget leaves out is the largest batches of all.
    """
    found = []
    models = {name: network.make() for name, network in settings.networks.items()}
    longest = max(map(len, settings.batches.values()))
    for place, name in itertools.product(range(longest), settings.networks):
        sizes = settings.batches[name]
        if place >= len(sizes):
            continue
        models[name].to(device)
        for layout, precision in itertools.product(LAYOUTS, precisions(device)):
            where = {"network": name, "batch": sizes[place], "precision": precision, "layout": layout}
            found.append(
                where | cell(models[name], settings.networks[name], where, device, settings, deadline)
            )
        models[name].cpu()  # so that the memory of one network is not counted for another
    return found


def cell(
    model: nn.Module,
    network: Network,
    where: dict[str, Any],
    device: torch.device,
    settings: Settings,
    deadline: Deadline,
) -> dict[str, Any]:
    """Milliseconds of a training step, images a second and MiB at the fullest moment."""
    nothing = {"milliseconds": None, "images_per_second": None, "peak_mib": None}
    if not deadline.allows(1.5):
        return nothing
    model.to(memory_format=LAYOUTS[where["layout"]])
    try:
        x, y = batch(network, where["batch"], device, where["layout"])
        step = training_step(model, x, y, where["precision"])
        with tf32(where["precision"] == "tf32"):
            found = times(step, device, n=settings.repeats, warmup=2, limit=0.4)
            memory = peak_mib(step, device)
    except torch.OutOfMemoryError:
        return nothing | {"peak_mib": "out of memory"}
    finally:
        model.zero_grad(set_to_none=True)
    rate = 1e3 * where["batch"] / found["median"]
    return {"milliseconds": found, "images_per_second": float(f"{rate:.4g}"), "peak_mib": memory}
