"""Every combination of the controls computed, checked and packed small.

Packing is lossless for what ``figure`` returns. Two ideas: what all frames share is written once (a
template), and a list of numbers with few significant digits is written as two or three characters a
number: ``"a-5:AAfB…"`` is a format, the exponent of the last digit, and one code a number. A code is
the decimal mantissa, then the decimal shift, then the sign, in base 64; the last code means None.
``explorer.js`` has the reader.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from course_lib.explorer.controls import Control
from course_lib.explorer.figure import Figure

Frame = dict[str, Any]
Values = dict[str, Any]

# Bytes of one explorer's HTML without the script, which a page has once: a page stays light on a phone.
LIMIT = 300_000
PATIENCE = 2.0  # seconds of computing before a progress bar says that something happens

ORDER = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# Characters a number, significant digits, whether numbers may be negative.
FORMATS = {"a": (2, 3, False), "b": (2, 3, True), "c": (3, 4, False), "d": (3, 4, True)}
SHORT = 8  # lists below this length are taken apart, so that their constant elements are shared


def combinations(controls: Mapping[str, Control]) -> Iterator[Values]:
    """The values of ``fn``'s arguments, frame by frame; the last control changes fastest."""
    for combination in itertools.product(*(control.values for control in controls.values())):
        yield dict(zip(controls, combination, strict=True))


def count(controls: Mapping[str, Control]) -> int:
    return math.prod(len(control.values) for control in controls.values())


def describe(values: Mapping[str, Any]) -> str:
    """``weight_scale=0.01, activation='relu'``: how messages name a frame."""
    return ", ".join(
        f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value!r:.60}"
        for name, value in values.items()
    )


def call(fn: Callable[..., Figure], values: Values) -> Frame:
    """One frame. Raises RuntimeError when ``fn`` raises and ValueError when it returns no Figure."""
    try:
        figure = fn(**values)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise RuntimeError(f"explore: fn failed at {describe(values)}: {what}") from error
    if not isinstance(figure, Figure):
        raise ValueError(
            f"explore: fn returned a {type(figure).__name__} at {describe(values)}; it must return a Figure"
        )
    return figure.to_dict()


def check_same(frame: Frame, values: Values, first: Frame, first_values: Values) -> None:
    """Raises ValueError where the panels of two frames differ in number, kind or title."""
    if len(frame["panels"]) != len(first["panels"]):
        raise ValueError(
            f"explore: {len(frame['panels'])} panels at {describe(values)}, but {len(first['panels'])} at "
            f"{describe(first_values)}; every frame needs the same panels"
        )
    for position, (panel, other) in enumerate(zip(frame["panels"], first["panels"], strict=True), 1):
        if (panel["kind"], panel["title"]) != (other["kind"], other["title"]):
            raise ValueError(
                f"explore: panel {position} is {panel['kind']} {panel['title']!r} at {describe(values)}, but "
                f"{other['kind']} {other['title']!r} at {describe(first_values)}; every frame needs the same "
                "panels (what changes belongs in the note)"
            )


def compute(fn: Callable[..., Figure], controls: Mapping[str, Control], overhead: int = 0) -> list[Frame]:
    """All frames, in the order of ``combinations``.

    overhead: bytes that the page needs besides the frames.

    The first frames computed are the start and, for each control, its value farthest from the start.
    They tell what a frame weighs and which parts depend on which control, so that too large an explorer
    is refused before hours are spent. Raises ValueError and RuntimeError, see ``call``.
    """
    start = {name: control.start for name, control in controls.items()}
    done: dict[tuple[Any, ...], Frame] = {}

    def frame(values: Values) -> Frame:
        key = tuple(values.values())
        if key not in done:
            done[key] = call(fn, values)
            check_same(done[key], values, done[tuple(start.values())], start)
        return done[key]

    began = time.monotonic()
    first = frame(start)
    probes = {name: frame(start | {name: control.farthest()}) for name, control in controls.items()}
    estimate = _estimate(first, probes, controls)
    if estimate + overhead > 1.25 * LIMIT:
        raise ValueError(too_large(controls, estimate + overhead, about=True))
    wanted = list(combinations(controls))
    bar = None
    for position, values in enumerate(wanted):
        frame(values)
        if bar is None and time.monotonic() - began > PATIENCE:
            bar = _progress_bar(len(wanted), position)
        if bar is not None:
            bar.update()
    if bar is not None:
        bar.close()
    return [frame(values) for values in wanted]


def too_large(controls: Mapping[str, Control], size: int, about: bool = False) -> str:
    """What to say of an explorer that weighs ``size`` bytes."""
    sizes = " × ".join(f"{len(control.values)} {name}" for name, control in controls.items())
    weight = f"{'about ' if about else ''}{size / 1000:,.0f} KB of HTML"
    return (
        f"explore: {count(controls):,} frames ({sizes}) make {weight}; "
        f"at most {LIMIT / 1000:.0f} KB are allowed. Take fewer values of a control, or panels with "
        "fewer bins, points or pixels"
    )


def _progress_bar(total: int, initial: int) -> Any:
    import os

    from tqdm.auto import tqdm

    quiet = os.environ.get("COURSE_PROGRESS") == "0"
    return tqdm(total=total, initial=initial, desc="frames", unit="frame", leave=False, disable=quiet)


def _estimate(first: Frame, probes: Mapping[str, Frame], controls: Mapping[str, Control]) -> int:
    """Bytes of all frames: each leaf times the number of values of the controls that it depends on."""

    def leaf_bytes(node: Any, others: dict[str, Any]) -> int:
        keys = node.keys() if isinstance(node, dict) else range(len(node)) if _is_structure(node) else None
        alike = all(isinstance(other, type(node)) for other in others.values())
        if keys is not None and alike and all(_keys(other) == list(keys) for other in others.values()):
            return sum(leaf_bytes(node[k], {name: other[k] for name, other in others.items()}) for k in keys)
        repeats = math.prod(len(controls[name].values) for name, other in others.items() if other != node)
        if repeats == 1:
            return 0  # in the template, written once
        return repeats * (3 if _is_number(node) else len(json.dumps(_packed_or_same(node))) + 1)

    return len(json.dumps(encode([first]))) + leaf_bytes(first, dict(probes))


def encode(frames: Sequence[Frame]) -> dict[str, Any]:
    """Frames as ``{"count", "template", "columns"}``; ``decode`` gives them back exactly.

    In the template ``{"#": packed}`` is a list of numbers and ``{"@": k}`` stands for column k, which
    has a value for every frame: ``{"numbers": packed}``, or ``{"values": [...], "index": [...]}`` with
    each different value once (no index: one value a frame).
    """
    columns: list[dict[str, Any]] = []
    template = _merge(list(frames), columns)
    return {"count": len(frames), "template": template, "columns": columns}


def decode(encoded: Mapping[str, Any]) -> list[Frame]:
    """The frames of ``encode``; also what has gone through JSON."""
    columns = []
    for column in encoded["columns"]:
        if "numbers" in column:
            columns.append(unpack(column["numbers"]))
        elif "index" in column:
            columns.append([column["values"][k] for k in column["index"]])
        else:
            columns.append(column["values"])

    def fill(node: Any, position: int) -> Any:
        if isinstance(node, dict):
            if "@" in node:
                return fill(columns[node["@"]][position], position)
            if "#" in node:
                return unpack(node["#"])
            return {key: fill(value, position) for key, value in node.items()}
        return [fill(value, position) for value in node] if isinstance(node, list) else node

    return [fill(encoded["template"], position) for position in range(encoded["count"])]


def _merge(nodes: list[Any], columns: list[dict[str, Any]]) -> Any:
    """The template of nodes that stand at the same place in every frame; what varies goes to ``columns``."""
    first = nodes[0]
    if all(node == first for node in nodes[1:]):
        return _packed_or_same(first)
    if all(isinstance(node, dict) for node in nodes) and len({tuple(node) for node in nodes}) == 1:
        return {key: _merge([node[key] for node in nodes], columns) for key in first}
    if all(_is_structure(node) for node in nodes) and len({len(node) for node in nodes}) == 1:
        return [_merge([node[k] for node in nodes], columns) for k in range(len(first))]
    columns.append(_column(nodes))
    return {"@": len(columns) - 1}


def _column(nodes: list[Any]) -> dict[str, Any]:
    if all(node is None or _is_number(node) for node in nodes) and (packed := pack(nodes)) is not None:
        return {"numbers": packed}
    values = [_packed_or_same(node) for node in nodes]
    places: dict[str, int] = {}
    index = [places.setdefault(json.dumps(value), len(places)) for value in values]
    if 2 * len(places) > len(values):
        return {"values": values}
    return {"values": [json.loads(value) for value in places], "index": index}


def _packed_or_same(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _packed_or_same(value) for key, value in node.items()}
    if isinstance(node, list):
        if _is_numbers(node) and len(node) >= SHORT and (packed := pack(node)) is not None:
            return {"#": packed}
        return [_packed_or_same(value) for value in node]
    return node


def pack(numbers: Sequence[float | None]) -> str | None:
    """Numbers and None as text in the shortest format that keeps every one exactly, or None."""
    parts = [None if v is None else _mantissa_and_exponent(v) for v in numbers]
    exact = [part for part in parts if part is not None]
    longest = max((len(str(abs(mantissa))) for mantissa, _ in exact), default=1)
    nonzero = [part for part in exact if part[0]]
    low = min((exponent for _, exponent in nonzero), default=0)
    negative = any(mantissa < 0 for mantissa, _ in exact)
    for name, (width, digits, signed) in FORMATS.items():
        if longest > digits or (negative and not signed):
            continue
        full, missing = 10**digits, 64**width - 1
        codes = []
        for part in parts:
            code = missing if part is None else _code(*part, low, full, signed)
            if part is not None and code >= missing:
                break
            codes.append("".join(ORDER[code >> 6 * k & 63] for k in reversed(range(width))))
        else:
            return f"{name}{low}:{''.join(codes)}"
    return None


def unpack(text: str) -> list[float | None]:
    """The numbers of ``pack``."""
    width, digits, signed = FORMATS[text[0]]
    low, codes = text[1:].split(":")
    full, numbers = 10**digits, []
    for start in range(0, len(codes), width):
        code = 0
        for character in codes[start : start + width]:
            code = 64 * code + ORDER.index(character)
        if code == 64**width - 1:
            numbers.append(None)
            continue
        code, sign = (code >> 1, "-" if code & 1 else "") if signed else (code, "")
        shift = 0 if code < full else 1 + (code - full) // (full - full // 10)
        mantissa = code if shift == 0 else full // 10 + (code - full) % (full - full // 10)
        numbers.append(float(f"{sign}{mantissa}e{int(low) + shift}"))
    return numbers


def _code(mantissa: int, exponent: int, low: int, full: int, signed: bool) -> int:
    """The code of mantissa × 10^exponent above 10^low: few digits at shift 0, then all ``full`` digits."""
    size = abs(mantissa)
    shift = exponent - low if size else 0
    while shift and size * 10 < full:
        size, shift = size * 10, shift - 1
    code = size if shift == 0 else full + (shift - 1) * (full - full // 10) + size - full // 10
    return code * 2 + (mantissa < 0) if signed else code


def _mantissa_and_exponent(value: float) -> tuple[int, int]:
    """0.0125 as (125, -4): the shortest decimal that is this number."""
    digits, exponent = f"{value:.16e}".split("e")
    if float(f"{value:.3e}") == value:
        digits, exponent = f"{value:.3e}".split("e")
    whole, fraction = digits.split(".")
    fraction = fraction.rstrip("0")
    mantissa, power = int(whole + fraction), int(exponent) - len(fraction)
    if mantissa == 0:
        return 0, 0
    while mantissa % 10 == 0:
        mantissa, power = mantissa // 10, power + 1
    return mantissa, power


def _is_number(node: Any) -> bool:
    return isinstance(node, (int, float)) and not isinstance(node, bool)


def _is_numbers(node: Any) -> bool:
    return isinstance(node, list) and all(value is None or _is_number(value) for value in node)


def _is_structure(node: Any) -> bool:
    """A list to take apart: short, or not of numbers."""
    return isinstance(node, list) and (len(node) < SHORT or not _is_numbers(node))


def _keys(node: Any) -> list[Any]:
    return list(node.keys()) if isinstance(node, dict) else list(range(len(node)))
