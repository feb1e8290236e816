"""The canonical form, the bootstrap cell, and the command line over both."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from nbclient.exceptions import CellExecutionError
from nbconvert import ScriptExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager
from PIL import Image, PngImagePlugin

from tools import bootstrap, notebooks
from tools.canonical import WIDGET_VIEW, canonical, plain_png

URL = "https://github.com/course-book/course-book"
CONFIG = """\
# The book's settings.
title: A book
repository:   # the one place
  # comments stay
  url: https://github.com/course-book/course-book  # so does this one
  branch: main
html:
  url: https://example.org/other
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A folder with a `_config.yml` and one notebook in `book/` that has not been run."""
    (tmp_path / "_config.yml").write_text(CONFIG, "utf-8")
    (tmp_path / "book").mkdir()
    cells = [new_markdown_cell("# Title"), new_code_cell("import os\nos.getcwd().endswith('book')")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "book" / "page.ipynb")
    return tmp_path


def run(book: Path, *arguments: str) -> int:
    return notebooks.main(["--config", str(book / "_config.yml"), *arguments])


# The canonical form.


def noisy() -> nbformat.NotebookNode:
    """A notebook as an editor leaves it."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "Matplotlib version 3")
    picture = io.BytesIO()
    Image.new("RGBA", (3, 2), (10, 20, 30, 255)).save(picture, "PNG", pnginfo=info)
    outputs = [
        new_output("stream", name="stdout", text="a\n"),
        new_output(
            "display_data", {WIDGET_VIEW: {"model_id": "1"}, "text/plain": "W", "text/html": "<b>\n</b>"}
        ),
        new_output("stream", name="stdout", text="b\n"),
        new_output("display_data", {"image/png": base64.b64encode(picture.getvalue()).decode() + "\n"}),
        new_output("display_data", {WIDGET_VIEW: {"model_id": "2"}}),
    ]
    metadata = {"execution": {"iopub.status.busy": "now"}, "scrolled": True, "tags": ["photo"], "vscode": {}}
    cell = new_code_cell("x\n", metadata=metadata, outputs=outputs, execution_count=1, id="keep-me")
    return new_notebook(
        cells=[cell],
        metadata={
            "kernelspec": {"name": "other", "display_name": "Mine"},
            "widgets": {},
            "orig_nbformat": 4,
        },
    )


def test_canonical_drops_what_a_diff_should_not_show():
    text = canonical(noisy(), "02-x.ipynb")
    nb = nbformat.reads(text, as_version=4)
    nbformat.validate(nb)
    (cell,) = nb.cells
    assert cell.id == "keep-me"
    assert cell.metadata == {"tags": ["photo"]}
    assert cell.source == "x"
    assert [output.output_type for output in cell.outputs] == ["stream", "display_data", "display_data"]
    assert cell.outputs[0].text == "a\nb\n"
    assert cell.outputs[1].data == {"text/plain": "W", "text/html": "<b>\n</b>"}
    assert set(nb.metadata) == {"accelerator", "colab", "kernelspec", "language_info"}
    assert nb.metadata.kernelspec.name == "python3"
    assert text.startswith('{\n "cells"')
    assert text.endswith("}\n")


def test_canonical_leaves_its_argument_alone():
    nb = noisy()
    before = nbformat.writes(nb)
    canonical(nb, "x.ipynb")
    assert nbformat.writes(nb) == before


def test_canonical_is_a_fixed_point():
    once = canonical(noisy(), "intro.ipynb")
    assert canonical(nbformat.reads(once, as_version=4), "intro.ipynb") == once
    assert "accelerator" not in once


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA"])
def test_png_keeps_its_pixels(mode: str):
    image = Image.effect_noise((16, 16), 80).convert("RGB").convert(mode)
    if mode in {"RGBA", "LA"}:
        image.putalpha(Image.linear_gradient("L").resize((16, 16)))
    info = PngImagePlugin.PngInfo()
    info.add_text("Creation Time", "today")
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=info)
    plain = plain_png(base64.b64encode(out.getvalue()).decode())
    clean = Image.open(io.BytesIO(base64.b64decode(plain)))
    assert clean.convert("RGBA").tobytes() == image.convert("RGBA").tobytes()
    assert not clean.info.get("Creation Time")
    assert plain_png(plain) == plain


# The bootstrap and the repository.


def test_bootstrap_of_a_clone_installs_nothing(tmp_path: Path):
    (tmp_path / "course_lib").mkdir()
    (tmp_path / "course_lib" / "__init__.py").write_text("WHERE = 'clone'\n")
    (tmp_path / "book").mkdir()
    code = bootstrap.source(URL) + "\nimport course_lib\nprint(course_lib.WHERE)"
    # -S leaves out the installed packages, so that only the clone can provide it.
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=tmp_path / "book", capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "clone\n", "")


def test_bootstrap_does_nothing_where_it_is_importable():
    code = "import subprocess\nsubprocess.run = None\n" + bootstrap.source(URL) + "\nimport course_lib"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_bootstrap_says_where_it_looked(tmp_path: Path):
    pip = tmp_path / "python"
    pip.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    pip.chmod(0o755)
    code = f"import sys\nsys.executable = {str(pip)!r}\n" + bootstrap.source(URL)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert f"ImportError: no course_lib at {bootstrap.site(URL)} or {URL}:\nno network" in done.stderr


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://github.com/Ann/deep-book", "https://ann.github.io/deep-book"),
        ("https://github.com/Ann/deep-book.git", "https://ann.github.io/deep-book"),
        ("https://github.com/Ann/deep-book/", "https://ann.github.io/deep-book"),
        ("https://github.com/Ann/ann.github.io", "https://ann.github.io"),
    ],
)
def test_site_follows_from_the_repository(url: str, site: str):
    assert bootstrap.site(url) == site


@pytest.mark.parametrize(
    "url",
    [
        "",
        "github.com/a/b",
        "http://github.com/a/b",
        "https://github.com/a",
        "https://github.com/a/b/c",
        "https://github.com/a b/c",
        'https://github.com/a/b"; import os',
        "https://github.com/-a/b",
        "https://github.com/a/..",
        "git@github.com:a/b.git",
        "https://github.com/a/b\n",
    ],
)
def test_other_urls_are_refused(book: Path, url: str, capsys):
    if url.endswith("\n"):  # a newline from a shell is dropped, not refused
        assert bootstrap.validated(url) == url.strip()
        return
    before = (book / "_config.yml").read_text("utf-8")
    assert run(book, "repository", url) == 2
    assert "is not of the form https://github.com/OWNER/REPO" in capsys.readouterr().err
    assert (book / "_config.yml").read_text("utf-8") == before


def test_repository_rewrites_one_line_and_all_notebooks(book: Path):
    new = "https://github.com/Ann/deep-book"
    assert run(book, "repository", new + ".git") == 0
    config = (book / "_config.yml").read_text("utf-8")
    assert config == CONFIG.replace(URL, new)
    page = book / "book" / "page.ipynb"
    first = next(cell for cell in nbformat.read(page, 4).cells if cell.cell_type == "code")
    assert first.source == bootstrap.source(new)
    stored = page.read_bytes()
    assert run(book, "repository", new) == 0
    assert (book / "_config.yml").read_text("utf-8") == config
    assert page.read_bytes() == stored


@pytest.mark.parametrize("config", ["title: A book\n", "html:\n  url: https://github.com/a/b\n", ""])
def test_config_without_repository_is_an_error(book: Path, config: str, capsys):
    (book / "_config.yml").write_text(config)
    assert run(book, "repository", URL) == 2
    assert "no `url:` under `repository:`" in capsys.readouterr().err


# Execution.


def test_execute_stores_the_outputs_and_check_passes_over_them(book: Path, capsys):
    assert run(book, "execute") == 0
    page = book / "book" / "page.ipynb"
    nb = nbformat.read(page, as_version=4)
    assert [cell.execution_count for cell in nb.cells if cell.cell_type == "code"] == [1, 2]
    assert nb.cells[0].source == "# Title"
    assert nb.cells[1].source == bootstrap.source(URL)
    assert nb.cells[1].outputs == []
    assert nb.cells[2].outputs[0].data["text/plain"] == "True"  # run in the notebook's own folder
    assert page.read_text("utf-8") == canonical(nb, page.name)
    stored = page.read_bytes()
    assert run(book, "execute") == 0
    assert page.read_bytes() == stored, "executing twice must give the same bytes"
    assert "page.ipynb: " in capsys.readouterr().out
    assert run(book, "check") == 1  # it has no setup()
    assert "page.ipynb: code cell 2 must import" in capsys.readouterr().out


def test_failing_notebook_keeps_what_it_had(book: Path, capsys):
    page = book / "book" / "page.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), page)
    stored = page.read_bytes()
    assert run(book, "execute") == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert page.read_bytes() == stored
    assert [path.name for path in page.parent.iterdir()] == ["page.ipynb"]


def test_kernels_run_without_bars_on_the_cpu(book: Path, monkeypatch):
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    cell = new_code_cell("import os\nos.environ['COURSE_PROGRESS'], os.environ['COURSE_DEVICE']")
    nb = new_notebook(cells=[cell])
    notebooks.run(nb, book)
    assert nb.cells[0].outputs[0].data["text/plain"] == "('0', 'cpu')"
    assert "COURSE_PROGRESS" not in notebooks.os.environ


@pytest.mark.parametrize("source", ["1 + 1", "1 / 0"])
def test_no_kernel_is_left_running(book: Path, source: str):
    kernel = AsyncKernelManager(
        kernel_name=CURRENT_ENV_KERNEL_NAME, kernel_spec_manager=NbvalKernelspecManager()
    )
    with contextlib.suppress(CellExecutionError):
        notebooks.run(new_notebook(cells=[new_code_cell(source)]), book, kernel)
    assert not kernel.has_kernel


# Files that are no notebooks.

BROKEN = {
    "a merge": ('{\n "cells": [\n<<<<<<< HEAD\n', r"page.ipynb: line 3 is a merge marker, '<<<<<<< HEAD'"),
    "cut short": ('{"cells": [', r"page.ipynb: Expecting value: line 1"),
    "empty": ("", r"page.ipynb: Expecting value"),
    "a list": ("[1]", r"page.ipynb: "),
    "another file": ('{"a": 1}', r"page.ipynb: "),
}


@pytest.mark.parametrize("command", ["check", "execute", "canonical"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_no_notebook_is_named(book: Path, command: str, kind: str, capsys):
    text, message = BROKEN[kind]
    page = book / "book" / "page.ipynb"
    page.write_text(text)
    assert run(book, command) == 1
    said = "".join(capsys.readouterr())
    assert re.search(message, said)
    assert "Traceback" not in said
    assert page.read_text() == text
    page.write_bytes(b"\xff\xfe")
    assert run(book, command) == 1
    assert "page.ipynb: not UTF-8 at byte 0" in "".join(capsys.readouterr())


def test_a_byte_order_mark_is_found_and_taken_away(book: Path, capsys):
    page = book / "book" / "page.ipynb"
    assert run(book, "canonical") == 0
    stored = page.read_bytes()
    page.write_bytes(b"\xef\xbb\xbf" + stored)
    assert run(book, "check") == 1
    assert "page.ipynb: is not in the canonical form" in capsys.readouterr().out
    assert run(book, "canonical") == 0
    assert page.read_bytes() == stored


def test_nbconvert_writes_a_script_as_python(book: Path):
    assert run(book, "canonical") == 0
    page = book / "book" / "page.ipynb"
    _, resources = ScriptExporter().from_filename(str(page))
    assert resources["output_extension"] == ".py"
