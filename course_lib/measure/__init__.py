"""What goes on inside a network, and what it costs: read through hooks, which change nothing."""

from course_lib.measure.latency import Latency, latency
from course_lib.measure.residual import Block, gradient_norms, residual_blocks, residual_ratios, without
from course_lib.measure.signals import (
    Recording,
    Statistics,
    input_spread,
    propagate,
    record,
    statistics,
)

__all__ = [
    "Block",
    "Latency",
    "Recording",
    "Statistics",
    "gradient_norms",
    "input_spread",
    "latency",
    "propagate",
    "record",
    "residual_blocks",
    "residual_ratios",
    "statistics",
    "without",
]
