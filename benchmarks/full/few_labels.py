"""Chapter 10: a few labels, a network with ImageNet weights, and small networks from nothing.

Both sides of the comparison get the same labelled images, the same augmentation, the same batches and the
same number of steps; the small networks also twice as many, for they are cheap. Two things are varied for
the large network that a beginner forgets: how many pixels it is shown, and how much of it stays frozen.
"""

from __future__ import annotations

import copy
import dataclasses
import statistics
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.full._jobs import Record
from benchmarks.full._tables import spread
from course_lib import data, transfer
from course_lib.data import Augment, Images
from course_lib.data.augment import Augmentation, Crop, Flip, Rotation
from course_lib.models.cifar_resnet import CifarResNet
from course_lib.models.convnets import DeepConvNet, SimpleConvNet
from course_lib.models.efficientnet import EfficientNetLite0
from course_lib.training import evaluate, fit

SEEDS = {"crops": range(2), "digits": range(1)}
TASKS = {"crops": 64, "digits": 28}  # and how many pixels wide their images are
LABELS = (2, 5, 20)  # images of each class
DEPTHS = (18, 14, 8, 0)  # how many of the 18 stages are frozen
SIDES = (64, 128)  # what the images are enlarged to
LOOKS = (64, 128, 192)  # the same, where nothing is trained but a linear layer
STEPS = {2: 40, 5: 80, 20: 160}  # by labels a class
TIMES, SMALL_TIMES = (1, 2), (1, 2, 4)  # what these are multiplied by
BATCH = 16
HEAD_LR, BODY_LR = 3e-3, 3e-4
SHOWN = ((64, 1, False), (64, 2, False), (64, 2, True), (128, 2, False), (128, 2, True))  # in the table
CHUNK = 512  # images at once where nothing is learned

# What starts from nothing: the network, and the highest learning rate of its one cycle.
SMALL = {
    "SimpleConvNet": (SimpleConvNet, 2e-3),
    "DeepConvNet": (DeepConvNet, 2e-3),
    "ResNet-8": (CifarResNet, 1e-2),
}


def jobs(smoke: bool) -> dict[str, dict[str, Any]]:
    """What a look tells, then every combination, task by task and seed by seed."""
    wanted: dict[str, dict[str, Any]] = {}
    for task in TASKS:
        for side in LOOKS:
            wanted[f"neighbours: {task}, {side} pixels"] = {"what": "neighbours", "task": task, "side": side}
    for task, seeds in SEEDS.items():
        for seed in seeds:
            for side in LOOKS:
                where = {"task": task, "side": side, "seed": seed}
                wanted[f"look: {name_of(**where)}"] = {"what": "look"} | where
            for labels in LABELS:
                wanted |= _every({"task": task, "labels": labels, "seed": seed}, TASKS[task])
    if not smoke:
        return wanted
    some = [name for name in wanted if "seed" not in name or ("seed 0" in name and ", 5 labels" in name)]
    return {name: wanted[name] | {"smoke": True} for name in [*some[3:4], *some[6::6]]}


def _every(own: dict[str, Any], native: int) -> dict[str, dict[str, Any]]:
    """Each number of steps, moved or not, of the large network at each side and of the small ones."""
    wanted: dict[str, dict[str, Any]] = {}
    for times in SMALL_TIMES:
        for moved in (True, False):
            shared = own | {"times": times, "moved": moved}
            if times in TIMES:
                for side in SIDES:
                    wanted[f"tuned: {name_of(**shared, side=side)}"] = {
                        "what": "tuned",
                        **shared,
                        "side": side,
                    }
            for network in SMALL if moved or times in TIMES else ():
                for side in {native, *SIDES} if moved and times == 2 else {native}:
                    each = shared | {"side": side, "network": network}
                    wanted[f"small: {name_of(**each)}"] = {"what": "small"} | each
    return wanted


def name_of(
    task: str, side: int, seed: int, labels: int = 0, times: int = 0, moved: bool | None = None,
    network: str = "",
) -> str:  # fmt: skip
    parts = [
        task,
        network,
        f"{labels} labels" * bool(labels),
        f"{side} pixels",
        f"steps ×{times}" * bool(times),
    ]
    parts += ["" if moved is None else ("moved" if moved else "not moved"), f"seed {seed}"]
    return ", ".join(part for part in parts if part)


def measure(at: torch.device, what: str, **arguments: Any) -> Any:
    """One entry of the record: accuracies."""
    return {"neighbours": neighbours, "look": look, "tuned": tuned, "small": small}[what](at, **arguments)


# --- the images ---------------------------------------------------------------------------------------------


@cache
def images_of(task: str) -> tuple[Images, Images]:
    """(the pool that labelled images are taken from, 480 crops or 500 digits to test)."""
    if task == "crops":
        return data.patches()
    train, test = data.mnist()
    return train, test.take(500)


def labelled(task: str, labels: int, seed: int) -> Images:
    train, _ = images_of(task)
    return train.take(labels * len(train.classes), seed=seed)


def held_out(task: str, labels: int, seed: int) -> Images:
    """Up to 500 images of the pool that are not among the labelled: ``take`` begins with those."""
    train, _ = images_of(task)
    used, end = labels * len(train.classes), min(len(train), labels * len(train.classes) + 500)
    every = train.take(end, seed=seed)
    return Images(every.x[used:], every.y[used:], every.classes, every.mean, every.std)


def changes(task: str, images: Images, side: int) -> Augment:
    """What leaves a digit or a crop what it is: shifts in proportion to the image, and turns or flips."""
    if task == "digits":
        return Augmentation(images, Crop(round(side / 14)), Rotation(15))
    return Augmentation(images, Crop(side // 8), Flip())


# --- the large network --------------------------------------------------------------------------------------


@cache
def base(at: torch.device) -> EfficientNetLite0:
    return EfficientNetLite0(pretrained=True).eval().to(at)


def through(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(part) for part in x.split(CHUNK)])


@cache
def frozen_test(at: torch.device, task: str, side: int, depth: int, most: int) -> Tensor:
    """What the first ``depth`` stages make of the test images."""
    x, _ = transfer.prepare(images_of(task)[1], side).tensors()
    return through(base(at).features[:depth], x[:most].to(at))


def look(at: torch.device, task: str, side: int, seed: int) -> dict[str, dict[str, float]]:
    """By labels a class: a linear layer on the features, and the nearest labelled image."""
    test = images_of(task)[1]
    known, found = transfer.features(base(at), transfer.prepare(test, side).to(at)), {}
    for labels in LABELS:
        few = labelled(task, labels, seed)
        features, y = transfer.features(base(at), transfer.prepare(few, side).to(at)), few.y.to(at)
        probe = transfer.linear_probe(features, y)
        nearest = transfer.nearest_neighbours(features, y, known)
        found[str(labels)] = {
            "linear probe": accuracy(probe(known), test.y),
            "nearest neighbour": round((nearest.cpu() == test.y).float().mean().item(), 4),
        }
    return found


def neighbours(at: torch.device, task: str, side: int, smoke: bool = False) -> dict[str, float]:
    """How often the nearest of all 640 crops, or of 400 digits, is of the right class."""
    train, test = images_of(task)
    train = train if task == "crops" else train.take(400, seed=1)
    found = {}
    for by in ("features", "pixels"):
        if by == "features":
            x, queries = (
                transfer.features(base(at), transfer.prepare(images, side).to(at)).cpu()
                for images in (train, test)
            )
        else:
            x, queries = (images.x.flatten(1).float() for images in (train, test))
        found[by] = round(
            (transfer.nearest_neighbours(x, train.y, queries) == test.y).float().mean().item(), 4
        )
    return found


class Tail(nn.Module):
    """A copy of the network from stage ``depth`` on, with a new head; no BatchNorm learns."""

    def __init__(self, model: EfficientNetLite0, depth: int, classes: int, seed: int) -> None:
        super().__init__()
        model = copy.deepcopy(model).cpu()
        transfer.replace_head(model, classes, generator=torch.Generator().manual_seed(seed))
        self.stages, self.pool, self.head = model.features[depth:], model.avgpool, model.classifier
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.stages(x)).flatten(1))


def tuned(
    at: torch.device, task: str, labels: int, side: int, times: int, moved: bool, seed: int,
    smoke: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Accuracy on the test images for each number of frozen stages, and for the schedule of two parts."""
    test, few = images_of(task)[1], transfer.prepare(labelled(task, labels, seed), side)
    steps, most = (2, 20) if smoke else (times * STEPS[labels], len(test))
    augment = changes(task, few, side) if moved else None
    x, y = (tensor.to(at) for tensor in few.tensors())
    found = {}
    for depth in DEPTHS:
        tail = Tail(base(at), depth, len(few.classes), seed).to(at)
        batches = frozen_batches(base(at).features[:depth], x, y, steps, augment, seed)
        train_tail(tail, batches, steps, BODY_LR)
        logits = through(tail, frozen_test(at, task, side, depth, most))
        found[f"frozen {depth}"] = accuracy(logits, test.y[:most])
    if times == 2 and moved:
        tail = Tail(base(at), 0, len(few.classes), seed).to(at)
        for part, lr in enumerate((None, BODY_LR)):
            batches = frozen_batches(nn.Sequential(), x, y, steps // 2, augment, seed + 100 * part)
            train_tail(tail, batches, steps // 2, lr)
        logits = through(tail, frozen_test(at, task, side, 0, most))
        found["frozen, then all"] = accuracy(logits, test.y[:most])
    return found


def frozen_batches(frozen, x, y, steps, augment, seed):
    """``steps`` batches, as the frozen stages hand them on; what is frozen is computed for many at once."""
    order = torch.Generator().manual_seed(seed)
    passes = -(-steps * BATCH // len(x))
    index = torch.cat([torch.randperm(len(x), generator=order) for _ in range(passes)])[: steps * BATCH]
    chance = torch.Generator(x.device).manual_seed(seed)
    for part in index.to(x.device).split(CHUNK):
        images = x[part] if augment is None else augment(x[part], chance)
        with torch.no_grad():
            images = frozen(images)
        yield from zip(images.split(BATCH), y[part].split(BATCH), strict=True)


def train_tail(tail: Tail, batches: Any, steps: int, lr: float | None) -> None:
    """Adam on the head at HEAD_LR and on the stages at ``lr`` (None: not at all), both falling to zero."""
    groups = [{"params": list(tail.head.parameters()), "lr": HEAD_LR}]
    body = [p for p in tail.stages.parameters() if p.requires_grad]
    if lr and body:
        groups.append({"params": body, "lr": lr})
    fused = next(tail.parameters()).is_cuda
    optimizer = torch.optim.Adam(groups, fused=fused)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, total_iters=steps)
    for x, y in batches:
        with torch.set_grad_enabled(True):
            features = tail.stages(x) if lr else through(tail.stages, x)
            loss = F.cross_entropy(tail.head(tail.pool(features).flatten(1)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()


def accuracy(logits: Tensor, y: Tensor) -> float:
    return round((logits.argmax(1).cpu() == y).float().mean().item(), 4)


# --- the small ones -----------------------------------------------------------------------------------------


def small(
    at: torch.device, task: str, labels: int, side: int, network: str, times: int, moved: bool, seed: int,
    smoke: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Accuracy from nothing, on the test images and on held-out ones, by which a network may be chosen."""
    few, validation, test = (
        enlarged(images, side)
        for images in (labelled(task, labels, seed), held_out(task, labels, seed), images_of(task)[1])
    )
    make, lr = SMALL[network]
    torch.manual_seed(seed)  # dropout
    options: dict[str, Any] = {
        "num_classes": len(few.classes),
        "generator": torch.Generator().manual_seed(seed),
    }
    if make is CifarResNet:
        model = CifarResNet(8, in_channels=1, widths=(8, 16, 32), **options)
    else:
        model = make(image_size=side, **options)
    model.to(at)
    steps = 2 if smoke else times * STEPS[labels]
    optimizer = torch.optim.Adam(model.parameters(), lr)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    fit(
        model, few, optimizer, steps=steps, seed=seed, batch_size=BATCH, progress=False,
        scheduler=cycle, scheduler_every="step", augment=changes(task, few, side) if moved else None,
    )  # fmt: skip
    return {
        "test": round(evaluate(model, test.to(at)).accuracy, 4),
        "held out": round(evaluate(model, validation.to(at)).accuracy, 4),
    }


def enlarged(images: Images, side: int) -> Images:
    """The same grey images, ``side`` pixels wide."""
    if images.x.shape[-1] == side:
        return images
    x = transfer.prepare(images, side).x[:, :1].contiguous()
    return dataclasses.replace(images, x=x)


def best_small(
    runs: dict[str, Any], task: str, labels: int, times: int, moved: bool, side: int = 0
) -> tuple[str, list[float]]:
    """The small network that is best on held-out images, mean over seeds, and its test accuracies."""
    by_network: dict[str, list[dict[str, float]]] = {}
    side = side or TASKS[task]
    for network in SMALL:
        names = [f"small: {name_of(task, side, seed, labels, times, moved, network)}" for seed in SEEDS[task]]
        by_network[network] = [runs[name] for name in names if name in runs]
    best = max(by_network, key=lambda n: statistics.mean(run["held out"] for run in by_network[n]))
    return best, [run["test"] for run in by_network[best]]


# --- the table ----------------------------------------------------------------------------------------------


def table(record: Record) -> str:
    """The best setting of each side, and what resolution, augmentation and steps are worth, by labels."""
    runs = record.runs

    def seeds(task: str, name: Callable[[int], str]) -> list[Any]:
        return [runs[name(seed)] for seed in SEEDS[task]]

    lines = []
    for task in TASKS:
        lines += [f"| {task} | " + " | ".join(f"{n} a class" for n in LABELS) + " |"]
        lines += ["|---|" + "--:|" * len(LABELS)]
        for side in LOOKS:
            looks = seeds(task, lambda s, task=task, side=side: f"look: {name_of(task, side, s)}")
            for way in ("nearest neighbour", "linear probe"):
                cells = [spread([one[str(n)][way] for one in looks], 1, 100) for n in LABELS]
                lines.append(f"| {way}, {side} pixels | {' | '.join(cells)} |")
        for side, times, moved in (
            (64, 1, False),
            (64, 2, False),
            (64, 2, True),
            (128, 2, False),
            (128, 2, True),
        ):
            ways = [f"frozen {depth}" for depth in DEPTHS] + ["frozen, then all"] * (times == 2 and moved)
            for way in ways:
                cells = []
                for n in LABELS:
                    found = seeds(
                        task,
                        lambda s, task=task, side=side, n=n, times=times, moved=moved: (
                            f"tuned: {name_of(task, side, s, n, times, moved)}"
                        ),
                    )
                    cells.append(spread([one[way] for one in found], 1, 100))
                label = way.replace("frozen ", "stages frozen: ") if way[-1].isdigit() else way
                extra = f"{side} pixels, steps ×{times}" + ", moved" * moved
                lines.append(f"| {label}; {extra} | {' | '.join(cells)} |")
        small_ways = [(TASKS[task], 1, False), (TASKS[task], 2, False), (TASKS[task], 2, True)]
        small_ways += [(side, 2, True) for side in SIDES if side != TASKS[task]] + [(TASKS[task], 4, True)]
        for side, times, moved in small_ways:
            picked = [best_small(runs, task, n, times, moved, side) for n in LABELS]
            cells = [f"{spread(found, 1, 100)} ({name})" for name, found in picked]
            extra = f"{side} pixels, steps ×{times}" + ", moved" * moved
            lines.append(f"| from scratch; {extra} | {' | '.join(cells)} |")
        lines.append("")
    lines += ["| nearest of all, right | " + " | ".join(f"{s} pixels" for s in LOOKS) + " | bare pixels |"]
    lines += ["|---|" + "--:|" * (len(LOOKS) + 1)]
    for task in TASKS:
        found = [runs[f"neighbours: {task}, {side} pixels"] for side in LOOKS]
        cells = [f"{100 * one['features']:.1f}" for one in found] + [f"{100 * found[0]['pixels']:.1f}"]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", protocol(record.where)]) + "\n"


def protocol(where: str) -> str:
    steps = ", ".join(map(str, STEPS.values()))
    return (
        "Test accuracy in per cent; crops: mean ± standard deviation of two seeds, which choose the labelled "
        "images and draw the weights; digits: one seed; 480 crops and 500 digits to test. Images are "
        f"enlarged to the pixels given. Steps: {steps} (by labels), times the factor given, in batches of "
        f"{BATCH}, for the large network and the small ones alike. Moved: digits shifted by up to a "
        "fourteenth of their side and turned by up to 15 degrees, crops shifted by up to an eighth and "
        f"mirrored, for both alike. The large network: Adam, the head at {HEAD_LR:g}, the stages that are "
        f"not frozen at {BODY_LR:g}, both "
        "falling to zero on a line; all BatchNorms keep what they have. Frozen, then all: half of the steps "
        "each. From scratch: Adam on one cycle; of SimpleConvNet, DeepConvNet and ResNet-8 the one that was "
        "best, on the mean of the seeds, on up to 500 images of the training pool that were not among the "
        f"labelled. The last table: nearest of 640 crops or 400 digits. {where}."
    )
