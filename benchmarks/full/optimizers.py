"""Full MNIST under seven optimizers, each at its own learning rate: the full run of chapter 1."""

from __future__ import annotations

import platform
import statistics

import torch

from benchmarks.full._tables import spread
from course_lib import data, device, optim
from course_lib.data import Images
from course_lib.models.mlp import MLP
from course_lib.training import History, NonFiniteLoss, evaluate, fit

SEEDS = range(5)
STEPS = 2000
CHOOSING = 100  # the seed of the runs that choose, none of SEEDS
RATES = {
    optim.SGD: (0.01, 0.03, 0.1, 0.3, 1.0),
    optim.Momentum: (0.001, 0.003, 0.01, 0.03, 0.1),
    optim.Nesterov: (0.001, 0.003, 0.01, 0.03, 0.1),
    optim.AdaGrad: (0.001, 0.003, 0.01, 0.03, 0.1),
    optim.RMSprop: (0.0001, 0.0003, 0.001, 0.003, 0.01),
    optim.Adam: (0.0001, 0.0003, 0.001, 0.003, 0.01),
    optim.AdamW: (0.0001, 0.0003, 0.001, 0.003, 0.01),
}


def train_one(kind: type[optim.Optimizer], lr: float, train: Images, seed: int) -> tuple[MLP, History]:
    """784-100×4-10 with ReLU from He's initialisation, batches of 128."""
    model = MLP(784, [100] * 4, 10, generator=torch.Generator().manual_seed(seed)).to(train.device)
    history = fit(model, train, kind(model.parameters(), lr=lr), steps=STEPS, seed=seed, progress=False)
    return model, history


def validation_loss(kind: type[optim.Optimizer], lr: float, train: Images, held_out: Images) -> float:
    """After ``STEPS`` steps on ``train``; infinite where the training blew up."""
    try:
        return evaluate(train_one(kind, lr, train, CHOOSING)[0], held_out).loss
    except NonFiniteLoss:
        return float("inf")


def run() -> str:
    """Choose a learning rate for each optimizer on held-out digits, train again on all; the table."""
    at = device.resolve()
    train, test = (images.to(at) for images in data.mnist(full=True))
    held_out, rest = train.split(10_000, seed=0)
    lines = [
        "| optimizer | learning rate | loss, steps 101–200 | loss, last 200 steps | test accuracy |",
        "|---|---|---|---|---|",
    ]
    for kind, rates in RATES.items():
        lr = min(rates, key=lambda rate: validation_loss(kind, rate, rest, held_out))
        edge = " (the end of the grid)" if lr in (rates[0], rates[-1]) else ""
        early, late, accuracy = [], [], []
        for seed in SEEDS:
            model, history = train_one(kind, lr, train, seed)
            early.append(statistics.mean(history.loss[100:200]))
            late.append(statistics.mean(history.loss[-200:]))
            accuracy.append(100 * evaluate(model, test).accuracy)
        lines.append(
            f"| {kind.__name__} | {lr:g}{edge} | {spread(early, 3)} | {spread(late, 3)} "
            f"| {spread(accuracy, 2)} % |"
        )
        print(lines[-1], flush=True)
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    protocol = (
        f"60,000 digits to train and 10,000 to test, {STEPS:,} steps with batches of 128. The learning rate "
        "of each optimizer is the best of five on 10,000 of the training digits held out, with one further "
        f"seed; then mean ± standard deviation of {len(SEEDS)} seeds on all of them; {device.describe(at)}, "
        f"{versions}."
    )
    return "\n".join(lines) + f"\n\n{protocol}\n"
