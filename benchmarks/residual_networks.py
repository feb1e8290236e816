"""Training step, inference and peak memory of ResNet-18, ResNet-50 and MobileNetV2 beside torchvision's.

``as called`` compares what a reader would write: torchvision's network in the default layout and precision,
ours as ``training.fit`` lays it out (``channels_last``) in the precision that is fastest for it by
measurement: bf16, and for MobileNetV2's depthwise convolutions float32, for one of their gradients has no
fast code in bf16. ``same layout`` gives both the same layout and precision: the arithmetic is the same to
the bit, so the ratio is 1 but for noise. Both are timed in turn, in one process. Memory is that of a
process of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from benchmarks._measuring import STATUS, peak_mib, ratios, row
from course_lib.device import autocast, depthwise_in_float32, resolve
from course_lib.models.mobilenetv2 import MobileNetV2
from course_lib.models.resnet import ResNet

REPETITIONS = 9
SIZES = ((32, 64), (96, 16))  # side, batch
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], str, str]] = {
    "ResNet-18": (lambda: ResNet(18), torchvision.models.resnet18, "bf16", "≥ 1.2"),
    "ResNet-50": (lambda: ResNet(50), torchvision.models.resnet50, "bf16", "≥ 1.05"),
    "MobileNetV2": (
        lambda: depthwise_in_float32(MobileNetV2()),
        torchvision.models.mobilenet_v2,
        "bf16",
        "≥ 1.5",
    ),
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


def measured(
    pair: tuple[Callable, Callable], settings: dict, size: tuple[int, int], train: bool
) -> list[float]:
    """Times of theirs over times of ours; ``settings`` are ours, theirs are the default ones."""
    ours, theirs = pair
    side, batch = size
    return ratios(
        stepper(theirs, side, batch, last=False, precision="fp32", train=train),
        stepper(ours, side, batch, train=train, **settings),
        resolve(),
        REPETITIONS,
    )


def memory(where: str, module: str, name: str, settings: dict, size: tuple[int, int]) -> list[dict]:
    """Two rows: what two training steps of ours and of theirs add to the peak of a fresh process."""
    rows = []
    for which, index, chosen in (("ours", 0, settings), ("theirs", 1, {"last": False, "precision": "fp32"})):
        peak = peak_mib(
            f"from benchmarks.{module} import NETWORKS; from benchmarks.residual_networks import stepper\n"
            f"step = stepper(NETWORKS[{name!r}][{index}], *{size}, **{chosen})"
        )
        rows.append(row(f"{where}: peak memory, {which}", [peak], unit="MiB"))
    return rows


def run() -> list[dict]:
    """Ratios (above 1: ours is faster) for each network and size, and the memory of both."""
    rows = []
    for name, (*pair, precision, limit) in NETWORKS.items():
        fast, plain = {"last": True, "precision": precision}, {"last": False, "precision": "fp32"}
        for size in SIZES:
            where = f"{name}, {size[1]} images of {size[0]}×{size[0]}"
            for what, settings, bound in (("as called", fast, limit), ("same layout", plain, "≥ 0.97")):
                for does, train in (("training step", True), ("inference", False)):
                    found = measured(pair, settings, size, train)
                    rows.append(row(f"{where}: {does}, {what}", found, bound if train else None))
            if resolve().type == "cpu" and STATUS.exists():
                rows += memory(where, "residual_networks", name, fast, size)
    return rows


if __name__ == "__main__":
    for line in run():
        print(line)
