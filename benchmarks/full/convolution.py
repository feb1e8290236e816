"""SimpleConvNet on 4,000 digits and on the whole of MNIST: chapter 6 trained to the end.

An epoch of the whole takes 16 s of one CPU core, so twenty of them and three seeds are a quarter of an hour.
"""

from __future__ import annotations

import platform

import torch

from benchmarks.full._tables import spread
from course_lib import data, device
from course_lib.data import Images
from course_lib.models.convnets import SimpleConvNet
from course_lib.training import evaluate, fit

SEEDS = range(3)
EPOCHS = 12  # on 4,000 digits
FULL_EPOCHS = 20  # on 60,000
BATCH = 100
PEAK = 3e-3


def trained(train: Images, seed: int, epochs: int) -> SimpleConvNet:
    """Adam on one cycle up to ``PEAK`` and down again."""
    model = SimpleConvNet(generator=torch.Generator().manual_seed(seed)).to(train.device)
    optimizer = torch.optim.Adam(model.parameters())
    steps = epochs * len(train) // BATCH
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps)
    fit(
        model, train, optimizer, steps=steps, batch_size=BATCH, seed=seed,
        scheduler=cycle, scheduler_every="step", progress=False,
    )  # fmt: skip
    return model


def run() -> str:
    """The table as Markdown, mean ± std over seeds."""
    at = device.resolve()
    lines = [
        "| digits to train | epochs | accuracy on them | digits to test | accuracy |",
        "|--:|--:|---|--:|---|",
    ]
    for full, epochs in ((False, EPOCHS), (True, FULL_EPOCHS)):
        train, test = (images.to(at) for images in data.mnist(full=full))
        on_train, on_test = [], []
        for seed in SEEDS:
            model = trained(train, seed, epochs)
            on_train.append(100 * evaluate(model, train).accuracy)
            on_test.append(100 * evaluate(model, test).accuracy)
            print(f"{len(train)}, seed {seed}: {on_train[-1]:.2f} %, {on_test[-1]:.2f} %", flush=True)
        lines.append(
            f"| {len(train):,} | {epochs} | {spread(on_train, 2)} % "
            f"| {len(test):,} | {spread(on_test, 2)} % |"
        )
        print(lines[-1], flush=True)
    parameters = sum(p.numel() for p in model.parameters())
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    protocol = (
        f"SimpleConvNet, {parameters:,} parameters; Adam, batches of {BATCH}, learning rate on one cycle up "
        f"to {PEAK}; no choice was made on the test digits. Mean ± standard deviation of {len(SEEDS)} seeds; "
        f"{device.describe(at)}, {versions}."
    )
    return "\n".join(lines) + f"\n\n{protocol}\n"
