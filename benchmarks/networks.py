"""AlexNet, VGG-11 and GoogLeNet beside torchvision's own classes: a training step of each, and peak memory.

``as called`` compares what a reader would write: torchvision's network in the default layout, ours as
``training.fit`` lays it out, ``channels_last``. The arithmetic is the same; what differs is the order of the
numbers in memory. A network is one entry in ``NETWORKS``. How it is measured stands in
:mod:`benchmarks.residual_networks`, which has the networks of the later chapters.
"""

from __future__ import annotations

from collections.abc import Callable

import torchvision
from torch import nn

from benchmarks._measuring import STATUS, row
from benchmarks.residual_networks import measured, memory
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


def run() -> list[dict]:
    """Ratios (above 1: ours is faster) for each network, and the memory of both."""
    rows = []
    settings = {"last": True, "precision": "fp32"}
    for name, (*pair, side, batch) in NETWORKS.items():
        where = f"{name}, {batch} images of {side}×{side}"
        found = measured(pair, settings, (side, batch), train=True)
        rows.append(row(f"{where}: training step, as called", found, "≥ 1"))
        if resolve().type == "cpu" and STATUS.exists():
            rows += memory(where, "networks", name, settings, (side, batch))
    return rows


if __name__ == "__main__":
    for line in run():
        print(line)
