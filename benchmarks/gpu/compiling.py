"""``torch.compile``: what it costs once, and what it gives back at every step."""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.gpu._clock import Deadline, free
from benchmarks.gpu._networks import batch, training_step
from benchmarks.gpu._settings import Settings
from benchmarks.gpu.switches import Row, off_on_off
from course_lib.device import synchronize


def run(device: torch.device, settings: Settings, deadline: Deadline) -> dict[str, Any]:
    """``rows`` of networks compiled and not; ``skipped``, the ones there was no time for."""
    found: dict[str, Any] = {"rows": [], "skipped": []}
    for name, seconds in settings.compile_seconds.items():
        if device.type == "cuda" and deadline.allows(seconds):
            found["rows"].append(compiled(name, device, settings))
        else:
            found["skipped"].append(name)
    return found


def compiled(name: str, device: torch.device, settings: Settings) -> Row:
    """A training step in bf16, ``channels_last``; ``compile_seconds`` is what its first step took longer."""
    free(device)
    network = settings.networks[name]
    x, y = batch(network, settings.batch, device)
    plain, other = (network.make().to(device, memory_format=torch.channels_last) for _ in range(2))
    eager, faster = training_step(plain, x, y, "bf16"), training_step(torch.compile(other), x, y, "bf16")
    eager()
    synchronize(device)
    began = time.perf_counter()
    faster()
    synchronize(device)
    first = time.perf_counter() - began
    row = off_on_off(f"{name}, bf16: torch.compile", eager, faster, device, settings)
    saved = (row["off"]["median"] + row["again"]["median"]) / 2 - row["on"]["median"]
    torch.compiler.reset()
    pays = round(1e3 * first / saved) if saved > 0 else None
    return row | {"compile_seconds": float(f"{first:.3g}"), "pays_after_steps": pays}
