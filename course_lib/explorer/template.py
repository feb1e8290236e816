"""Sentences about numbers that are not known yet.

A figure's function says ``text("After {steps} steps f is {height:.2g}", steps=steps, height=height)``.
Called with numbers this is a sentence at once. While the function is traced for the page there are no
numbers, and it is a template, which the page fills whenever a control moves: one function, both lives.
``template.js`` reads what :func:`parts` writes, and formats as Python does.
"""

from __future__ import annotations

import contextlib
import re
import string
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# What the page can do of Python's formats: sign, thousands, precision and kind.
FORMAT = re.compile(r"([+]?)(,?)(?:\.(\d+))?([dgfe%]?)")

_recording: ContextVar[bool] = ContextVar("recording", default=False)


@contextlib.contextmanager
def record() -> Iterator[None]:
    """While this lasts, panels keep their tensors and ``text`` makes templates."""
    token = _recording.set(True)
    try:
        yield
    finally:
        _recording.reset(token)


def recording() -> bool:
    """Whether tensors are to be kept as they are, for they have no values or these are not wanted yet."""
    return _recording.get()


@dataclass(frozen=True)
class Text:
    """A sentence with gaps.

    pieces: strings, and for each gap ``(tensor, format)`` or ``(condition, then, otherwise)`` with the latter
        two again pieces.
    """

    pieces: tuple[Any, ...]

    def __add__(self, other: Any) -> Text:
        return Text((*self.pieces, *_pieces(other)))

    def __radd__(self, other: Any) -> Text:
        return Text((*_pieces(other), *self.pieces))

    def __format__(self, spec: str) -> str:
        raise ValueError(
            "text: an f-string cannot hold a sentence that the page fills; write "
            'text("… {rest}", rest=…) and give this one as rest'
        )

    def __repr__(self) -> str:
        return "Text(" + "".join(piece if isinstance(piece, str) else "…" for piece in self.pieces) + ")"

    def filled(self) -> str:
        """The sentence, its tensors having values."""
        return "".join(_fill(piece) for piece in self.pieces)


def text(sentence: str, /, **values: Any) -> Any:
    """``sentence.format(**values)``, where values may be tensors of one number, also ones that are traced.

    sentence: as for ``str.format``, with names: ``"{loss:.3g}"``. Formats are ``[+][,][.digits]`` and one of
        d, g, f, e, %, or none: numbers as Python prints them, to four digits where they are tensors.
    values: numbers, tensors of one number, strings, and what ``text`` and ``cases`` give.

    Returns a string, or while a function is traced a :class:`Text`.

    Raises ValueError for a gap without a value, a value without a gap, a tensor of several numbers, and a
    format that the page does not have.
    """
    pieces: list[Any] = []
    used = set()
    for before, name, spec, conversion in string.Formatter().parse(sentence):
        if before:
            pieces.append(before)
        if name is None:
            continue
        if conversion or not name.isidentifier() or name not in values:
            raise ValueError(
                f"text: {sentence!r:.60} has a gap {{{name}}}; gaps are names of values, here "
                f"{', '.join(values) or 'none'}"
            )
        used.add(name)
        pieces += _gap(name, values[name], spec or "")
    if unused := values.keys() - used:
        raise ValueError(f"text: {unused.pop()!r} has no place in {sentence!r:.60}")
    result = Text(tuple(pieces))
    return result if recording() else result.filled()


def cases(condition: Any, then: Any, otherwise: Any = "") -> Any:
    """``then if condition else otherwise``, where the condition may be a tensor that is traced.

    condition: a tensor of one boolean, or a boolean.  then, otherwise: strings, or what ``text`` and
        ``cases`` give.

    Returns a string, or while a function is traced a :class:`Text`.
    """
    if not isinstance(condition, Tensor):
        return then if condition else otherwise
    _check_single("cases: condition", condition)
    result = Text(((condition, _pieces(then), _pieces(otherwise)),))
    return result if recording() else result.filled()


def _gap(name: str, value: Any, spec: str) -> tuple[Any, ...]:
    if isinstance(value, Text):
        return value.pieces
    if isinstance(value, str):
        return (format(value, spec),)
    if FORMAT.fullmatch(spec) is None:
        raise ValueError(
            f"text: {name} has format {spec!r}; the page knows [+][,][.digits] and one of d, g, f, e, %"
        )
    if not isinstance(value, Tensor):
        return (format(value, spec),)
    _check_single(f"text: {name}", value)
    if spec.endswith("d") and value.is_floating_point():
        raise ValueError(f"text: {name} is {value.dtype}, and format {spec!r} is for whole numbers; take .0f")
    if value.is_floating_point() and spec[-1:] not in tuple("dgfe%"):
        spec += "g" if "." in spec else ".4g"
    return ((value, spec),)


def _check_single(what: str, value: Tensor) -> None:
    if value.numel() != 1:
        raise ValueError(f"{what} has shape {tuple(value.shape)}; give one number")


def _pieces(value: Any) -> tuple[Any, ...]:
    if isinstance(value, Text):
        return value.pieces
    return (value,) if value else ()


def _fill(piece: Any) -> str:
    if isinstance(piece, str):
        return piece
    if len(piece) == 2:
        value, spec = piece
        number = value.item()
        return format(int(number) if isinstance(number, bool) else number, spec)
    condition, then, otherwise = piece
    return "".join(map(_fill, then if condition.item() else otherwise))


def parts(sentence: Text, place: Any) -> dict[str, Any]:
    """The template as JSON: ``place(tensor)`` is what stands for a tensor.

    ``{"text": [...]}`` of strings, ``[place, format]`` and ``[place, parts, parts]``.
    """

    def written(pieces: tuple[Any, ...]) -> list[Any]:
        return [
            piece if isinstance(piece, str)
            else [place(piece[0]), piece[1]] if len(piece) == 2
            else [place(piece[0]), written(piece[1]), written(piece[2])]
            for piece in pieces
        ]  # fmt: skip

    return {"text": written(sentence.pieces)}


def from_parts(written: dict[str, Any], value: Any) -> Text:
    """The sentence of ``parts``; ``value(place)`` is the tensor that stands there."""

    def read(pieces: list[Any]) -> tuple[Any, ...]:
        return tuple(
            piece if isinstance(piece, str)
            else (torch.as_tensor(value(piece[0])), piece[1]) if len(piece) == 2
            else (torch.as_tensor(value(piece[0])), read(piece[1]), read(piece[2]))
            for piece in pieces
        )  # fmt: skip

    return Text(read(written["text"]))
