"""Fine-tuning: first the new head alone, then everything at a lower rate, low stages more gently than high.

Sources: J. Howard, S. Ruder, "Universal language model fine-tuning for text classification", ACL 2018
(discriminative rates, gradual unfreezing); A. Kumar et al., "Fine-tuning can distort pretrained features
and underperform out-of-distribution", ICLR 2022 (why the head comes first).
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from course_lib.data import Augment, Images
from course_lib.training import History, check_last_batch, fit
from course_lib.transfer.freezing import count, freeze, unfreeze
from course_lib.transfer.probe import check_classes
from course_lib.transfer.structure import head, stages


def layerwise_rates(model: nn.Module, lr: float, *, decay: float = 2.6) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: ``lr`` for the last stage, ``lr / decay`` for the one before, ...

    The first stages see edges and colours, which every task needs; the last ones see what the old task
    asked for. So the first should move least. 2.6 is Howard and Ruder's.

    Returns:
        One dict a stage, the last stage first, with ``params``, ``lr`` and ``name``. Frozen parameters
        are in it too: they get no gradient, so no step, until they are unfrozen.

    Raises:
        ValueError: a rate or a decay that is not positive, or no trainable parameter left.
    """
    if not lr > 0 or not decay > 0:
        raise ValueError(f"lr={lr!r} and decay={decay!r} must be positive")
    _check_trainable(model)
    names = stages(model)
    members: dict[str, list[nn.Parameter]] = {name: [] for name in names}
    for name, parameter in model.named_parameters():
        # What lies outside the stages, such as a vision transformer's class token, goes with the first.
        stage = next((each for each in names if name.startswith(f"{each}.")), names[0])
        members[stage].append(parameter)
    return [
        {"params": members[name], "lr": lr / decay**steps, "name": name}
        for steps, name in enumerate(reversed(names))
    ]


class FrozenThenAll(ReduceLROnPlateau):
    """A schedule for ``fit``: ``epochs`` epochs with part of the network frozen, then all of it, more slowly.

    It freezes at once. After the last frozen epoch it unfreezes and sets the highest learning rate to
    ``lr``, other parameter groups in proportion; from then on it is torch's ``ReduceLROnPlateau``. Its
    state goes into ``fit``'s checkpoint, and a resumed run is frozen or not as it was.

    Args:
        optimizer: holds all the model's parameters, those that are frozen first included.
        model: the network that the optimizer trains.
        epochs: how many epochs to stay frozen, 1 or more.
        lr: the rate from then on.
        names: the modules to freeze, as in ``freeze``; none: all but the head.
        keep: modules that stay frozen for good, such as ``batch_norms(model)``.
        factor: what a rate is multiplied by when the loss no longer falls.
        patience: after how many epochs without a better loss.

    Raises:
        ValueError: an epoch count below 1, a rate that is not positive, a name that does not exist, or an
            optimizer that lacks parameters of the model.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        model: nn.Module,
        *,
        epochs: int,
        lr: float,
        names: tuple[str, ...] = (),
        keep: tuple[str, ...] = (),
        factor: float = 0.1,
        patience: int = 10,
    ) -> None:
        if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
            raise ValueError(f"epochs={epochs!r} must be a whole number of frozen epochs, 1 or more")
        if not lr > 0:
            raise ValueError(f"lr={lr!r} must be positive")
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        lacking = [name for name, p in model.named_parameters() if id(p) not in held]
        if lacking:
            raise ValueError(
                f"optimizer lacks {len(lacking)} parameters of the model, {lacking[0]} for one: build it "
                "from all of model.parameters(); those that are frozen take no step"
            )
        if keep:
            freeze(model, *keep)
        freeze(model, *names)
        super().__init__(optimizer, factor=factor, patience=patience)
        self.model = model
        self.frozen_epochs, self.lower_lr = epochs, lr
        self.names, self.keep = list(names), list(keep)

    def step(self, metrics: float, epoch: int | None = None) -> None:
        """Called by ``fit`` after each epoch, with the validation loss (training loss without validation)."""
        if self.last_epoch >= self.frozen_epochs:
            super().step(metrics)
            return
        self.last_epoch += 1
        if self.last_epoch == self.frozen_epochs:
            self._unfreeze()
            highest = max(group["lr"] for group in self.optimizer.param_groups)
            for group in self.optimizer.param_groups:
                group["lr"] *= self.lower_lr / highest
            self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and the model."""
        return {name: value for name, value in self.__dict__.items() if name not in ("optimizer", "model")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state, and freeze or unfreeze the model as it was then."""
        self.__dict__.update(state_dict)
        if self.last_epoch >= self.frozen_epochs:
            self._unfreeze()
        else:
            freeze(self.model, *self.names)

    def _unfreeze(self) -> None:
        unfreeze(self.model, *self.names)
        if self.keep:
            freeze(self.model, *self.keep)


def fine_tune(
    model: nn.Module,
    train: Images,
    *,
    epochs: int,
    frozen_epochs: int,
    lr: float = 1e-3,
    lower_lr: float = 1e-4,
    names: tuple[str, ...] = (),
    keep: tuple[str, ...] = (),
    optimizer: type[Optimizer] = torch.optim.Adam,
    patience: int = 10,
    batch_size: int = 128,
    validation: Images | None = None,
    augment: Augment | None = None,
    seed: int = 0,
    precision: str = "fp32",
    progress: bool | None = None,
    checkpoint: str | os.PathLike | None = None,
) -> History:
    """Train a network whose head was replaced: the head alone at ``lr``, then all of it at ``lower_lr``.

    Args:
        model: changed in place.
        train: images prepared as the network was trained on them; see ``prepare``.
        epochs: in all, the ``frozen_epochs`` included.
        frozen_epochs: 0 trains everything from the start, at ``lower_lr``.
        names: what is frozen first; none: all but the head.
        keep: what stays frozen for good. With ``batch_norms(model)`` the network that is trained is the one
            that is tested, also with batches too small for statistics of their own.
        optimizer: a class; it is made with all parameters and a rate.
        others: as in :func:`course_lib.training.fit`.

    Raises:
        ValueError: no images of a class, a head with another number of outputs than there are classes, more
            frozen epochs than epochs, no trainable parameter, and what ``fit`` raises.
    """
    check_classes(train)
    name, layer = head(model)
    outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    if outputs != len(train.classes):
        raise ValueError(
            f"the head {name} has {outputs} outputs, but there are {len(train.classes)} classes: "
            f"call replace_head(model, {len(train.classes)}) first"
        )
    if not 0 <= frozen_epochs <= epochs:
        raise ValueError(f"frozen_epochs={frozen_epochs} must be from 0 to epochs={epochs}")
    _check_trainable(model)
    if keep:
        freeze(model, *keep)
    if frozen_epochs < epochs:  # what is frozen first learns later, and must be able to; fit sees the start
        check_last_batch(model, train, batch_size)
    optimiser = optimizer(model.parameters(), lr=lr if frozen_epochs else lower_lr)
    if frozen_epochs:
        scheduler = FrozenThenAll(
            optimiser, model, epochs=frozen_epochs, lr=lower_lr, names=names, keep=keep, patience=patience
        )
    else:
        scheduler = ReduceLROnPlateau(optimiser, patience=patience)
    return fit(
        model, train, optimiser, epochs=epochs, batch_size=batch_size, validation=validation,
        scheduler=scheduler, augment=augment, seed=seed, precision=precision, progress=progress,
        checkpoint=checkpoint,
    )  # fmt: skip


def _check_trainable(model: nn.Module) -> None:
    if not count(model).trainable:
        raise ValueError(
            f"no parameter of {type(model).__name__} is trainable; unfreeze one of the stages "
            f"{', '.join(stages(model))}"
        )
