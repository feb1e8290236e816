"""A sentence that states a result, and the check that it still holds."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np

from course_lib.teaching.comparison import Comparison
from course_lib.teaching.notebook import show


class ClaimFailed(AssertionError):
    """A sentence of the book is no longer true."""


@dataclass(frozen=True)
class Margin:
    """By how much a claim about a number holds.

    ``worst`` is the value nearest to ``bound``, of ``n``; ``spread`` lies between the lowest and the highest
    of them.
    """

    text: str
    worst: float
    bound: float
    n: int
    spread: float

    @property
    def in_spreads(self) -> float:
        """The way from the worst value to the bound, in units of the spread; infinite for a single value."""
        return abs(self.worst - self.bound) / self.spread if self.spread else float("inf")

    def __str__(self) -> str:
        over = f" of {self.n}" if self.n > 1 else ""
        spreads = f", ≈ {self.in_spreads:.1f} times the spread away" if self.spread else ""
        return f"worst{over} ≈ {self.worst:.4g}, bound ≈ {self.bound:.4g}{spreads}"


_margins: list[Margin] = []


def claim(text: str, condition: Any, *, above: float | None = None, below: float | None = None) -> None:
    """State a result that was just measured; raise if it does not hold.

    Shows one line that does not change from machine to machine, so put no measured number in
    ``text``: say what the numbers mean. There are three forms:

    - ``claim(text, a < b)``: a bool, or a tensor or array of them, all of which must be true;
    - ``claim(text, measured, below=bound)``: a number, or one a seed, **each** of which must be above or
      below the bound. By how much is kept (`margins`), and shown when the reader points at the line;
    - ``claim(text, compare(a, b))``: the first is larger, seed by seed, and the line says on what evidence.

    Raises:
        ClaimFailed: the condition does not hold.
        ValueError: an empty text; a condition that is not made of truth values, or, with a bound, of numbers.
    """
    if not text.strip():
        raise ValueError("text is empty; a claim is a sentence that can be true or false")
    found, shown, more = "", f"✓ {text}", ""
    if above is not None or below is not None:
        found = more = _measured(text, condition, above, below)
    elif isinstance(condition, Comparison):
        found = str(condition)
        if condition.holds:
            shown, more = f"{shown} ({condition.evidence})", found
        else:
            _fail(text, found)
    elif not _all_true(condition):
        _fail(text, found)
    title = f' title="{html.escape(more)}"' if more else ""
    show(shown, html=f'<div class="course-claim"{title}>{html.escape(shown)}</div>')


def margins() -> list[Margin]:
    """The margins of all claims that were made with a bound in this process, in order."""
    return list(_margins)


def _measured(text: str, values: Any, above: float | None, below: float | None) -> str:
    """Check every value against the bounds and keep the margins; returns them as a text."""
    numbers = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if numbers.size == 0 or not np.issubdtype(numbers.dtype, np.number):
        raise ValueError(f"condition is {values!r}; with above= or below=, a claim needs a number or several")
    numbers = numbers.astype(float).ravel()
    said = []
    for bound, sign in ((above, 1), (below, -1)):
        if bound is None:
            continue
        worst = sign * (sign * numbers).min()
        margin = Margin(text, float(worst), float(bound), numbers.size, float(np.ptp(numbers)))
        if not sign * (worst - bound) > 0:  # so that a NaN, which is on neither side of a bound, fails
            _fail(text, str(margin))
        _margins.append(margin)
        said.append(str(margin))
    return "; ".join(said)


def _fail(text: str, found: str) -> None:
    measured = f" ({found})" if found else ""
    raise ClaimFailed(
        f"this no longer holds{measured}: {text!r}. Either the code it rests on has changed its behaviour, "
        "or the sentence and the prose around it must be rewritten to say what is measured now"
    )


def _all_true(condition: Any) -> bool:
    if hasattr(condition, "all") and hasattr(condition, "dtype"):  # a tensor or an array
        if "bool" not in str(condition.dtype):
            raise ValueError(f"condition has dtype {condition.dtype}; compare it with something first")
        return bool(condition.all())
    if not isinstance(condition, bool):
        raise ValueError(f"condition is {condition!r}; a claim needs True or False")
    return condition
