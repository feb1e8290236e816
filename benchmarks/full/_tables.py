"""How the tables of the full experiments write a number that was measured over several seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float], digits: int, scale: float = 1) -> str:
    """Mean ± standard deviation, times ``scale``; the value alone where there is only one."""
    mean = f"{scale * statistics.mean(values):.{digits}f}"
    return f"{mean} ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean
