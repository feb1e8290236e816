"""Plain against residual at growing depth, on the digits that ship with the library: a table of chapter 8.

The curves go to ``course_lib/recorded/resnet.json``, which the chapter's first explorer shows.
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import sys
import time

import torch
import torch.nn.functional as F

from benchmarks.full._tables import spread
from course_lib import data, measure, recorded
from course_lib.data import Images
from course_lib.models.cifar_resnet import CifarResNet
from course_lib.training import NonFiniteLoss, evaluate, fit

CURVES = recorded.path("resnet")
DEPTHS = (8, 20, 56, 110)
STARTS = {
    "He": {},
    "std 0.01": {"weight_init": 0.01},
    "He, no BatchNorm": {"batch_norm": False},
}
LR = 0.1
EPOCHS = {"He": 4, "std 0.01": 4, "He, no BatchNorm": 1}  # without BatchNorm nothing happens anyway
SEEDS = {"He": 3, "std 0.01": 1, "He, no BatchNorm": 1}  # runs of each start
KINDS = {"plain": False, "residual": True}

# K. He et al., "Deep residual learning for image recognition", CVPR 2016, table 6: test error on CIFAR-10 in
# per cent.
PAPER = {20: "8.75", 32: "7.51", 44: "7.17", 56: "6.97", 110: "6.43 (6.61 ± 0.16)"}


def halved(images: Images) -> Images:
    """The digits at 14×14: each pixel the mean of four."""
    return dataclasses.replace(images, x=F.avg_pool2d(images.x.float(), 2).round().to(torch.uint8))


def train_digits(
    train: Images, depth: int, residual: bool, start: str, seed: int
) -> tuple[CifarResNet, dict[str, list[float]]]:
    """One run on digits; the network and its gradient norms before training and loss of each step."""
    model = CifarResNet(
        depth, in_channels=1, widths=(8, 16, 32), residual=residual,
        generator=torch.Generator().manual_seed(seed), **STARTS[start],
    ).to(train.device)  # fmt: skip
    x, y = train.take(200, seed=0).tensors()
    gradients = list(measure.gradient_norms(model, x, y).values())
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    steps = EPOCHS[start] * math.ceil(len(train) / 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps, cycle_momentum=False)
    try:
        loss = fit(
            model, train, optimizer, epochs=EPOCHS[start], seed=seed, scheduler=schedule,
            scheduler_every="step", progress=False,
        ).loss  # fmt: skip
    except NonFiniteLoss as error:
        loss = error.history.loss
    return model, {"gradients": gradients, "loss": loss}


def grid() -> list[dict]:
    """Every depth, kind, start and seed; what is in the file already is not run again."""
    train, test = (halved(images) for images in data.mnist())
    stored = json.loads(CURVES.read_text("utf-8"))["runs"] if CURVES.exists() else []
    done = {(run["depth"], run["kind"], run["start"], run["seed"]) for run in stored}
    for start in STARTS:
        for seed in range(SEEDS[start]):
            for depth in DEPTHS:
                for kind, residual in KINDS.items():
                    if (depth, kind, start, seed) in done:
                        continue
                    began = time.process_time()
                    model, seen = train_digits(train, depth, residual, start, seed)
                    run = {"depth": depth, "kind": kind, "start": start, "seed": seed}
                    finite = math.isfinite(seen["loss"][-1])
                    ends = (evaluate(model, train), evaluate(model, test)) if finite else None
                    run |= {
                        "train_loss": round(ends[0].loss, 4) if finite else None,
                        "train_error": round(1 - ends[0].accuracy, 4) if finite else None,
                        "test_error": round(1 - ends[1].accuracy, 4) if finite else None,
                        "gradients": [float(f"{value:.3g}") for value in seen["gradients"]],
                        "loss": [round(v, 3) if math.isfinite(v) else None for v in seen["loss"]],
                    }
                    stored.append(run)
                    print(start, seed, depth, kind, run["train_loss"], round(time.process_time() - began, 1),
                          file=sys.stderr, flush=True)  # fmt: skip
                    _write(stored)
    return stored


def _write(runs: list[dict]) -> None:
    text = {"protocol": protocol(), "runs": runs}
    dense = json.dumps(text, separators=(",", ":")).replace('{"depth"', '\n{"depth"')
    CURVES.write_text(dense + "\n", "utf-8")


def protocol() -> str:
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return (
        "4,000 digits of 14×14 pixels, widths 8-16-32, option A; SGD with momentum 0.9, one cycle of the "
        f"learning rate up to {LR} and down, batches of 128, {EPOCHS['He']} epochs; CPU, 1 thread, {versions}"
    )


def digits_table(runs: list[dict]) -> str:
    lines = [
        "| depth | plain: training loss | training error | residual: training loss | training error |",
        "|--:|--:|--:|--:|--:|",
    ]
    for depth in DEPTHS:
        cells = []
        for kind in KINDS:
            found = [r for r in runs if (r["depth"], r["kind"], r["start"]) == (depth, kind, "He")]
            cells.append(spread([r["train_loss"] for r in found], 3))
            cells.append(spread([100 * r["train_error"] for r in found], 1) + " %")
        lines.append(f"| {depth} | {' | '.join(cells)} |")
    return (
        "\n".join(lines)
        + f"\n\n{protocol()}; {max(SEEDS.values())} seeds, mean ± standard deviation, after training."
    )


def paper_table() -> str:
    lines = ["| network | parameters | error on CIFAR-10, in the paper |", "|---|--:|--:|"]
    for depth, error in PAPER.items():
        with torch.device("meta"):
            size = sum(p.numel() for p in CifarResNet(depth).parameters())
        lines.append(f"| ResNet-{depth} | {size:,} | {error} % |")
    return "\n".join(lines)


def run() -> str:
    """The tables as Markdown."""
    return "\n\n".join([digits_table(grid()), paper_table()]) + "\n"
