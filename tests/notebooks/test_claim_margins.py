"""The report on claims: how far each stands from its bound, in spreads between the seeds."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
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


SEEDED = """
from course_lib.teaching import claim

SEEDS = range(5)  # all comparisons are over these
claim("true of some seeds", list(SEEDS), below=4.5)
"""


def test_a_claim_that_fails_on_fresh_seeds_is_named_and_the_rest_still_runs(tmp_path: Path, capsys):
    path = tmp_path / "01-x.ipynb"
    cells = [new_code_cell(SEEDED.strip()), new_code_cell('claim("still here", 1.0, above=0)')]
    nbformat.write(new_notebook(cells=cells), path)
    assert main([str(path)]) == 0
    assert "fails" not in capsys.readouterr().out
    assert main(["--fresh", str(path)]) == 1
    shown = capsys.readouterr().out
    assert "ClaimFailed: this no longer holds (worst of 5 ≈ 9, bound ≈ 4.5" in shown
    assert "still here" in shown


def test_fresh_seeds_need_seeds_to_replace(tmp_path: Path):
    path = tmp_path / "01-x.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), path)
    with pytest.raises(ValueError, match=r"0 cells with 'SEEDS = range\(5\)'"):
        main(["--fresh", str(path)])
