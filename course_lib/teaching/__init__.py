"""What a chapter uses to talk to its reader: its set-up, the library's source, claims, questions."""

from course_lib.teaching.answers import ask, check
from course_lib.teaching.claims import ClaimFailed, claim
from course_lib.teaching.notebook import require, setup, show_source

__all__ = ["ClaimFailed", "ask", "check", "claim", "require", "setup", "show_source"]
