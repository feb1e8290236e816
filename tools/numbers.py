"""Which numbers in a chapter's prose have no source: ``python -m tools.numbers book/01-optimizers.ipynb …``.

A number in a Markdown cell, a caption or an alternative text has a source if it stands

- in an output of its own section, or in the results table that the chapter includes: it may be rounded;
- in the code, in a table or in an equation: of its own section, or anywhere if it has two digits or more;
- beside a citation in the same sentence.

A share may be told in per cent. A summary is told from the whole chapter. Exercises and their solutions are
left out: their numbers are given, and their answers are checked.

This finds numbers that stand nowhere else. It does not find a wrong number that happens to stand in the right
place too, nor numbers in words. ``tests/notebooks/numbers_without_source.json`` lists those that are left.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_NUMBER = re.compile(r"(?<![\w.])[-−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w^])(?!\.\d)", re.IGNORECASE)
_POWER = re.compile(r"(?:([\d.]+)\s*(?:\\cdot|·|×|\\times)\s*)?(?<![\d.])10\^(?:\{([-−]?\d+)\}|(-?\d))")
_EQUATION_OR_ROW = re.compile(r"(?ms)^\$\$.+?^\$\$|^\|[^\n]*\|$")
# What is not prose, or whose numbers are names.
_NOT_PROSE = [
    r"(?ms)^(`{3,}|:{3,})\{(exercise|solution)(?:-start)?\}.*?^\1[ \t]*$",
    r"(?ms)^(`{3,}|:{3,})\{include\}.*?^\1[ \t]*$",
    r"\{(?!cite)[\w:]+\}`[^`]*`",  # a role: a reference, a document, a function
    r"`[^`\n]*`(?!\w)",  # code; a citation has lost its own before
    r"\(eq-[\w-]+\)|https?://\S+",
    r"(?m)^#+ .*$",
    r"\\(?:begin|end)\{\w+\}|[_^]\{?\\?\w*\}?(?=_)|_\{?\w+\}?",  # subscripts
]


@dataclass(frozen=True)
class Number:
    """A number in the prose: the cell's id, how it is written, and the sentence around it."""

    cell: str
    text: str
    sentence: str

    @property
    def key(self) -> str:
        return f"{self.cell}: {self.text}"


@dataclass(frozen=True)
class Value:
    """A number that others may be told from: where it stands, and whether it may be rounded."""

    value: float
    section: int | None  # None: anywhere
    measured: bool


def held(text: str, section: int | None, known: Sequence[Value], percent: bool = False) -> bool:
    """Whether the number that is written ``text`` in ``section`` can be told from ``known``."""
    value, half = number(text), 0.5 * 10.0 ** -decimals(text)
    many_digits = len(re.sub(r"\D", "", text.lower().partition("e")[0]).strip("0")) > 1
    for one in known:
        if section is not None and one.section not in (section, None) and (one.measured or not many_digits):
            continue
        apart = half if one.measured else 0.0
        if abs(one.value - value) <= apart + 1e-9 * abs(value):
            return True
        if percent and abs(100 * one.value - value) <= apart + 1e-9 * abs(value):
            return True
    return False


def number(text: str) -> float:
    """The value of a number as it is written."""
    return float(text.replace(",", "").replace("−", "-"))


def decimals(text: str) -> int:
    """The digits behind the point, by which a measured value may have been rounded."""
    plain = text.lower().partition("e")[0]
    return len(plain.partition(".")[2]) + (-int(text.lower().partition("e")[2] or 0))


def plain(text: str) -> str:
    """``text`` with every number in one form: no thin spaces, no superscripts, 10⁻³ as 1e-3."""
    text = re.sub(
        r"(?<=\d)(?:\{,\}|\\,|[\u202f ,](?=\d{3}(?!\d)))(?=\d{3}(?!\d))", "", text.replace("−", "-")
    )
    text = re.sub(r"10([⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)", lambda m: "10^{" + m[1].translate(_SUPERSCRIPTS) + "}", text)
    return _POWER.sub(lambda m: f"{m[1] or 1}e{m[2] or m[3]}", text)


def told(text: str) -> list[tuple[str, bool]]:
    """Every number of a text, without its sign, in order; and whether it is told in per cent."""
    text = plain(text)
    return [
        (
            found[0].rstrip(",").lstrip("-"),
            bool(re.match(r"(?:\\,)? ?(?:\\?%|per cent|points?)", text[found.end() :])),
        )
        for found in _NUMBER.finditer(text)
    ]


def numbers_in(text: str) -> list[str]:
    """Every number of a text, without its sign, in order."""
    return [one for one, _ in told(text)]


def sections(notebook: nbformat.NotebookNode) -> Iterator[tuple[int | None, nbformat.NotebookNode]]:
    """Each cell, in parts where a heading stands inside, with its section's number; None is the summary."""
    section = 0
    for cell in notebook.cells:
        parts = re.split(r"(?m)^(?=## )", cell.source) if cell.cell_type == "markdown" else [cell.source]
        for part in parts:
            if part.startswith("## ") and cell.cell_type == "markdown":
                section += 1
            summary = cell.cell_type == "markdown" and part.startswith("## Summary")
            yield (None if summary else section), nbformat.from_dict(cell | {"source": part})


def sources(notebook: nbformat.NotebookNode, folder: Path) -> list[Value]:
    """All that a number in the prose of ``notebook`` may be told from."""
    texts: list[tuple[str, int | None, bool]] = []
    for section, cell in sections(notebook):
        if cell.cell_type == "markdown":
            texts += [(found, section, False) for found in _EQUATION_OR_ROW.findall(cell.source)]
            for name in re.findall(r"\{include\}\s*(\S+)", cell.source):
                texts.append(((folder / name).read_text("utf-8"), None, True))
            continue
        texts.append((cell.source, section, False))
        for output in cell.outputs:
            texts.append((output.get("text", ""), section, True))
            texts.append((output.get("data", {}).get("text/plain", ""), section, True))
    return [
        Value(number(n), section, measured) for text, section, measured in texts for n in numbers_in(text)
    ]


def prose(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, int | None, str]]:
    """The id of each cell that has prose, its section, and the prose."""
    for section, cell in sections(notebook):
        if cell.cell_type == "markdown":
            yield cell.id, section, _EQUATION_OR_ROW.sub("", cell.source)
        else:
            figure = cell.metadata.get("mystnb", {})
            yield cell.id, section, figure.get("figure", {}).get("caption", "")
            yield cell.id, section, figure.get("image", {}).get("alt", "")


def sentences(text: str) -> Iterator[str]:
    """The sentences of a prose, without what is no prose."""
    text = re.sub(r"\{cite:\w\}`[^`]*`", "CITED", text)
    for pattern in _NOT_PROSE:
        text = re.sub(pattern, " ", text)
    yield from re.split(r"(?<=[.:?!])\s+(?=[A-Z*\[])|\n\s*\n|\n\s*-\s", text)


def without_source(path: Path) -> list[Number]:
    """The numbers in the prose of the notebook at ``path`` that have no source, in order."""
    notebook = nbformat.read(path, as_version=4)
    known = sources(notebook, path.parent)
    return [
        Number(cell, text, " ".join(sentence.split()))
        for cell, section, whole in prose(notebook)
        for sentence in sentences(whole)
        if "CITED" not in sentence
        for text, percent in told(sentence)
        if not held(text, section, known, percent)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", nargs="*", type=Path, help="default: every chapter of the book")
    paths = parser.parse_args(arguments).notebook or sorted((ROOT / "book").glob("[0-9]*.ipynb"))
    for path in paths:
        found = without_source(path)
        print(f"{path.name}: {len(found)} numbers without a source")
        for one in found:
            print(f"  {one.cell}: {one.text} in: {one.sentence[:140]}")


if __name__ == "__main__":
    main()
