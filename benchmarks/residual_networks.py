"""Training step, inference and peak memory of ResNet-18, ResNet-50 and MobileNetV2 beside torchvision's.

``as called`` compares what a reader would write: torchvision's network in the default layout and precision,
ours as ``training.fit`` lays it out (``channels_last``) in the precision that is fastest for it by
measurement: bf16 for the ResNets, float32 for MobileNetV2, whose depthwise convolutions gain nothing from
it. ``same layout`` gives both the same layout and precision: the arithmetic is the same to the bit, so the
ratio is 1 but for noise. Both are timed in turn, in one process. Memory is that of a process of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from course_lib.device import autocast, resolve, synchronize
from course_lib.models.mobilenetv2 import MobileNetV2
from course_lib.models.resnet import ResNet

REPETITIONS = 9
SIZES = ((32, 64), (96, 16))  # side, batch
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], str, str]] = {
    "ResNet-18": (lambda: ResNet(18), torchvision.models.resnet18, "bf16", "≥ 1.2"),
    "ResNet-50": (lambda: ResNet(50), torchvision.models.resnet50, "bf16", "≥ 1.05"),
    "MobileNetV2": (MobileNetV2, torchvision.models.mobilenet_v2, "fp32", "≥ 1.5"),
}


def stepper(
    make: Callable[[], nn.Module], side: int, batch: int, *, last: bool, precision: str, train: bool = True
) -> Callable[[], None]:
    """One training step, or one forward pass in evaluation mode, of a fresh network on fixed images."""
    at = resolve()
    torch.manual_seed(0)
    layout = torch.channels_last if last else torch.contiguous_format
    model = make().to(at, memory_format=layout).train(train)
    x = torch.randn(batch, 3, side, side).to(at, memory_format=layout)
    y = torch.randint(0, 1000, (batch,), device=at)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    cast = autocast(at, precision)

    def step() -> None:
        with cast:
            loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def infer() -> None:
        with cast:
            model(x)

    return step if train else infer


def ratios(theirs: Callable[[], None], ours: Callable[[], None]) -> list[float]:
    """Their time over ours, run for run, in turn."""
    at = resolve()

    def seconds(call: Callable[[], None]) -> float:
        synchronize(at)
        began = time.perf_counter()
        call()
        synchronize(at)
        return time.perf_counter() - began

    for call in (theirs, ours):
        call()
    return [seconds(theirs) / seconds(ours) for _ in range(REPETITIONS)]


def peak_mib(name: str, which: str, side: int, batch: int) -> float:
    """MiB that two training steps add to the peak of a fresh process."""
    code = f"""
import resource
from benchmarks.residual_networks import NETWORKS, stepper
ours, theirs, precision, _ = NETWORKS[{name!r}]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
mine = {which == "ours"}
last, precision = (True, precision) if mine else (False, "fp32")
step = stepper(ours if mine else theirs, {side}, {batch}, last=last, precision=precision)
step()
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def run() -> list[dict]:
    """Ratios (above 1: ours is faster) for each network and size, and the memory of both."""
    rows = []

    def add(name: str, values: list[float], unit: str = "×", limit: str | None = None) -> None:
        low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else 3 * values
        rows.append(
            {
                "name": name,
                "median": middle,
                "unit": unit,
                "n": len(values),
                "spread": high - low,
                "limit": limit,
            }
        )

    for name, (ours, theirs, precision, limit) in NETWORKS.items():
        for side, batch in SIZES:
            where = f"{name}, {batch} images of {side}×{side}"
            plain = {"last": False, "precision": "fp32"}
            fast = {"last": True, "precision": precision}
            for what, settings, bound in (("as called", fast, limit), ("same layout", plain, "≥ 0.97")):
                for train in (True, False):
                    found = ratios(
                        stepper(theirs, side, batch, train=train, **plain),
                        stepper(ours, side, batch, train=train, **settings),
                    )
                    does = "training step" if train else "inference"
                    add(f"{where}: {does}, {what}", found, limit=bound if train else None)
            if torch.device(resolve()).type == "cpu":
                for which in ("ours", "theirs"):
                    peak = peak_mib(name, which, side, batch)
                    add(f"{where}: peak memory, {which}", [peak], "MiB")
    return rows
