"""How pytest runs here: `pytest --nbval` from any folder, the fast tests first, and nothing skipped in CI."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from nbval.kernel import RunningKernel

ROOT = Path(__file__).parent
if str(ROOT) not in sys.path:  # for `tools`, which is not installed
    sys.path.insert(0, str(ROOT))

from tools.notebooks import environment  # noqa: E402

# In this order; what carries none of the marks is fast.
SLOW = ("browser", "live", "install")
STALE = (
    "If what the cell does now is right, store it with `make execute` and look at what git shows. "
    "A number that is measured is printed behind ≈, where it may change."
)


def as_in_jupyter(kernel: RunningKernel, source: str, allow_stdin: bool | None = None) -> str:
    """Execute a cell with a history, which nbval omits: IPython looks there for a closing `;`."""
    return kernel.kc.execute(source, allow_stdin=allow_stdin, stop_on_error=False)


def pytest_configure(config: pytest.Config) -> None:
    """Let a bare `pytest --nbval` compare as the book does, in this environment's kernel."""
    RunningKernel.execute_cell_input = as_in_jupyter
    if config.option.nbval_sanitize_with is None:
        config.option.nbval_sanitize_with = str(ROOT / "tests" / "notebooks" / "sanitize.cfg")
    if config.option.nbval_kernel_name is None:
        config.option.nbval_current_env = True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Unit tests first, then the notebooks' cells, then what starts a browser, a server or an installer.

    Where several workers share them (`-n 2 --dist loadfile`), the other way round: what is long begins, so
    that no worker waits at the end, and the cells of a notebook stay with one worker.
    """
    last = -1 if hasattr(config, "workerinput") else 1

    def place(item: pytest.Item) -> int:
        slow = [number for number, mark in enumerate(SLOW, 2) if item.get_closest_marker(mark)]
        return last * max(slow, default=int(item.path.suffix == ".ipynb"))

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item):
    """Start the notebooks' kernels, and only those, as `make execute` does."""
    if item.path.suffix != ".ipynb":
        return (yield)
    with environment():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Say what to do about a notebook's cell, and let nothing be skipped in CI, where everything is there."""
    report = yield
    if report.failed and item.path.suffix == ".ipynb":
        report.sections.append(("What to do", STALE))
    lacking = report.skipped and not hasattr(report, "wasxfail")
    if lacking and os.environ.get("CI") == "true" and any(map(item.get_closest_marker, SLOW)):
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure in CI: {call.excinfo.value}"
    return report
