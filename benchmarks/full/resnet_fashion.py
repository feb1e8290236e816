"""Fashion-MNIST by the classic recipe: chapter 8 with ``FULL = True``, and the plain twin beside it."""

from __future__ import annotations

import statistics
import sys

import torch

from course_lib import data, device
from course_lib.models.resnet import ResNet
from course_lib.training import evaluate, fit

SEEDS = range(3)
EPOCHS = 10
KINDS = {"plain": False, "residual": True}


def run() -> str:
    """The table as Markdown, mean ± standard deviation over seeds."""
    train, test = (images.to(device.resolve()) for images in data.fashion_mnist())
    lines = ["| network | training loss, last epoch | test accuracy |", "|---|--:|--:|"]
    for kind, residual in KINDS.items():
        found = []
        for seed in SEEDS:
            generator = torch.Generator().manual_seed(seed)
            model = ResNet(18, in_channels=1, num_classes=10, residual=residual, generator=generator)
            optimizer = torch.optim.SGD(model.to(train.device).parameters(), lr=0.05)
            history = fit(model, train, optimizer, epochs=EPOCHS, seed=seed, precision="bf16", progress=False)
            found.append((history.epochs[-1].train_loss, 100 * evaluate(model, test).accuracy))
            print(kind, seed, found[-1], file=sys.stderr, flush=True)
        loss, accuracy = map(list, zip(*found, strict=True))
        name = "ResNet-18" if residual else "its plain twin"
        lines.append(f"| {name} | {spread(loss, 3)} | {spread(accuracy, 2)} % |")
    return "\n".join(lines) + (
        "\n\n60,000 images of 28×28 pixels to train and 10,000 to test, the stem for ImageNet; SGD with "
        f"learning rate 0.05, batches of 128, {EPOCHS} epochs, bf16; mean ± standard deviation of "
        f"{len(SEEDS)} seeds; {device.describe()}, torch {torch.__version__}.\n"
    )


def spread(values: list[float], digits: int) -> str:
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"
