"""A small chapter that keeps the contract; the tests break it one line at a time."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from tools import bootstrap
from tools.canonical import canonical
from tools.contract import Notebook

URL = "https://github.com/course-book/course-book"
EXPLORER = (
    '<figure class="course-explorer" id="explorer-1"><img alt="Histograms" src="data:image/png;base64,AAAA">'
    '<script type="application/json" class="course-frames">{"frames": [[1, 2]]}</script>'
    "<figcaption>What the scale does.</figcaption></figure>"
)
EXERCISE = (
    "```{{exercise}} {0}\n:label: ex-{0}\nWhat is {0}?\n```\n\n"
    "```{{solution}} ex-{0}\n:class: dropdown\nIt is.\n```"
)


def png(**options: object) -> str:
    """A picture of two pixels, base64."""
    out = io.BytesIO()
    Image.new("RGB", (2, 1), "white").save(out, "PNG", **options)
    return base64.b64encode(out.getvalue()).decode()


def chapter_notebook() -> nbformat.NotebookNode:
    """What `make execute` could have stored for a chapter that keeps every rule."""

    def text(words: str) -> nbformat.NotebookNode:
        return new_output("stream", name="stdout", text=words)

    cells = [
        new_markdown_cell("# A chapter\n\nA question."),
        new_code_cell(bootstrap.source(URL), metadata={"tags": ["hide-cell"]}, id=bootstrap.CELL_ID),
        new_code_cell("from course_lib.teaching import ask, claim, setup\n\nFULL = False\ndevice = setup()"),
        new_code_cell(
            "explore(histograms, scale=[1, 2])",
            outputs=[
                new_output("display_data", {"text/html": EXPLORER, "text/plain": "Explorer(scale: 2 values)"})
            ],
        ),
        new_markdown_cell(
            "## The idea\n\n$$\nx = y\n$$ (eq-idea)\n\n### Further\n\n```python\n# no heading\n```"
        ),
        new_code_cell(
            "plt.plot([1]);",
            metadata={"mystnb": {"figure": {"caption": "A line."}, "image": {"alt": "One line, rising."}}},
            outputs=[new_output("display_data", {"image/png": png(), "text/plain": "<Figure size 640x480>"})],
        ),
        new_code_cell("training.fit(model, train, optimizer, steps=5);"),
        new_code_cell('claim("it fell", True)', outputs=[text("✓ it fell\n")]),
        new_markdown_cell("## Break it\n\nIt breaks.\n\n## Exercises\n\n" + EXERCISE.format("one")),
        new_code_cell('ask("one?", ...)', outputs=[text("one?\n")]),
        new_markdown_cell(EXERCISE.format("two") + "\n\n" + EXERCISE.format("three")),
        new_code_cell('ask("two?", ...)\nask("three?", ...)', outputs=[text("two? three?\n")]),
        new_markdown_cell("## Summary\n\nIt was so.\n\n## Where to read on\n\nRead {cite:t}`glorot2010`."),
    ]
    number = 0
    for place, cell in enumerate(cells):
        if cell.cell_type == "code":
            number += 1
            cell.execution_count = number
        if cell.id != bootstrap.CELL_ID:
            cell.id = f"cell-{place}"
    return new_notebook(cells=cells)


@pytest.fixture
def chapter() -> Callable[..., Notebook]:
    """Make the chapter, changed by a function of its code cells and its notebook, in canonical form."""

    def make(
        change: Callable | None = None, name: str = "02-example.ipynb", stored: Callable = canonical
    ) -> Notebook:
        nb = chapter_notebook()
        if change is not None:
            change([cell for cell in nb.cells if cell.cell_type == "code"], nb)
        text = stored(nb, name)
        return Notebook(name, text, URL, nbformat.reads(text, as_version=4))

    return make
