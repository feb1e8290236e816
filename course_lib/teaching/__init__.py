"""What a chapter uses to talk to its reader: its set-up, the library's source, claims, questions."""

from course_lib.teaching.answers import ask, check
from course_lib.teaching.claims import ClaimFailed, Margin, claim, margins
from course_lib.teaching.comparison import Comparison, compare
from course_lib.teaching.notebook import require, setup, show_source

__all__ = [
    "ClaimFailed",
    "Comparison",
    "Margin",
    "ask",
    "check",
    "claim",
    "compare",
    "margins",
    "require",
    "setup",
    "show_source",
]
