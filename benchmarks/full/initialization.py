"""Full MNIST under three initialisations: what chapter 2 shows with ``FULL = True``."""

from __future__ import annotations

import platform

import torch

from benchmarks.full._tables import spread
from course_lib import data, device, optim
from course_lib.models.mlp import MLP
from course_lib.training import evaluate, fit

SEEDS = range(5)
EPOCHS = 10
SCHEMES = {"std 0.01": 0.01, "Xavier": "xavier", "He": "he"}


def run() -> str:
    """Train 784-100×4-10 with ReLU, SGD(0.01), batch 128; the table as Markdown, mean ± std over seeds."""
    at = device.resolve()
    train, test = (images.to(at) for images in data.mnist(full=True))
    lines = ["| initialisation | training loss, epoch 1 | epoch 10 | test accuracy |", "|---|---|---|---|"]
    for name, scheme in SCHEMES.items():
        first, last, accuracy = [], [], []
        for seed in SEEDS:
            generator = torch.Generator().manual_seed(seed)
            model = MLP(784, [100] * 4, 10, weight_init=scheme, generator=generator).to(at)
            history = fit(
                model, train, optim.SGD(model.parameters(), lr=0.01), epochs=EPOCHS, seed=seed, progress=False
            )
            first.append(history.epochs[0].train_loss)
            last.append(history.epochs[-1].train_loss)
            accuracy.append(100 * evaluate(model, test).accuracy)
        lines.append(
            f"| {name} | {spread(first, 3)} | {spread(last, 3)} | {spread(accuracy, 2)} % |",
        )
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    protocol = (
        f"60,000 digits to train and 10,000 to test, {EPOCHS} epochs of SGD with learning rate 0.01 and "
        f"batches of 128; mean ± standard deviation of {len(SEEDS)} seeds; {device.describe(at)}, {versions}."
    )
    return "\n".join(lines) + f"\n\n{protocol}\n"
