"""What a search tries and what it finds: one trial, and the table of them all."""

from __future__ import annotations

import html
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Integral, Number
from typing import Any

import numpy as np

from course_lib.training import NonFiniteLoss

Report = Callable[[float], None]
Objective = Callable[[dict[str, Any], Report], float]


class Pruned(Exception):
    """Raised inside an objective, by its ``report`` or by itself, to stop a trial that looks hopeless.

    ``optuna.TrialPruned`` does the same.
    """


@dataclass(frozen=True)
class Trial:
    """One set of hyperparameters and what it gave.

    Attributes:
        number: from 0; the hyperparameters of a random search follow from the seed and this number alone.
        parameters: by name.
        score: what the objective returned; NaN where there is none.
        state: ``"finished"``; ``"pruned"``, stopped early; or ``"failed"``, the loss or score not finite.
            Only a finished trial is ever chosen.
        curve: what was reported on the way.
        seconds: that it took.
    """

    number: int
    parameters: dict[str, Any]
    score: float
    state: str
    curve: tuple[float, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Trials:
    """What a search found: a table, in the order of the trials' numbers.

    ``interrupted``: it was stopped by Ctrl-C, and these are the trials that were done.
    """

    trials: tuple[Trial, ...]
    interrupted: bool = False

    def __len__(self) -> int:
        return len(self.trials)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self.trials)

    def __getitem__(self, index: int) -> Trial:
        return self.trials[index]

    def top(self, n: int) -> list[Trial]:
        """The ``n`` finished trials with the highest scores, the best first; of equals the earlier."""
        finished = [trial for trial in self.trials if trial.state == "finished"]
        return sorted(finished, key=lambda trial: -trial.score)[:n]

    @property
    def best(self) -> Trial:
        """The finished trial with the highest score. Raises ``ValueError`` where no trial finished."""
        if not (top := self.top(1)):
            raise ValueError(
                f"no trial finished, so none is the best: {self!r}. Leave out of the space what makes "
                "the loss overflow, high learning rates first"
            )
        return top[0]

    def values(self, name: str) -> np.ndarray:
        """One value a trial, (trials,): a hyperparameter's, or ``"score"``, with NaN where there is none.

        Numbers make an array of numbers, texts one of texts; anything else one of objects.
        """
        if name == "score":
            return np.array([trial.score for trial in self.trials], dtype=float)
        values = [trial.parameters[name] for trial in self.trials]
        kinds = (bool, np.bool_), (Number,), (str,)
        if any(all(isinstance(value, kind) for value in values) for kind in kinds):
            return np.array(values)
        kept = np.empty(len(values), dtype=object)
        for k, value in enumerate(values):  # np.array(values) would look into lists and arrays
            kept[k] = value
        return kept

    def cells(self, n: int | None = None) -> list[list[str]]:
        """Head and rows as text, the best first, then what was pruned or failed; at most ``n`` rows."""
        order = self.top(len(self))
        order += [trial for trial in self.trials if trial.state != "finished"]
        names = list(self.trials[0].parameters) if self.trials else []
        rows = [
            [str(t.number), *(_short(t.parameters[name]) for name in names), _short(t.score), t.state]
            for t in order[:n]
        ]
        return [["trial", *names, "score", "state"], *rows]

    def __str__(self) -> str:
        table = self.cells()
        widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
        return "\n".join(
            "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in table
        )

    def __repr__(self) -> str:
        states = [trial.state for trial in self.trials]
        counts = ", ".join(f"{states.count(s)} {s}" for s in ("finished", "pruned", "failed") if s in states)
        return f"Trials({counts or 'none'})"

    def _repr_html_(self) -> str:
        head, *rows = self.cells(20)
        lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
        body = "\n".join(f"<tr>{line}</tr>" for line in lines)
        titles = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        return f"<table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def attempt(objective: Objective, parameters: dict[str, Any], report: Report) -> tuple[str, float, float]:
    """State, score and seconds of one trial. Raises ``ValueError`` for a score that is no number."""
    start = time.perf_counter()
    try:
        score = check_number("the objective returned", objective(parameters, report))
        state = "finished" if math.isfinite(score) else "failed"
    except NonFiniteLoss:
        state, score = "failed", math.nan
    except Exception as error:
        if not isinstance(error, (Pruned, *_optuna_pruned())):
            raise
        state, score = "pruned", math.nan
    return state, score if state == "finished" else math.nan, time.perf_counter() - start


def _optuna_pruned() -> tuple[type[Exception], ...]:
    """``optuna.TrialPruned``, where Optuna is imported: an objective written for it says so by this."""
    optuna = sys.modules.get("optuna")
    return () if optuna is None else (optuna.TrialPruned,)


def check_number(who: str, value: Any) -> float:
    """``value`` as a float: a number, or an array or tensor of one. Raises ``ValueError`` otherwise."""
    if not isinstance(value, str | bytes):
        try:
            return float(value.item() if hasattr(value, "item") else value)
        except (TypeError, ValueError, RuntimeError):
            pass
    hint = ""
    if value is None and who.endswith("returned"):
        hint = "; perhaps its `return` is missing"
    elif isinstance(value, tuple | list) and value:
        hint = "; a score is one number, the others can be reported or kept elsewhere"
    raise ValueError(f"{who} {value!r}; it must be a number, the higher the better{hint}")


def check_count(name: str, value: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")


def progress_bar(progress: bool | None, total: int, done: int) -> Any:
    from tqdm.auto import tqdm  # here, because in a notebook it imports ipywidgets

    shown = os.environ.get("COURSE_PROGRESS") != "0" if progress is None else progress
    return tqdm(total=total, initial=done, unit="trial", leave=False, disable=not shown)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    text = " ".join(str(value).split())  # an array's has lines
    return text if len(text) <= 40 else f"{text[:39]}…"
