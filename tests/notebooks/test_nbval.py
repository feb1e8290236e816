"""A bare `pytest --nbval` in any folder: what it lets pass, and what it does not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from nbval.plugin import get_sanitize_patterns

from tools.canonical import canonical
from tools.notebooks import run

ROOT = Path(__file__).parents[2]
FRAMES = '<script type="application/json" class="course-frames">{}</script>'


def sanitized(text: str) -> str:
    for pattern, replacement in get_sanitize_patterns((Path(__file__).parent / "sanitize.cfg").read_text()):
        text = re.sub(pattern, replacement, text)
    return text


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ("loss ≈ 0.51", "loss ≈ 0.4923"),
        ("loss ≈0.51 after 5", "loss ≈ 1e-3 after 5"),
        ("≈ -3 ms", "≈ 12,345.6 ms"),
        ("≈   3.0 %", "≈ −12.5 %"),
        ("≈ 3.1 × 10⁻³", "≈ 2 × 10⁴"),
        ("≈ 3 and ≈ 4", "≈ 5 and ≈ 6"),
        (FRAMES.format('{"a": [1,\n2]}'), FRAMES.format("{}")),
        ('<img src="data:image/png;base64,AAA+/=" alt="x">', '<img src="data:image/png;base64,BBB" alt="x">'),
        ('<img src="data:image/svg+xml,%3Csvg%3E" alt="x">', '<img src="data:image/svg+xml,%3C" alt="x">'),
    ],
)
def test_measured_values_may_change(stored: str, new: str):
    assert sanitized(stored) == sanitized(new) != stored


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ("784 inputs", "785 inputs"),
        ("≈ 3 ms", "≈ 3 s"),
        ("≈ 3 of 5", "≈ 3 of 6"),
        ("≈ 3", "≈ nan"),
        ("loss ≈ 3", "gain ≈ 3"),
        (
            FRAMES.format("1") + "<p>a</p>" + FRAMES.format("2"),
            FRAMES.format("1") + "<p>b</p>" + FRAMES.format("2"),
        ),
        ('src="data:image/png;base64,AA" alt="x"', 'src="data:image/png;base64,AA" alt="y"'),
        ("<script>let a = 1</script>", "<script>let a = 2</script>"),
    ],
)
def test_everything_else_is_compared(stored: str, new: str):
    assert sanitized(stored) != sanitized(new)


# And through pytest itself, from inside book/, with no option but --nbval.

CELLS = {
    "exact": "print(784 * 100)",
    "measured": "import time\nprint(f'took ≈ {time.perf_counter():.4f} s')",
    "html": f"from IPython.display import HTML\nimport random\nHTML('{FRAMES}'.format(random.random()))",
    "claim": "from course_lib.teaching import claim\nclaim('784 is more than 700', 784 > 700)",
    "quiet": "784 * 100;",
    "settings": "import os\nprint(os.environ['COURSE_PROGRESS'])",
}


@pytest.fixture(scope="module")
def executed() -> nbformat.NotebookNode:
    """The cells above as `make execute` stores them."""
    nb = new_notebook(cells=[new_code_cell(source, id=name) for name, source in CELLS.items()])
    run(nb, ROOT)
    return nbformat.reads(canonical(nb, "page.ipynb"), as_version=4)


@pytest.fixture
def nbval(executed: nbformat.NotebookNode, tmp_path: Path):
    """Run `pytest --nbval` inside the `book` folder of a copy of the set-up; returns its failures by cell."""
    for name in ("conftest.py", "pyproject.toml", "tools", "tests/notebooks/sanitize.cfg", "course_lib"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "book").mkdir()

    def go(change=None) -> tuple[set[str], str]:
        nb = nbformat.from_dict(executed)
        if change is not None:
            change({cell.id: cell for cell in nb.cells})
        nbformat.write(nb, tmp_path / "book" / "page.ipynb")
        command = [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "--color=no"]
        done = subprocess.run(command, cwd=tmp_path / "book", capture_output=True, text=True, timeout=300)
        assert f"collected {len(CELLS)} items" in done.stdout, done.stdout + done.stderr
        names = list(CELLS)
        failed = {names[int(number)] for number in re.findall(r"^FAILED \S+::Cell (\d+)", done.stdout, re.M)}
        assert (done.returncode == 0) == (not failed)
        return failed, done.stdout

    return go


def test_unchanged_notebook_passes_from_its_own_folder(nbval):
    failed, report = nbval()
    assert not failed, report


def test_what_changed_fails_and_what_was_measured_does_not(nbval):
    def change(cells):
        cells["exact"].outputs[0].text = "78401\n"
        cells["measured"].outputs[0].text = "took ≈ 99 s\n"
        cells[
            "claim"
        ].source = "from course_lib.teaching import claim\nclaim('784 is more than 700', 684 > 700)"

    failed, report = nbval(change)
    assert failed == {"exact", "claim"}, report
    assert "78401" in report
    assert "store it with `make execute`" in report
    assert "784 is more than 700" in report


def test_change_of_unit_or_text_fails(nbval):
    def change(cells):
        cells["measured"].outputs[0].text = "took ≈ 99 ms\n"
        cells["html"].outputs[0].data["text/html"] = "<p></p>"

    failed, report = nbval(change)
    assert failed == {"measured", "html"}, report
