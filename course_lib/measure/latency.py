"""How long something takes: the median of repeated runs, with the quartiles beside it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from course_lib import device as devices


@dataclass(frozen=True)
class Latency:
    """Seconds for one run."""

    median: float
    low: float  # a quarter of the runs were faster
    high: float  # a quarter were slower
    runs: int

    def __str__(self) -> str:
        return f"{1e3 * self.median:.3g} ms ({1e3 * self.low:.3g} to {1e3 * self.high:.3g}, n = {self.runs})"


def latency(
    run: Callable[[], object],
    *,
    repeats: int = 20,
    warmup: int = 3,
    device: str | torch.device | None = None,
) -> Latency:
    """Seconds that ``run()`` takes: ``warmup`` runs unmeasured, then the quartiles of ``repeats`` runs.

    The median forgives a run that the operating system interrupted; a mean would not. On a GPU the clock is
    read only when the device has finished.

    Args:
        run: what to measure; it takes no arguments and its result is thrown away.
        repeats: how many runs are measured, 1 or more.
        warmup: how many go before them: the first runs pay for compilation and for memory.
        device: where ``run`` computes; ``None`` is the course's device.

    Raises:
        ValueError: fewer than one run, fewer than no warm-up.

    Example::

        measure.latency(lambda: model(x))
    """
    for name, value, least in (("repeats", repeats, 1), ("warmup", warmup, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    at = devices.resolve(device)
    for _ in range(warmup):
        run()
    seconds = []
    for _ in range(repeats):
        devices.synchronize(at)
        start = time.perf_counter()
        run()
        devices.synchronize(at)
        seconds.append(time.perf_counter() - start)
    low, middle, high = statistics.quantiles(seconds, n=4) if repeats > 1 else 3 * seconds
    return Latency(middle, low, high, repeats)
