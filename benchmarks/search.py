"""What a second worker and pruning are worth in a search: 64 trials of a small network, by Optuna.

- ``time of two workers / one``: from the moment when all workers are there to the end of the last trial. (To
  start a process and import torch takes seconds: a search of hours does not notice it, this one would.) A
  half is perfect.
- ``epochs trained, pruned / not``: how much of the training is left when hopeless trials are stopped.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks._measuring import row
from course_lib import data, optim, search
from course_lib.models.mlp import MLP
from course_lib.search import LogUniform, Trials
from course_lib.training import evaluate, fit

SPACE = {"lr": LogUniform(1e-6, 1e-2), "weight_decay": LogUniform(1e-8, 1e-4)}
TRIALS = 64
EPOCHS = 8
REPETITIONS = 3


class Objective:
    """Trains 784-50-50-10 on 400 digits. Waits for all workers at first, and notes when each trial runs."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.learn, self.validate = data.mnist()[0].split(500)[0].split(400)
        self.folder, self.workers = folder, workers

    def __call__(self, parameters: dict, report: Callable[[float], None]) -> float:
        torch.set_num_threads(1)
        (self.folder / f"{os.getpid()}.worker").touch()
        while len(list(self.folder.glob("*.worker"))) < self.workers:
            time.sleep(0.005)
        began = time.time()
        model = MLP(784, [50, 50], 10, generator=torch.Generator().manual_seed(0))
        optimizer = optim.AdamW(optim.decay_groups(model, parameters["weight_decay"]), lr=parameters["lr"])
        try:
            for epoch in range(EPOCHS):
                fit(model, self.learn, optimizer, epochs=1, batch_size=40, seed=epoch, progress=False)
                accuracy = evaluate(model, self.validate).accuracy
                report(accuracy)
        finally:
            with (self.folder / "times").open("a") as file:
                file.write(f"{began} {time.time()}\n")
        return accuracy


def searched(workers: int, prune: bool) -> tuple[Trials, float]:
    """The trials; seconds from the first one's beginning, all workers there, to the last one's end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = search.optuna_search(
            Objective(folder, workers), SPACE, TRIALS, storage=folder / "search.db", workers=workers,
            sampler="random", prune=prune, progress=False,
        )  # fmt: skip
        times = [tuple(map(float, line.split())) for line in (folder / "times").read_text().splitlines()]
    return found, max(end for _, end in times) - min(began for began, _ in times)


def run() -> list[dict]:
    """Rows of the table of benchmarks; see the top of this file for what each compares."""
    searched(1, prune=False)  # warm-up
    ratios, epochs = [], []
    for _ in range(REPETITIONS):
        one, two = searched(1, prune=False)[1], searched(2, prune=False)[1]
        ratios.append(two / one)
        pruned = searched(1, prune=True)[0]
        epochs.append(sum(len(trial.curve) for trial in pruned) / (TRIALS * EPOCHS))
    return [
        row(f"{TRIALS} trials by Optuna, time of two workers / one", ratios, "≤ 0.75"),
        row(f"{TRIALS} trials by Optuna, epochs trained, pruned / not", epochs, None),
    ]


if __name__ == "__main__":
    for line in run():
        print(line)
