"""A sentence that states a result, and the check that it still holds."""

from __future__ import annotations

import html
from typing import Any

from course_lib.teaching.notebook import show


class ClaimFailed(AssertionError):
    """A sentence of the book is no longer true."""


def claim(text: str, condition: Any) -> None:
    """State a result that was just measured; raise if it does not hold.

    Shows one line that does not change from machine to machine, so put no measured number in
    ``text``: say what the numbers mean. ``condition`` is a bool, or a tensor or array of them, all
    of which must be true.

    Raises:
        ClaimFailed: the condition does not hold.
        ValueError: an empty text, or a condition that is not made of truth values.
    """
    if not text.strip():
        raise ValueError("text is empty; a claim is a sentence that can be true or false")
    holds = _all_true(condition)
    if not holds:
        raise ClaimFailed(
            f"this no longer holds: {text!r}. Either the code it rests on has changed its behaviour, "
            "or the sentence and the prose around it must be rewritten to say what is measured now"
        )
    show(f"✓ {text}", html=f'<div class="course-claim">✓ {html.escape(text)}</div>')


def _all_true(condition: Any) -> bool:
    if hasattr(condition, "all") and hasattr(condition, "dtype"):  # a tensor or an array
        if "bool" not in str(condition.dtype):
            raise ValueError(f"condition has dtype {condition.dtype}; compare it with something first")
        return bool(condition.all())
    if not isinstance(condition, bool):
        raise ValueError(f"condition is {condition!r}; a claim needs True or False")
    return condition
