"""Random numbers that Python and the page draw alike.

Torch's generators cannot be had in a page, so whatever is to be drawn anew there is drawn from this one, in
both places: 32-bit integers alone, so that both compute them exactly.

Sources: C. Wellons, "Prospecting for hash functions", 2018 (what stirs the state); G. Steele, D. Lea,
C. Flood, "Fast splittable pseudorandom number generators", 2014 (a counter as the state); G. Box, M. Muller,
"A note on the generation of random normal deviates", 1958.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MASK = 0xFFFFFFFF
GOLDEN = 0x9E3779B9  # 2³² over the golden ratio: the counter's step visits all 2³² states


class Generator:
    """Uniform and normal numbers from a seed, the same as ``generator(seed)`` of ``engine.js`` gives.

    The uniform numbers are equal to the bit. The normal ones take a logarithm and a cosine, whose last digit
    is the business of the machine: equal within 1e-12.

    Args:
        seed: a whole number from 0 to 2³² − 1.

    Raises ``ValueError`` for another seed.
    """

    def __init__(self, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MASK:
            raise ValueError(f"seed is {seed!r}; it must be a whole number from 0 to 2³² − 1")
        self.state = _stirred(seed)

    def integer(self) -> int:
        """The next 32 bits."""
        self.state = (self.state + GOLDEN) & MASK
        return _stirred(self.state)

    def uniform(self, shape: Sequence[int] | None = None) -> float | Tensor:
        """A number from 0 up to 1, of 53 bits; with a shape, a float64 tensor of such, drawn in order."""
        return self._uniform() if shape is None else self._filled(self._uniform, shape)

    def normal(self, shape: Sequence[int] | None = None) -> float | Tensor:
        """A number of mean 0 and standard deviation 1; with a shape, a float64 tensor, drawn in order."""
        return self._normal() if shape is None else self._filled(self._normal, shape)

    def _uniform(self) -> float:
        high, low = self.integer() >> 5, self.integer() >> 6
        return (high * 2**26 + low) / 2**53

    def _normal(self) -> float:
        """Box and Muller's first."""
        radius = math.sqrt(-2 * math.log(1 - self._uniform()))  # 1 − u is never 0
        return radius * math.cos(2 * math.pi * self._uniform())

    @staticmethod
    def _filled(draw: Callable[[], float], shape: Sequence[int]) -> Tensor:
        return torch.tensor([draw() for _ in range(math.prod(shape))], dtype=torch.float64).view(*shape)


def _stirred(x: int) -> int:
    """Every bit of the answer depends on every bit of ``x``: C. Wellons' ``lowbias32``, 2018."""
    x ^= x >> 16
    x = x * 0x7FEB352D & MASK
    x ^= x >> 15
    x = x * 0x846CA68B & MASK
    return x ^ x >> 16
