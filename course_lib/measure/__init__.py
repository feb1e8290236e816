"""What goes on inside a network, and what it costs: read through hooks, which change nothing."""

from course_lib.measure.cost import Cost, Summary, saved_for_backward, short, summary
from course_lib.measure.gradient_check import GradientCheck, gradient_check
from course_lib.measure.invertibility import (
    Embedding,
    OpenUnits,
    chance_lost,
    open_units,
    spiral,
    there_and_back,
)
from course_lib.measure.latency import Latency, latency
from course_lib.measure.receptive_field import Field, influence, receptive_field
from course_lib.measure.residual import Block, gradient_norms, residual_blocks, residual_ratios, without
from course_lib.measure.signals import Recording, Statistics, input_spread, propagate, record, statistics

__all__ = [
    "Block",
    "Cost",
    "Embedding",
    "Field",
    "GradientCheck",
    "Latency",
    "OpenUnits",
    "Recording",
    "Statistics",
    "Summary",
    "chance_lost",
    "gradient_check",
    "gradient_norms",
    "influence",
    "input_spread",
    "latency",
    "open_units",
    "propagate",
    "receptive_field",
    "record",
    "residual_blocks",
    "residual_ratios",
    "saved_for_backward",
    "short",
    "spiral",
    "statistics",
    "summary",
    "there_and_back",
    "without",
]
