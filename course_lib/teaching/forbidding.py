"""An answer that may not use what would do the exercise for it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any


class Forbidden(BaseException):
    """A forbidden function was called. No ``Exception``: an answer that catches those does not catch it."""


@contextmanager
def forbidden(things: Sequence[Callable]) -> Iterator[None]:
    """Inside, in this thread, a call of one of ``things`` raises :class:`Forbidden` with its name.

    It is the call that is seen, by Python's own profiling hook, so it does not matter by what name the
    function was reached, nor through which other function. A class is forbidden with its instances; of a
    function written in C all that share its name are (``torch.relu`` and ``x.relu()``).
    """
    if not things:
        yield
        return
    codes: dict[CodeType, list[tuple[str, type | None]]] = {}
    names: dict[str, str] = {}
    for thing in things:
        name = getattr(thing, "__qualname__", None) or repr(thing)
        names[getattr(thing, "__name__", name)] = name
        for code, owner in _codes(thing):
            codes.setdefault(code, []).append((name, owner))

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            for name, owner in codes.get(frame.f_code, ()):
                if owner is None or isinstance(frame.f_locals.get("self"), owner):
                    raise Forbidden(name)
        elif event == "c_call" and getattr(argument, "__name__", None) in names and _is_torchs(argument):
            raise Forbidden(names[argument.__name__])

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(before)


def _codes(thing: Callable) -> Iterator[tuple[CodeType, type | None]]:
    """The Python code that runs when ``thing`` is called; for a method, of instances of which class."""
    if isinstance(thing, type):
        for name in ("__init__", "forward"):
            if code := getattr(getattr(thing, name, None), "__code__", None):
                yield code, thing
        return
    function = inspect.unwrap(thing)
    # What a decorator returns shares its code with everything that it decorates: look at what it wraps.
    # F.max_pool2d is of this kind.
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    wrapped = [one for one in cells if hasattr(one, "__code__")]
    for one in wrapped or [function]:
        if code := getattr(one, "__code__", None):
            yield code, None


def _is_torchs(function: Any) -> bool:
    """Whether a function in C computes: not a list's or a text's method of the same name."""
    owner = getattr(function, "__self__", None)
    return not isinstance(owner, list | dict | str | tuple | set)
