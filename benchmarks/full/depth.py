"""Chapter 7: does depth win at an equal number of parameters? On Fashion-MNIST, all of it and a part.

Networks of three stages (28, 14 and 7 pixels wide, channels doubling), then the mean over the image and one
linear layer. They differ in how many layers a stage has and how large their windows are; the channels are
chosen so that each has 100,000 parameters, as nearly as a whole number allows.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from benchmarks.full._jobs import Record
from benchmarks.full._tables import spread
from course_lib import data
from course_lib.data import Images
from course_lib.training import evaluate, fit

SEEDS = {60_000: range(2), 4_000: range(1)}  # by images
PARAMETERS = 100_000
STEPS, BATCH, LR = 1200, 256, 3e-3

# Name: (side of a window, layers in a stage, whether BatchNorm and ReLU stand between them).
KINDS = {
    "one 3×3": (3, 1, True),
    "two 3×3": (3, 2, True),
    "four 3×3": (3, 4, True),
    "eight 3×3": (3, 8, True),
    "one 5×5": (5, 1, True),
    "two 3×3, nothing between": (3, 2, False),
}


def jobs(smoke: bool) -> dict[str, dict[str, Any]]:
    """By seed, on all images and on a part."""
    wanted = {
        f"{kind}, {images} images, seed {seed}": {"kind": kind, "images": images, "seed": seed}
        for images, seeds in SEEDS.items()
        for seed in seeds
        for kind in KINDS
    }
    if not smoke:
        return wanted
    return {name: arguments | {"steps": 3} for name, arguments in wanted.items() if arguments["seed"] == 0}


def stages(kind: str, width: int) -> nn.Sequential:
    """(N, 1, 28, 28) → (N, 10), with ``width`` channels in the first stage."""
    side, layers, between = KINDS[kind]
    found: list[nn.Module] = []
    before = 1
    for stage in range(3):
        channels = width * 2**stage
        for k in range(layers):
            last = k == layers - 1
            found.append(nn.Conv2d(before, channels, side, padding=side // 2, bias=False))
            if between or last:
                found += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
            before = channels
        found.append(nn.MaxPool2d(2) if stage < 2 else nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*found, nn.Flatten(), nn.Linear(before, 10))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@cache
def width_of(kind: str) -> int:
    """The number of channels that brings the network nearest to PARAMETERS."""
    with torch.device("meta"):
        return min(range(2, 80), key=lambda width: abs(count(stages(kind, width)) - PARAMETERS))


@cache
def garments(at: torch.device) -> list[Images]:
    return [images.to(at) for images in data.fashion_mnist()]


def measure(at: torch.device, kind: str, images: int, seed: int, steps: int = STEPS) -> dict[str, float]:
    """Accuracy on the 10,000 test images, and on up to 10,000 of those that it learned from."""
    train, test = garments(at)
    if images < len(train):
        train = train.take(images, seed=0)
    torch.manual_seed(seed)
    model = stages(kind, width_of(kind))
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    model.to(at)
    optimizer = torch.optim.Adam(model.parameters())
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    fit(
        model, train, optimizer, steps=steps, batch_size=BATCH, seed=seed, scheduler=cycle,
        scheduler_every="step", progress=False,
    )  # fmt: skip
    seen = train.take(min(len(train), 10_000), seed=0)
    return {
        "test": round(evaluate(model, test).accuracy, 4),
        "train": round(evaluate(model, seen).accuracy, 4),
    }


def table(record: Record) -> str:
    """Accuracies by depth."""
    lines = [
        "| a stage has | layers | parameters | 60,000 images: test accuracy | of those seen "
        f"| {min(SEEDS):,} images: test accuracy | of those seen |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for kind, (_, layers, _) in KINDS.items():
        with torch.device("meta"):
            size = count(stages(kind, width_of(kind)))
        cells = []
        for images, seeds in SEEDS.items():
            found = [record.runs[f"{kind}, {images} images, seed {seed}"] for seed in seeds]
            cells += [f"{spread([run[of] for run in found], 2, 100)} %" for of in ("test", "train")]
        lines.append(f"| {kind} | {3 * layers + 1} | {size:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + (
        "\n\nFashion-MNIST, 28×28 pixels. Three stages of convolutions with BatchNorm and ReLU, 28, 14 and 7 "
        "pixels wide, channels doubling; the mean over the image, one linear layer. *Nothing between*: two "
        f"linear convolutions before the BatchNorm. Adam, batches of {BATCH}, {STEPS:,} steps, the learning "
        f"rate on one cycle up to {LR:g}. With a ±: mean and standard deviation of two seeds; without: one "
        f"run; {record.where}.\n"
    )
