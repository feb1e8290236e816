"""A chapter written as text to a notebook: ``python drafts/convert.py draft.txt book/10-name.ipynb``.

Blocks begin with ``%%% md {…}`` or ``%%% code {…}``, the braces holding the cell's id and metadata as JSON.
Then ``python -m tools.notebooks canonical`` fills in the bootstrap, and ``execute`` runs it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import nbformat

MAKE = {"md": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}


def notebook(text: str) -> nbformat.NotebookNode:
    cells = []
    for block in re.split(r"(?m)^%%% ", text)[1:]:
        first, _, body = block.partition("\n")
        kind, _, metadata = first.partition(" ")
        settings = json.loads(metadata)
        cell = MAKE[kind](body.strip("\n"))
        cell["id"] = settings.pop("id")
        cell["metadata"] = settings
        cells.append(cell)
    return nbformat.v4.new_notebook(cells=cells)


if __name__ == "__main__":
    source, target = sys.argv[1:]
    nbformat.write(notebook(Path(source).read_text("utf-8")), target)
