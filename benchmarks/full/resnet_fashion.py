"""Fashion-MNIST by the classic recipe: chapter 8 with ``FULL = True``."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.full._kept import Kept
from benchmarks.full._tables import spread
from course_lib import data, device
from course_lib.data import Images
from course_lib.models.resnet import ResNet
from course_lib.training import evaluate, fit

SEEDS = range(1)  # one of them takes a quarter of an hour of one core; more go on from what is kept
EPOCHS = 10


def measured(train: Images, test: Images, seed: int) -> tuple[float, float]:
    """Training loss of the last epoch, and test accuracy in per cent."""
    model = ResNet(18, in_channels=1, num_classes=10, generator=torch.Generator().manual_seed(seed))
    optimizer = torch.optim.SGD(model.to(train.device).parameters(), lr=0.05)
    history = fit(model, train, optimizer, epochs=EPOCHS, seed=seed, precision="bf16", progress=False)
    return history.epochs[-1].train_loss, 100 * evaluate(model, test).accuracy


def run() -> str:
    """The table as Markdown, mean ± standard deviation over seeds."""
    once = Kept("resnet_fashion").once
    train, test = (images.to(device.resolve()) for images in data.fashion_mnist())
    found = [once(f"seed {seed}", partial(measured, train, test, seed)) for seed in SEEDS]
    loss, accuracy = zip(*found, strict=True)
    runs = "one run" if len(SEEDS) == 1 else f"mean ± standard deviation of {len(SEEDS)} seeds"
    return (
        "| network | training loss, last epoch | test accuracy |\n|---|--:|--:|\n"
        f"| ResNet-18 | {spread(loss, 3)} | {spread(accuracy, 2)} % |\n\n"
        "60,000 images of 28×28 pixels to train and 10,000 to test, the stem for ImageNet; SGD with "
        f"learning rate 0.05, batches of 128, {EPOCHS} epochs, bf16; {runs}; "
        f"{device.describe()}, torch {torch.__version__}.\n"
    )
