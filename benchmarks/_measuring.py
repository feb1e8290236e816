"""What every benchmark needs: a row of the table, ratios of two times, and the memory of a fresh process."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from course_lib.device import synchronize

STATUS = Path("/proc/self/status")  # Linux has it


def row(
    name: str, values: Sequence[float], limit: str | None = None, unit: str = "×", value: float | None = None
) -> dict:
    """One line of the table; spread is the distance between the quartiles.

    Args:
        value: what the limit holds for, where that is not the median of ``values``.
    """
    low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return {
        "name": name,
        "median": median if value is None else value,
        "unit": unit,
        "n": len(values),
        "spread": high - low,
        "limit": limit,
    }


def seconds(call: Callable[[], None], device: torch.device) -> float:
    """How long one call takes, all that it started on ``device`` included."""
    synchronize(device)
    began = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - began


def ratios(above: Callable[[], None], below: Callable[[], None], device: torch.device, n: int) -> list[float]:
    """Time of ``above`` over time of ``below``, n times, in turn and in changing order, after a warm-up."""
    above(), below()
    measured = []
    for k in range(n):
        if k % 2:
            first = seconds(above, device)
            measured.append(first / seconds(below, device))
        else:
            first = seconds(below, device)
            measured.append(seconds(above, device) / first)
    return measured


def high_water() -> int:
    """The most memory that this process has held, in KiB (Linux).

    Not ``getrusage``'s ``ru_maxrss``, which a process inherits from the one that started it.
    """
    return int(re.search(r"VmHWM:\s*(\d+)", STATUS.read_text())[1])


def peak_mib(make: str) -> float:
    """MiB that two calls add to the peak of a fresh process; ``make`` is Python that defines ``step``."""
    imports, _, body = make.strip().partition("\n")
    code = (
        f"{imports}\nfrom benchmarks._measuring import high_water\nbefore = high_water()\n"
        f"{body}\nstep()\nstep()\nprint(high_water() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024
