"""What goes on inside a network, and what it costs: read through hooks, which change nothing."""

from course_lib.measure.cost import Cost, Summary, saved_for_backward, short, summary
from course_lib.measure.receptive_field import Field, influence, receptive_field
from course_lib.measure.signals import (
    Recording,
    Statistics,
    input_spread,
    propagate,
    record,
    statistics,
)

__all__ = [
    "Cost",
    "Field",
    "Recording",
    "Statistics",
    "Summary",
    "influence",
    "input_spread",
    "propagate",
    "receptive_field",
    "record",
    "saved_for_backward",
    "short",
    "statistics",
    "summary",
]
