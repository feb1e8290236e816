"""Controls whose value is a tensor: a point, random numbers, a small matrix, a drawing.

They need a page that computes (``live=True`` or ``play``): of what a reader may draw there is no grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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
        self.values = tuple(self.check(v) for v in (seed, seed + 1))

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
        return lambda: generator.normal(self.shape).double()

    def _details(self) -> dict[str, Any]:
        return {"shape": list(self.shape)}


class Matrix(TensorControl):
    """A small matrix whose numbers are edited: ``fn`` receives a tensor (rows, columns), float32.

    start: the matrix at first.  limits: of each number.  choices: named matrices of the same shape, to start
    from.

    Raises ValueError for more than 7 rows or columns, numbers outside of the limits, and choices of another
    shape.
    """

    kind = "matrix"

    def __init__(
        self,
        start: Any,
        *,
        limits: tuple[float, float] = (-9, 9),
        choices: Mapping[str, Any] | None = None,
        label: str | None = None,
    ) -> None:
        first = torch.as_tensor(start, dtype=torch.float32)
        if first.ndim != 2 or not 1 <= min(first.shape) or max(first.shape) > 7:
            raise ValueError(
                f"Matrix: start has shape {tuple(first.shape)}; it must be (rows, columns), up to (7, 7)"
            )
        self.shape, self.limits, self.label = tuple(first.shape), tuple(map(float, limits)), label
        named = {name: torch.as_tensor(m, dtype=torch.float32) for name, m in (choices or {}).items()}
        for name, matrix in named.items():
            if matrix.shape != first.shape:
                raise ValueError(
                    f"Matrix: choice {name!r} has shape {tuple(matrix.shape)} and start {self.shape}; "
                    "make them equal"
                )
        self.choices = {name: self.check(matrix.flatten().tolist()) for name, matrix in named.items()}
        self.values = tuple(dict.fromkeys([self.check(first.flatten().tolist()), *self.choices.values()]))

    def check(self, value: Any) -> Numbers:
        numbers = _numbers("Matrix", value, math.prod(self.shape))
        low, high = self.limits
        if bad := [v for v in numbers if not low <= v <= high]:
            raise ValueError(f"Matrix: {bad[0]:g} lies outside of {low:g} to {high:g}")
        return numbers

    def argument(self, value: Numbers) -> Tensor:
        return torch.tensor(value, dtype=torch.float32).reshape(self.shape)

    def _details(self) -> dict[str, Any]:
        choices = {name: list(v) for name, v in self.choices.items()}
        return {"shape": list(self.shape), "limits": list(self.limits), "choices": choices}


class Pad(TensorControl):
    """A pad to draw on, or to open an image file in: ``fn`` receives a tensor (size, size), float32, 0 to 1.

    examples: named pictures (size, size) to begin with, the first of them at the start; light on dark, as in
    MNIST.  centre: whether a drawing is first moved so that its centre of mass lies in the middle, which the
    reader can switch off.

    Raises ValueError for no example, another shape, and values outside of 0 to 1.
    """

    kind = "pad"

    def __init__(
        self,
        examples: Mapping[str, Any],
        *,
        size: int = 28,
        centre: bool = True,
        label: str | None = None,
    ) -> None:
        if not examples:
            raise ValueError(
                "Pad: examples is empty; give at least one picture, such as {'a 3': digits.x[7]}"
            )
        self.size, self.centre, self.label = size, bool(centre), label
        pictures = {}
        for name, picture in examples.items():
            x = torch.as_tensor(picture, dtype=torch.float32).squeeze()
            if x.shape != (size, size):
                raise ValueError(
                    f"Pad: example {name!r} has shape {tuple(x.shape)}; it must be ({size}, {size})"
                )
            # 8 bits, as the page keeps it.
            pictures[str(name)] = self.check([round(255 * v) / 255 for v in x.flatten().tolist()])
        self.examples = pictures
        self.values = tuple(dict.fromkeys(pictures.values()))

    def check(self, value: Any) -> Numbers:
        numbers = _numbers("Pad", value, self.size**2)
        if bad := [v for v in numbers if not 0 <= v <= 1]:
            raise ValueError(f"Pad: a pixel is {bad[0]:g}; pixels are between 0 and 1")
        return numbers

    def argument(self, value: Numbers) -> Tensor:
        return torch.tensor(value, dtype=torch.float32).reshape(self.size, self.size)

    def to_dict(self, name: str) -> dict[str, Any]:
        # The pictures travel as bytes, once.
        import base64

        pictures = {
            name: base64.b64encode(bytes(round(255 * v) for v in picture)).decode()
            for name, picture in self.examples.items()
        }
        return {
            **super().to_dict(name), "values": [], "size": self.size, "centre": self.centre, "examples": pictures,
        }  # fmt: skip


def _numbers(who: str, value: Any, count: int) -> Numbers:
    try:
        numbers = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        raise ValueError(f"{who}: {value!r:.60} is not {count} numbers") from None
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{who}: {value!r:.60} must be {count} finite numbers")
    return numbers
