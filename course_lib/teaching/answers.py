"""Exercises that answer back: ``check`` in the kernel, ``ask`` in the page itself."""

from __future__ import annotations

import copy
import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import torch

from course_lib.teaching.notebook import show


def check(
    answer: Any,
    expected: Any,
    *,
    inputs: Sequence[tuple] = (),
    mistakes: Mapping[str, Any] | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-6,
) -> None:
    """Tell the reader whether ``answer`` is right, and if not, what is wrong with it.

    Args:
        answer: a number, tensor, list of numbers or function; ``None`` or ``...`` is not answered yet.
        expected: the right one, of the same kind.
        inputs: for functions, the argument tuples on which the two are compared.
        mistakes: explanation → the wrong answer that it explains, for the mistakes one expects.

    Prints one line. Never raises for a wrong answer: exercises are for trying.
    Raises ``ValueError`` where the exercise itself is wrong: a function without inputs.
    """
    if answer is None or answer is ...:
        print("… not answered yet")
        return
    if callable(expected):
        if not inputs:
            raise ValueError("inputs is empty; a function is checked on at least one tuple of arguments")
        complaint = _compare_functions(answer, expected, inputs, rtol, atol)
    else:
        complaint = _compare(answer, expected, rtol, atol)
    if complaint:
        for explanation, wrong in (mistakes or {}).items():
            if callable(wrong):
                matches = not _compare_functions(answer, wrong, inputs, rtol, atol)
            else:
                matches = not _compare(answer, wrong, rtol, atol)
            if matches:
                complaint = explanation
                break
    print(f"✗ not yet: {complaint}" if complaint else "✓ right")


def _compare(answer: Any, expected: Any, rtol: float, atol: float) -> str:
    """What is wrong with ``answer``; nothing if it is right."""
    try:
        got, want = torch.as_tensor(answer).double(), torch.as_tensor(expected).double()
    except (TypeError, ValueError, RuntimeError):
        return f"a {type(answer).__name__} is not a number or a tensor of numbers"
    if got.shape != want.shape:
        return f"the shape is {tuple(got.shape)} and should be {tuple(want.shape)}"
    close = torch.isclose(got, want, rtol=rtol, atol=atol, equal_nan=True)
    if bool(close.all()):
        return ""
    if got.dim() == 0:
        return f"{got.item():.6g} is too {'large' if got > want else 'small'}"
    place = tuple((~close).nonzero()[0].tolist())
    return f"at index {place} you have {got[place].item():.6g}, and {want[place].item():.6g} is right"


def _compare_functions(
    answer: Any, expected: Callable, inputs: Sequence[tuple], rtol: float, atol: float
) -> str:
    if not callable(answer):
        return f"a function is asked for, and this is a {type(answer).__name__}"
    for arguments in inputs:
        given = copy.deepcopy(arguments)
        try:
            got = answer(*given)
        except Exception as error:
            return f"with {_describe(arguments)} it raised {type(error).__name__}: {error}"
        for before, after in zip(arguments, given, strict=True):
            if isinstance(before, torch.Tensor) and not torch.equal(before, after):
                return "the function overwrites its argument; make a new tensor instead"
        if complaint := _compare(got, expected(*copy.deepcopy(arguments)), rtol, atol):
            return f"with {_describe(arguments)}, {complaint}"
    return ""


def _describe(arguments: tuple) -> str:
    return ", ".join(
        f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
        for value in arguments
    )


def ask(
    question: str,
    answer: float | str,
    *,
    choices: Mapping[str, str] | None = None,
    mistakes: Mapping[float, str] | None = None,
    tolerance: float = 0.02,
    explanation: str = "",
    unit: str = "",
) -> None:
    """Ask the reader in the page: it works in the built HTML, with no kernel.

    Args:
        question: one sentence, plain text.
        answer: the right number, or the right one of ``choices``.
        choices: choice → what to say to a reader who picks it, the right one included.
        mistakes: for numbers, a wrong answer one expects → what it got wrong.
        tolerance: relative distance from ``answer`` that still counts as right.
        explanation: shown with a right number.

    Raises ``ValueError`` where the question cannot be answered: an answer that is not a choice, a
    number that is not finite, a mistake within the tolerance of the answer.
    """
    content: dict[str, Any] = {"question": question}
    if choices is not None:
        if answer not in choices:
            raise ValueError(f"answer is {answer!r}; it must be one of the choices {list(choices)}")
        content |= {"answer": answer, "choices": dict(choices)}
    else:
        if not isinstance(answer, int | float) or not math.isfinite(answer):
            raise ValueError(f"answer is {answer!r}; without choices it must be a finite number")
        mistakes = mistakes or {}
        for wrong in mistakes:
            if abs(wrong - answer) <= tolerance * abs(answer):
                raise ValueError(
                    f"mistakes has {wrong}, which counts as right: within {tolerance} of {answer}"
                )
        content |= {
            "answer": answer,
            "tolerance": tolerance,
            "explanation": explanation,
            "unit": unit,
            "mistakes": [[wrong, why] for wrong, why in mistakes.items()],
        }
    lines = [f"? {question}", *(f"  ○ {choice}" for choice in choices or ())]
    show("\n".join(lines), html=_page_form(content))


@cache
def _script() -> str:
    return resources.files("course_lib.teaching").joinpath("question.js").read_text(encoding="utf-8")


def _page_form(content: Mapping[str, Any]) -> str:
    data = json.dumps(content, ensure_ascii=False).replace("</", "<\\/")
    return (
        '<form class="course-ask" autocomplete="off">'
        f'<p class="course-ask-question">{html.escape(content["question"])}</p>'
        "<noscript>Answering needs scripts; the solution is below.</noscript>"
        f'<script type="application/json" class="course-ask-data">{data}</script>'
        f'<script type="module">{_script()}</script></form>'
    )
