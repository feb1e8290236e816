"""What each regulariser is worth: on 300 digits, on all 60,000, and weight decay under Adam both ways."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from benchmarks.full._tables import spread
from course_lib import data, device, optim
from course_lib.data import Images
from course_lib.data.augment import Augmentation, Crop
from course_lib.models.mlp import MLP
from course_lib.training import evaluate, fit

FEW = 300
WITHOUT = "nothing"
Result = tuple[float, float, float]  # training accuracy in per cent, test loss, test accuracy in per cent


def run() -> str:
    """Three tables as Markdown, mean ± standard deviation over seeds."""
    at = device.resolve()
    train, test = (images.to(at) for images in data.mnist(full=True))
    versions = f"{device.describe(at)}, Python {platform.python_version()}, torch {torch.__version__}"
    few = partial(_on_few, train, test)
    parts = [
        "**300 digits, six hidden layers of 100.** Momentum 0.9 with η = 0.01, batches of 50, 100 epochs; 10 "
        "seeds, each with other digits; 10,000 to test.",
        _table(few, _few_rows(), range(10)),
        "**With plain SGD,** η = 0.01, batches of 100, 5 seeds: what 600 steps say and what 2,000 say.",
        _table(few, _slow_rows(), range(5)),
        "**With Adam,** η = 0.001, batches of 50, 100 epochs, 5 seeds: λ in the loss and λ decoupled.",
        _table(few, _adam_rows(), range(5)),
        "**60,000 digits,** Momentum 0.9 with η = 0.01, batches of 128, 10 epochs, 5 seeds.",
        _table(partial(_on_all, train, test), _all_rows(), range(5)),
        f"Mean ± standard deviation over the seeds; {versions}.",
    ]
    return "\n\n".join(parts) + "\n"


def _few_rows() -> dict[str, dict[str, Any]]:
    base = {"steps": 100 * 6, "batch_size": 50}
    changes = {
        WITHOUT: {},
        "weight decay, λ = 0.01": {"l2": 0.01},
        "weight decay, λ = 0.03": {"l2": 0.03},
        "weight decay, λ = 0.1": {"l2": 0.1},
        "dropout 0.1": {"dropout": 0.1},
        "dropout 0.2": {"dropout": 0.2},
        "λ = 0.01 and dropout 0.1": {"l2": 0.01, "dropout": 0.1},
        "BatchNorm": {"batch_norm": True},
        "early stopping, 240 to train and 60 to validate": {"patience": 5},
        "shifts of up to 2 pixels": {"shift": 2},
        "shifts and λ = 0.01": {"shift": 2, "l2": 0.01},
        "900 more digits": {"n": 1200},
    }
    return {name: base | change for name, change in changes.items()}


def _slow_rows() -> dict[str, dict[str, Any]]:
    methods = {WITHOUT: {}, "weight decay, λ = 0.1": {"l2": 0.1}, "dropout 0.2": {"dropout": 0.2}}
    return {
        f"{name}, {steps:,} steps": {"make": _sgd, "steps": steps} | change
        for steps in (600, 2000)
        for name, change in methods.items()
    }


def _adam_rows() -> dict[str, dict[str, Any]]:
    base = {"steps": 100 * 6, "batch_size": 50}
    rows = {WITHOUT: base | {"make": _adam}}
    for l2 in (1e-3, 1e-2, 1e-1):
        rows[f"in the loss, λ = {l2:g}"] = base | {"make": _adam, "l2": l2}
    for decay in (1e-2, 1e-1, 1, 10):
        rows[f"decoupled, λ = {decay:g}"] = base | {"make": partial(_adamw, weight_decay=decay)}
    return rows


def _all_rows() -> dict[str, dict[str, Any]]:
    return {
        WITHOUT: {},
        "weight decay, λ = 0.0001": {"l2": 1e-4},
        "weight decay, λ = 0.001": {"l2": 1e-3},
        "weight decay, λ = 0.01": {"l2": 1e-2},
        "dropout 0.1": {"dropout": 0.1},
        "shifts of up to 2 pixels": {"shift": 2},
    }


def _momentum(model: MLP) -> optim.Optimizer:
    return optim.Momentum(model.parameters(), lr=0.01)


def _sgd(model: MLP) -> optim.Optimizer:
    return optim.SGD(model.parameters(), lr=0.01)


def _adam(model: MLP) -> optim.Optimizer:
    return optim.Adam(model.parameters(), lr=1e-3)


def _adamw(model: MLP, weight_decay: float) -> optim.Optimizer:
    return optim.AdamW(optim.decay_groups(model, weight_decay), lr=1e-3)


def _on_few(train: Images, test: Images, seed: int, *, n: int = FEW, **settings: Any) -> Result:
    return _train(train.take(n, seed=seed), test, seed, **settings)


def _on_all(train: Images, test: Images, seed: int, **settings: Any) -> Result:
    return _train(train, test, seed, epochs=10, **settings)


def _train(
    images: Images,
    test: Images,
    seed: int,
    *,
    make: Callable[[MLP], optim.Optimizer] = _momentum,
    dropout: float = 0.0,
    batch_norm: bool = False,
    shift: int = 0,
    patience: int | None = None,
    batch_size: int | None = None,
    **settings: Any,
) -> Result:
    device.seed_everything(seed)  # dropout's masks
    generator = torch.Generator().manual_seed(seed)
    model = MLP(784, [100] * 6, 10, dropout=dropout, batch_norm=batch_norm, generator=generator)
    model = model.to(images.device)
    seen, validation = images.split(0.8, seed=seed) if patience else (images, None)
    fit(
        model, seen, make(model), seed=seed, progress=False, validation=validation, patience=patience,
        batch_size=batch_size or (100 if len(images) <= FEW else 128),
        augment=Augmentation(images, Crop(shift)) if shift else None, **settings,
    )  # fmt: skip
    found = evaluate(model, test)
    return 100 * evaluate(model, images).accuracy, found.loss, 100 * found.accuracy


def _table(train: Callable[..., Result], rows: dict[str, dict[str, Any]], seeds: Iterable[int]) -> str:
    lines = [
        "| | training accuracy | test loss | test accuracy |",
        "|---|---|---|---|",
    ]
    for name, settings in rows.items():
        columns = zip(*(train(seed, **settings) for seed in seeds), strict=True)
        accuracy, loss, test = (
            spread(values, digits) for values, digits in zip(columns, (1, 3, 2), strict=True)
        )
        lines.append(f"| {name} | {accuracy} % | {loss} | {test} % |")
    return "\n".join(lines)
