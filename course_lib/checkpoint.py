"""The state of a training run in one file, written whole or not at all, read back only if it fits."""

from __future__ import annotations

import io
import random
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from course_lib.weights import write_whole

# What a file of before these settings existed was saved with.
EARLIER = {"l2": 0.0, "patience": None, "restore_best": True}


@dataclass
class Checkpoint:
    """All that decides how a run goes on, in one file."""

    path: Path
    settings: dict[str, Any]
    model: nn.Module
    optimizer: Optimizer
    scheduler: Any
    scaler: torch.amp.GradScaler
    generator: torch.Generator

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)  # found out now, not after the first epoch
        self.device = self.generator.device
        self.settings |= {"device": self.device.type} | _settings(self.optimizer, self.scheduler)

    def save(self, history: dict[str, Any], best: dict[str, Any] | None = None) -> None:
        """Write the file whole or not at all: the name changes hands only when all bytes are on the disk.

        ``best`` is the model's state after its best epoch, where a run keeps it. Raises ``OSError`` that
        says which file and why, on a full disk say; the file of before is still there then.
        """
        state = {
            "settings": self.settings,
            "history": history,
            "model": self.model.state_dict(),
            "best": best,
            "optimizer": _plain(self.optimizer.state_dict()),
            "scheduler": _plain(self.scheduler.state_dict()) if self.scheduler is not None else None,
            "scaler": self.scaler.state_dict(),
            "shuffling": self.generator.get_state(),
            "random": _random_states(self.device),
        }
        content = io.BytesIO()
        torch.save(state, content)
        write_whole(self.path, content.getbuffer(), "checkpoint", alone=True)

    def load(self, most: int) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Take up the run in the file. Everything is compared first, so that an error changes nothing.

        Returns the history and the best state, as they were given to :meth:`save`.
        """
        with self.path.open("rb") as file:
            try:
                state = torch.load(file, map_location="cpu", weights_only=True)
                settings, history, weights = EARLIER | state["settings"], state["history"], state["model"]
                taken = len(history["loss"])
            except Exception as error:  # torch.load raises half a dozen types for a file that is cut short
                reason = f"is cut short or not a checkpoint of fit ({_first_line(error)})"
                raise self._refuse(reason) from error
        own = self.model.state_dict()
        self._compare("another network", _shapes(own), _shapes(weights))
        # Some settings are known only before a scheduler's first step; compare what both sides know.
        common = self.settings.keys() & settings.keys()
        self._compare(
            "a run with other settings",
            {name: value for name, value in self.settings.items() if name in common},
            {name: settings[name] for name in common},
        )
        if taken > most:
            raise self._refuse(f"has {taken} steps already, more than the {most} asked for")
        self.optimizer.load_state_dict(state["optimizer"])
        self.model.load_state_dict(weights)
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        self.generator.set_state(state["shuffling"])
        _set_random_states(state["random"], self.device)
        return history, state.get("best")

    def _compare(self, what: str, here: dict[str, Any], there: dict[str, Any]) -> None:
        differing = [name for name in here | there if here.get(name, "absent") != there.get(name, "absent")]
        if differing:
            listed = "; ".join(
                f"{name}: {here.get(name, 'absent')} here, {there.get(name, 'absent')} in the file"
                for name in differing[:3]
            )
            more = f"; and {len(differing) - 3} more" if len(differing) > 3 else ""
            raise self._refuse(f"is of {what}: {listed}{more}")

    def _refuse(self, why: str) -> ValueError:
        return ValueError(
            f"the checkpoint {self.path} {why}. Give another file, or resume=False to replace it"
        )


def _random_states(device: torch.device) -> dict[str, Any]:
    """Of every generator that a loss, a layer or an augmentation may draw from, in plain values."""
    states = {"torch": torch.get_rng_state(), "python": random.getstate()}
    name, key, *rest = np.random.get_state()  # noqa: NPY002 - the generator that other packages draw from
    states["numpy"] = (name, torch.from_numpy(key.astype(np.int64)), *rest)
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def _set_random_states(states: Any, device: torch.device) -> None:
    if isinstance(states, torch.Tensor):  # a file of before NumPy's and Python's were in it
        torch.set_rng_state(states)
        return
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    name, key, *rest = states["numpy"]
    np.random.set_state((name, key.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states["mps"])


def _settings(optimizer: Optimizer, scheduler: Any) -> dict[str, Any]:
    """What the optimizer and the scheduler were built with, by name; only plain values.

    A scheduler that has taken steps has changed its own numbers and the optimizer's: then only those
    that it never changes.
    """
    fresh = getattr(scheduler, "last_epoch", 0) == 0
    settings = {"optimizer": type(optimizer).__name__, "scheduler": type(scheduler).__name__}
    settings["parameters"] = [len(group["params"]) for group in optimizer.param_groups]
    for k, group in enumerate(optimizer.param_groups):
        for name, value in group.items():
            if name != "params" and (fresh or name in ("initial_lr", "weight_decay")):
                settings[f"optimizer.param_groups[{k}].{name}"] = value
    if scheduler is not None and fresh:
        settings |= {
            f"scheduler.{name}": value
            for name, value in scheduler.state_dict().items()
            if not name.startswith("_")
        }
    plain = (Number, str, type(None), list, tuple)
    return {name: _plain(value) for name, value in settings.items() if isinstance(value, plain)}


def _plain(state: Any) -> Any:
    """The same with NumPy's numbers as Python's, which are all that ``weights_only`` reads back."""
    if type(state) is dict:
        return {name: _plain(value) for name, value in state.items()}
    if type(state) in (list, tuple):
        return type(state)(_plain(value) for value in state)
    return state.item() if isinstance(state, np.generic) else state


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(getattr(value, "shape", ())) for name, value in state.items()}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
