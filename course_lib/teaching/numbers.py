"""Numbers as readers type them. ``question.js`` reads them in the same way; the tests hold one table."""

from __future__ import annotations

import math
import re

_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
# What groups thousands, and how: 13,863.5 · 13 863,5 · 1.234,5. A comma before exactly three digits stands as
# the book prints it; in 0,125 and 1234,567 it cannot, and is a decimal comma. One point is a decimal point.
_GROUPED = {
    ",": re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?"),
    " '_": re.compile(r"[1-9][0-9]{0,2}(?:([ '_])[0-9]{3})(?:\1[0-9]{3})*(?:[.,][0-9]*)?"),
    ".": re.compile(r"[1-9][0-9]{0,2}(?:(?:\.[0-9]{3})+,[0-9]*|(?:\.[0-9]{3}){2,})"),
}
_PLAIN = re.compile(r"[0-9]+[.,]?[0-9]*|[.,][0-9]+")
_FACTOR = re.compile(r"([+-]?) ?([0-9.,'_ ]*[0-9][.,]?)(?:e([+-]?[0-9]+))?(?: ?\^ ?([+-]?) ?([0-9.,]+))?")


def read_number(text: str, percent: float = 0.01) -> float:
    """The number that ``text`` stands for; NaN where it is none, or not a finite one.

    percent: what a % behind it is worth; 1 where the answer is asked for in per cent.

    Understood are 13,863 · 0,04 · 25 % · 2^10 · 2**10 · −0.04 · 4×10⁻² · .5 · 1e-3 · 1/20 and their
    mixtures. A comma before exactly three digits groups them, as in the book; in any other place it is a
    decimal comma. So 3,257 is read as three thousand.
    """
    text = re.sub(r"[⁰¹²³⁴-⁹⁺⁻]+", lambda found: "^" + found[0].translate(_SUPERSCRIPT), text.strip().lower())
    text = re.sub(r"[−–]", "-", re.sub(r"\s", " ", text)).replace("’", "'").replace("**", "^")
    text = re.sub(r"^[≈~=] ?", "", text)
    if re.match(r"[+-]?0x", text):  # a hexadecimal number to a programmer, nothing times ten to a reader
        return math.nan
    text = re.sub(r"[×·⋅x]", "*", re.sub(r"[÷∕⁄]", "/", text))
    found = re.fullmatch(r"(.*?) ?(?:%|per ?cent)", text)
    text, value = (found[1], percent) if found else (text, 1.0)
    operation = "*"
    for part in re.split(r" ?([*/]) ?", text):
        if part in ("*", "/"):
            operation = part
            continue
        factor = _factor(part)
        try:
            value = value * factor if operation == "*" else value / factor
        except ZeroDivisionError:
            return math.nan
    return value if math.isfinite(value) else math.nan


def _factor(text: str) -> float:
    """A number with a sign, and a power of it: −2^10 is −1024."""
    found = _FACTOR.fullmatch(text)
    if not found:
        return math.nan
    sign, base, exponent, power_sign, power = found.groups()
    value = _decimal(base, exponent or "0")
    if power is not None:
        try:
            value **= float(power_sign + "1") * _decimal(power, "0")
        except (OverflowError, ZeroDivisionError):
            return math.nan
    return -value if sign == "-" else value


def _decimal(text: str, exponent: str) -> float:
    for separators, pattern in _GROUPED.items():
        if pattern.fullmatch(text):
            text = re.sub(f"[{separators}]", "", text)
            break
    else:
        if not _PLAIN.fullmatch(text):
            return math.nan
    return float(f"{text.replace(',', '.')}e{exponent}")
