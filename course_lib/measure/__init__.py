"""What goes on inside a network, and what it costs: read through hooks, which change nothing."""

from course_lib.measure.signals import (
    Recording,
    Statistics,
    input_spread,
    propagate,
    record,
    statistics,
)

__all__ = ["Recording", "Statistics", "input_spread", "propagate", "record", "statistics"]
