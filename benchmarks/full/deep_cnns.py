"""Chapter 7's networks trained to the end: digits at 28×28, a few thousand of them and all of them."""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from benchmarks.full._kept import Kept
from benchmarks.full._tables import spread
from course_lib import data, device
from course_lib.data import Augment, Images
from course_lib.data.augment import Augmentation, Crop, Rotation
from course_lib.models.alexnet import AlexNet
from course_lib.models.convnets import DeepConvNet
from course_lib.models.googlenet import GoogLeNet
from course_lib.models.lenet import LeNet5
from course_lib.models.vgg import VGG
from course_lib.training import evaluate, fit

SEEDS = range(3)
BATCH = 100
EPOCHS = 20  # of 4,000 digits
SHORT = 6  # of the same, for the networks that are compared
FULL_EPOCHS = 20  # of 60,000

SMALL = {"in_channels": 1, "num_classes": 10, "stem": "small"}
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "LeNet-5 (tanh)": LeNet5,
    "LeNet-5 (ReLU)": partial(LeNet5, activation="relu", weight_init="kaiming"),
    "AlexNet, width ¼": partial(AlexNet, width=1 / 4, hidden=256, **SMALL),
    "VGG-11, width ⅛": partial(VGG, 11, width=1 / 8, hidden=64, **SMALL),
    "VGG-16, width ⅛": partial(VGG, 16, width=1 / 8, hidden=64, **SMALL),
    "VGG-16 with BatchNorm, width ⅛": partial(VGG, 16, batch_norm=True, width=1 / 8, hidden=64, **SMALL),
    "GoogLeNet, width ⅛": partial(GoogLeNet, width=1 / 8, **SMALL),
}


def trained(
    make: Callable[..., nn.Module], train: Images, seed: int, epochs: int, augment: Augment | None = None
) -> nn.Module:
    """Adam on one cycle up to 3e-3 and down again, batches of 100."""
    model = make(generator=torch.Generator().manual_seed(seed)).to(train.device)
    torch.manual_seed(seed)  # dropout
    steps = epochs * len(train) // BATCH
    optimizer = torch.optim.Adam(model.parameters())
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    fit(
        model, train, optimizer, steps=steps, batch_size=BATCH, seed=seed, augment=augment,
        scheduler=cycle, scheduler_every="step", progress=False,
    )  # fmt: skip
    return model


def in_half(model: nn.Module, images: Images, dtype: torch.dtype) -> float:
    """Accuracy in per cent with weights, images and arithmetic of 16 bits."""
    x, y = images.tensors()
    with torch.no_grad():
        logits = copy.deepcopy(model).eval().to(dtype)(x.to(dtype))
    return 100 * (logits.argmax(1) == y).float().mean().item()


def together(models: list[nn.Module], images: Images) -> float:
    """Accuracy in per cent of the mean of the models' probabilities."""
    x, y = images.tensors()
    with torch.no_grad():
        probabilities = sum(model.eval()(x).softmax(1) for model in models)
    return 100 * (probabilities.argmax(1) == y).float().mean().item()


def deep_on_few(train: Images, test: Images) -> dict[str, list[float]]:
    """DeepConvNet on the 4,000: alone, in 16 bits, together."""
    models = [trained(DeepConvNet, train, seed, EPOCHS) for seed in SEEDS]
    return {
        "fp32": [_accuracy(model, test) for model in models],
        "bf16": [in_half(model, test, torch.bfloat16) for model in models],
        "fp16": [in_half(model, test, torch.float16) for model in models],
        "together": [together(models, test)],
    }


def run() -> str:
    """The tables as Markdown, mean ± std over seeds."""
    at = device.resolve()
    train, test = (images.to(at) for images in data.mnist())
    once = Kept("deep_cnns").once
    few = once("4,000", lambda: deep_on_few(train, test))
    count = _parameters(DeepConvNet())
    lines = [
        "| DeepConvNet | parameters | test accuracy |",
        "|---|--:|---|",
        f"| 4,000 digits, {EPOCHS} epochs | {count:,} | {spread(few['fp32'], 2)} % |",
        f"| the same, evaluated in bf16 | {count:,} | {spread(few['bf16'], 2)} % |",
        f"| the same, evaluated in fp16 | {count:,} | {spread(few['fp16'], 2)} % |",
        f"| the same, the three together | {3 * count:,} | {few['together'][0]:.2f} % |",
    ]
    table = ["| network, on 4,000 digits | parameters | test accuracy |", "|---|--:|---|"]
    for name, make in NETWORKS.items():
        scores = once(
            name,
            lambda make=make: [_accuracy(trained(make, train, seed, SHORT), test) for seed in SEEDS],
        )
        table.append(f"| {name} | {_parameters(make()):,} | {spread(scores, 2)} % |")
    moved = Augmentation(train, Crop(2), Rotation(10))
    scores = once(
        "moved",
        lambda: [_accuracy(trained(DeepConvNet, train, seed, EPOCHS, moved), test) for seed in SEEDS],
    )
    lines.append(f"| 4,000 digits, shifted and turned, {EPOCHS} epochs | {count:,} | {spread(scores, 2)} % |")
    full = [images.to(at) for images in data.mnist(full=True)]
    scores = [
        once(
            f"60,000, seed {seed}",
            lambda seed=seed: _accuracy(trained(DeepConvNet, full[0], seed, FULL_EPOCHS), full[1]),
        )
        for seed in SEEDS
    ]
    lines.append(f"| all 60,000 digits, {FULL_EPOCHS} epochs | {count:,} | {spread(scores, 2)} % |")
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    protocol = (
        f"Digits of 28×28 pixels; Adam, batches of {BATCH}, learning rate on one cycle up to 0.003. "
        "The 4,000 are tested on the 1,000 held back, the 60,000 on the 10,000. The 20 epochs are those of "
        "DeepConvNet's source, taken after one run of 12 had given 97.4 % on the same digits. The networks "
        f"of the second table, all but LeNet-5 with small stems, had {SHORT} epochs. Mean ± standard "
        f"deviation of {len(SEEDS)} seeds; {device.describe(at)}, {versions}."
    )
    return "\n".join([*lines, "", *table]) + f"\n\n{protocol}\n"


def _accuracy(model: nn.Module, test: Images) -> float:
    return 100 * evaluate(model, test).accuracy


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
