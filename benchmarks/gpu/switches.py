"""One thing off, on, and off again: memory format, precision, and the optimizer's updates."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.gpu._clock import Deadline, free, peak_mib, tf32, times
from benchmarks.gpu._networks import LAYOUTS, batch, training_step
from benchmarks.gpu._settings import Settings
from course_lib import optim

Row = dict[str, Any]


def run(device: torch.device, settings: Settings, deadline: Deadline) -> dict[str, Any]:
    """``rows`` with ``off``, ``on``, ``again`` in milliseconds; ``skipped``, what there was no time for."""
    names = [name for name in ("ResNet-50", "MobileNetV2", "ResNet-18") if name in settings.networks][:2]
    chosen = ("bf16", "tf32", "fp16") if device.type == "cuda" else ("bf16",)
    measures: dict[str, Callable[[], Row]] = {}
    for name in names:
        measures[f"{name}, layout"] = partial(layout, name, device, settings)
        for each in chosen:
            measures[f"{name}, {each}"] = partial(precision, name, each, device, settings)
        measures[f"{name}, updates"] = partial(updates, name, device, settings)
    rows, skipped = [], []
    for what, measure in measures.items():
        if deadline.allows(3):
            rows.append(measure())
            free(device)
        else:
            skipped.append(what)
    scaler = scaled_steps(device, settings) if device.type == "cuda" else None
    return {"rows": rows, "skipped": skipped, "scaler": scaler}


def off_on_off(
    name: str,
    off: Callable[[], object],
    on: Callable[[], object],
    device: torch.device,
    settings: Settings,
    around: AbstractContextManager | None = None,
    **more: Any,
) -> Row:
    """Times of ``off``, of ``on`` inside ``around``, and of ``off`` once more: it must be undone.

    ``gain`` is the mean of both times off over the time on; above 1, on is faster.
    """
    before = times(off, device, n=settings.repeats, limit=0.35)
    memory = {"off_mib": peak_mib(off, device)}
    with around or nullcontext():
        during = times(on, device, n=settings.repeats, limit=0.35)
        memory["on_mib"] = peak_mib(on, device)
    after = times(off, device, n=settings.repeats, limit=0.35)
    gain = (before["median"] + after["median"]) / 2 / during["median"]
    row = {"name": name, "off": before, "on": during, "again": after, "gain": float(f"{gain:.4g}")}
    return row | memory | more


def stepper(
    name: str,
    device: torch.device,
    settings: Settings,
    precision: str = "bf16",
    layout: str = "channels_last",
) -> Callable[[], None]:
    """A training step of a fresh network ``name``."""
    network = settings.networks[name]
    model = network.make().to(device, memory_format=LAYOUTS[layout])
    return training_step(model, *batch(network, settings.batch, device, layout), precision)


def layout(name: str, device: torch.device, settings: Settings) -> Row:
    """The order of the numbers in memory: channels of a pixel side by side, in bf16."""
    off, on = (stepper(name, device, settings, layout=order) for order in LAYOUTS)
    return off_on_off(f"{name}, bf16: channels_last", off, on, device, settings)


def precision(name: str, chosen: str, device: torch.device, settings: Settings) -> Row:
    """Fewer bits, ``channels_last`` both times, against float32 in full."""
    what = {"bf16": "bf16 autocast", "tf32": "TF32", "fp16": "fp16 autocast and GradScaler"}[chosen]
    off, on = stepper(name, device, settings, "fp32"), stepper(name, device, settings, chosen)
    with tf32(False):
        around = tf32(True) if chosen == "tf32" else None
        return off_on_off(f"{name}, against float32: {what}", off, on, device, settings, around)


def updates(name: str, device: torch.device, settings: Settings) -> Row:
    """The optimizer's step alone: a kernel for each parameter, or all parameters at once."""
    model = settings.networks[name].make().to(device)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    single, all_at_once = (momentum(model, fast) for fast in (False, True))
    what = f"{name}: optim.Momentum, all parameters at once"
    return off_on_off(what, single.step, all_at_once.step, device, settings)


def momentum(model: nn.Module, fast: bool) -> optim.Momentum:
    """The book's optimizer, by its equation or by its fast twin."""
    optimizer = optim.Momentum(model.parameters(), lr=1e-4)
    optimizer.fast = fast
    return optimizer


def scaled_steps(device: torch.device, settings: Settings, steps: int = 20) -> dict[str, Any]:
    """What a GradScaler does when its first scale is far too large: steps skipped until it fits.

    Counted, on SimpleConvNet in fp16: the scale at the start and at the end, and the steps not taken.
    """
    network = settings.networks["SimpleConvNet"]
    model = network.make().to(device)
    x, y = batch(network, settings.batch, device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler(device.type, init_scale=2.0**32)
    first, skipped = scaler.get_scale(), 0
    for _ in range(steps):
        with torch.autocast(device.type, torch.float16):
            loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        skipped += scaler.get_scale() < before
    return {"steps": steps, "skipped": skipped, "first_scale": first, "last_scale": scaler.get_scale()}
