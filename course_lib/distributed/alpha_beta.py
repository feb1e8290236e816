"""How long a message takes: α seconds to get going, and a second for every β bytes.

Source: R. Hockney, "The communication challenge for MPP", 1994.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class AlphaBeta:
    """The model of one link.

    Attributes:
        alpha: seconds before the first byte.
        beta: bytes a second.
    """

    alpha: float
    beta: float

    def message(self, size: float) -> float:
        """Seconds that one message of ``size`` bytes takes: α + size/β."""
        return self.alpha + size / self.beta

    def ring_all_reduce(self, size: float, processes: int) -> float:
        """Seconds for the ring: 2(n − 1) messages of an n-th of ``size`` bytes each, one after another."""
        return 2 * (processes - 1) * self.message(size / processes)

    def tree_all_reduce(self, size: float, processes: int) -> float:
        """Seconds for a sum up a binary tree and the result down again: 2⌈log₂ n⌉ whole messages.

        Few messages, each as large as it can be: quicker than the ring where α counts, slower where β does.
        """
        return 2 * (processes - 1).bit_length() * self.message(size)

    def error(self, seconds: Mapping[int, float], processes: int) -> float:
        """The largest relative error over all-reduces that were measured, bytes → seconds."""
        return max(abs(self.ring_all_reduce(n, processes) / t - 1) for n, t in seconds.items())


def fitted(seconds: Mapping[int, float], processes: int) -> AlphaBeta:
    """α and β of the ring all-reduces that were measured, bytes → seconds, by least squares.

    Relative errors are what is made small, so that a message of a megabyte does not outvote a thousand small
    ones. Neither number may come out negative: an α below 0 becomes 0, and β is fitted alone.

    Raises:
        ValueError: fewer than two sizes, a time or size that is not positive, fewer than two processes, or
            times that do not grow with the size at all.
    """
    if len(seconds) < 2 or processes < 2 or min(*seconds, *seconds.values()) <= 0:
        raise ValueError(
            f"seconds={dict(seconds)!r} of {processes} processes: give times above 0 of at least two sizes, "
            "measured with at least two processes"
        )
    rows = torch.tensor([[1.0, size / processes] for size in seconds], dtype=torch.float64)
    times = torch.tensor(list(seconds.values()), dtype=torch.float64)
    rows *= (2 * (processes - 1) / times)[:, None]  # each equation over its time: all right sides are 1
    ones = torch.ones(len(times), 1, dtype=torch.float64)
    alpha, slope = torch.linalg.lstsq(rows, ones).solution.flatten().tolist()
    if alpha < 0:
        alpha, slope = 0.0, (rows[:, 1].sum() / rows[:, 1].square().sum()).item()
    if slope <= 0:
        raise ValueError(f"seconds={dict(seconds)!r} do not grow with the size: there is no β to fit")
    return AlphaBeta(alpha, 1 / slope)


def measured(sizes: Sequence[int], repeats: int = 9) -> dict[int, float]:
    """Seconds that ``dist.all_reduce`` takes for float32 tensors of so many bytes, the median of ``repeats``.

    Every process of the group must call it, and all get the same numbers: those of the slowest.
    """
    found = {}
    for size in sizes:
        x = torch.ones(max(1, size // 4))
        times = []
        for k in range(repeats + 2):
            dist.barrier()
            began = time.perf_counter()
            dist.all_reduce(x)
            if k >= 2:  # the first ones open connections
                times.append(time.perf_counter() - began)
            x.fill_(1)
        slowest = torch.tensor(statistics.median(times), dtype=torch.float64)
        dist.all_reduce(slowest, dist.ReduceOp.MAX)
        found[4 * len(x)] = slowest.item()
    return found


def speed_up(serial_share: float, processes: int) -> float:
    """Amdahl's law: 1/(s + (1 − s)/n), for a share s of the work that only one process can do.

    Source: G. Amdahl, "Validity of the single processor approach", 1967. Raises ``ValueError`` for a share
    outside 0 to 1 or fewer than one process.
    """
    if not 0 <= serial_share <= 1 or processes < 1:
        raise ValueError(
            f"serial_share={serial_share!r} must be from 0 to 1, and processes={processes!r} at least 1"
        )
    return 1 / (serial_share + (1 - serial_share) / processes)
