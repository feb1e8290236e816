"""The fastest honest run: Fashion-MNIST to the taught recipe's accuracy, one trick at a time.

Every choice is made on 5,000 validation images that no run trains on: the target (what the taught recipe
reaches), which tricks are kept, and how many epochs the final recipes take. Only those are then trained on
all 60,000, and only they see the test images. ``training.fit`` trains all of them; a trick is one change of
what it is given.

Sources of the tricks: D. Page, "How to train your ResNet", 2018 (short one-cycle schedules, whitened
patches); K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv:2404.00498 (mirrored test
images, runs compared by their mean over seeds); P. Goyal et al., "Accurate, large minibatch SGD", 2017
(learning rate in proportion to the batch); C. Szegedy et al., "Rethinking the Inception architecture",
2016 (label smoothing).
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.gpu._clock import Deadline, free
from benchmarks.gpu._settings import Settings
from course_lib import optim
from course_lib.data import Images
from course_lib.data.augment import Augmentation, Crop, Flip
from course_lib.models.cifar_resnet import CifarResNet
from course_lib.training import evaluate, fit

VALIDATION = 1 / 12  # 5,000 of 60,000
LEVEL = 0.05  # a trick is kept when its gain would come about by chance less often than this


@dataclass(frozen=True)
class Recipe:
    """What a run is given. The defaults are how the chapters train: SGD with momentum, nothing else."""

    epochs: int
    batch_size: int = 128
    lr: float = 0.05
    precision: str = "fp32"  # as torch ships it: TF32 in convolutions
    one_cycle: bool = False
    nesterov: bool = False
    weight_decay: float = 0.0
    smoothing: float = 0.0
    mirrored: bool = False
    shift: int = 0
    whitened: bool = False


# Name, what it changes, and whether it is to save time a step or steps.
TRICKS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("batches of 500, learning rate in proportion", {"batch_size": 500, "lr": 0.2}, "time"),
    ("bf16 autocast", {"precision": "bf16"}, "time"),
    ("one cycle of the learning rate", {"one_cycle": True}, "accuracy"),
    ("Nesterov, weight decay 5e-4", {"nesterov": True, "weight_decay": 5e-4}, "accuracy"),
    ("first layer whitened", {"whitened": True}, "accuracy"),
    ("label smoothing 0.1", {"smoothing": 0.1}, "accuracy"),
    ("mirrored at random", {"mirrored": True}, "accuracy"),
    ("shifted by up to 2 pixels", {"shift": 2}, "accuracy"),
)


@dataclass(frozen=True)
class Run:
    """Training seconds and validation accuracy after each epoch, and the network."""

    seconds: list[float]
    accuracy: list[float]
    model: nn.Module


def run(
    device: torch.device, settings: Settings, deadline: Deadline, train: Images, test: Images
) -> dict[str, Any]:
    """``taught``, ``targets``, ``ladder``, ``candidates`` and ``final``; lists hold a number a seed."""
    free(device)
    if settings.images is not None:
        train, test = train.take(settings.images, seed=0), test.take(settings.images // 4, seed=0)
    train, test = train.to(device), test.to(device)
    seen, validation = train.split(1 - VALIDATION, seed=0)
    whole = deadline.left
    parts = [Deadline(share * whole) for share in (0.25, 0.7, 0.87, 1.0)]
    trainer = Trainer(settings, seen, validation)

    runs = trainer.several(Recipe(settings.taught_epochs), min(3, settings.seeds), parts[0])
    taught, target = from_taught(runs, settings, test)
    ladder, kept = climbed(trainer, runs, parts[1])
    candidates = tried(trainer, kept, parts[2])
    finals = [final(trainer, train, test, goal, candidates, parts[3]) for goal in (target, target + 0.01)]
    return {
        "images": {"train": len(train), "seen": len(seen), "validation": len(validation), "test": len(test)},
        "network": {"name": "CifarResNet-8", "widths": settings.widths, "parameters": trainer.parameters()},
        "taught": taught,
        "targets": [target, round(target + 0.01, 4)],
        "ladder": ladder,
        "kept": asdict(kept),
        "candidates": candidates,
        "final": [each for each in finals if each],
    }


class Trainer:
    """Runs recipes on fixed images, seed by seed."""

    def __init__(self, settings: Settings, seen: Images, validation: Images | None) -> None:
        self.settings, self.seen, self.validation = settings, seen, validation

    def network(self, seed: int) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        network = CifarResNet(8, in_channels=1, widths=self.settings.widths, generator=generator)
        return network.to(self.seen.device)

    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network(0).parameters())

    def several(self, recipe: Recipe, seeds: int, deadline: Deadline) -> list[Run]:
        """A run for each seed; two at least, and no more than there is time for."""
        self.once(
            replace(recipe, epochs=1), seed=0, steps=self.settings.loading_steps
        )  # kernels are loaded when first used
        runs: list[Run] = []
        for seed in range(seeds):
            began = time.perf_counter()
            runs.append(self.once(recipe, seed))
            took = time.perf_counter() - began
            if len(runs) >= 2 and not deadline.allows(took):
                break
        return runs

    def once(self, recipe: Recipe, seed: int, steps: int | None = None) -> Run:
        """Train a fresh network; ``steps`` ends it early."""
        model, seen = self.network(seed), self.seen
        if recipe.whitened:
            whiten(model.conv1, seen.take(min(2_000, len(seen))).tensors()[0])
        optimizer = sgd(model, recipe)
        total = steps or recipe.epochs * math.ceil(len(seen) / recipe.batch_size)
        history = fit(
            model,
            seen,
            optimizer,
            epochs=None if steps else recipe.epochs,
            steps=steps,
            batch_size=recipe.batch_size,
            validation=self.validation,
            loss=partial(F.cross_entropy, label_smoothing=recipe.smoothing),
            scheduler=one_cycle(optimizer, total) if recipe.one_cycle else None,
            scheduler_every="step",
            augment=augmentation(seen, recipe),
            precision=recipe.precision,
            seed=seed,
            progress=False,
        )
        seconds = [round(epoch.seconds, 4) for epoch in history.epochs]
        return Run(seconds, [epoch.validation_accuracy for epoch in history.epochs], model)


def sgd(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Momentum 0.9; weight decay on the weights, not on biases and scales."""
    weights = optim.decayed(model)
    chosen = {id(weight) for weight in weights}
    others = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others}]
    return torch.optim.SGD(groups, recipe.lr, momentum=0.9, nesterov=recipe.nesterov)


def one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    """Up to the optimizer's rate in the first quarter of the steps, then down to almost 0, on lines."""
    up = max(1, steps // 4)
    rate = lambda k: min((k + 1) / up, (steps - k) / (steps - up + 1))  # noqa: E731
    return torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def augmentation(images: Images, recipe: Recipe) -> Augmentation | None:
    operations = [Flip()] if recipe.mirrored else []
    operations += [Crop(recipe.shift)] if recipe.shift else []
    return Augmentation(images, *operations) if operations else None


@torch.no_grad()
def whiten(conv: nn.Conv2d, x: Tensor, eps: float = 1e-2) -> None:
    """Let the first filters of ``conv`` put out uncorrelated numbers of equal variance, each with both signs.

    They are the eigenvectors of the covariance of the image patches under them, divided by the root of
    their eigenvalues plus ``eps``; of the filters that there are more, the rest stay as they were drawn.

    Args:
        conv: of the images, with k = in_channels × kernel² inputs a filter and 2k filters or more, else only
            the eigenvectors of the largest eigenvalues have a place.
        x: normalised images, (N, in_channels, H, W).
    """
    patches = F.unfold(x, conv.kernel_size).transpose(1, 2).flatten(0, 1)  # (N · positions, k)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T.double()))  # smallest first
    filters = (vectors / (values + eps).sqrt()).T.flip(0).to(conv.weight)  # (k, k), a filter a row
    filters = filters[: conv.out_channels // 2].view(-1, *conv.weight.shape[1:])
    conv.weight[: 2 * len(filters)] = torch.cat([filters, -filters])


def from_taught(runs: list[Run], settings: Settings, test: Images) -> tuple[dict[str, Any], float]:
    """The recipe of the chapters, epoch by epoch, and the target that it sets.

    The target is the mean validation accuracy of its best epoch, rounded down to half a per cent.
    """
    by_epoch = [statistics.mean(values) for values in zip(*(run.accuracy for run in runs), strict=True)]
    target = math.floor(200 * max(by_epoch)) / 200
    first = next(k for k, accuracy in enumerate(by_epoch) if accuracy >= target)
    return {
        "recipe": asdict(Recipe(settings.taught_epochs)),
        "validation": [run.accuracy for run in runs],
        "seconds": [run.seconds for run in runs],
        "epochs_to_target": first + 1,
        "seconds_to_target": [round(sum(run.seconds[: first + 1]), 3) for run in runs],
        "test": [evaluate(run.model, test).accuracy for run in runs],
    }, target


def climbed(trainer: Trainer, taught: list[Run], deadline: Deadline) -> tuple[list[dict[str, Any]], Recipe]:
    """One trick more on each rung; kept if it pays on validation images, or in seconds.

    A trick for accuracy pays when the mean is higher at the level of ``LEVEL``; one for time when the
    seconds are fewer at that level, whatever the accuracy of so short a run.
    """
    epochs, seeds = trainer.settings.rung_epochs, trainer.settings.seeds
    kept = Recipe(epochs)
    # The taught recipe has no schedule, so a short run is the beginning of a long one.
    best = [Run(run.seconds[:epochs], run.accuracy[:epochs], run.model) for run in taught]
    rungs = [rung("as taught", best, None, None, True)]
    for name, change, kind in TRICKS:
        if not deadline.allows(2 * sum(best[0].seconds)):
            rungs.append({"name": name, "skipped": True})
            continue
        n = seeds if kind == "accuracy" else min(3, seeds)
        runs = trainer.several(replace(kept, **change), n, deadline)
        new, old = ([final_figure(run, kind) for run in each] for each in (runs, best))
        gain = statistics.mean(new) - statistics.mean(old)
        p = chance(new, old)
        pays = p is not None and p < LEVEL and (gain > 0 if kind == "accuracy" else gain < 0)
        rungs.append(rung(name, runs, gain, p, pays) | {"kind": kind})
        if pays:
            kept, best = replace(kept, **change), runs
    return rungs, kept


def final_figure(run: Run, kind: str) -> float:
    """What a trick is to improve: the last accuracy, or all seconds."""
    return run.accuracy[-1] if kind == "accuracy" else sum(run.seconds)


def rung(name: str, runs: list[Run], gain: float | None, p: float | None, kept: bool) -> dict[str, Any]:
    return {
        "name": name,
        "validation": [run.accuracy[-1] for run in runs],
        "seconds": [round(sum(run.seconds), 4) for run in runs],
        "gain": gain,
        "p": p,
        "kept": kept,
    }


def chance(a: list[float], b: list[float]) -> float | None:
    """Welch's test: how often means so far apart would come about if there were no difference."""
    from scipy import stats

    if statistics.variance(a) + statistics.variance(b) == 0:
        return None
    return float(stats.ttest_ind(a, b, equal_var=False).pvalue)


def everything(kept: Recipe) -> Recipe:
    """All tricks, also those that did not pay in a run as short as a rung."""
    return replace(kept, **{key: value for _, change, _ in TRICKS for key, value in change.items()})


def tried(trainer: Trainer, kept: Recipe, deadline: Deadline) -> list[dict[str, Any]]:
    """Two seeds each of what was kept, in short runs, and of everything, in longer ones."""
    settings = trainer.settings
    recipes = [("the kept", replace(kept, epochs=epochs)) for epochs in settings.short]
    recipes += [("all", replace(everything(kept), epochs=epochs)) for epochs in settings.long]
    found = []
    for which, recipe in recipes:
        if not found or deadline.allows(2 * recipe.epochs * found[-1]["seconds"][0] / found[-1]["epochs"]):
            runs = trainer.several(recipe, 2, deadline)
            found.append(
                {
                    "which": which,
                    "epochs": recipe.epochs,
                    "recipe": asdict(recipe),
                    "validation": [run.accuracy[-1] for run in runs],
                    "seconds": [round(sum(run.seconds), 4) for run in runs],
                }
            )
    return found


def final(
    trainer: Trainer,
    train: Images,
    test: Images,
    target: float,
    candidates: list[dict[str, Any]],
    deadline: Deadline,
) -> dict[str, Any] | None:
    """The quickest candidate that reaches the target on validation, on all images, then on the test."""
    reach = [each for each in candidates if statistics.mean(each["validation"]) >= target]
    if not reach:
        return None
    chosen = min(reach, key=lambda each: statistics.mean(each["seconds"]))
    runs = Trainer(trainer.settings, train, None).several(
        Recipe(**chosen["recipe"]), trainer.settings.seeds, deadline
    )
    return {
        "target": round(target, 4),
        "which": chosen["which"],
        "recipe": chosen["recipe"],
        "seconds": [round(sum(run.seconds), 4) for run in runs],
        "test": [evaluate(run.model, test).accuracy for run in runs],
        "test_mirrored": [mirrored_accuracy(run.model, test) for run in runs],
    }


@torch.no_grad()
def mirrored_accuracy(model: nn.Module, images: Images) -> float:
    """The share classified right when an image's logits and its mirror image's are added."""
    return evaluate(Mirrored(model), images).accuracy


class Mirrored(nn.Module):
    """A network that looks at each image and at its mirror image: (B, C, H, W) → (B, classes)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return (self.model(x) + self.model(x.flip(-1))) / 2
