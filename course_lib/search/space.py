"""The space of a search: a range for each hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from course_lib.search.trials import Trial


@dataclass(frozen=True)
class LogUniform:
    """Numbers between ``low`` and ``high`` whose logarithm is uniform: each power of ten is as likely."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_ends(self)
        if self.low <= 0:
            raise ValueError(f"low is {self.low!r}; the logarithm needs ends above 0")

    def draw(self, generator: np.random.Generator) -> float:
        """One value."""
        value = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        # The exponential of log(1e-2) is a little above 1e-2.
        return min(max(value, float(self.low)), float(self.high))

    def around(self, values: Sequence[float]) -> LogUniform:
        """The part of the range that ``values`` span, at least a tenth of it on the logarithmic axis."""
        low, high = _widened(*(math.log(end) for end in (min(values), max(values), self.low, self.high)))
        return LogUniform(max(math.exp(low), self.low), min(math.exp(high), self.high))


@dataclass(frozen=True)
class Uniform:
    """Numbers between ``low`` and ``high``, all equally likely."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_ends(self)

    def draw(self, generator: np.random.Generator) -> float:
        """One value."""
        return float(generator.uniform(self.low, self.high))

    def around(self, values: Sequence[float]) -> Uniform:
        """The part of the range that ``values`` span, at least a tenth of it."""
        return Uniform(*_widened(min(values), max(values), self.low, self.high))


@dataclass(frozen=True)
class Integer:
    """Whole numbers from ``low`` to ``high``, both included, all equally likely."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not all(isinstance(end, Integral) and not isinstance(end, bool) for end in (self.low, self.high)):
            raise ValueError(f"the ends are {self.low!r} and {self.high!r}; they must be whole numbers")
        _check_ends(self)

    def draw(self, generator: np.random.Generator) -> int:
        """One value."""
        return int(generator.integers(self.low, self.high, endpoint=True))

    def around(self, values: Sequence[int]) -> Integer:
        """From the smallest of ``values`` to the largest; with their neighbours if they are all the same."""
        if min(values) < max(values):
            return Integer(min(values), max(values))
        return Integer(max(self.low, values[0] - 1), min(self.high, values[0] + 1))


@dataclass(frozen=True, eq=False)
class Choice:
    """One of ``options``, all equally likely.

    An option may be anything, an array or a function too: it is known by its place among the options, and
    never compared with another where its place is known.
    """

    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options:
            raise ValueError("options is empty; give at least one")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Choice):
            return NotImplemented
        pairs = zip(self.options, other.options, strict=False)
        return len(self.options) == len(other.options) and all(_same(a, b) for a, b in pairs)

    def __hash__(self) -> int:
        return hash(len(self.options))  # options need not have a hash

    def draw_place(self, generator: np.random.Generator) -> int:
        """The place of one of them, from 0."""
        return int(generator.integers(len(self.options)))

    def draw(self, generator: np.random.Generator) -> Any:
        """One of them."""
        return self.options[self.draw_place(generator)]

    def around(self, values: Sequence[Any]) -> Choice:
        """The options that are among ``values``, in their order.

        Raises ``ValueError`` where none is.
        """
        kept = set()
        for value in values:
            its = [place for place, option in enumerate(self.options) if option is value]
            its = its or [place for place, option in enumerate(self.options) if _same(option, value)]
            kept.update(its[:1])
        return Choice(tuple(self.options[place] for place in sorted(kept)))


Range = LogUniform | Uniform | Integer | Choice
Space = Mapping[str, Range]


def sample(space: Space, seed: int, number: int) -> dict[str, Any]:
    """The hyperparameters of trial ``number``: they follow from ``seed`` and ``number``, not from the order.

    So a search can be split over processes, stopped and taken up, and draws the same trials.
    Raises ``ValueError`` for a space that is empty or holds something else than ranges.
    """
    return chosen(space, places(space, seed, number))[0]


def places(space: Space, seed: int, number: int) -> dict[str, Any]:
    """What :func:`sample` draws, with the place of an option instead of the option itself."""
    check_space(space)
    generator = np.random.default_rng([seed, number])
    return {
        name: one.draw_place(generator) if isinstance(one, Choice) else one.draw(generator)
        for name, one in space.items()
    }


def chosen(space: Space, drawn: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """The hyperparameters that ``drawn`` of :func:`places` stands for; and the places of the options."""
    choices = {name: one.options for name, one in space.items() if isinstance(one, Choice)}
    parameters = {name: choices[name][v] if name in choices else v for name, v in drawn.items()}
    return parameters, {name: drawn[name] for name in choices}


def narrow(space: Space, trials: Sequence[Trial]) -> dict[str, Range]:
    """The space that ``trials`` span, the best twenty say: where the next search should look.

    Raises ``ValueError`` for no trials.
    """
    check_space(space)
    if not trials:
        raise ValueError("trials is empty; there is nothing to narrow the space by")
    narrowed = {}
    for name, one in space.items():
        narrowed[name] = one.around([trial.parameters[name] for trial in trials])
    return narrowed


def check_space(space: Space) -> None:
    """A space maps at least one name to a range. Raises ``ValueError`` otherwise."""
    if not isinstance(space, Mapping) or not space:
        raise ValueError(f'space is {space!r}; give at least one range, {{"lr": LogUniform(1e-6, 1e-2)}} say')
    for name, one in space.items():
        if not isinstance(one, Range):
            raise ValueError(
                f"space[{name!r}] is {one!r}; it must be a LogUniform, a Uniform, an Integer or a Choice"
            )


def _check_ends(one: Any) -> None:
    ends = (one.low, one.high)
    if not all(isinstance(end, Real) and not isinstance(end, bool) and math.isfinite(end) for end in ends):
        raise ValueError(f"the ends are {one.low!r} and {one.high!r}; they must be finite numbers")
    if one.low >= one.high:
        raise ValueError(f"low is {one.low!r} and high {one.high!r}; low must be below high")


def _widened(low: float, high: float, lowest: float, highest: float) -> tuple[float, float]:
    """[low, high], widened to a tenth of [lowest, highest] where it is narrower, and inside of it."""
    room = (highest - lowest) / 10 - (high - low)
    if room > 0:
        low, high = low - room / 2, high + room / 2
    return max(low, lowest), min(high, highest)


def _same(a: Any, b: Any) -> bool:
    """Whether two options are one and the same: the same object, or equal and of one type."""
    if a is b:
        return True
    if type(a) is not type(b):  # 1 and True, 0 and 0.0 are equal
        return False
    try:
        if hasattr(a, "shape"):  # arrays and tensors, whose == is not one truth value
            return a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all())
        return bool(a == b)
    except (TypeError, ValueError, RuntimeError):  # a list of arrays, tensors on two devices
        return False
