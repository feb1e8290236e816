"""The room ``training``: the loop, its history, its checkpoints, and what it refuses."""

from __future__ import annotations

import copy
import dataclasses
import errno
import functools
import json
import os
import random
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler

from course_lib import checkpoint as checkpoints
from course_lib import device as devices
from course_lib import optim, training
from course_lib.data import Images
from course_lib.training import History, NonFiniteLoss, evaluate, fit

PRESENT = [name for name in devices.available() if name != "cuda"]


@pytest.fixture(autouse=True)
def _quiet_and_small(monkeypatch):
    """No bar, and one thread: these networks are so small that a second one only waits."""
    monkeypatch.setenv("COURSE_PROGRESS", "0")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def stripes(n=40, classes=4, channels=1, seed=0) -> Images:
    """8×8 images of noise with a bright row: which row is the class. Easy to learn."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    x = torch.randint(0, 100, (n, channels, 8, 8), dtype=torch.uint8, generator=generator)
    x[torch.arange(n), :, y] += 150
    return Images(x, y, tuple("abcdefgh"[:classes]), (0.3,) * channels, (0.25,) * channels)


def mlp(classes=4, seed=0, dropout=0.0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, classes)
    return nn.Sequential(*layers)


def convnet(seed=0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(144, 4)
    )


def sgd(model, lr=0.1, **settings):
    return torch.optim.SGD(model.parameters(), lr, **settings)


def state(model) -> dict[str, torch.Tensor]:
    return {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].equal(b[name]), name


def numbers(history: History):
    """All of a history but the clock's part of it."""
    return history.loss, [
        (e.train_loss, e.validation_loss, e.validation_accuracy, e.learning_rate) for e in history.epochs
    ]


# ---- the loop --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESENT)
def test_fit_is_the_loop_that_one_would_write(name):
    images = stripes(40).to(name)
    ours, bare = mlp().to(name), mlp().to(name)
    history = fit(ours, images, sgd(ours, momentum=0.9), epochs=2, batch_size=16, seed=5)

    optimizer, losses = sgd(bare, momentum=0.9), []
    generator = torch.Generator(name).manual_seed(5)
    x, y = images.tensors()
    for _ in range(2):
        order = torch.randperm(40, generator=generator, device=name)
        for start in range(0, 40, 16):
            index = order[start : start + 16]
            loss = F.cross_entropy(bare(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert history.loss == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(state(ours), state(bare), rtol=1e-4, atol=1e-6)
    assert len(history.epochs) == 2
    assert history.epochs[1].train_loss == pytest.approx(sum(losses[3:]) / 3, rel=1e-5)
    assert history.epochs[1].validation_loss is None
    assert not history.interrupted


@pytest.mark.parametrize("name", PRESENT)
def test_fit_learns_and_records_the_validation(name):
    model, test = mlp().to(name), stripes(20, seed=1)
    history = fit(model, stripes(40), sgd(model), epochs=8, batch_size=8, validation=test)
    first, last = history.epochs[0], history.epochs[-1]
    assert last.validation_accuracy == 1.0
    assert last.validation_loss < 0.3 * first.validation_loss
    assert evaluate(model, test) == (last.validation_loss, last.validation_accuracy)
    assert last.learning_rate == 0.1
    assert all(epoch.seconds > 0 for epoch in history.epochs)


@pytest.mark.parametrize("name", PRESENT)
def test_the_seed_decides_the_order(name):
    def run(seed):
        model = mlp().to(name)
        return fit(model, stripes(), sgd(model), epochs=2, batch_size=16, seed=seed).loss

    assert run(0) == run(0) != run(1)


def test_the_first_epoch_does_not_use_up_the_callers_random_numbers():
    model = mlp()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    fit(model, stripes(), sgd(model), epochs=1, batch_size=16, validation=stripes())
    assert torch.rand(4).equal(expected)


class Noisy(nn.Module):
    """Draws random numbers in evaluation mode too, and counts them."""

    def __init__(self):
        super().__init__()
        self.inner, self.modes = mlp(dropout=0.5), set()

    def forward(self, x):
        self.modes.add((self.training, torch.is_grad_enabled()))
        return self.inner(x) + 0.01 * torch.randn((), device=x.device)


@pytest.mark.parametrize("name", PRESENT)
def test_validation_never_changes_the_training(name):
    results = []
    for validation in (None, stripes(20, seed=1)):
        model = Noisy().to(name)
        torch.manual_seed(0)
        history = fit(model, stripes(), sgd(model), epochs=3, batch_size=16, validation=validation)
        results.append((history.loss, state(model)))
        assert model.modes == {(True, True), (False, False)}
    assert results[0][0] == results[1][0]
    assert_same(results[0][1], results[1][1])


def test_steps_count_batches_and_may_end_within_an_epoch():
    model, full = mlp(), mlp()
    history = fit(model, stripes(40), sgd(model), steps=5, batch_size=16, validation=stripes())
    assert len(history.loss) == 5
    assert len(history.epochs) == 2
    assert history.epochs[1].train_loss == pytest.approx(sum(history.loss[3:]) / 2)
    assert history.epochs[1].validation_accuracy is not None
    assert history.loss == fit(full, stripes(40), sgd(full), epochs=2, batch_size=16).loss[:5]


@pytest.mark.parametrize(
    ("every", "rates"), [("epoch", [0.1, 0.05, 0.025]), ("step", [0.025, 0.003125, 0.1 / 256])]
)
def test_the_scheduler_steps_when_told(every, rates):
    model = mlp()
    optimizer = sgd(model)
    halving = lr_scheduler.StepLR(optimizer, 1, 0.5)
    history = fit(
        model, stripes(40), optimizer, epochs=3, batch_size=16, scheduler=halving, scheduler_every=every
    )
    assert [epoch.learning_rate for epoch in history.epochs] == pytest.approx(rates)


@pytest.mark.parametrize("validation", [None, stripes(20)])
def test_a_plateau_scheduler_gets_its_loss(validation):
    model, seen = mlp(), []
    optimizer = sgd(model)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer)
    scheduler.step = seen.append
    history = fit(
        model, stripes(), optimizer, epochs=2, batch_size=16, scheduler=scheduler, validation=validation
    )
    kind = "train_loss" if validation is None else "validation_loss"
    assert seen == [getattr(epoch, kind) for epoch in history.epochs]


@pytest.mark.parametrize("name", PRESENT)
def test_augmentation_is_seeded_and_on_the_device(name):
    calls = []

    def augment(x, generator):
        calls.append((x.device, len(x)))
        return x + torch.rand(x.shape, generator=generator, device=x.device)

    def run(augment):
        model = mlp().to(name)
        return fit(
            model, stripes(), sgd(model), epochs=1, batch_size=16, validation=stripes(), augment=augment
        ).loss

    assert run(augment) == run(augment) != run(None)
    assert calls == [(devices.resolve(name), size) for size in (16, 16, 8)] * 2  # never on the validation


@pytest.mark.parametrize("name", PRESENT)
def test_convolutions_run_channels_last_and_the_images_are_moved_once(name, monkeypatch):
    model, seen, measured = convnet().to(name), [], []
    model[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    monkeypatch.setattr(
        training,
        "evaluate",
        lambda model, images, **rest: measured.append(images) or evaluate(model, images, **rest),
    )
    images = stripes(channels=3)
    fit(model, images, sgd(model), epochs=2, batch_size=16, validation=images)
    assert seen
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert len(measured) == 2
    assert measured[0] is measured[1]
    assert measured[0].device == model[0].weight.device
    assert measured[0].x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", PRESENT)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_precision_holds_for_training_and_validation_and_still_learns(name, precision):
    if precision == "fp16" and not name.startswith("cuda"):
        pytest.skip("fp16 needs CUDA; the refusal has a test of its own")
    model, seen = mlp().to(name), set()
    model[1].register_forward_hook(lambda module, args, output: seen.add(output.dtype))
    history = fit(
        model,
        stripes(),
        sgd(model),
        epochs=8,
        batch_size=8,
        validation=stripes(20, seed=1),
        precision=precision,
    )
    assert seen == {{"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]}
    assert history.epochs[-1].validation_accuracy > 0.9
    assert model[1].weight.dtype == torch.float32


@pytest.mark.parametrize("name", PRESENT)
def test_compile_goes_through_torch_compile_and_changes_no_names(name, monkeypatch):
    compiled = []

    def compile(model):
        compiled.append(model)
        return torch_compile(model, backend="eager")

    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", compile)
    model, plain = mlp().to(name), mlp().to(name)
    history = fit(model, stripes(), sgd(model), epochs=1, batch_size=20, compile=True)
    assert compiled == [model]
    assert history.loss == pytest.approx(fit(plain, stripes(), sgd(plain), epochs=1, batch_size=20).loss)
    assert state(model).keys() == state(plain).keys()


def test_the_loss_may_be_another():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))

    def squares(output, y):
        return F.mse_loss(output[:, 0], y.float())

    history = fit(
        model, stripes(), sgd(model, 0.01), epochs=5, batch_size=8, loss=squares, validation=stripes()
    )
    assert history.epochs[-1].train_loss < history.epochs[0].train_loss
    assert evaluate(model, stripes(), loss=squares).loss == history.epochs[-1].validation_loss


def test_the_progress_bar_shows_unless_told_not_to(monkeypatch, capsys):
    def shown(**settings):
        model = mlp()
        fit(model, stripes(), sgd(model), epochs=1, batch_size=16, **settings)
        return "0/3" in capsys.readouterr().err

    assert not shown()  # COURSE_PROGRESS is 0 in these tests
    assert shown(progress=True)
    monkeypatch.delenv("COURSE_PROGRESS")
    assert shown()
    assert not shown(progress=False)


# ---- evaluate --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESENT)
@pytest.mark.parametrize("batch_size", [7, 40, 1000])
def test_evaluate_is_the_mean_over_the_images(name, batch_size):
    model, images = mlp().to(name), stripes(40)
    x, y = images.to(name).tensors()
    logits = model(x)
    result = evaluate(model, images, batch_size=batch_size)
    assert result.loss == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-5)
    assert result.accuracy == (logits.argmax(1) == y).float().mean().item()


LOSSES = {
    "weights": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2, 3.0])),
    "a partial": functools.partial(F.cross_entropy, weight=torch.tensor([1.0, 5.0, 0.2, 3.0])),
    "ignored": nn.CrossEntropyLoss(ignore_index=0),
    "smoothed": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2, 3.0]), label_smoothing=0.1),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("batch_size", [1, 7, 60])
def test_no_loss_depends_on_the_batch_size(loss, batch_size):
    images, model = stripes(60), mlp()  # batches of one: some have a label that is ignored, and no other
    result = evaluate(model, images, loss=LOSSES[loss], batch_size=batch_size)
    x, y = images.tensors()
    assert result.loss == pytest.approx(LOSSES[loss](model.eval()(x), y).item(), rel=1e-5)


def test_a_nan_is_never_right():
    class Broken(nn.Module):
        def forward(self, x):
            return torch.tensor([[float("nan"), 0.0, 9.0, 0.0]]).expand(len(x), -1)

    assert evaluate(Broken(), stripes()).accuracy == 0


def test_evaluate_leaves_every_mode_and_the_random_numbers_as_they_were():
    model = Noisy().train()
    model.inner[3].eval()  # frozen by its owner
    before = [module.training for module in model.modules()]
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    evaluate(model, stripes())
    assert torch.rand(3).equal(expected)
    assert model.modes == {(False, False)}
    assert [module.training for module in model.modules()] == before


def test_modes_are_restored_after_an_error_too():
    model = mlp()
    with pytest.raises(RuntimeError):
        evaluate(model, stripes(channels=3))
    assert model.training
    model.eval()
    with pytest.raises(NonFiniteLoss):
        fit(model, stripes(), sgd(model, 1e30), epochs=9, batch_size=16)
    assert not model.training


# ---- what can go wrong -----------------------------------------------------------------------------


def poisoned(at: int, value: float):
    """A loss that is ``value`` at step ``at``."""
    step = 0

    def loss(output, y):
        nonlocal step
        step += torch.is_grad_enabled()
        return F.cross_entropy(output, y) + (value if step == at else 0.0)

    return loss


@pytest.mark.parametrize("name", PRESENT)
@pytest.mark.parametrize(("value", "word"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_a_loss_that_is_not_finite_stops_with_its_step_and_the_last_good_one(name, value, word):
    model, twin = mlp().to(name), mlp().to(name)
    with pytest.raises(NonFiniteLoss) as caught:
        fit(model, stripes(40), sgd(model, 0.25), epochs=9, batch_size=16, loss=poisoned(5, value))
    good = fit(twin, stripes(40), sgd(twin, 0.25), steps=4, batch_size=16)
    error = caught.value
    assert error.step == 5
    assert error.history.loss[:4] == pytest.approx(good.loss)
    assert len(error.history.loss) == 5
    assert f"the loss is {word} at step 5 (last finite loss: {error.history.loss[3]:.4g} at step 4" in str(
        error
    )
    assert "learning rate 0.25" in str(error)
    assert "Likely causes: a learning rate that is too high" in str(error)
    if name == "cpu":  # the weights are those that gave the loss
        assert_same(state(model), state(twin))


def test_the_very_first_loss_may_be_the_bad_one():
    model = mlp()
    with pytest.raises(NonFiniteLoss, match=r"nan at step 1 \(last finite loss: none"):
        fit(model, stripes(), sgd(model), epochs=1, batch_size=16, loss=poisoned(1, float("nan")))


def test_a_gpu_looks_in_blocks_and_still_names_the_step(monkeypatch):
    history = History()
    losses = training._Losses(history, block=4)
    looks = []
    monkeypatch.setattr(torch, "stack", lambda waiting: looks.append(len(waiting)) or torch.tensor(waiting))

    def run():
        for step in range(1, 12):
            losses.add(torch.tensor(float("nan") if step >= 6 else 1.0), 0.1)

    with pytest.raises(NonFiniteLoss, match="nan at step 6 "):
        run()
    assert looks == [4, 4]
    assert losses.steps == 8


def interrupting(at: int):
    step = 0

    def loss(output, y):
        nonlocal step
        step += torch.is_grad_enabled()
        if step == at:
            raise KeyboardInterrupt
        return F.cross_entropy(output, y)

    return loss


@pytest.mark.parametrize("name", PRESENT)
def test_ctrl_c_returns_what_was_learned_and_keeps_the_last_full_epoch(name, tmp_path):
    def run(**settings):
        model = mlp(dropout=0.5).to(name)
        torch.manual_seed(0)
        history = fit(model, stripes(40), sgd(model, momentum=0.9), batch_size=16, **settings)
        return history, state(model)

    path = tmp_path / "run.pt"
    stopped, weights = run(epochs=3, checkpoint=path, loss=interrupting(6))
    assert stopped.interrupted
    five, expected = run(steps=5)
    assert stopped.loss == five.loss
    assert_same(weights, expected)
    assert len(stopped.epochs) == 1

    saved = torch.load(path, weights_only=True)
    assert_same({k: v.cpu() for k, v in saved["model"].items()}, run(epochs=1)[1])
    resumed, weights = run(epochs=3, checkpoint=path)
    whole, expected = run(epochs=3)
    assert numbers(resumed) == numbers(whole)
    assert_same(weights, expected)
    assert not resumed.interrupted


def test_ctrl_c_during_a_validation_keeps_the_mode():
    model = mlp()

    def stop(module, args):
        if not module.training and len(args[0]) > 2:  # not the two images that fit tries first
            raise KeyboardInterrupt

    model.register_forward_pre_hook(stop)
    history = fit(model, stripes(), sgd(model), epochs=2, batch_size=16, validation=stripes())
    assert history.interrupted
    assert len(history.loss) == 3
    assert history.epochs == []
    assert model.training


WRONG = {
    "neither epochs nor steps": ({"epochs": None}, "exactly one of .* got epochs=None, steps=None"),
    "both epochs and steps": ({"steps": 5}, "exactly one of .* got epochs=1, steps=5"),
    "no epochs": ({"epochs": 0}, "epochs=0 must be a positive integer"),
    "half an epoch": ({"epochs": 0.5}, "epochs=0.5 must be a positive integer"),
    "no steps": ({"epochs": None, "steps": -3}, "steps=-3 must be a positive integer"),
    "no batch": ({"batch_size": 0}, "batch_size=0 must be a positive integer"),
    "a batch larger than the set": ({"batch_size": 41}, "batch_size=41 is more than .*: at most 40"),
    "checkpoints never": ({"checkpoint_every": 0}, "checkpoint_every=0 must be a positive integer"),
    "a negative l2": ({"l2": -0.1}, "l2=-0.1 must be a finite number, 0 or more"),
    "an infinite l2": ({"l2": float("inf")}, "l2=inf must be a finite number"),
    "an l2 that is no number": ({"l2": True}, "l2=True must be a finite number"),
    "no patience": ({"patience": 0, "validation": stripes()}, "patience=0 must be a positive integer"),
    "patience without validation": ({"patience": 3}, "patience=3 waits for the validation loss, but"),
    "a scheduler of another rhythm": ({"scheduler_every": "batch"}, "scheduler_every='batch' must be"),
    "an unknown device": ({"device": "gpu"}, "device='gpu' is not a device"),
    "an unknown precision": ({"precision": "fp64"}, "precision='fp64' is unknown"),
    "fp16 on the CPU": ({"precision": "fp16"}, "precision='fp16' needs a CUDA device"),
    "labels beyond the outputs": ({"train": stripes(classes=5)}, "4 outputs, but the labels go up to 4"),
    "a loss of many numbers": (
        {"loss": functools.partial(F.cross_entropy, reduction="none")},
        r"loss must return one number for a batch, a tensor of shape \(\), got \(2,\)",
    ),
    "a loss that is a float": ({"loss": lambda output, y: 1.0}, "loss must return one number .*, got float"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_fit_refuses_what_does_not_fit_and_changes_nothing(case):
    model = mlp()
    arguments = {"train": stripes(40), "epochs": 1, "batch_size": 16}
    changed, message = WRONG[case]
    before = state(model)
    with pytest.raises(ValueError, match=message):
        fit(model, optimizer=sgd(model), **(arguments | changed))
    assert_same(state(model), before)


def other(**changes):
    """The images of ``stripes`` with something about them changed."""
    return dataclasses.replace(stripes(), **changes)


INCOMPARABLE = {
    "classes in another order": (
        other(classes=("a", "c", "b", "d")),
        "the classes in another order than train: label 1 is 'c' there and 'b' in train",
    ),
    "other classes": (
        other(classes=("a", "b", "c", "x")),
        "label 3 is 'x' there and 'd' in",
    ),
    "more classes": (
        other(classes=tuple("abcde")),
        "label 4 is 'e' there and None in train",
    ),
    "another mean": (other(mean=(0.4,)), r"validation has mean=\(0.4,\) and train \(0.3,\): a pixel would"),
    "another spread": (other(std=(0.2,)), r"validation has std=\(0.2,\) and train \(0.25,\): a pixel would"),
    "more channels": (stripes(channels=3), "validation has mean="),
}


@pytest.mark.parametrize("case", INCOMPARABLE)
def test_a_validation_set_that_means_something_else_is_refused_before_the_first_step(case):
    model, (validation, message) = mlp(), INCOMPARABLE[case]
    before = state(model)
    with pytest.raises(ValueError, match=message):
        fit(model, stripes(), sgd(model), epochs=1, batch_size=16, validation=validation)
    assert_same(state(model), before)


def test_a_validation_set_of_another_size_is_tried_before_the_first_step():
    model = mlp()
    before, small = state(model), other(x=stripes().x[:, :, :6, :6].contiguous())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        fit(model, stripes(), sgd(model), epochs=1, batch_size=16, validation=small)
    assert "fit tried the model on: x (2, 1, 6, 6)" in caught.value.__notes__[0]
    assert_same(state(model), before)


def test_a_schedule_of_another_optimizer_is_refused():
    model = mlp()
    scheduler = lr_scheduler.StepLR(sgd(model), 1)
    with pytest.raises(ValueError, match="scheduler is a StepLR of another optimizer"):
        fit(model, stripes(), sgd(model), epochs=1, batch_size=16, scheduler=scheduler)
    with pytest.raises(ValueError, match=r"must have a method step\(\)"):
        fit(model, stripes(), sgd(model), epochs=1, batch_size=16, scheduler=lr_scheduler.StepLR)


class Losses:
    """A schedule of one's own that asks for the loss."""

    def __init__(self):
        self.seen = []

    def step(self, value):
        self.seen.append(value)


def test_a_schedule_that_asks_for_the_loss_gets_it_after_each_epoch_only():
    model, mine = mlp(), Losses()
    history = fit(model, stripes(), sgd(model), epochs=2, batch_size=16, scheduler=mine, validation=stripes())
    assert mine.seen == [epoch.validation_loss for epoch in history.epochs]
    before, optimizer = state(model), sgd(model)
    for scheduler in (Losses(), lr_scheduler.ReduceLROnPlateau(optimizer)):
        with pytest.raises(
            ValueError, match=f"'step' with {type(scheduler).__name__}, which asks for a loss"
        ):
            fit(
                model, stripes(), optimizer, epochs=1, batch_size=16,
                scheduler=scheduler, scheduler_every="step",
            )  # fmt: skip
    assert_same(state(model), before)


@pytest.mark.parametrize("n", [33, 1], ids=["a rest of one", "one in all"])
def test_a_last_batch_that_batch_norm_cannot_take_is_said_before_training(n):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4))
    before, random = state(model), torch.get_rng_state()
    images = dataclasses.replace(stripes(), x=stripes(40).x[:n], y=stripes(40).y[:n])
    size = min(n, 16)
    with pytest.raises(
        ValueError, match=f"batch_size={size} leaves a batch of one of the {n} images"
    ) as caught:
        fit(model, images, sgd(model), epochs=1, batch_size=size)
    assert_same(state(model), before)
    assert torch.get_rng_state().equal(random)
    if n > 1:
        better = int(re.search(r"Take batch_size=(\d+)", str(caught.value))[1])
        fit(model, images, sgd(model), epochs=1, batch_size=better)
        fit(model, images, sgd(model), steps=2, batch_size=16)  # the rest is not reached


def test_a_last_batch_of_one_is_no_trouble_where_there_are_pixels_to_average():
    model, images = convnet(), stripes(33, channels=3)
    history = fit(model, images, sgd(model), epochs=1, batch_size=16)
    assert len(history.loss) == 3


class Unfreeze:
    """A schedule that lets the first layers learn after an epoch, in the way that a reader would write it."""

    def __init__(self, module):
        self.module = module
        module.requires_grad_(False)
        module.train = lambda mode=True: module
        for part in module.modules():
            part.training = False

    def step(self):
        del self.module.train
        self.module.requires_grad_(True)


def unfreezing():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
    return nn.Sequential(body, nn.Linear(8, 4))


def test_what_a_schedule_unfreezes_is_trained_from_the_next_step_on_and_stays_so():
    """Mode, BatchNorm's statistics and the penalty follow, though fit began with the layers frozen."""
    model = unfreezing()
    schedule, modes = Unfreeze(model[0]), []
    model[0][2].register_forward_hook(lambda module, x, y: modes.append(module.training))
    fit(model, stripes(), sgd(model), epochs=1, batch_size=20, scheduler=schedule)
    assert not any(modes)
    assert all(module.training for module in model.modules())
    schedule = Unfreeze(model[0])
    before, modes[:] = state(model), []
    fit(model, stripes(), sgd(model), epochs=1, batch_size=20)  # frozen before and after: stays
    assert not any(module.training for module in model[0].modules())
    assert model.training
    assert_same(state(model[0]), {k[2:]: v for k, v in before.items() if k.startswith("0.")})
    steps = []
    fit(
        model, stripes(), sgd(model, 0.1), epochs=2, batch_size=20, scheduler=schedule_once(schedule), l2=0.5,
        augment=lambda x, _: steps.append(model[0][1].weight.detach().norm().item()) or 0 * x,
    )  # fmt: skip
    # With images that are all 0 nothing but the penalty moves the first layer: λ lr = 0.05 a step.
    assert steps[1:3] == steps[:1] * 2
    assert steps[3] == pytest.approx(0.95 * steps[2], rel=1e-4)
    assert modes[-1]


def schedule_once(schedule):
    """Its first call only."""
    called = []

    class Once:
        def step(self):
            if not called:
                called.append(schedule.step())

    return Once()


def test_what_a_schedule_freezes_stays_in_evaluation():
    model = unfreezing()

    class Freeze:
        def step(self):
            Unfreeze(model[0])

    fit(model, stripes(), sgd(model), epochs=1, batch_size=20, scheduler=Freeze())
    assert not any(module.training for module in model[0].modules())
    assert model.training


def test_fit_refuses_an_optimizer_of_another_model():
    with pytest.raises(ValueError, match="optimizer holds none of the model's parameters"):
        fit(mlp(), stripes(), sgd(mlp()), epochs=1, batch_size=16)


def test_fit_refuses_a_model_that_is_all_frozen():
    model = mlp().requires_grad_(False)
    with pytest.raises(ValueError, match=r"no parameter of the model is trainable: .* unfreeze"):
        fit(model, stripes(), sgd(model), epochs=1, batch_size=16)


def test_fit_refuses_a_model_without_parameters():
    with pytest.raises(ValueError, match="model has no parameters"):
        fit(nn.Flatten(), stripes(), sgd(mlp()), epochs=1, batch_size=16)


def test_fit_moves_no_model(monkeypatch):
    monkeypatch.setattr(training, "resolve", torch.device)  # a machine that has a second device
    model = mlp()
    with pytest.raises(ValueError, match=r"on cpu: call model.to\('meta'\) before the optimizer is built"):
        fit(model, stripes(), sgd(model), epochs=1, batch_size=16, device="meta")
    with pytest.raises(ValueError, match="device='meta', but the model's parameters are on cpu"):
        evaluate(model, stripes(), device="meta")


def test_fit_refuses_a_model_whose_output_is_no_logits():
    model = nn.Conv2d(1, 4, 3)
    with pytest.raises(ValueError, match=r"logits of shape \(B, classes\), got shape \(2, 4, 6, 6\)"):
        fit(model, stripes(), sgd(model), epochs=1, batch_size=16)


def test_images_that_do_not_fit_the_model_keep_torchs_error_and_get_the_shapes():
    model = mlp()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        fit(model, stripes(channels=3), sgd(model), epochs=1, batch_size=16)
    assert any("x (2, 3, 8, 8), torch.float32, contiguous, on cpu" in note for note in caught.value.__notes__)
    assert model.training


# ---- weight decay ----------------------------------------------------------------------------------


class AllKinds(nn.Module):
    """Weights, biases, and scales that are no weights though some are matrices."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.rows, self.root = nn.LayerNorm((8, 8)), nn.RMSNorm((8, 8))
        self.frozen = nn.Linear(128, 6).requires_grad_(False)
        self.output = nn.Linear(6, 4)

    def forward(self, x):
        return self.output(self.frozen(self.root(self.rows(self.norm(self.conv(x)))).flatten(1)))


@pytest.mark.parametrize("name", PRESENT)
def test_l2_adds_lambda_w_to_the_gradient_of_the_weights_and_of_nothing_else(name):
    torch.manual_seed(0)
    plain = AllKinds().to(name)
    penalised, l2 = copy.deepcopy(plain), 0.3
    before = state(plain)
    for model, strength in ((plain, 0.0), (penalised, l2)):
        fit(model, stripes(), sgd(model, 0.1), steps=1, batch_size=16, l2=strength)
    for parameter, weight in before.items():
        decay = l2 * weight if parameter in ("conv.weight", "output.weight") else torch.zeros(())
        moved = state(plain)[parameter] - state(penalised)[parameter]
        torch.testing.assert_close(
            moved, (0.1 * decay).expand_as(moved).to(moved.dtype), rtol=1e-4, atol=1e-7
        )


def test_the_penaltys_gradient_is_w_by_central_differences():
    weights = [torch.randn(4, 3, dtype=torch.float64, requires_grad=True), torch.randn(5, 2, 3, 3).double()]
    weights[1].requires_grad_()
    assert torch.autograd.gradcheck(lambda *w: training.l2_penalty(w), weights)
    training.l2_penalty(weights).backward()
    for w in weights:
        assert w.grad.abs().max() > 0
        torch.testing.assert_close(w.grad, w.detach())


def test_l2_is_torchs_weight_decay_in_sgd_and_adam():
    for kind in (functools.partial(torch.optim.SGD, momentum=0.9), torch.optim.Adam):
        ours, theirs = mlp(), mlp()
        groups = optim.decay_groups(theirs, 0.05)
        fit(ours, stripes(), kind(ours.parameters(), lr=0.01), epochs=4, batch_size=16, l2=0.05)
        fit(theirs, stripes(), kind(groups, lr=0.01), epochs=4, batch_size=16)
        torch.testing.assert_close(state(ours), state(theirs), rtol=1e-4, atol=1e-6)


def test_the_loss_that_is_recorded_is_without_the_penalty():
    plain, penalised = mlp(), mlp()
    first = fit(plain, stripes(), sgd(plain), steps=1, batch_size=16).loss
    assert fit(penalised, stripes(), sgd(penalised), steps=1, batch_size=16, l2=10.0).loss == first


def test_l2_without_a_weight_is_refused():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64))
    with pytest.raises(ValueError, match=r"l2=0\.1, but the model has no weights to decay"):
        fit(model, stripes(), sgd(model), epochs=1, batch_size=16, l2=0.1)
    fit(model, stripes(), sgd(model), epochs=1, batch_size=16)
    frozen = nn.Sequential(nn.Flatten(), nn.Linear(64, 4).requires_grad_(False), nn.BatchNorm1d(4))
    with pytest.raises(ValueError, match="only biases, scales or frozen parameters"):
        fit(frozen, stripes(), sgd(frozen), epochs=1, batch_size=16, l2=0.1)


# ---- early stopping --------------------------------------------------------------------------------


def validation_losses(monkeypatch, values):
    """Make ``fit`` find these validation losses, whatever the model."""
    left = iter(values)
    monkeypatch.setattr(training, "evaluate", lambda *_, **__: training.Evaluation(next(left), 0.5))


NAN = float("nan")


@pytest.mark.parametrize(
    ("losses", "patience", "epochs", "best", "stopped"),
    [
        ([3, 2, 1, 2, 3, 0], 2, 5, 2, True),
        ([3, 2, 1, 2, 0, 3], 2, 6, 4, False),  # a second best within its patience
        ([1, 2, 3, 4, 5, 6], 1, 2, 0, True),
        ([2, 1, 1, 1, 1, 1], 3, 5, 1, True),  # as good is not better
        ([6, 5, 4, 3, 2, 1], 1, 6, 5, False),
        ([6, 5, 4, 1, 2, 2], 2, 6, 3, False),  # out of patience in the last epoch: nothing was left to save
        ([3, NAN, 2, NAN, NAN, 1], 2, 5, 2, True),  # a NaN is never the best
        ([NAN] * 6, 2, 2, None, True),
    ],
)
def test_patience_counts_epochs_since_the_best(losses, patience, epochs, best, stopped, monkeypatch):
    validation_losses(monkeypatch, losses)
    model = mlp()
    history = fit(
        model, stripes(), sgd(model), epochs=6, batch_size=16, validation=stripes(), patience=patience
    )
    assert (len(history.epochs), history.best_epoch, history.stopped_early) == (epochs, best, stopped)
    assert not history.interrupted


@pytest.mark.parametrize("name", PRESENT)
@pytest.mark.parametrize(("restore_best", "epochs"), [(True, 2), (False, 4)])
def test_the_best_weights_are_put_back_or_the_last_ones_left(name, restore_best, epochs, monkeypatch):
    validation_losses(monkeypatch, [2.0, 1.0, 3.0, 3.0, 3.0])
    model, twin = convnet().to(name), convnet().to(name)  # with running statistics, which count as well
    images = stripes(channels=3)
    torch.manual_seed(0)
    fit(
        model, images, sgd(model), epochs=5, batch_size=16, validation=images, patience=2,
        restore_best=restore_best,
    )  # fmt: skip
    torch.manual_seed(0)
    fit(twin, images, sgd(twin), epochs=epochs, batch_size=16)
    assert_same(state(model), state(twin))


def test_the_best_weights_are_put_back_at_the_end_of_a_run_and_after_ctrl_c(monkeypatch):
    for settings in ({"epochs": 3}, {"epochs": 9, "loss": interrupting(11)}):
        validation_losses(monkeypatch, [2.0, 1.0, 3.0, 3.0])
        model, twin = mlp(), mlp()
        history = fit(
            model, stripes(), sgd(model), batch_size=16, validation=stripes(), patience=8, **settings
        )
        fit(twin, stripes(), sgd(twin), epochs=2, batch_size=16)
        assert not history.stopped_early
        assert history.interrupted == ("loss" in settings)
        assert_same(state(model), state(twin))


def overfitting(path=None, epochs=40, patience=3, seed=0, **settings):
    """A network whose validation loss falls and rises again: some of its labels are wrong."""
    model, validation = mlp(seed=seed, dropout=0.2), stripes(40, seed=1)
    order = torch.arange(40)
    order[:12] = order[:12].roll(1)  # the more certain, the dearer are these mistakes
    shuffled = Images(validation.x, validation.y[order], validation.classes, (0.3,), (0.25,))
    torch.manual_seed(seed)
    history = fit(
        model, stripes(40), sgd(model, 0.05), epochs=epochs, batch_size=16, validation=shuffled,
        patience=patience, checkpoint=path, **settings,
    )  # fmt: skip
    return history, state(model), evaluate(model, shuffled)


def test_a_real_run_stops_and_is_as_good_as_its_best_epoch():
    history, _, result = overfitting()
    assert history.stopped_early
    assert 0 < history.best_epoch == len(history.epochs) - 4
    assert result.loss == history.epochs[history.best_epoch].validation_loss


def test_early_stopping_survives_a_resumed_run_bit_for_bit(tmp_path):
    whole, weights, _ = overfitting()
    for already in range(1, len(whole.epochs)):  # before the best epoch, at it, and while waiting
        path = tmp_path / f"{already}.pt"
        overfitting(path, epochs=already)
        for _ in range(2):  # the second finds a run that has stopped, and takes no step
            history, resumed, _ = overfitting(path, seed=99)
            assert numbers(history) == numbers(whole)
            assert (history.stopped_early, history.best_epoch) == (True, whole.best_epoch)
            assert_same(resumed, weights)


def test_a_stop_is_saved_though_it_falls_between_two_checkpoints(tmp_path):
    path = tmp_path / "run.pt"
    history, _, _ = overfitting(path, checkpoint_every=100)
    assert len(torch.load(path, weights_only=True)["history"]["epochs"]) == len(history.epochs) < 40


def test_other_regularization_is_another_run(saved):
    refused(mlp(), saved, "l2: 0.1 here, 0.0 in the file", l2=0.1)
    refused(mlp(), saved, "patience: 2 here, None in the file", patience=2, validation=stripes())


def test_a_checkpoint_of_before_there_was_regularization_is_one_without_it(saved):
    content = torch.load(saved, weights_only=True)
    del content["best"], content["history"]["stopped_early"]
    for name in ("l2", "patience", "restore_best"):
        del content["settings"][name]
    torch.save(content, saved)
    refused(mlp(), saved, "l2: 0.1 here, 0.0 in the file", l2=0.1)
    model, twin = mlp(seed=1), mlp()
    history = fit(model, stripes(), sgd(model), epochs=3, batch_size=16, checkpoint=saved)
    assert numbers(history) == numbers(fit(twin, stripes(), sgd(twin), epochs=3, batch_size=16))
    assert_same(state(model), state(twin))


# ---- history ---------------------------------------------------------------------------------------


def test_a_history_survives_json():
    model = mlp()
    history = fit(model, stripes(), sgd(model), epochs=2, batch_size=16, validation=stripes())
    assert History.from_dict(json.loads(json.dumps(history.to_dict()))) == history


def test_a_history_knows_its_best_epoch_and_reads_dicts_of_before():
    model = mlp()
    history = fit(model, stripes(), sgd(model), epochs=2, batch_size=16)
    assert history.best_epoch is None
    assert History().best_epoch is None
    values = history.to_dict()
    del values["stopped_early"]
    assert History.from_dict(values) == history


# ---- checkpoints -----------------------------------------------------------------------------------

SCHEDULERS = {
    "none": (lambda o: None, "epoch"),
    "step": (lambda o: lr_scheduler.StepLR(o, 1, 0.5), "epoch"),
    "multistep": (lambda o: lr_scheduler.MultiStepLR(o, [1, 3], 0.5), "epoch"),
    "cosine": (lambda o: lr_scheduler.CosineAnnealingLR(o, 20), "step"),
    "one cycle": (lambda o: lr_scheduler.OneCycleLR(o, 0.2, total_steps=12), "step"),
    "function": (lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.9**step), "step"),
    "plateau": (lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0), "epoch"),
    "warm-up": (
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o), lr_scheduler.ExponentialLR(o, 0.9)], milestones=[2]
        ),
        "step",
    ),
}


def noise(x, generator):
    """From every generator that an augmentation may draw from."""
    scale = 0.1 * random.random() + 0.1 * np.random.rand()  # noqa: NPY002
    return x + scale * torch.randn(x.shape, generator=generator, device=x.device) + 0.1 * torch.rand(())


@pytest.mark.parametrize("name", PRESENT)
@pytest.mark.parametrize("schedule", SCHEDULERS)
def test_a_resumed_run_ends_in_the_same_bits(name, schedule, tmp_path):
    make, every = SCHEDULERS[schedule]

    def run(epochs, path=None, seed=0):
        model = convnet(seed).to(name)
        optimizer = sgd(model, np.float64(0.1), momentum=0.9)  # NumPy's numbers come out of sweeps
        devices.seed_everything(seed)
        history = fit(
            model, stripes(40, channels=3), optimizer, epochs=epochs, batch_size=16, augment=noise,
            validation=stripes(8, channels=3), scheduler=make(optimizer), scheduler_every=every,
            checkpoint=path,
        )  # fmt: skip
        return history, state(model), torch.rand(2)

    whole = run(4)
    run(2, tmp_path / "run.pt")
    # Everything starts out different, so all that is the same afterwards comes from the file.
    resumed = run(4, tmp_path / "run.pt", seed=99)
    if name == "cpu":
        assert numbers(resumed[0]) == numbers(whole[0])
        assert_same(resumed[1], whole[1])
        assert resumed[2].equal(whole[2])
    else:
        assert resumed[0].loss == pytest.approx(whole[0].loss, rel=1e-3)
    assert not list(tmp_path.glob("*.part"))


def test_a_finished_run_is_not_trained_again(tmp_path):
    model = mlp()
    first = fit(model, stripes(), sgd(model), epochs=2, batch_size=16, checkpoint=tmp_path / "run.pt")
    other = mlp(seed=1)
    again = fit(other, stripes(), sgd(other), epochs=2, batch_size=16, checkpoint=tmp_path / "run.pt")
    assert again == first
    assert_same(state(other), state(model))


def test_running_the_same_cell_twice_is_no_error(tmp_path):
    model = mlp()
    optimizer = sgd(model)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=6)  # by now it has changed the rate

    def cell():
        return fit(
            model, stripes(), optimizer, epochs=2, batch_size=16,
            scheduler=scheduler, scheduler_every="step", checkpoint=tmp_path / "run.pt",
        )  # fmt: skip

    assert cell() == cell()


def test_resume_false_starts_over(tmp_path):
    path, model = tmp_path / "run.pt", mlp()
    fit(model, stripes(), sgd(model), epochs=2, batch_size=16, checkpoint=path)
    other = mlp()
    history = fit(other, stripes(), sgd(other, 0.01), epochs=1, batch_size=20, checkpoint=path, resume=False)
    assert len(history.epochs) == 1
    assert torch.load(path, weights_only=True)["settings"]["batch_size"] == 20


@pytest.mark.parametrize(("every", "length", "saves"), [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (9, 2, [2])])
def test_checkpoints_come_every_so_often_and_at_the_end(every, length, saves, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        checkpoints.Checkpoint, "save", lambda self, history, best: seen.append(len(history["epochs"]))
    )
    model = mlp()
    fit(
        model,
        stripes(),
        sgd(model),
        epochs=length,
        batch_size=16,
        checkpoint=tmp_path / "a",
        checkpoint_every=every,
    )
    assert seen == saves


def test_a_run_in_steps_resumes_from_its_last_full_epoch(tmp_path):
    def run(steps, path=None):
        model = mlp(dropout=0.5)
        return fit(model, stripes(40), sgd(model), steps=steps, batch_size=16, checkpoint=path).loss, state(
            model
        )

    whole = run(8)
    run(5, tmp_path / "run.pt")
    for _ in range(2):  # the second finds the checkpoint of step 6
        resumed = run(8, tmp_path / "run.pt")
        assert resumed[0] == whole[0]
        assert_same(resumed[1], whole[1])


@pytest.fixture
def saved(tmp_path):
    path, model = tmp_path / "run.pt", mlp()
    fit(model, stripes(), sgd(model), epochs=2, batch_size=16, checkpoint=path)
    return path


def refused(model, path, message, *, optimizer=None, **settings):
    """fit must refuse the file with ``message``, and leave the model, optimizer, generator and file alone."""
    optimizer = optimizer or sgd(model)
    before, content = state(model), path.read_bytes()
    momentum = copy.deepcopy(optimizer.state_dict())
    random = torch.get_rng_state()
    with pytest.raises(ValueError, match=message) as caught:
        fit(model, stripes(), optimizer, checkpoint=path, **({"epochs": 3, "batch_size": 16} | settings))
    assert str(path) in str(caught.value)
    assert "resume=False" in str(caught.value)
    assert_same(state(model), before)
    assert optimizer.state_dict() == momentum
    assert torch.get_rng_state().equal(random)
    assert path.read_bytes() == content


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_checkpoint_cut_short_is_refused(saved, keep):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(keep * len(content))])
    refused(mlp(seed=1), saved, "is cut short or not a checkpoint of fit")


class Trap:
    """What a pickle can do to those who load it without ``weights_only``."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (self.path.touch, ())


@pytest.mark.parametrize("content", ["text", "weights", "code"])
def test_a_file_that_is_no_checkpoint_is_refused_and_runs_nothing(tmp_path, content):
    path, sprung = tmp_path / "run.pt", tmp_path / "sprung"
    if content == "text":
        path.write_text("hello")
    else:
        torch.save(mlp().state_dict() if content == "weights" else {"settings": Trap(sprung)}, path)
    refused(mlp(), path, "is cut short or not a checkpoint of fit")
    assert not sprung.exists()


def test_a_checkpoint_is_on_the_disk_before_it_takes_the_name(tmp_path, monkeypatch):
    calls, replace = [], os.replace
    monkeypatch.setattr(os, "fsync", lambda file: calls.append("on the disk"))
    monkeypatch.setattr(os, "replace", lambda *names: calls.append("named") or replace(*names))
    model = mlp()
    fit(model, stripes(), sgd(model), epochs=1, batch_size=16, checkpoint=tmp_path / "run.pt")
    assert calls == ["on the disk", "named"]


def test_a_checkpoint_of_another_network_is_refused_with_the_names_and_shapes(saved):
    torch.manual_seed(1)
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 4))
    refused(
        wide,
        saved,
        re.escape("another network: 1.weight: (20, 64) here, (16, 64) in the file; 1.bias: (20,)"),
    )
    deep = nn.Sequential(*mlp(), nn.Linear(4, 4))
    refused(
        deep,
        saved,
        re.escape("another network: 5.weight: (4, 4) here, absent in the file; 5.bias: (4,) here"),
    )
    renamed = nn.Sequential(nn.Identity(), *mlp())
    refused(renamed, saved, "another network: 2.weight: .* here, absent in the file; .*; and .* more")


def test_a_checkpoint_of_other_settings_is_refused_with_the_settings(saved):
    refused(mlp(1 + 3), saved, r"batch_size: 20 here, 16 in the file", batch_size=20)
    refused(mlp(), saved, r"seed: 7 here, 0 in the file", seed=7)
    refused(mlp(), saved, r"precision: bf16 here, fp32 in the file", precision="bf16")
    refused(mlp(), saved, r"has 6 steps already, more than the 3 asked for", epochs=1)

    def with_optimizer(make, message, **settings):
        model = mlp()
        refused(model, saved, message, optimizer=make(model.parameters()), **settings)

    with_optimizer(torch.optim.Adam, "optimizer: Adam here, SGD in the file", batch_size=16)
    with_optimizer(
        functools.partial(torch.optim.SGD, lr=0.01),
        re.escape("optimizer.param_groups[0].lr: 0.01 here, 0.1 in the file"),
    )
    with_optimizer(
        lambda parameters: torch.optim.SGD(list(parameters)[:2], 0.1), r"parameters: \[2\] here, \[4\] in"
    )
    model = mlp()
    optimizer = sgd(model)
    scheduler = lr_scheduler.StepLR(optimizer, 1)
    refused(
        model, saved, "scheduler: StepLR here, NoneType in the file", optimizer=optimizer, scheduler=scheduler
    )


def test_a_checkpoint_of_another_schedule_is_refused(tmp_path):
    path, model = tmp_path / "run.pt", mlp()
    for total in (6, 12):
        optimizer = sgd(model)
        settings = {
            "scheduler": lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=total),
            "scheduler_every": "step",
            "checkpoint": path,
        }
        if total == 6:
            fit(model, stripes(), optimizer, epochs=1, batch_size=16, **settings)
    with pytest.raises(ValueError, match=r"scheduler.total_steps: 12 here, 6 in the file"):
        fit(model, stripes(), optimizer, epochs=4, batch_size=16, **settings)


def test_a_checkpoint_folder_is_made_or_refused_before_training(tmp_path):
    model = mlp()
    fit(model, stripes(), sgd(model), epochs=1, batch_size=16, checkpoint=tmp_path / "new" / "run.pt")
    assert (tmp_path / "new" / "run.pt").exists()
    (tmp_path / "file").write_text("")
    before = state(model)
    with pytest.raises(OSError, match="file"):
        fit(model, stripes(), sgd(model), epochs=1, batch_size=16, checkpoint=tmp_path / "file" / "run.pt")
    assert_same(state(model), before)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_named_and_keeps_the_old_checkpoint(saved, monkeypatch):
    content, opened = saved.read_bytes(), Path.open

    def full(path, mode="r", *rest):
        if mode == "wb":
            opened(path, mode).close()
            return open("/dev/full", mode, *rest)
        return opened(path, mode, *rest)

    monkeypatch.setattr(Path, "open", full)
    model = mlp()
    message = r"the checkpoint of .* MB could not be written: No space left on device; the one that was there"
    with pytest.raises(OSError, match=message) as caught:
        fit(model, stripes(), sgd(model), epochs=3, batch_size=16, checkpoint=saved)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(saved))
    monkeypatch.undo()
    assert saved.read_bytes() == content
    assert [path.name for path in saved.parent.iterdir()] == ["run.pt"]


# A run that kills itself, with the signal that nothing can catch: in the middle of its third epoch, in the
# middle of writing its second checkpoint, or just before the new file takes the name. All runs are forks
# of one process that has imported torch and done nothing with it yet.
RUNS = """
import json, os, signal, sys
import torch
from torch import nn
from course_lib import optim, training
from course_lib.data import Images

save, replace, fsync = torch.save, os.replace, os.fsync

def run(moment, path, result):
    steps = saves = 0

    def die_if(now, here):
        if moment == here and now:
            os.kill(os.getpid(), signal.SIGKILL)

    def loss(output, y):
        nonlocal steps
        steps += torch.is_grad_enabled()
        die_if(steps == 8, "epoch")
        return nn.functional.cross_entropy(output, y)

    def counting_save(state, file):
        nonlocal saves
        saves += 1
        save(state, file)

    def killing_fsync(file):
        if moment == "write" and saves == 2:
            os.ftruncate(file, 1000)  # not all of it was written
        die_if(saves == 2, "write")
        fsync(file)

    def killing_replace(source, target):
        die_if(saves == 2, "rename")
        replace(source, target)

    torch.save, os.replace, os.fsync = counting_save, killing_replace, killing_fsync
    torch.manual_seed(0)
    x = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Images(x, torch.arange(40) % 4, tuple("abcd"), (0.5,), (0.3,))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 4))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=12)
    history = training.fit(
        model, images, optimizer, epochs=4, batch_size=16, loss=loss, validation=images, progress=False,
        scheduler=scheduler, scheduler_every="step", checkpoint=path,
    )
    save({"model": model.state_dict(), "loss": history.loss}, result)

torch.set_num_threads(1)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run(*json.loads(line))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def run_in_a_process():
    """Call with (moment of death, checkpoint, result); the answer is the exit status of the process."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUNS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def run(moment, path, result) -> int:
        process.stdin.write(json.dumps([moment, str(path), str(result)]) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield run
    process.communicate()  # its input ends, and so does it


@pytest.fixture(scope="module")
def undisturbed(run_in_a_process, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_in_a_process("never", folder / "run.pt", folder / "result.pt") == 0
    return torch.load(folder / "result.pt", weights_only=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has neither fork nor SIGKILL")
@pytest.mark.parametrize(("moment", "epochs_saved"), [("epoch", 2), ("write", 1), ("rename", 1)])
def test_a_killed_run_resumes_to_the_same_bits(moment, epochs_saved, run_in_a_process, undisturbed, tmp_path):
    path, result = tmp_path / "run.pt", tmp_path / "result.pt"
    assert run_in_a_process(moment, path, result) == -signal.SIGKILL
    assert not result.exists()
    assert (tmp_path / "run.pt.part").exists() == (moment != "epoch")  # it died where it should
    assert len(torch.load(path, weights_only=True)["history"]["epochs"]) == epochs_saved
    assert run_in_a_process("never", path, result) == 0
    ended = torch.load(result, weights_only=True)
    assert ended["loss"] == undisturbed["loss"]
    assert_same(ended["model"], undisturbed["model"])
    assert [file.name for file in tmp_path.glob("run.pt*")] == ["run.pt"]


def test_steps_that_end_before_the_first_checkpoint_are_warned_of(tmp_path):
    images = Images(
        torch.randint(0, 255, (40, 1, 4, 4), dtype=torch.uint8),
        torch.arange(40) % 3,
        ("a", "b", "c"),
        (0.5,),
        (0.5,),
    )
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    run = {"batch_size": 10, "progress": False, "checkpoint": tmp_path / "run.pt"}
    with pytest.warns(
        UserWarning, match=r"steps=3 is less than one epoch of 4 steps.*run.pt will not be written"
    ):
        fit(net, images, torch.optim.SGD(net.parameters(), lr=0.1), steps=3, **run)
    assert not (tmp_path / "run.pt").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(net, images, torch.optim.SGD(net.parameters(), lr=0.1), steps=4, **run)
    assert (tmp_path / "run.pt").exists()
