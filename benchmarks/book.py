"""How long the notebooks and the book take: each notebook, its slowest cell, all under nbval, the build."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from benchmarks._measuring import row
from tools.notebooks import CELL_SECONDS, NOTEBOOK_SECONDS
from tools.notebooks import run as run_notebook

ROOT = Path(__file__).parents[1]
BUILDS = 3


def seconds(*command: str) -> float:
    """How long ``command`` takes, run in the root of the repository; its output is shown if it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return time.perf_counter() - began


def run() -> list[dict]:
    """Rows of the table of benchmarks; see the top of this file for what each measures."""
    rows = []
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        cells = run_notebook(nbformat.read(path, as_version=4), path.parent)
        rows.append(row(f"{path.name}, all cells", [sum(cells)], f"≤ {NOTEBOOK_SECONDS}", "s"))
        rows.append(row(f"{path.name}, slowest cell", [max(cells)], f"≤ {CELL_SECONDS}", "s"))
    nbval = seconds(sys.executable, "-m", "pytest", "--nbval", "book", "-q", "-p", "no:cacheprovider")
    rows.append(row("`pytest --nbval book`", [nbval], "≤ 480", "s"))
    with tempfile.TemporaryDirectory() as folder:
        command = Path(sys.executable).with_name("jupyter-book")
        build = [str(command), "build", ".", "-q", "--path-output", folder]
        fresh = []
        for _ in range(BUILDS):
            shutil.rmtree(Path(folder) / "_build", ignore_errors=True)
            fresh.append(seconds(*build))
        rows.append(row("the build of all pages", fresh, "≤ 20", "s"))
        rows.append(
            row("the build when nothing changed", [seconds(*build) for _ in range(BUILDS)], "≤ 20", "s")
        )
    return rows
