"""Chapter 10's measurements: frozen depth × labels on two tasks, and ImageNet features on Fashion-MNIST.

``few_labels`` is what the chapter's explorer shows: EfficientNet-Lite0 with ImageNet weights, taken to crops
of photographs and to digits. ``fashion`` trains by the schedule that the chapter writes down for CIFAR-10.
The numbers go into ``course_lib/recorded/transfer.json``, which ships with the library so that the notebook
has them wherever it runs, and as tables into ``book/results/transfer.md``.
"""

from __future__ import annotations

import copy
import json
import math
import platform
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.full._tables import spread
from course_lib import data, device, recorded, transfer
from course_lib.data import Images
from course_lib.data.augment import Augmentation, Crop, Flip, Jitter, Rotation
from course_lib.models.alexnet import AlexNet
from course_lib.models.cifar_resnet import CifarResNet
from course_lib.models.convnets import SimpleConvNet
from course_lib.models.efficientnet import EfficientNetLite0
from course_lib.models.resnet import ResNet
from course_lib.training import evaluate, fit

SEEDS = range(5)
LABELS = (2, 5, 20)  # images of each class
DEPTHS = (18, 14, 8, 0)  # how many of the 18 stages are frozen
STEPS = {2: 40, 5: 80, 20: 160}  # by labels a class: with HEAD_LR, enough to name every training image right
BATCH, SIDE = 16, 64
HEAD_LR, BODY_LR = 3e-3, 3e-4


class Tail(nn.Module):
    """A network from stage ``depth`` on: what is frozen need be computed only once."""

    def __init__(self, model: EfficientNetLite0, depth: int) -> None:
        super().__init__()
        self.stages, self.pool, self.head = model.features[depth:], model.avgpool, model.classifier
        self.requires_grad_(True)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.stages(x)).flatten(1))


def through(model: nn.Module, x: Tensor, batch: int = 240) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(part) for part in x.split(batch)])


def train_tail(tail: Tail, x: Tensor, y: Tensor, steps: int, lr: float | None, seed: int) -> None:
    """Adam on the head at HEAD_LR and on the rest at ``lr`` (None: not at all); no BatchNorm changes.

    The rates fall to zero on a line, as those of the network from scratch end near zero too.
    """
    tail.eval()
    groups = [{"params": tail.head.parameters(), "lr": HEAD_LR}]
    body = [p for p in tail.stages.parameters() if p.requires_grad]
    if lr and body:
        groups.append({"params": body, "lr": lr})
    optimizer, g = torch.optim.Adam(groups), torch.Generator().manual_seed(seed)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, total_iters=steps)
    order = torch.cat([torch.randperm(len(x), generator=g) for _ in range(math.ceil(steps * BATCH / len(x)))])
    for index in order[: steps * BATCH].split(BATCH):
        loss = F.cross_entropy(tail(x[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()


def accuracy(logits: Tensor, y: Tensor) -> float:
    return (logits.argmax(1) == y).float().mean().item()


def few_labels(report=print) -> dict:
    """Accuracies and CPU seconds of every way to use a few labels a class, by task, labels and seed."""
    base = EfficientNetLite0(pretrained=True).eval()
    digits = data.mnist()
    tasks = {"crops": data.patches(), "digits": (digits[0], digits[1].take(500))}
    results: dict = {}
    for task, (train, test) in tasks.items():
        classes = len(train.classes)
        ready, ready_test = transfer.prepare(train, SIDE), transfer.prepare(test, SIDE)
        known = transfer.features(base, ready_test)
        pixels_test = ready_test.tensors()[0]
        deep_test = {depth: through(base.features[:depth], pixels_test) for depth in DEPTHS if depth}
        deep_test[0] = pixels_test
        for labels in LABELS:
            rows: dict[str, list] = {}
            steps = STEPS[labels]
            for seed in SEEDS:
                few, own = ready.take(labels * classes, seed=seed), train.take(labels * classes, seed=seed)
                x, y = few.tensors()
                found: dict[str, tuple[float, float]] = {}

                began = time.process_time()
                features = transfer.features(base, few)
                probe = transfer.linear_probe(features, y)
                found["linear probe"] = accuracy(probe(known), test.y), time.process_time() - began
                began = time.process_time()
                nearest = transfer.nearest_neighbours(features, y, known)
                found["nearest neighbour"] = (
                    (nearest == test.y).float().mean().item(),
                    time.process_time() - began,
                )

                for depth in DEPTHS:
                    tail = fresh_tail(base, depth, classes, seed)
                    began = time.process_time()
                    train_tail(
                        tail, through(base.features[:depth], x) if depth else x, y, steps, BODY_LR, seed
                    )
                    spent = time.process_time() - began
                    found[f"frozen {depth}"] = accuracy(through(tail, deep_test[depth]), test.y), spent

                model = fresh_tail(base, 0, classes, seed)
                began = time.process_time()
                top = Tail(model_of(model, base), 18)
                train_tail(top, through(base.features, x), y, steps // 2, None, seed)
                train_tail(model, x, y, steps // 2, BODY_LR, seed + 100)
                spent = time.process_time() - began
                found["frozen, then all"] = accuracy(through(model, pixels_test), test.y), spent

                found["from scratch"] = from_scratch(task, own, test, seed)
                for name, pair in found.items():
                    rows.setdefault(name, []).append([round(value, 4) for value in pair])
            results.setdefault(task, {})[str(labels)] = rows
            report(
                task, labels, {name: round(statistics.mean(a for a, _ in r), 3) for name, r in rows.items()}
            )
    return results


def fresh_tail(base: EfficientNetLite0, depth: int, classes: int, seed: int) -> Tail:
    model = copy.deepcopy(base)
    transfer.replace_head(model, classes, generator=torch.Generator().manual_seed(seed))
    return Tail(model, depth)


def model_of(tail: Tail, base: EfficientNetLite0) -> nn.Module:
    """A network that shares the tail's layers, so that training one trains the other."""
    model = copy.copy(base)
    model._modules = dict(base._modules, features=tail.stages, classifier=tail.head)
    return model


def from_scratch(task: str, few: Images, test: Images, seed: int) -> tuple[float, float]:
    """Accuracy and CPU seconds of a small network, the best of SimpleConvNet, DeepConvNet and ResNet-8."""
    torch.manual_seed(seed)
    classes = len(few.classes)
    if task == "digits":
        model, lr, steps = SimpleConvNet(num_classes=classes), 2e-3, 300
        augment = Augmentation(few, Crop(2), Rotation(15))
    else:
        model = CifarResNet(8, in_channels=1, num_classes=classes, widths=(8, 16, 32))
        lr, steps, augment = 1e-2, 120, Augmentation(few, Crop(8), Flip())
    began = time.process_time()
    optimizer = torch.optim.Adam(model.parameters(), lr)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    fit(
        model, few, optimizer, steps=steps, seed=seed, batch_size=min(32, len(few)), progress=False,
        scheduler=cycle, scheduler_every="step", augment=augment,
    )  # fmt: skip
    seconds = time.process_time() - began
    return evaluate(model, test).accuracy, seconds


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
    """The tables, from the numbers."""
    lines = []
    for task, by_labels in found["few_labels"].items():
        lines += [f"| {task} | " + " | ".join(f"{n} a class" for n in by_labels) + " | CPU s |"]
        lines += ["|---|" + "--:|" * (len(by_labels) + 1)]
        for name in next(iter(by_labels.values())):
            cells = [spread([a for a, _ in rows[name]], 1, scale=100) for rows in by_labels.values()]
            seconds = statistics.median(s for rows in by_labels.values() for _, s in rows[name])
            label = name.replace("frozen ", "stages frozen: ") if name[-1].isdigit() else name
            lines.append(f"| {label} | {' | '.join(cells)} | {seconds:.1f} |")
        lines.append("")
    lines += [found["protocol"], ""]
    if "fashion" in found:
        lines += [
            f"| Fashion-MNIST, {FASHION['train']:,} images | after the frozen half | at the end | CPU s |",
            "|---|--:|--:|--:|",
        ]
        for name, runs in found["fashion"].items():
            half, end = ([run["accuracy"][k] for run in runs] for k in (FASHION["frozen"] - 1, -1))
            seconds = statistics.median(run["seconds"] for run in runs)
            lines.append(f"| {name} | {spread(half, 1, 100)} | {spread(end, 1, 100)} | {seconds:.0f} |")
        lines += ["", found["fashion_protocol"], ""]
    return "\n".join(lines)


def protocols() -> dict[str, str]:
    where = f"{device.describe('cpu')}, Python {platform.python_version()}, torch {torch.__version__}"
    f, steps = FASHION, ", ".join(map(str, STEPS.values()))
    return {
        "protocol": (
            "Test accuracy in per cent, mean ± standard deviation of 5 seeds, which choose the "
            "labelled images and draw the weights; 480 crops and 500 digits to test. "
            f"EfficientNet-Lite0 sees images of 64×64, not augmented. Stages frozen: {steps} steps "
            f"(by labels) of Adam, batches of {BATCH}, the head at {HEAD_LR:g}, the stages that move at "
            f"{BODY_LR:g}, both rates falling to zero on a line: enough to name every training image "
            "right; all BatchNorms keep what they have; what is frozen is computed once. "
            "Frozen, then all: half of the steps each. From scratch: Adam with a one-cycle rate and "
            "batches of up to 32; on digits of 28×28 a SimpleConvNet, 300 steps, shifted and turned a "
            "little; on crops a ResNet-8, 120 steps, shifted and flipped; each the best of three "
            f"small networks. Seconds are CPU time of the training, median; {where}."
        ),
        "fashion_protocol": (
            f"{f['train']:,} images to train, {f['test']:,} to test, {f['epochs']} epochs of Adam, "
            f"batches of {f['batch']}, crop, flip, jitter and rotation. Pretrained: {f['frozen']} "
            "epochs with everything but the head frozen at 1e-3, then all but the BatchNorms at 1e-4, "
            "images of 64×64. From random weights: all at 1e-3, images of 32×32, ResNet-18 with a "
            "quarter of the channels, AlexNet with half of them and hidden layers of 512. Mean ± "
            f"standard deviation of {f['seeds']} seeds; {where}."
        ),
    }


def run() -> str:
    """Measure everything, keep the numbers, return the tables."""
    found = {"few_labels": few_labels(), "fashion": fashion(), **protocols()}
    recorded.path("transfer").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return text(found)
