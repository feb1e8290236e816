"""Ways to search, each on ten draws of 500 digits from the full MNIST: the hyperparameter chapter's table.

The network, the space and the number of epochs are the chapter's. Each seed has its own 500 digits, so that
the spread is that of doing it all again with other data. What a search chose is measured on 10,000 digits
that no search has seen.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.full._tables import spread
from course_lib import data, device, optim, search
from course_lib.data import Images
from course_lib.models.mlp import MLP
from course_lib.search import LogUniform, Trial, Trials
from course_lib.training import evaluate, fit

SEEDS = range(10)
SPACE = {"lr": LogUniform(1e-6, 1e-2), "weight_decay": LogUniform(1e-8, 1e-4)}
EPOCHS = 8
TRIALS = 100


def train_one(lr: float, weight_decay: float, learn: Images, validate: Images) -> tuple[MLP, list[float]]:
    """A trained 784-50-50-10 and its validation accuracy after each epoch."""
    model = MLP(784, [50, 50], 10, generator=torch.Generator().manual_seed(0)).to(learn.device)
    optimizer = optim.AdamW(optim.decay_groups(model, weight_decay), lr=lr)
    history = fit(model, learn, optimizer, epochs=EPOCHS, batch_size=40, validation=validate, progress=False)
    return model, [epoch.validation_accuracy for epoch in history.epochs]


def searches(learn: Images, validate: Images, seed: int) -> Iterator[tuple[str, Trials]]:
    """Each way to search, and what it found."""

    def objective(parameters, report):
        _, curve = train_one(**parameters, learn=learn, validate=validate)
        for accuracy in curve:
            report(accuracy)
        return curve[-1]

    first = search.random_search(objective, SPACE, TRIALS, seed=seed, progress=False)
    yield "random", first
    narrowed = search.narrow(SPACE, first.top(20))
    yield (
        "random, range narrowed",
        search.random_search(objective, narrowed, TRIALS, seed=1000 + seed, progress=False),
    )
    yield "random, the first 25", Trials(first.trials[:25])
    axes = {name: np.geomspace(one.low, one.high, 5).tolist() for name, one in SPACE.items()}
    yield "grid, 5 × 5", search.grid_search(objective, axes, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder, "search.db")
        yield (
            "TPE",
            search.optuna_search(
                objective, SPACE, 25, storage=storage, prune=False, seed=seed, progress=False
            ),
        )


def run() -> str:
    """The table as Markdown, mean ± standard deviation over seeds."""
    at = device.resolve()
    train, test = (images.to(at) for images in data.mnist(full=True))
    found: dict[str, list[tuple[int, float, float, float]]] = {}
    for seed in SEEDS:
        digits, _ = train.split(500, seed=seed)
        learn, validate = digits.split(400, seed=seed)
        for name, trials in searches(learn, validate, seed):
            fresh = evaluate(chosen(trials.best, learn, validate), test).accuracy
            scores = trials.values("score")
            row = len(trials), 100 * np.median(scores), 100 * trials.best.score, 100 * fresh
            found.setdefault(name, []).append(row)
    lines = [
        "| search | trials | median trial | best trial: its 100 validation digits | 10,000 fresh digits |",
        "|---|---|---|---|---|",
    ]
    for name, rows in found.items():
        trials, *columns = zip(*rows, strict=True)
        lines.append(f"| {name} | {trials[0]} | {' | '.join(spread(column, 1) for column in columns)} |")
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    protocol = (
        f"784-50-50-10 with AdamW, {EPOCHS} epochs of 400 digits in batches of 40; accuracy in per cent, "
        f"mean ± standard deviation of {len(SEEDS)} draws of 500 digits, each with its own search; "
        f"{device.describe(at)}, {versions}."
    )
    return "\n".join(lines) + f"\n\n{protocol}\n"


def chosen(trial: Trial, learn: Images, validate: Images) -> MLP:
    """The network of a trial, trained again: the same to the bit on the CPU."""
    return train_one(**trial.parameters, learn=learn, validate=validate)[0]
