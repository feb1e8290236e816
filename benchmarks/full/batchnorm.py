"""Full MNIST with and without Batch Normalization: what chapter 3 shows with ``FULL = True``."""

from __future__ import annotations

import math
import platform

import torch

from benchmarks.full._tables import spread
from course_lib import data, device, optim
from course_lib.data import Images
from course_lib.models.mlp import MLP
from course_lib.training import NonFiniteLoss, evaluate, fit

SEEDS = range(5)
EPOCHS = 3
STARTS = {"He, η = 0.01": ("he", 0.01), "He, η = 0.1": ("he", 0.1), "He, η = 1": ("he", 1.0),
          "std 0.01, η = 0.1": (0.01, 0.1), "std 1, η = 0.1": (1.0, 0.1)}  # fmt: skip


def run() -> str:
    """Train 784-100×4-10 with ReLU, SGD, batch 128; the table as Markdown, mean ± std over seeds."""
    at = device.resolve()
    train, test = (images.to(at) for images in data.mnist(full=True))
    lines = [
        "| start and learning rate | BatchNorm | training loss, last epoch | test accuracy |",
        "|---|---|---|---|",
    ]
    for name, (scheme, lr) in STARTS.items():
        for batch_norm in (False, True):
            results = [_train(train, test, scheme, lr, batch_norm, seed) for seed in SEEDS]
            loss, accuracy = zip(*results, strict=True)
            lost = sum(not math.isfinite(value) for value in loss)
            said = f"not finite in {lost} of {len(loss)} runs | –"
            if not lost:
                said = f"{spread(loss, 3)} | {spread(accuracy, 2)} %"
            lines.append(f"| {name} | {'yes' if batch_norm else 'no'} | {said} |")
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    protocol = (
        f"60,000 digits to train and 10,000 to test, {EPOCHS} epochs of SGD with batches of 128; mean ± "
        f"standard deviation of {len(SEEDS)} seeds; {device.describe(at)}, {versions}."
    )
    return "\n".join(lines) + f"\n\n{protocol}\n"


def _train(
    train: Images, test: Images, scheme: str | float, lr: float, batch_norm: bool, seed: int
) -> tuple[float, float]:
    """Training loss of the last epoch, infinity if the run was lost, and test accuracy in per cent."""
    generator = torch.Generator().manual_seed(seed)
    model = MLP(784, [100] * 4, 10, weight_init=scheme, batch_norm=batch_norm, generator=generator)
    model = model.to(train.device)
    optimizer = optim.SGD(model.parameters(), lr=lr)
    try:
        history = fit(model, train, optimizer, epochs=EPOCHS, seed=seed, progress=False)
        loss = history.epochs[-1].train_loss
    except NonFiniteLoss:
        loss = math.inf
    return loss, 100 * evaluate(model, test).accuracy
