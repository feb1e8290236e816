"""Text for a terminal that may not know all its letters: Windows' cp1252, a log file in ASCII."""

from __future__ import annotations

import sys

# What stands for a sign that an encoding lacks. The widths are kept, so tables stay in line.
_PLAINER = {
    "✓": "+",
    "✗": "x",
    "○": "o",
    "─": "-",
    "−": "-",
    "≈": "~",
    "→": ">",
    "←": "<",
    "…": ".",
    "≤": "<",
    "≥": ">",
}


def printable(text: str) -> str:
    """``text`` as standard output can take it: as it is where its encoding knows every letter, as UTF-8 does.

    Else the letters that it lacks are replaced, by a plainer one of the same meaning or by ``?``; printing
    would raise ``UnicodeEncodeError``.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_known(letter, encoding) for letter in text)
    return text


def _known(letter: str, encoding: str) -> str:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return _PLAINER.get(letter, "?")
    return letter
