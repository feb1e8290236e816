"""One training loop, for every chapter and every device.

:func:`fit` trains, :func:`evaluate` measures, :class:`History` is what happened. A run with a
``checkpoint`` that is killed at any moment can be started again and ends, on the CPU, in the same
weights to the last bit.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from course_lib.checkpoint import Checkpoint
from course_lib.data import Augment, Images
from course_lib.device import autocast, memory_format, resolve
from course_lib.distributed import Share, mean, parallel, rank, same_buffers, world_size
from course_lib.optim import decayed

Loss = Callable[[Tensor, Tensor], Tensor]

# Steps between two looks at the losses on a GPU. A look waits until the GPU has caught up, so one a step
# would leave it idle; 50 steps of a small network take some 20 ms.
BLOCK = 50


class Evaluation(NamedTuple):
    """What a model does on a set: mean loss, and share of images classified right, 0 to 1."""

    loss: float
    accuracy: float


@dataclass
class Epoch:
    """One pass over the training set.

    Attributes:
        train_loss: mean over the steps of the epoch, each before its update.
        validation_loss: mean over the validation set after the epoch; None without one.
        validation_accuracy: share classified right, 0 to 1; None without a validation set.
        learning_rate: of the epoch's last step, first parameter group.
        seconds: time spent training, without the validation.
    """

    train_loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float


@dataclass
class History:
    """What happened in a run.

    Attributes:
        loss: of the batch of each step, before its update.
        epochs: one record for each epoch; with ``steps``, the last one may be part of an epoch.
        interrupted: the run was stopped by Ctrl-C; the epoch that it was in has no record.
        stopped_early: the validation loss had no new best for ``patience`` epochs, and steps were left.
    """

    loss: list[float] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    interrupted: bool = False
    stopped_early: bool = False

    @property
    def best_epoch(self) -> int | None:
        """The index in ``epochs`` of the lowest validation loss, the first if several; None without any."""
        losses = [epoch.validation_loss for epoch in self.epochs]
        finite = [k for k, value in enumerate(losses) if value is not None and math.isfinite(value)]
        return min(finite, key=losses.__getitem__, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts and numbers, for JSON or a checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> History:
        """The history that :meth:`to_dict` was called on."""
        epochs = [Epoch(**epoch) for epoch in values["epochs"]]
        return cls(list(values["loss"]), epochs, values["interrupted"], values.get("stopped_early", False))


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; ``history`` has the losses up to and with that step.

    The model is left as it was found, not repaired. On the CPU its weights are those that gave the loss;
    on a GPU, where losses are looked at in blocks, up to ``BLOCK`` further steps have been taken.
    """

    def __init__(self, history: History, learning_rate: float) -> None:
        self.history = history
        self.step = len(history.loss)
        last = f"{history.loss[-2]:.4g} at step {self.step - 1}" if self.step > 1 else "none"
        super().__init__(
            f"the loss is {history.loss[-1]} at step {self.step} (last finite loss: {last}; learning rate "
            f"{learning_rate:g}). Likely causes: a learning rate that is too high (try a tenth), weights "
            "initialised too large, a logarithm or a division of zero in the loss, or too few bits "
            "(precision 'fp16' overflows above 65,504: try 'bf16')"
        )


def fit(
    model: nn.Module,
    train: Images,
    optimizer: Optimizer,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 128,
    validation: Images | None = None,
    loss: Loss = F.cross_entropy,
    l2: float = 0.0,
    patience: int | None = None,
    restore_best: bool = True,
    scheduler: Any = None,
    scheduler_every: str = "epoch",
    device: str | torch.device | None = None,
    seed: int = 0,
    augment: Augment | None = None,
    precision: str = "fp32",
    compile: bool = False,
    progress: bool | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 1,
    resume: bool = True,
) -> History:
    """Train ``model`` in place.

    In a process group (``distributed.joined``) each process takes its part of every batch, gradients are
    averaged, and process 0 shows the bar and writes the checkpoint: the steps are those of one process.

    Args:
        model: maps (B, C, H, W) to what ``loss`` takes; it is trained where its parameters are. A network
            with 2-D convolutions, and its images, are laid out ``channels_last``.
        train: the images; they are moved to the model's device, whole.
        optimizer: built from the model's parameters.
        epochs: how long to train, in passes over ``train``; or give ``steps``, in batches.
        batch_size: images per step; the last batch of an epoch may be smaller. One image alone is refused
            where the network cannot be trained on it, as with BatchNorm on (N, C).
        validation: measured after each epoch; it changes nothing about the steps that are taken, but with
            ``patience`` how many. It must have the classes of ``train`` in the same order, and its mean and
            standard deviation.
        loss: ``loss(model(x), y)``, a scalar, the mean over the batch.
        l2: λ of :func:`l2_penalty`, which is added to the loss; what is recorded is the loss without it.
            For decay that does not pass through the optimizer, leave it 0 and take ``optim.AdamW``.
        patience: stop when that many epochs have gone by since the lowest validation loss; None: never.
        restore_best: with ``patience``, leave the model as it was after the epoch with the lowest
            validation loss, whether the run stopped early, was interrupted, or came to its end. False:
            as it was last.
        scheduler: its ``step()`` is called after every ``scheduler_every``, ``"epoch"`` or ``"step"``.
            One whose ``step`` asks for a number, such as ``ReduceLROnPlateau``, gets the epoch's validation
            loss, or training loss without validation. It may freeze and unfreeze layers, too.
        device: None: where the model is. A device given is only checked: moving the model here would
            be too late, for the optimizer holds the parameters already.
        seed: of the order of the images and of the augmentation. Dropout draws from torch's own
            generator, which ``device.seed_everything`` seeds.
        augment: called as ``augment(x, generator)`` on each batch, on the device. What it draws from torch's,
            NumPy's or Python's own generator is resumed too; a generator that it keeps for itself is not.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``; see ``device.autocast``.
        compile: run the model through ``torch.compile``.
        progress: show a bar; None: unless the environment variable ``COURSE_PROGRESS`` is ``0``.
        checkpoint: a file that the state of the run is saved to, every ``checkpoint_every`` epochs and
            after the last. **Where the file exists, the run continues from it.** Only whole epochs are
            saved; ``steps`` that end before the first one does are warned of.
        resume: False starts over and replaces the file.

    Returns:
        The history. Ctrl-C ends the run early and returns too, with ``interrupted`` set: what was
        learned stays in the model; the checkpoint is that of the last full epoch saved.

    Raises:
        ValueError: an argument that does not fit, or a checkpoint that is cut short or of another run;
            the model is unchanged.
        NonFiniteLoss: the loss became NaN or infinite.
    """
    at = _device_of(model, device)
    _check_length(epochs, steps)
    _check_positive(batch_size=batch_size, checkpoint_every=checkpoint_every)
    _check_optimizer(optimizer, model)
    _check_l2(model, l2)
    _check_patience(patience, validation)
    _check_scheduler(scheduler, scheduler_every, optimizer)
    share = Share(len(train), batch_size)
    cast = autocast(at, precision)
    layout = memory_format(model)
    steps_per_epoch = math.ceil(len(train) / batch_size)
    total = steps if epochs is None else epochs * steps_per_epoch
    train = train.to(at, layout)
    _try(model, train, loss, cast)
    if validation is not None:
        _check_comparable(train, validation)
        validation = validation.to(at, layout)
        _try(model, validation, loss, cast)
    if total >= steps_per_epoch or batch_size < 2 * world_size():
        check_last_batch(model, train, batch_size)

    history, best = History(), None
    generator = torch.Generator(at).manual_seed(seed)
    scaler = torch.amp.GradScaler(at.type, enabled=precision == "fp16")  # not enabled, it does nothing
    saved = None
    if checkpoint is not None:
        settings = {"images": len(train), "batch_size": batch_size, "seed": seed, "precision": precision}
        settings |= {"l2": l2, "patience": patience, "restore_best": restore_best}
        if total < steps_per_epoch:
            warnings.warn(
                f"steps={steps} is less than one epoch of {steps_per_epoch} steps, and only whole epochs are "
                f"saved: {os.fspath(checkpoint)} will not be written. Take {steps_per_epoch} steps or more, "
                "or leave the checkpoint out",
                stacklevel=2,
            )
        saved = Checkpoint(Path(checkpoint), settings, model, optimizer, scheduler, scaler, generator)
        if resume and saved.path.exists():
            values, best = saved.load(total)
            history = History.from_dict(values)

    if layout is torch.channels_last:
        model.to(memory_format=layout)
    run = _Run(
        model, train, optimizer, total, batch_size, validation, loss, l2, patience, restore_best,
        scheduler, scheduler_every, augment, precision, checkpoint_every, saved, generator, scaler,
        bare=torch.compile(model) if compile else model,
        share=share,
        losses=_Losses(history, block=1 if at.type == "cpu" else BLOCK),
        best=best,
        cast=cast,
    )  # fmt: skip
    run.follow()
    run.bar = _bar(progress if rank() == 0 else False, total, run.losses.steps)
    try:
        with _mode(model, training=True), run.bar:
            while not run.over():
                run.epoch()
            history.stopped_early = run.losses.steps < total
    except KeyboardInterrupt:
        run.losses.look()
        history.interrupted = True
    if run.best is not None:
        model.load_state_dict(run.best)
    return history


@dataclass
class _Run:
    """A run of :func:`fit` under way: its arguments, checked, and what has come of it so far."""

    model: nn.Module
    train: Images
    optimizer: Optimizer
    total: int  # steps
    batch_size: int
    validation: Images | None
    loss: Loss
    l2: float
    patience: int | None
    restore_best: bool
    scheduler: Any
    scheduler_every: str
    augment: Augment | None
    precision: str
    checkpoint_every: int
    saved: Checkpoint | None
    generator: torch.Generator
    scaler: torch.amp.GradScaler
    bare: nn.Module  # the model, compiled where that was asked for
    losses: _Losses
    best: dict[str, Any] | None  # the model's state after its best epoch
    cast: AbstractContextManager
    share: Share
    bar: Any = None
    network: nn.Module | None = None  # what is called: of several processes, the model with joined gradients
    trained: list[bool] = field(default_factory=list)

    @property
    def history(self) -> History:
        return self.losses.history

    def over(self) -> bool:
        return self.losses.steps >= self.total or _out_of_patience(self.history, self.patience)

    def epoch(self) -> None:
        """One pass over the images, and what comes after it: measuring, the schedule, the files."""
        began, first = time.perf_counter(), self.losses.steps
        self.model.train()  # the schedule may have unfrozen layers
        for x, y in self.train.batches(self.batch_size, generator=self.generator, augment=self.augment):
            rate = self.step(x, y)
            if self.losses.steps == self.total:
                break
        self.losses.look()
        seconds = time.perf_counter() - began
        train_loss = math.fsum(self.history.loss[first:]) / (self.losses.steps - first)
        result = Evaluation(None, None)
        if self.validation is not None:
            same_buffers(self.model)
            result = evaluate(self.model, self.validation, loss=self.loss, precision=self.precision)
        self.history.epochs.append(Epoch(train_loss, *result, float(rate), seconds))
        if self.scheduler is not None and self.scheduler_every == "epoch":
            if _wants_loss(self.scheduler):
                self.scheduler.step(train_loss if self.validation is None else result.loss)
            else:
                self.scheduler.step()
        self.keep()

    def follow(self) -> None:
        """Join the processes' gradients of what is trained now: a schedule may have unfrozen more."""
        trained = [parameter.requires_grad for parameter in self.model.parameters()]
        if trained != self.trained:
            self.network = None  # first of all: two that join the same gradients would join them twice
            self.network, self.trained = parallel(self.bare, self.train), trained

    def step(self, x: Tensor, y: Tensor) -> float:
        """One batch, one step of the optimizer; returns its learning rate."""
        self.follow()
        x, own = self.share.of(x, y)
        with self.cast:
            value = self.loss(self.network(x), own)
        value = value * weight if (weight := self.share.weight(len(own), len(y))) != 1 else value
        rate = self.optimizer.param_groups[0]["lr"]
        rate = rate.clone() if isinstance(rate, Tensor) else rate  # a scheduler fills it in place
        self.losses.add(mean(value.detach()), rate)
        if self.l2:
            value = value + self.l2 * l2_penalty(decayed(self.model))  # anew: layers are unfrozen
        self.optimizer.zero_grad()
        self.scaler.scale(value).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scheduler is not None and self.scheduler_every == "step":
            self.scheduler.step()
        if self.bar.update():  # True when it has just been drawn
            self.bar.set_postfix_str(self.losses.text(), refresh=False)
        return rate

    def keep(self) -> None:
        """After an epoch: the best state in memory, the whole state in the checkpoint."""
        done = len(self.history.epochs)
        if self.patience is not None and self.restore_best and self.history.best_epoch == done - 1:
            self.best = copy.deepcopy(self.model.state_dict())
        # Part of an epoch is not saved: a resumed run takes those steps again, to the same end.
        full = self.losses.steps == done * math.ceil(len(self.train) / self.batch_size)
        if self.saved and rank() == 0 and full and (self.over() or done % self.checkpoint_every == 0):
            self.saved.save(self.history.to_dict(), self.best)


def l2_penalty(weights: Iterable[Tensor]) -> Tensor:
    """½‖W‖², summed over ``weights``, a scalar: times λ its gradient is λW.

    :func:`fit` adds it to the loss, of the parameters that ``optim.decayed`` names.
    """
    return 0.5 * sum(w.square().sum() for w in weights)


def evaluate(
    model: nn.Module,
    images: Images,
    *,
    batch_size: int = 1000,
    device: str | torch.device | None = None,
    loss: Loss = F.cross_entropy,
    precision: str = "fp32",
) -> Evaluation:
    """Mean loss and accuracy of ``model`` on ``images``, in evaluation mode and without gradients.

    The mode of every module and the random numbers that follow are what they were before.

    Args:
        model: maps (B, C, H, W) to logits (B, classes).
        images: moved to the model's device, whole.
        batch_size: images at once; no result depends on it beyond rounding.
        device: None: where the model is. Another one is refused, as in :func:`fit`.
        loss: as in :func:`fit`. It is taken once, of all logits (N, classes) and labels (N,): a mean of
            batches' means would not be the mean where examples have weights, or none (``ignore_index``).
        precision: as in :func:`fit`.

    An image with a NaN among its logits is not classified right, whatever its label is.
    """
    at = _device_of(model, device, images.device)
    _check_positive(batch_size=batch_size)
    images = images.to(at, memory_format(model))
    with _aside(model, at), autocast(at, precision):
        batches = images.batches(min(batch_size, len(images)), shuffle=False)
        logits = torch.cat([model(x) for x, _ in batches])  # (N, classes)
        value = loss(logits, images.y)
        right = (logits.argmax(1) == images.y) & ~logits.isnan().any(1)
    return Evaluation(value.item(), right.sum().item() / len(images))


class _Losses:
    """The loss of each step, on its way from the device into the history; found out if not finite.

    Reading a number from a GPU waits for all the work before it, so the losses are read in blocks.
    """

    def __init__(self, history: History, block: int) -> None:
        self.history, self.block = history, block
        self.steps = len(history.loss)
        self.waiting: list[Tensor] = []
        self.rate = math.nan

    def add(self, value: Tensor, rate: float) -> None:
        self.waiting.append(value)
        self.steps += 1
        self.rate = rate
        if len(self.waiting) >= self.block:
            self.look()

    def look(self) -> None:
        waiting, self.waiting = self.waiting, []
        for value in torch.stack(waiting).tolist() if waiting else ():
            self.history.loss.append(value)
            if not math.isfinite(value):
                raise NonFiniteLoss(self.history, float(self.rate))

    def text(self) -> str:
        return f"loss {self.history.loss[-1]:.3f}" if self.history.loss else ""


@contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Training or evaluation mode inside, and the mode of each module as it was afterwards.

    Modules that ``train()`` does not reach are frozen. What was frozen or unfrozen inside, by a schedule,
    stays so: a layer that was unfrozen is then in the mode of the model.
    """
    modes = {module: module.training for module in model.modules()}
    frozen = _frozen(model)
    model.train(training)
    try:
        yield
    finally:
        still = _frozen(model)
        for module in model.modules():
            changed = (module in frozen) != (module in still)
            mode = modes.get(module, modes[model])
            module.training = (modes[model] and module not in still) if changed else mode


def _frozen(model: nn.Module) -> set[nn.Module]:
    """The modules that stay in evaluation mode when the model is put into training."""
    model.train()
    return {module for module in model.modules() if not module.training}


@contextmanager
def _aside(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Look at a model without a trace: evaluation mode, no gradients, the random numbers put back."""
    forked = torch.random.fork_rng([device] if device.type == "cuda" else [])
    with forked, _mode(model, training=False), torch.no_grad():
        yield


def _try(model: nn.Module, train: Images, loss: Loss, cast: AbstractContextManager) -> None:
    """Two images through the model and the loss, so that what does not fit is said before training."""
    x, y = next(train.batches(min(2, len(train)), shuffle=False))
    try:
        with _aside(model, train.device), cast:
            output = model(x)
            if loss is F.cross_entropy or isinstance(loss, nn.CrossEntropyLoss):
                _check_outputs(output, train)
            value = loss(output, y)
    except Exception as error:
        layout = "channels_last" if memory_format(model) is torch.channels_last else "contiguous"
        error.add_note(
            f"fit tried the model on: x {tuple(x.shape)}, {x.dtype}, {layout}, on {x.device}; "
            f"y {tuple(y.shape)}, {y.dtype}"
        )
        raise
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"loss must return one number for a batch, a tensor of shape (), got {got}")


def _check_outputs(output: Any, train: Images) -> None:
    if not isinstance(output, Tensor) or output.ndim != 2:
        got = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"model must map a batch to logits of shape (B, classes), got {got}")
    highest = train.y.max().item()
    if highest >= output.shape[1]:
        raise ValueError(
            f"model has {output.shape[1]} outputs, but the labels go up to {highest}: "
            f"its last layer must have {len(train.classes)} outputs, one for each class"
        )


def _check_comparable(train: Images, validation: Images) -> None:
    """Both sets must mean the same by a label and by a pixel; else one's loss says nothing of the other's."""
    if validation.classes != train.classes:
        pairs = list(zip_longest(validation.classes, train.classes))
        k = next(k for k, (theirs, ours) in enumerate(pairs) if theirs != ours)
        same = sorted(validation.classes) == sorted(train.classes)
        raise ValueError(
            f"validation has {'the classes in another order' if same else 'other classes'} than train: "
            f"label {k} is {pairs[k][0]!r} there and {pairs[k][1]!r} in train"
        )
    for name in ("mean", "std"):
        theirs, ours = getattr(validation, name), getattr(train, name)
        if len(theirs) != len(ours) or not all(map(math.isclose, theirs, ours)):
            raise ValueError(
                f"validation has {name}={theirs} and train {ours}: a pixel would be two numbers to the "
                "network. Give both the training set's: "
                "dataclasses.replace(validation, mean=train.mean, std=train.std)"
            )


def check_last_batch(model: nn.Module, train: Images, batch_size: int) -> None:
    """Say before training that the last batch of an epoch is a single image, and the network cannot take it.

    BatchNorm on (N, C) has no variance then; on images it has the pixels. The model is tried in training
    mode and left as it was. Raises ``ValueError`` with a batch size that does.
    """
    least = 2 * world_size()  # images of a batch that leave each process two
    if (len(train) % batch_size or batch_size) >= least:
        return
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    x, _ = next(train.batches(1, shuffle=False))
    forked = torch.random.fork_rng([train.device] if train.device.type == "cuda" else [])
    try:
        with forked, _mode(model, training=True), torch.no_grad():
            model(x)
    except ValueError as error:
        others = range(batch_size + 1, len(train) + 1)
        better = next((size for size in others if (len(train) % size or size) >= least), None)
        raise ValueError(
            f"batch_size={batch_size} leaves a batch of one of the {len(train)} images, and the network "
            f"cannot be trained on one: {error}. Take {f'batch_size={better}' if better else 'more images'}"
        ) from error
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def _device_of(model: nn.Module, device: str | torch.device | None, default: Any = None) -> torch.device:
    """Where the model's parameters are; ``device``, where it is given, must be the same."""
    parameter = next(model.parameters(), None)
    if parameter is None and default is None:
        raise ValueError("model has no parameters, so there is nothing to train")
    at = default if parameter is None else parameter.device
    if device is not None and parameter is not None and resolve(device) != at:
        raise ValueError(
            f"device={str(device)!r}, but the model's parameters are on {at}: "
            f"call model.to({str(device)!r}) before the optimizer is built"
        )
    return at


def _check_length(epochs: int | None, steps: int | None) -> None:
    if (epochs is None) == (steps is None):
        raise ValueError(f"give exactly one of epochs and steps, got epochs={epochs!r}, steps={steps!r}")
    _check_positive(**({"epochs": epochs} if steps is None else {"steps": steps}))


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}={value!r} must be a positive integer")


def _check_l2(model: nn.Module, l2: float) -> None:
    if not isinstance(l2, Real) or isinstance(l2, bool) or not 0 <= l2 < math.inf:
        raise ValueError(f"l2={l2!r} must be a finite number, 0 or more (0.01, say)")
    if l2 and not decayed(model):
        raise ValueError(
            f"l2={l2!r}, but the model has no weights to decay, only biases, scales or frozen parameters"
        )


def _check_patience(patience: int | None, validation: Images | None) -> None:
    if patience is None:
        return
    _check_positive(patience=patience)
    if validation is None:
        raise ValueError(
            f"patience={patience} waits for the validation loss, but there is no validation set: "
            "give validation=, part of the training set (train.split(0.8)), never the test set"
        )


def _out_of_patience(history: History, patience: int | None) -> bool:
    """Whether ``patience`` epochs have gone by since the best; a NaN is never the best."""
    if patience is None:
        return False
    best = -1 if history.best_epoch is None else history.best_epoch
    return len(history.epochs) - 1 - best >= patience


def _check_scheduler(scheduler: Any, every: str, optimizer: Optimizer) -> None:
    if every not in ("epoch", "step"):
        raise ValueError(f"scheduler_every={every!r} must be 'epoch' or 'step'")
    if scheduler is None:
        return
    if isinstance(scheduler, type) or not callable(getattr(scheduler, "step", None)):
        raise ValueError(
            f"scheduler={scheduler!r} must have a method step(), as torch.optim.lr_scheduler's do"
        )
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise ValueError(
            f"scheduler is a {type(scheduler).__name__} of another optimizer, whose rate it would change: "
            "build it from the optimizer that fit is given"
        )
    if every == "step" and _wants_loss(scheduler):
        raise ValueError(
            f"scheduler_every='step' with {type(scheduler).__name__}, which asks for a loss at each call; "
            "there is one after each epoch: scheduler_every='epoch'"
        )


def _wants_loss(scheduler: Any) -> bool:
    """Whether ``step`` must be given a number, as that of ``ReduceLROnPlateau``."""
    needed = inspect.signature(scheduler.step).parameters.values()
    return any(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in needed
    )


def _check_optimizer(optimizer: Optimizer, model: nn.Module) -> None:
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            "no parameter of the model is trainable: all are frozen (requires_grad=False); "
            "unfreeze those that are to learn, its last layer's at least"
        )
    if not any(id(parameter) in held for parameter in model.parameters()):
        raise ValueError(
            "optimizer holds none of the model's parameters: build it from this model's parameters()"
        )


def _bar(progress: bool | None, total: int, done: int) -> Any:
    from tqdm.auto import tqdm  # here, because in a notebook it imports ipywidgets

    shown = os.environ.get("COURSE_PROGRESS") != "0" if progress is None else progress
    return tqdm(total=total, initial=done, unit="step", leave=False, disable=not shown)
