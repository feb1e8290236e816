"""The table of benchmarks says what holds; what they measure is not asserted here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "benchmarks" / "__main__.py"


@pytest.fixture(scope="module")
def benchmarks():
    spec = importlib.util.spec_from_file_location("benchmarks_main", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("value", "limit", "word"),
    [(16, "≤ 16", "yes"), (16.1, "≤ 16 ms", "no"), (3, "≥ 3", "yes"), (2.9, "≥ 3×", "no"), (1, None, "")],
)
def test_limits(benchmarks, value: float, limit: str | None, word: str):
    assert benchmarks.holds(value, limit) == word


@pytest.mark.parametrize("limit", ["16", "about 3", "< 4"])
def test_unclear_limit_is_refused(benchmarks, limit: str):
    with pytest.raises(ValueError, match="is not of the form"):
        benchmarks.holds(1, limit)


def test_table(benchmarks):
    row = {"name": "a step", "median": 1234.5, "unit": "ms", "n": 5, "spread": 0.0123, "limit": "≤ 1,300"}
    assert benchmarks.table([row]).splitlines()[-1] == "| a step | 1,234 | ms | 0.0123 | 5 | ≤ 1,300 | yes |"


def test_machine_is_described(benchmarks):
    text = benchmarks.machine()
    assert "cores of" in text
    assert "torch 2" in text
