"""ImageNet features on Fashion-MNIST, by the schedule that chapter 10 writes down for CIFAR-10.

The numbers go into ``course_lib/recorded/transfer.json`` and as a table into ``book/results/transfer.md``.
"""

from __future__ import annotations

import json
import platform
import statistics
import time

import torch

from benchmarks.full._tables import spread
from course_lib import data, device, recorded, transfer
from course_lib.data.augment import Augmentation, Crop, Flip, Jitter, Rotation
from course_lib.models.alexnet import AlexNet
from course_lib.models.efficientnet import EfficientNetLite0
from course_lib.models.resnet import ResNet

FASHION = {"train": 400, "test": 400, "epochs": 6, "frozen": 3, "batch": 40, "seeds": 3}


def fashion(report=print) -> dict:
    """The schedule of the chapter on a few images of Fashion-MNIST: accuracy after each epoch, by seed."""
    train, test = data.fashion_mnist()
    test = test.take(FASHION["test"], seed=0)
    results: dict = {}
    for name, side, make in (
        ("EfficientNet-Lite0, ImageNet weights", 64, lambda g: EfficientNetLite0(pretrained=True)),
        ("ResNet-18, random weights", 32, lambda g: ResNet(18, stem="small", width=16, generator=g)),
        ("AlexNet, first layer 3×3, random weights", 32,
         lambda g: AlexNet(stem="small", width=0.5, hidden=512, generator=g)),
    ):  # fmt: skip
        for seed in range(FASHION["seeds"]):
            torch.manual_seed(seed)
            g = torch.Generator().manual_seed(seed)
            few = transfer.prepare(train.take(FASHION["train"], seed=seed), side)
            model = make(g)
            transfer.replace_head(model, 10, generator=g)
            pretrained = "ImageNet" in name
            began = time.process_time()
            history = transfer.fine_tune(
                model, few, epochs=FASHION["epochs"], frozen_epochs=FASHION["frozen"] if pretrained else 0,
                lr=1e-3, lower_lr=1e-4 if pretrained else 1e-3, batch_size=FASHION["batch"],
                keep=transfer.batch_norms(model) if pretrained else (),
                validation=transfer.prepare(test, side), seed=seed, progress=False,
                augment=Augmentation(few, Crop(side // 8), Flip(), Jitter(0.2, 0.2), Rotation(10)),
            )  # fmt: skip
            row = [round(e.validation_accuracy, 4) for e in history.epochs]
            results.setdefault(name, []).append(
                {"accuracy": row, "seconds": round(time.process_time() - began, 1)}
            )
            report(name, seed, row)
    return results


def text(found: dict) -> str:
    """The table, from the numbers."""
    lines = [
        f"| Fashion-MNIST, {FASHION['train']:,} images | after the frozen half | at the end | CPU s |",
        "|---|--:|--:|--:|",
    ]
    for name, runs in found["fashion"].items():
        half, end = ([run["accuracy"][k] for run in runs] for k in (FASHION["frozen"] - 1, -1))
        seconds = statistics.median(run["seconds"] for run in runs)
        lines.append(f"| {name} | {spread(half, 1, 100)} | {spread(end, 1, 100)} | {seconds:.0f} |")
    return "\n".join([*lines, "", found["fashion_protocol"], ""])


def protocol() -> str:
    where = f"{device.describe('cpu')}, Python {platform.python_version()}, torch {torch.__version__}"
    f = FASHION
    return (
        f"{f['train']:,} images to train, {f['test']:,} to test, {f['epochs']} epochs of Adam, "
        f"batches of {f['batch']}, crop, flip, jitter and rotation. Pretrained: {f['frozen']} "
        "epochs with everything but the head frozen at 1e-3, then all but the BatchNorms at 1e-4, "
        "images of 64×64. From random weights: all at 1e-3, images of 32×32, ResNet-18 with a "
        "quarter of the channels, AlexNet with half of them and hidden layers of 512. Mean ± "
        f"standard deviation of {f['seeds']} seeds; {where}."
    )


def run() -> str:
    """Measure everything, keep the numbers, return the table."""
    found = {"fashion": fashion(), "fashion_protocol": protocol()}
    recorded.path("transfer").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return text(found)
