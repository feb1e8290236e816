"""By how much the claims of a chapter hold: ``python -m tools.claims book/03-batchnorm.ipynb …``.

Runs each notebook, without storing anything, and lists every claim that was made about a number with its
worst value, its bound and how many spreads between the seeds lie between the two. Below `TIGHT` spreads a
claim may fail on other seeds; above `LOOSE` it says less than was found.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import nbformat

from tools.notebooks import run

TIGHT, LOOSE = 1.3, 4.0
LAST_CELL = """
from course_lib.teaching import margins
for margin in margins():
    print(margin.in_spreads, margin, margin.text, sep=" | ")
"""


def report(path: Path) -> list[tuple[float, str]]:
    """Run the notebook at ``path``; returns each margin in spreads, and what it is the margin of."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(LAST_CELL.strip()))
    run(notebook, path.parent)
    lines = "".join(output.get("text", "") for output in notebook.cells[-1].outputs).splitlines()
    return [(float(spreads), what) for spreads, _, what in (line.partition(" | ") for line in lines)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", nargs="+", type=Path)
    for path in parser.parse_args(arguments).notebook:
        print(path.name)
        for spreads, what in report(path):
            verdict = "tight" if spreads < TIGHT else "loose" if LOOSE < spreads < float("inf") else ""
            print(f"  {verdict:>5}  {what}")


if __name__ == "__main__":
    main()
