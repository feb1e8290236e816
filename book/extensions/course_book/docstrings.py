"""Docstrings are written to be read in an editor; this makes them safe to read as reStructuredText.

Stars and bars outside ``literals`` are text, not markup, and a paragraph of ``name: description``
lines becomes a list of arguments.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

LITERAL = re.compile(r"(``.+?``|:[a-z]+:`[^`]+`)")
ARGUMENT = re.compile(r"[a-z_*]\w*(, [a-z_]\w*)*: ")


def escape(line: str) -> str:
    """``line`` with the stars and bars outside its literals escaped."""
    parts = LITERAL.split(line)
    return "".join(part if k % 2 else re.sub(r"([*|])", r"\\\1", part) for k, part in enumerate(parts))


def paragraphs(lines: list[str]) -> list[list[str]]:
    """``lines`` in runs without an empty line."""
    runs: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            runs[-1].append(line)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def is_arguments(paragraph: list[str]) -> bool:
    """Whether it is ``name: description`` lines, each with indented lines that go on."""
    return bool(ARGUMENT.match(paragraph[0])) and all(
        ARGUMENT.match(line) or line.startswith(" ") for line in paragraph
    )


def rewrite(lines: list[str]) -> list[str]:
    """A docstring's lines, ready for napoleon."""
    result: list[str] = []
    literal = False  # inside an indented block that a paragraph ending in :: announced
    for paragraph in paragraphs(lines):
        literal = literal and paragraph[0].startswith(" ")
        if literal:
            result += [*paragraph, ""]
            continue
        literal = paragraph[-1].rstrip().endswith("::")
        escaped = [escape(line) for line in paragraph]
        if is_arguments(paragraph):
            escaped = ["Args:", *("    " + line for line in escaped)]
        result += [*escaped, ""]
    return result


def process(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = rewrite(lines)


def skip(app: Sphinx, what: str, name: str, thing: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out a named tuple's fields, which say only "Alias for field number 0"."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> None:
    app.setup_extension("sphinx.ext.autodoc")  # which declares the event
    app.connect("autodoc-process-docstring", process, priority=100)  # before napoleon
    app.connect("autodoc-skip-member", skip)
