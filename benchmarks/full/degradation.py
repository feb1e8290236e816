"""Chapter 8: is a deep plain network unable to learn, or only slow? Long runs, learning rates, and Adam.

The networks, the digits and the schedule are those of ``benchmarks/full/resnet.py``; what changes is how
long they train, at what rate, and by which optimizer.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch

from benchmarks.full._jobs import Record
from benchmarks.full._tables import spread
from benchmarks.full.resnet import KINDS, halved
from course_lib import data
from course_lib.data import Images
from course_lib.models.cifar_resnet import CifarResNet
from course_lib.training import NonFiniteLoss, evaluate, fit

SEEDS = range(2)  # of the long runs; the rates are tried on the first of them
EPOCHS = (4, 16, 40)
RATES = {"sgd": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0), "adam": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)}
EXERCISE = ((110, "residual"), (20, "plain"))  # a rate that suits one of them does not suit the other
EVERY = 8  # steps that are averaged into one point of a curve


def jobs(smoke: bool) -> dict[str, dict[str, Any]]:
    """A run each: 56 layers for longer, seed by seed, and every rate on the first seed."""
    networks = (56, "plain"), (56, "residual"), (110, "plain")
    wanted: dict[str, dict[str, Any]] = {}

    def add(depth: int, kind: str, optimizer: str, lr: float, epochs: int, seed: int) -> None:
        arguments = {"depth": depth, "kind": kind, "optimizer": optimizer, "lr": lr, "epochs": epochs}
        arguments |= {"seed": seed}
        wanted[name_of(**arguments)] = arguments | ({"steps": 4} if smoke else {})

    for seed in SEEDS:
        for epochs in EPOCHS:
            for kind in KINDS:
                add(56, kind, "sgd", 0.1, epochs, seed)
    for optimizer, rates in RATES.items():
        for lr in rates:
            for depth, kind in networks:
                add(depth, kind, optimizer, lr, 4, 0)
    for lr in (0.03, 0.1):
        for depth, kind in EXERCISE:
            add(depth, kind, "sgd", lr, 4, 0)
    return dict(list(wanted.items())[:4]) if smoke else wanted


def name_of(depth: int, kind: str, optimizer: str, lr: float, epochs: int, seed: int) -> str:
    return f"{kind}-{depth}, {optimizer} {lr:g}, {epochs} epochs, seed {seed}"


@cache
def digits(at: torch.device) -> list[Images]:
    return [halved(images).to(at) for images in data.mnist()]


def measure(
    at: torch.device,
    depth: int,
    kind: str,
    optimizer: str,
    lr: float,
    epochs: int,
    seed: int,
    steps: int | None = None,
) -> dict[str, Any]:
    """Loss and error at the end, on the training set and on the test set, and the curve on the way.

    None for what is not a number any more.
    """
    train, test = digits(at)
    model = CifarResNet(
        depth, in_channels=1, widths=(8, 16, 32), residual=KINDS[kind],
        generator=torch.Generator().manual_seed(seed),
    ).to(at)  # fmt: skip
    moving = (
        torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        if optimizer == "sgd"
        else torch.optim.Adam(model.parameters(), lr=lr)
    )
    total = steps or epochs * math.ceil(len(train) / 128)
    cycle = torch.optim.lr_scheduler.OneCycleLR(moving, lr, total_steps=total, cycle_momentum=False)
    try:
        loss = fit(
            model, train, moving, steps=total, seed=seed, scheduler=cycle, scheduler_every="step",
            progress=False,
        ).loss  # fmt: skip
    except NonFiniteLoss as error:
        loss = error.history.loss
    ends = [evaluate(model, images) for images in (train, test)]
    points = [sum(loss[k : k + EVERY]) / len(loss[k : k + EVERY]) for k in range(0, len(loss), EVERY)]
    return {
        "train_loss": _finite(ends[0].loss),
        "train_error": round(1 - ends[0].accuracy, 4),
        "test_error": round(1 - ends[1].accuracy, 4),
        "curve": [_finite(point) for point in points],
    }


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def table(record: Record) -> str:
    """How long, then how fast: training losses after training."""

    def ends(depth: int, kind: str, optimizer: str, lr: float, epochs: int) -> str:
        seeds = SEEDS if (depth, optimizer, lr) == (56, "sgd", 0.1) else SEEDS[:1]
        names = [name_of(depth, kind, optimizer, lr, epochs, seed) for seed in seeds]
        losses = [record.runs[name]["train_loss"] for name in names]
        return "–" if not losses or None in losses else spread(losses, 3)

    lines = ["| epochs, SGD at 0.1 | plain-56 | residual-56 |", "|--:|--:|--:|"]
    lines += [
        f"| {epochs} | {' | '.join(ends(56, kind, 'sgd', 0.1, epochs) for kind in KINDS)} |"
        for epochs in EPOCHS
    ]
    lines += ["", "| 4 epochs, highest rate | plain-56 | plain-110 | residual-56 |", "|---|--:|--:|--:|"]
    for optimizer, label in (("sgd", "SGD"), ("adam", "Adam")):
        for lr in RATES[optimizer]:
            networks = (56, "plain"), (110, "plain"), (56, "residual")
            cells = " | ".join(ends(*network, optimizer, lr, 4) for network in networks)
            lines.append(f"| {label}, {lr:g} | {cells} |")
    lines += ["", "| 4 epochs, SGD at | plain-20 | residual-110 |", "|---|--:|--:|"]
    for lr in (0.03, 0.1):
        cells = " | ".join(ends(depth, kind, "sgd", lr, 4) for depth, kind in EXERCISE[::-1])
        lines.append(f"| {lr:g} | {cells} |")
    return "\n".join(lines) + (
        "\n\nLoss on the whole training set after training. 4,000 digits of 14×14 pixels, widths 8-16-32, "
        "option A; SGD with momentum 0.9 or Adam, one cycle of the learning rate up to the rate given and "
        f"down, batches of 128. With a ±: mean and standard deviation of {len(SEEDS)} seeds; without: one "
        f"run; {record.where}.\n"
    )
