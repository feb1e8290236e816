"""AlexNet, VGG-11 and GoogLeNet beside torchvision's own classes: a training step of each, and peak memory.

``as called`` compares what a reader would write: torchvision's network in the default layout, ours as
``training.fit`` lays it out, ``channels_last``. The arithmetic is the same; what differs is the order of the
numbers in memory. A network is one entry in ``NETWORKS``. How it is measured stands in
:mod:`benchmarks.residual_networks`, which has the networks of the later chapters.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torchvision
from torch import nn

from benchmarks.fit import row
from benchmarks.residual_networks import ratios, stepper
from course_lib.device import resolve
from course_lib.models.alexnet import AlexNet
from course_lib.models.googlenet import GoogLeNet
from course_lib.models.vgg import VGG

# Name → ours, torchvision's, side of an image, batch.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], int, int]] = {
    "AlexNet": (AlexNet, torchvision.models.alexnet, 224, 8),
    "VGG-11": (lambda: VGG(11), lambda: torchvision.models.vgg11(init_weights=False), 64, 8),
    "GoogLeNet": (
        GoogLeNet,
        lambda: torchvision.models.googlenet(weights=None, aux_logits=False, init_weights=False),
        96,
        16,
    ),
}


def high_water() -> int:
    """The most memory that this process has held, in KiB (Linux).

    Not ``getrusage``'s ``ru_maxrss``, which a process inherits from the one that started it.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1])


def peak_mib(name: str, which: str) -> float:
    """MiB that two training steps add to the peak of a fresh process."""
    code = f"""
from benchmarks.networks import NETWORKS, high_water, stepper
ours, theirs, side, batch = NETWORKS[{name!r}]
before = high_water()
mine = {which == "ours"}
step = stepper(ours if mine else theirs, side, batch, last=mine, precision="fp32")
step()
step()
print(high_water() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def run() -> list[dict]:
    """Ratios (above 1: ours is faster) for each network, and the memory of both."""
    rows = []
    for name, (ours, theirs, side, batch) in NETWORKS.items():
        where = f"{name}, {batch} images of {side}×{side}"
        found = ratios(
            stepper(theirs, side, batch, last=False, precision="fp32"),
            stepper(ours, side, batch, last=True, precision="fp32"),
        )
        rows.append(row(f"{where}: training step, as called", found, "≥ 1"))
        if resolve().type == "cpu" and Path("/proc/self/status").exists():
            for which in ("ours", "theirs"):
                peak = row(f"{where}: peak memory, {which}", [peak_mib(name, which)] * 2, None)
                rows.append(peak | {"unit": "MiB", "n": 1})
    return rows
