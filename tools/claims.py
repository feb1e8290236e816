"""By how much the claims of a chapter hold: ``python -m tools.claims [--fresh] book/03-batchnorm.ipynb …``.

Runs each notebook, without storing anything, and lists every claim that was made about a number with its
worst value, its bound and how many spreads between the seeds lie between the two. Below `TIGHT` spreads a
claim may fail on other seeds; above `LOOSE` it says less than was found.

With ``--fresh`` the chapter's five seeds are five that it was not written with. A claim that fails on them
was true of its seeds only.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat

from tools.notebooks import run

TIGHT, LOOSE = 1.3, 4.0
SEEDS, FRESH = "SEEDS = range(5)", "SEEDS = range(5, 10)"
LAST_CELL = """
from course_lib.teaching import margins
for margin in margins():
    print(margin.in_spreads, margin, margin.text, sep=" | ")
"""


@dataclass(frozen=True)
class Report:
    """What a run found: each margin in spreads and what it is the margin of, and each cell's error."""

    margins: list[tuple[float, str]]
    errors: list[str]


def report(path: Path, fresh: bool = False) -> Report:
    """Run the notebook at ``path``, to its end whatever fails.

    Raises:
        ValueError: ``fresh``, and the notebook does not set its seeds in the one way that is known here.
    """
    notebook = nbformat.read(path, as_version=4)
    if fresh:
        code = [cell for cell in notebook.cells if cell.cell_type == "code" and SEEDS in cell.source]
        if len(code) != 1:
            raise ValueError(f"{path.name} has {len(code)} cells with {SEEDS!r}; fresh seeds need one")
        code[0].source = code[0].source.replace(SEEDS, FRESH)
    notebook.cells.append(nbformat.v4.new_code_cell(LAST_CELL.strip()))
    run(notebook, path.parent, allow_errors=True)
    lines = "".join(output.get("text", "") for output in notebook.cells[-1].outputs).splitlines()
    margins = [(float(spreads), what) for spreads, _, what in (line.partition(" | ") for line in lines)]
    return Report(margins, list(_errors(notebook)))


def _errors(notebook: nbformat.NotebookNode) -> Iterator[str]:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                said = re.sub(r"\. Either the code it rests on.*", "", output.evalue)
                yield f"{cell.id}: {output.ename}: {said}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the reports; returns 1 if a cell of any notebook failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", action="store_true", help="with five other seeds")
    parser.add_argument("notebook", nargs="+", type=Path)
    chosen, failed = parser.parse_args(arguments), False
    for path in chosen.notebook:
        found = report(path, chosen.fresh)
        print(path.name)
        for spreads, what in found.margins:
            verdict = "tight" if spreads < TIGHT else "loose" if LOOSE < spreads < float("inf") else ""
            print(f"  {verdict:>5}  {what}")
        for error in found.errors:
            print(f"  fails  {error}")
        failed = failed or bool(found.errors)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
