"""How long the notebooks and the book take: each notebook, its slowest cell, all under nbval, the build."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from tools.notebooks import CELL_SECONDS, NOTEBOOK_SECONDS
from tools.notebooks import run as run_notebook

ROOT = Path(__file__).parents[1]
BUILDS = 3


def row(name: str, values: list[float], limit: float | None) -> dict:
    """One line of the table, in seconds; spread is the distance between the quartiles."""
    low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return {
        "name": name,
        "value": median,
        "unit": "s",
        "n": len(values),
        "median": median,
        "spread": high - low,
        "limit": None if limit is None else f"≤ {limit:g}",
    }


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
        rows.append(row(f"{path.name}, all cells", [sum(cells)], NOTEBOOK_SECONDS))
        rows.append(row(f"{path.name}, slowest cell", [max(cells)], CELL_SECONDS))
    nbval = seconds(sys.executable, "-m", "pytest", "--nbval", "book", "-q", "-p", "no:cacheprovider")
    rows.append(row("`pytest --nbval book`", [nbval], 480))
    with tempfile.TemporaryDirectory() as folder:
        command = Path(sys.executable).with_name("jupyter-book")
        build = [str(command), "build", ".", "-q", "--path-output", folder]
        fresh = []
        for _ in range(BUILDS):
            shutil.rmtree(Path(folder) / "_build", ignore_errors=True)
            fresh.append(seconds(*build))
        rows.append(row("the build of all pages", fresh, 20))
        rows.append(row("the build when nothing changed", [seconds(*build) for _ in range(BUILDS)], 20))
    return rows
