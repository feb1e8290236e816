"""Controls whose value is a tensor: a point, random numbers.

They need a page that computes (``live=True`` or ``play``): of every place of a point there is no grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

Numbers = tuple[float, ...]


class TensorControl:
    """What these controls share. ``values`` are plain data; ``fn`` receives ``argument(value)``."""

    numeric = integer = between = log = False
    kind = ""
    label: str | None
    values: tuple[Any, ...]

    @property
    def start(self) -> Any:
        return self.values[0]

    def nearest(self, value: Any) -> Any:
        return value

    def farthest(self) -> Any:
        """A value other than the start, if there is one."""
        return self.values[-1]

    def argument(self, value: Any) -> Tensor:
        raise NotImplementedError

    def check(self, value: Any) -> Any:
        """``value`` as it is kept. Raises ValueError."""
        raise NotImplementedError

    def to_dict(self, name: str) -> dict[str, Any]:
        """The control as the JavaScript reads it."""
        return {
            "name": name,
            "label": self.label or name.replace("_", " "),
            "unit": "",
            "kind": self.kind,
            "values": [list(v) if isinstance(v, tuple) else v for v in self.values],
            "start": 0,
            **self._details(),
        }

    def _details(self) -> dict[str, Any]:
        return {}


class Point(TensorControl):
    """A point that is dragged on a panel: ``fn`` receives a tensor (2,), float64.

    start: where it stands at first.  xlim, ylim: how far it goes.  panel: on which of the figure's panels,
    0 the first; a panel with axes in numbers: landscape, scatter, lines.  also: other places, at which the
    page is checked against torch.

    Raises ValueError for a place outside, and limits without width.
    """

    kind = "point"

    def __init__(
        self,
        start: tuple[float, float],
        xlim: tuple[float, float],
        ylim: tuple[float, float],
        *,
        panel: int = 0,
        label: str | None = None,
        also: Iterable[tuple[float, float]] = (),
    ) -> None:
        self.label, self.panel = label, panel
        self.limits = tuple(map(float, xlim)), tuple(map(float, ylim))
        for name, (low, high) in zip(("xlim", "ylim"), self.limits, strict=True):
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(f"Point: {name} is {(low, high)}; low must be below high, both finite")
        if not isinstance(panel, int) or panel < 0:
            raise ValueError(f"Point: panel is {panel!r}; it must be the number of a panel, 0 the first")
        self.values = tuple(dict.fromkeys(self.check(place) for place in (start, *also)))

    def check(self, value: Any) -> Numbers:
        place = _numbers("Point", value, 2)
        for v, (low, high) in zip(place, self.limits, strict=True):
            if not low <= v <= high:
                raise ValueError(
                    f"Point: {place} lies outside of x from {self.limits[0][0]:g} to {self.limits[0][1]:g}, "
                    f"y from {self.limits[1][0]:g} to {self.limits[1][1]:g}"
                )
        return place

    def argument(self, value: Numbers) -> Tensor:
        return torch.tensor(value, dtype=torch.float64)

    def _details(self) -> dict[str, Any]:
        return {"panel": self.panel, "xlim": list(self.limits[0]), "ylim": list(self.limits[1])}


class Noise(TensorControl):
    """Standard normal random numbers, and a button that draws new ones: ``fn`` receives a float64 tensor.

    shape: of the tensor.  seed: of the first draw; the button takes the next whole number. The page's
    generator gives the numbers of :class:`course_lib.graph.random.Generator`. In ``play`` each step gets
    fresh ones.

    Raises ValueError for a shape without numbers and a seed that is not a whole number from 0 up.
    """

    kind = "noise"

    def __init__(self, shape: Sequence[int], *, seed: int = 0, label: str | None = None) -> None:
        self.shape, self.label = tuple(shape), label or "draw again"
        if not all(isinstance(n, int) and n > 0 for n in self.shape):
            raise ValueError(f"Noise: shape is {shape!r}; it must be whole numbers above 0")
        self.values = (self.check(seed), (seed + 1) % 2**31)  # the page's button goes round in the same way

    def check(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
            raise ValueError(f"Noise: the seed is {value!r}; it must be a whole number from 0 to 2³¹ − 1")
        return value

    def argument(self, value: int) -> Tensor:
        return self.stream(value)()

    def stream(self, seed: int) -> Any:
        """A function that gives the next tensor of a seed's numbers."""
        from course_lib.graph.random import Generator

        generator = Generator(seed)
        return lambda: generator.normal(self.shape)

    def _details(self) -> dict[str, Any]:
        return {"shape": list(self.shape)}


def _numbers(who: str, value: Any, count: int) -> Numbers:
    try:
        numbers = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        raise ValueError(f"{who}: {value!r:.60} is not {count} numbers") from None
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{who}: {value!r:.60} must be {count} finite numbers")
    return numbers
