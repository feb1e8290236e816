"""Times on a device, by its own events; the memory a step needs; and a budget of seconds that is kept."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from course_lib.device import synchronize

Summary = dict[str, float]


class Deadline:
    """A moment that work should not outlast."""

    def __init__(self, seconds: float) -> None:
        self.at = time.perf_counter() + seconds

    @property
    def left(self) -> float:
        """Seconds until then, below 0 afterwards."""
        return self.at - time.perf_counter()

    def allows(self, seconds: float) -> bool:
        """Whether something that takes about so long would still be in time."""
        return self.left >= seconds


def summary(values: Sequence[float]) -> Summary:
    """Median, quartiles and n, of any unit."""
    low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else 3 * [values[0]]
    return {"median": _short(median), "low": _short(low), "high": _short(high), "n": len(values)}


def times(
    step: Callable[[], object],
    device: torch.device,
    *,
    n: int = 5,
    warmup: int = 3,
    least: float = 0.02,
    limit: float = 2.0,
) -> Summary:
    """Milliseconds that one ``step()`` takes: the median of ``n`` blocks of equal steps.

    A block lasts ``least`` seconds or longer, so that neither the clock nor a launch shows; all blocks
    together about ``limit`` seconds at most, for which n may fall to 2. The device's own events read the
    clock on CUDA, so that nothing waits for the processor between two steps of a block.
    """
    for _ in range(warmup):
        step()
    once = max(_elapsed(step, 1, device), 1e-6)
    block = max(1, min(200, math.ceil(least / once)))
    n = max(2, min(n, int(limit / (once * block))))
    return summary([1e3 * _elapsed(step, block, device) / block for _ in range(n)])


def _elapsed(step: Callable[[], object], steps: int, device: torch.device) -> float:
    """Seconds on the device between the beginning of the first of ``steps`` and the end of the last."""
    synchronize(device)
    if device.type != "cuda":
        began = time.perf_counter()
        for _ in range(steps):
            step()
        return time.perf_counter() - began
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(steps):
        step()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1e3


def peak_mib(step: Callable[[], object], device: torch.device) -> float | None:
    """MiB on the GPU at the fullest moment of a step, all that is there included; None elsewhere."""
    if device.type != "cuda":
        return None
    synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    synchronize(device)
    return _short(torch.cuda.max_memory_allocated(device) / 2**20)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether float32 products may round their factors to TF32's 10 bits of fraction.

    torch's default allows it in convolutions and not in matrix products; here it is both or none.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def free(device: torch.device) -> None:
    """Give back what nothing needs any more, so that one measurement does not crowd the next."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _short(value: float) -> float:
    return float(f"{value:.4g}")
