"""The report on claims: how far each stands from its bound, in spreads between the seeds."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from tools.claims import main

CELL = """
from course_lib.teaching import claim

claim("close", [1.0, 2.0], below=2.5)
claim("far", [1.0, 2.0], above=-9)
claim("one", 1.0, above=0)
claim("plain", True)
"""


def test_margins_are_listed_and_the_notebook_stays(tmp_path: Path, capsys):
    path = tmp_path / "01-x.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(CELL.strip())]), path)
    before = path.read_text("utf-8")
    main([str(path)])
    assert path.read_text("utf-8") == before
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        "01-x.ipynb",
        "tight  worst of 2 ≈ 2, bound ≈ 2.5, ≈ 0.5 times the spread away | close",
        "loose  worst of 2 ≈ 1, bound ≈ -9, ≈ 10.0 times the spread away | far",
        "worst ≈ 1, bound ≈ 0 | one",
    ]
