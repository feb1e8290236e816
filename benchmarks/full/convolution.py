"""The whole of MNIST through SimpleConvNet: what chapter 6 shows with ``FULL = True``.

An epoch takes 16 s of one CPU core, so the table is of few epochs; ``EPOCHS = 20`` is a quarter of an hour.
"""

from __future__ import annotations

import platform
import statistics

import torch

from course_lib import data, device
from course_lib.data import Images
from course_lib.models.convnets import SimpleConvNet
from course_lib.training import evaluate, fit

SEEDS = range(3)
EPOCHS = 4
BATCH = 100
PEAK = 3e-3


def trained(train: Images, seed: int) -> SimpleConvNet:
    """Adam on one cycle up to ``PEAK`` and down again."""
    model = SimpleConvNet(generator=torch.Generator().manual_seed(seed)).to(train.device)
    optimizer = torch.optim.Adam(model.parameters())
    steps = EPOCHS * len(train) // BATCH
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps)
    fit(
        model, train, optimizer, steps=steps, batch_size=BATCH, seed=seed,
        scheduler=cycle, scheduler_every="step", progress=False,
    )  # fmt: skip
    return model


def run() -> str:
    """The table as Markdown, mean ± std over seeds."""
    at = device.resolve()
    train, test = (images.to(at) for images in data.mnist(full=True))
    on_train, on_test = [], []
    for seed in SEEDS:
        model = trained(train, seed)
        on_train.append(100 * evaluate(model, train).accuracy)
        on_test.append(100 * evaluate(model, test).accuracy)
        print(f"seed {seed}: {on_train[-1]:.2f} % of train, {on_test[-1]:.2f} % of test", flush=True)
    parameters = sum(p.numel() for p in model.parameters())
    lines = [
        "| network | parameters | accuracy, 60,000 to train | accuracy, 10,000 to test |",
        "|---|--:|---|---|",
        f"| SimpleConvNet | {parameters:,} | {_spread(on_train)} | {_spread(on_test)} |",
    ]
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    protocol = (
        f"{EPOCHS} epochs of Adam, batches of {BATCH}, learning rate on one cycle up to {PEAK}; no choice "
        f"was made on the test digits. Mean ± standard deviation of {len(SEEDS)} seeds; "
        f"{device.describe(at)}, {versions}."
    )
    return "\n".join(lines) + f"\n\n{protocol}\n"


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} %"
