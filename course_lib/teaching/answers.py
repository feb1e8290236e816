"""Exercises that answer back: ``check`` in the kernel, ``ask`` in the page itself."""

from __future__ import annotations

import copy
import html
import inspect
import json
import math
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from types import CodeType
from typing import Any

import torch

from course_lib.teaching.forbidding import Forbidden, forbidden
from course_lib.teaching.notebook import show
from course_lib.teaching.numbers import read_number
from course_lib.terminal import printable


def check(
    answer: Any,
    expected: Any,
    *,
    inputs: Sequence[tuple] = (),
    mistakes: Mapping[str, Any] | None = None,
    through: Callable[[Any], Any] | None = None,
    forbid: Sequence[Callable] = (),
    rtol: float = 1e-4,
    atol: float = 1e-6,
) -> None:
    """Tell the reader whether ``answer`` is right, and if not, what is wrong with it.

    Args:
        answer: a number, tensor, list of numbers or function; a text is read as a number the way the page
            reads it (:func:`course_lib.teaching.numbers.read_number`). ``None`` or ``...`` is not answered
            yet.
        expected: the right one, of the same kind.
        inputs: for functions, the argument tuples on which the two are compared.
        mistakes: explanation → the wrong answer that it explains, for the mistakes one expects.
        through: makes of ``answer`` what is compared with ``expected`` (and with the mistakes): for a
            function or class that must be run to be judged. What the answer raises in there is explained.
        forbid: functions and classes that would do the exercise for the reader; an answer that calls one of
            them, by whatever name or way, is told so.

    Prints one line. Never raises for a wrong answer: exercises are for trying.
    Raises ``ValueError`` where the exercise itself is wrong: a function without inputs.
    """
    if answer is None or answer is ...:
        print(printable("… not answered yet"))
        return
    exercise = _Exercise(tuple(inputs), through, tuple(forbid), rtol, atol)
    if callable(expected) and not inputs:
        raise ValueError("inputs is empty; a function is checked on at least one tuple of arguments")
    complaint = exercise.complaint(answer, expected)
    if complaint.explainable:
        matching = (why for why, wrong in (mistakes or {}).items() if exercise.is_mistake(answer, wrong))
        complaint = _Complaint(next(matching, complaint.text))
    print(printable(f"✗ not yet: {complaint.text}" if complaint.text else "✓ right"))


@dataclass(frozen=True)
class _Complaint:
    """What is wrong with an answer; no text if it is right.

    explainable: it has a value that is not the right one, so that it may be one of the mistakes.
    """

    text: str = ""
    explainable: bool = False


@dataclass(frozen=True)
class _Exercise:
    """How an answer is compared with another."""

    inputs: tuple[tuple, ...]
    through: Callable[[Any], Any] | None
    forbid: tuple[Callable, ...]
    rtol: float
    atol: float

    def complaint(self, answer: Any, expected: Any) -> _Complaint:
        if callable(expected):
            return self._of_function(answer, expected)
        if self.through is not None:
            answer, said = self._run(answer, self.through, (answer,))
            if said:
                return _Complaint(said)
        elif callable(answer):
            return _Complaint("this is a function; a value is asked for. Call it")
        return _Complaint(text := _compare(answer, expected, self.rtol, self.atol), explainable=bool(text))

    def is_mistake(self, answer: Any, wrong: Any) -> bool:
        """Whether ``answer`` gives what ``wrong`` gives. A wrong function may not suit all the inputs."""
        try:
            return not replace(self, forbid=()).complaint(answer, wrong).text
        except Exception:
            return False

    def _of_function(self, answer: Any, expected: Callable) -> _Complaint:
        if not callable(answer):
            return _Complaint(f"a function is asked for, and this is a {type(answer).__name__}")
        for arguments in self.inputs:
            given = copy.deepcopy(arguments)
            if misfit := _misfit(answer, given):
                return _Complaint(misfit)
            got, said = self._run(answer, answer, given)
            if said:
                return _Complaint(f"with {_describe(arguments)}, {said}")
            if not _unchanged(arguments, given):
                return _Complaint("the function overwrites its argument; make a new tensor instead")
            if got is None:
                return _Complaint("the function returns nothing; perhaps its `return` is missing")
            if text := _compare(got, expected(*copy.deepcopy(arguments)), self.rtol, self.atol):
                return _Complaint(f"with {_describe(arguments)}, {text}", explainable=True)
        return _Complaint()

    def _run(self, answer: Any, function: Callable, arguments: tuple) -> tuple[Any, str]:
        """What ``function`` returns, and what there is to say if it does not."""
        try:
            with forbidden(self.forbid):
                return function(*arguments), ""
        except Forbidden as error:
            return None, f"it calls {error}, which does the exercise for you; do it without"
        except Exception as error:
            return None, _raised(answer, error)


def _misfit(function: Callable, arguments: tuple) -> str:
    """What is wrong with a function's arguments, before it is called with these."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C
        return ""
    try:
        signature.bind(*arguments)
    except TypeError:
        count = f"{len(arguments)} argument{'' if len(arguments) == 1 else 's'}"
        return f"the function is called with {count} ({_describe(arguments)}), and yours takes {signature}"
    return ""


def _raised(answer: Any, error: Exception) -> str:
    """An exception in a sentence, with the line of the reader's own code in which it came up."""
    own = set(_own_code(answer))
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    summaries = traceback.extract_tb(error.__traceback__)
    lines = [one.line for frame, one in zip(frames, summaries, strict=True) if frame.f_code in own]
    place = f" at `{lines[-1].strip()}`" if lines and lines[-1] else ""
    message = " ".join(str(error).split())
    text = f"it raised {type(error).__name__}{place}" + (f": {message[:200]}" if message else "")
    missing = isinstance(error, TypeError | AttributeError) and "NoneType" in message and not lines
    return text + ("; perhaps its `return` is missing" if missing else "")


def _own_code(thing: Any) -> Iterator[CodeType]:
    """The code of a function, of a class's methods, and of what is defined inside of them."""
    if isinstance(thing, CodeType):
        yield thing
        for constant in thing.co_consts:
            yield from _own_code(constant)
    elif isinstance(thing, type):
        for member in vars(thing).values():
            yield from _own_code(getattr(member, "__code__", None))
    elif callable(thing):
        yield from _own_code(getattr(inspect.unwrap(thing), "__code__", None))


def _compare(answer: Any, expected: Any, rtol: float, atol: float) -> str:
    """What is wrong with ``answer``; nothing if it is right."""
    if answer is None:
        return "there is nothing to compare, only None; perhaps a `return` is missing"
    if isinstance(answer, str) and not isinstance(expected, str):
        read = read_number(answer)
        if math.isnan(read):
            return f"{answer!r} is a text, not a number"
        answer = read
    try:
        got, want = (torch.as_tensor(one).detach().cpu().double() for one in (answer, expected))
    except (TypeError, ValueError, RuntimeError):
        return f"a {type(answer).__name__} is not a number or a tensor of numbers"
    if got.shape != want.shape:
        if isinstance(answer, tuple) and want.dim() == 0 and len(answer) > 1:
            return f"{answer} is {len(answer)} numbers in Python: write no comma, or 13_863 for 13,863"
        return f"the shape is {tuple(got.shape)} and should be {tuple(want.shape)}"
    close = torch.isclose(got, want, rtol=rtol, atol=atol, equal_nan=True)
    if bool(close.all()):
        return ""
    if got.dim() == 0:
        if got.isnan():
            return "nan is not a number"
        return f"{got.item():.6g} is too {'large' if got > want else 'small'}"
    place = tuple((~close).nonzero()[0].tolist())
    return f"at index {place} you have {got[place].item():.6g}, and {want[place].item():.6g} is right"


def _unchanged(before: Any, after: Any) -> bool:
    """Whether an argument is as it was; what is no tensor, array or collection of them is taken to be."""
    if isinstance(before, torch.Tensor):
        if before.shape != after.shape:
            return False
        return bool(((before == after) | ((before != before) & (after != after))).all())  # NaN is itself
    if hasattr(before, "shape") and hasattr(before, "dtype"):
        return _unchanged(torch.as_tensor(before), torch.as_tensor(after))
    if isinstance(before, list | tuple):
        pairs = zip(before, after, strict=False)
        return len(before) == len(after) and all(_unchanged(one, other) for one, other in pairs)
    if isinstance(before, dict):
        return _unchanged(list(before.items()), list(after.items()))
    return before == after if isinstance(before, str | int | float) and before == before else True


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
    tolerance: float | None = None,
    explanation: str = "",
    unit: str = "",
) -> None:
    """Ask the reader in the page: it works in the built HTML, with no kernel.

    Args:
        question: one sentence, plain text.
        answer: the right number, or the right one of ``choices``.
        choices: choice → what to say to a reader who picks it, the right one included.
        mistakes: for numbers, a wrong answer one expects → what it got wrong.
        tolerance: relative distance from ``answer`` that still counts as right, and from a mistake that
            still counts as that mistake. Without one whole numbers are counts, and exact: 130 is not 128;
            for others it is 0.02. Of mistakes that are near, the nearest is explained.
        explanation: shown with a right number. It and the choices' texts may begin with a verdict of their
            own, "Right." say; the page then adds none.
        unit: shown behind the field. Where it or the question speaks of per cent, a typed "45 %" is 45;
            elsewhere 0.45.

    What counts as a number is said in :func:`course_lib.teaching.numbers.read_number`.

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
        allowed = {number: _tolerance(number, tolerance) for number in (answer, *(mistakes or {}))}
        for wrong in mistakes or {}:
            if abs(wrong - answer) <= allowed[answer] * abs(answer):
                raise ValueError(
                    f"mistakes has {wrong}, which counts as right: within {allowed[answer]} of {answer}"
                )
        content |= {
            "answer": answer,
            "tolerance": allowed[answer],
            "explanation": explanation,
            "unit": unit,
            "percent": bool(re.search("%|per ?cent", f"{question} {unit}".lower())),
            "mistakes": [[wrong, why, allowed[wrong]] for wrong, why in (mistakes or {}).items()],
        }
    lines = [f"? {question}", *(f"  ○ {choice}" for choice in choices or ())]
    show("\n".join(lines), html=_page_form(content))


def _tolerance(number: float, given: float | None) -> float:
    if given is not None:
        return given
    return 0.0 if float(number).is_integer() else 0.02


@cache
def _script() -> str:
    return resources.files("course_lib.teaching").joinpath("question.js").read_text(encoding="utf-8")


def _page_form(content: Mapping[str, Any]) -> str:
    data = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")
    return (
        '<form class="course-ask" autocomplete="off">'
        f'<p class="course-ask-question">{html.escape(content["question"])}</p>'
        "<noscript>Answering needs scripts; the solution is below.</noscript>"
        f'<script type="application/json" class="course-ask-data">{data}</script>'
        f'<script type="module">{_script()}</script></form>'
    )
