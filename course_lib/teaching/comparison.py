"""Whether one thing is better than another, seed by seed, and how far a few seeds can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CERTAIN = 0.01  # a comparison with a larger p is not told as a result
EXACT = 16  # seeds up to which all sign patterns are counted; beyond that, as many are drawn


@dataclass(frozen=True)
class Comparison:
    """The differences of two measurements, paired by seed, and what they say of the first being larger.

    ``p`` is that of the two-sided sign-flip test: if neither were larger, each difference could as well have
    had the other sign, and ``p`` is the share of all sign patterns whose mean is as far from 0 as this one.
    ``n`` seeds have 2ⁿ patterns, two of which are the most extreme, so p is never below 2/2ⁿ: **five seeds
    cannot come below 1/16, and eight are the fewest that can reach 0.01.** With fewer, the most that can be
    said is that all of them agree.
    """

    differences: tuple[float, ...]
    p: float

    @property
    def n(self) -> int:
        return len(self.differences)

    @property
    def mean(self) -> float:
        """The first minus the second, on average."""
        return float(np.mean(self.differences))

    @property
    def agree(self) -> int:
        """On how many seeds the first is larger."""
        return sum(difference > 0 for difference in self.differences)

    @property
    def certain(self) -> bool:
        """Whether p is at most 0.01, in either direction."""
        return self.p <= CERTAIN

    @property
    def can_be_certain(self) -> bool:
        """Whether there are seeds enough for p to reach 0.01 at all."""
        return 2 / 2**self.n <= CERTAIN

    @property
    def holds(self) -> bool:
        """Whether the first is larger, with certainty or, with seeds too few for that, on every one."""
        return self.mean > 0 and (self.certain if self.can_be_certain else self.agree == self.n)

    @property
    def evidence(self) -> str:
        """What a claim adds to its line, ``8 seeds, p ≤ 0.01`` or ``all 5 seeds agree``."""
        return f"{self.n} seeds, p ≤ {CERTAIN}" if self.can_be_certain else f"all {self.n} seeds agree"

    def __str__(self) -> str:
        lowest, highest = min(self.differences), max(self.differences)
        verdict = "" if self.holds else ": we cannot tell"
        return (
            f"≈ {self.mean:+.3g} on average, from ≈ {lowest:+.3g} to ≈ {highest:+.3g}, "
            f"larger on ≈ {self.agree} of {self.n} seeds, p ≈ {self.p:.2g}{verdict}"
        )


def compare(larger: Sequence[float], smaller: Sequence[float]) -> Comparison:
    """Compare two measurements made with the same seeds, of which the first is expected to be larger.

    Args:
        larger, smaller: one value a seed, in the same order.

    Raises:
        ValueError: other than one value a seed in both, fewer than two seeds, or a value that is not finite.

    Source: R. A. Fisher, "The Design of Experiments", 1935, §21.
    """
    a, b = (np.asarray(values, dtype=float) for values in (larger, smaller))
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"larger has shape {a.shape} and smaller {b.shape}; both need one value a seed")
    if len(a) < 2:
        raise ValueError(f"larger has {len(a)} value; comparing takes two seeds or more")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(
            "larger or smaller has a value that is not finite; say what became of that run instead"
        )
    return Comparison(tuple((a - b).tolist()), _sign_flip(a - b))


def _sign_flip(differences: np.ndarray) -> float:
    """The share of sign patterns whose sum is at least as far from 0 as that of ``differences``."""
    n = len(differences)
    if n <= EXACT:
        signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    else:  # the pattern that was seen is one of those that might have been
        signs = np.random.default_rng(0).choice([-1, 1], (2**EXACT, n))
        signs[0] = 1
    sums = abs(signs @ differences)
    return float((sums >= sums[0] * (1 - 1e-9)).mean())
