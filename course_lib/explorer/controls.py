"""What a reader can move: a control is a name and the values that it takes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from course_lib.explorer.inputs import TensorControl

RADIO = 4  # up to so many choices are shown side by side; more become a menu


@dataclass(frozen=True)
class Control:
    """One control of an explorer.

    values: numbers (a slider; in order of size), or strings or booleans (choices). Elements of arrays
        and tensors become Python's own int, float, bool and str, and ``fn`` receives them so.
    label: what the reader sees; default the control's name with spaces.
    start: where it stands at first; a number is moved to the nearest value. Default the first value.
    unit: written after the value.
    between: whether a slider with a kernel also stops between the values, where ``fn`` computes anew.
        Default: yes, but for whole numbers that follow each other. False for a ``fn`` that knows nothing
        but the values, because it looks up what was measured beforehand.

    Raises ValueError for no values, values twice, mixed or unfit types, numbers that are not finite,
    and a start that is not among the values.
    """

    values: Iterable[Any]
    label: str | None = None
    start: Any = None
    unit: str = ""
    between: bool | None = None

    def __post_init__(self) -> None:
        values = _as_list(self.values)
        if not values:
            raise ValueError("it has no values; give at least one")
        numeric = all(_is_number(v) for v in values)
        if not numeric and not all(isinstance(v, type(values[0])) for v in values):
            types = ", ".join(sorted({type(v).__name__ for v in values}))
            raise ValueError(f"its values mix types ({types}); give all numbers, all strings or all booleans")
        if not numeric and not isinstance(values[0], (str, bool)):
            raise ValueError(
                f"its value {values[0]!r:.60} is a {type(values[0]).__name__}; values must be numbers, "
                "strings or booleans (let fn look up anything else by name)"
            )
        if numeric:
            if bad := [v for v in values if not math.isfinite(v)]:
                raise ValueError(f"its value {bad[0]} is not finite; a slider needs numbers")
            if any(isinstance(v, float) for v in values):
                values = [float(v) for v in values]
            values = sorted(values)
        if len(set(values)) < len(values):
            twice = next(v for v in values if values.count(v) > 1)
            raise ValueError(f"its value {twice!r} is there twice; give each value once")
        object.__setattr__(self, "values", tuple(values))
        object.__setattr__(self, "start", self._start(numeric))
        if self.between is None:
            steps = {b - a for a, b in itertools.pairwise(values)} if numeric else set()
            object.__setattr__(self, "between", numeric and not (self.integer and steps <= {1}))

    def _start(self, numeric: bool) -> Any:
        start = self.values[0] if self.start is None else _plain(self.start)
        if numeric and _is_number(start) and self.values[0] <= start <= self.values[-1]:
            return min(self.values, key=lambda v: abs(v - start))
        if start not in self.values or isinstance(start, bool) != isinstance(self.values[0], bool):
            raise ValueError(f"start is {start!r}; it must be one of its values, {_listing(self.values)}")
        return start

    @property
    def numeric(self) -> bool:
        return _is_number(self.values[0])

    @property
    def integer(self) -> bool:
        return self.numeric and isinstance(self.values[0], int)

    @property
    def log(self) -> bool:
        """Whether the numbers are spaced more evenly by ratio than by difference."""
        if not self.numeric or len(self.values) < 3 or self.values[0] <= 0:
            return False
        return _unevenness([math.log(v) for v in self.values]) < _unevenness(self.values) - 1e-9

    def nearest(self, value: Any) -> Any:
        """The value of the grid that is shown for ``value``."""
        if not self.numeric:
            return value
        distance = (lambda v: abs(math.log(v / value))) if self.log else (lambda v: abs(v - value))
        return min(self.values, key=distance)

    def farthest(self) -> Any:
        """The end of the values that is not the start."""
        return self.values[-1] if self.start != self.values[-1] else self.values[0]

    def to_dict(self, name: str) -> dict[str, Any]:
        """The control as the JavaScript reads it."""
        choices = "radio" if 2 <= len(self.values) <= RADIO else "select"
        labels = [{True: "on", False: "off"}[v] if isinstance(v, bool) else str(v) for v in self.values]
        return {
            "name": name,
            "label": self.label or name.replace("_", " "),
            "unit": self.unit,
            "kind": "range" if self.numeric else choices,
            "values": list(self.values),
            "labels": None if self.numeric else labels,
            "start": self.values.index(self.start),
            "integer": self.integer,
            "between": bool(self.between),
            "log": self.log,
        }


def named_controls(given: Mapping[str, Any]) -> dict[str, Any]:
    """Each argument of ``explore`` as a Control. Raises ValueError that names the control."""
    if not given:
        raise ValueError("explore: no controls; give at least one, such as weight_scale=[0.01, 0.1, 1]")
    controls = {}
    for name, values in given.items():
        try:
            ready = isinstance(values, (Control, TensorControl))
            controls[name] = values if ready else Control(values)
        except ValueError as error:
            raise ValueError(f"explore: control {name!r}: {error}") from None
    return controls


def _as_list(values: Any) -> list[Any]:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise ValueError(f"its values are {values!r:.60}; give a sequence, such as [0.01, 0.1, 1]")
    if hasattr(values, "tolist"):  # arrays and tensors
        values = values.tolist()
        if not isinstance(values, list):
            raise ValueError(f"its values are {values!r:.60}; give a sequence, such as [0.01, 0.1, 1]")
    return [_plain(v) for v in values]


def _plain(value: Any) -> Any:
    """A NumPy or torch scalar as Python's own type."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _unevenness(values: Any) -> float:
    steps = [b - a for a, b in itertools.pairwise(values)]
    mean = sum(steps) / len(steps)
    return max(abs(step - mean) for step in steps) / mean


def _listing(values: tuple[Any, ...]) -> str:
    shown = [repr(v) for v in values]
    return ", ".join(shown if len(shown) <= 6 else [*shown[:3], "…", shown[-1]])
