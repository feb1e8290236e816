"""A real JupyterLab: a slider between the grid's values gives a frame that is stored nowhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tools.canonical import is_chapter
from tools.notebooks import ENVIRONMENT

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
SECONDS = 120
CHROMIUM = shutil.which("chromium")
# The headless browser of a test machine: no sandbox as root, and no errands of its own.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

SMALL = """
from course_lib.explorer import Figure, explore, lines

def line(slope, sign):
    y = [slope * x if sign == "plus" else -slope * x for x in range(4)]
    return Figure([lines({"y": y}, title="a line")], summary=f"The end is at {y[-1]:.4f}.")

explore(line, slope=[1.0, 2.0, 3.0, 4.0], sign=["plus", "minus"])
"""


def first_explorer(path: Path) -> nbformat.NotebookNode:
    """The code of a chapter up to its first explorer."""
    cells = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            cells.append(new_code_cell(cell.source))
            if any(
                "course-explorer" in output.get("data", {}).get("text/html", "") for output in cell.outputs
            ):
                return new_notebook(cells=cells)
    raise AssertionError(f"{path.name} has no explorer")


CHAPTERS = [path for path in sorted((ROOT / "book").glob("*.ipynb")) if is_chapter(path.name)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a JupyterLab on this machine, with its token, and the folder that it shows."""
    home, folder = tmp_path_factory.mktemp("jupyter"), tmp_path_factory.mktemp("notebooks")
    # No settings, kernels or extensions of whoever runs this.
    private = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    environment = os.environ | {f"JUPYTER_{name}": str(home / name) for name in private}
    environment |= ENVIRONMENT | {"IPYTHONDIR": str(home / "ipython")}
    environment |= {f"JUPYTERLAB_{name}_DIR": str(home / name) for name in ("SETTINGS", "WORKSPACES")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += ["--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--ServerApp.root_dir={folder}"]
    command += ["--LabApp.news_url=None", "--LabApp.extension_manager=readonly"]
    with open(home / "log", "w+") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
        try:
            deadline = time.monotonic() + SECONDS
            while not (found := list((home / "RUNTIME_DIR").glob("jpserver-*.json"))):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"JupyterLab did not start:\n{(home / 'log').read_text()}")
                time.sleep(0.1)
            yield json.loads(found[0].read_text()), folder
        finally:
            os.killpg(server.pid, signal.SIGTERM)  # its kernels too
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the path: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def run_in_lab(lab, browser: Browser):
    """Open a notebook in JupyterLab, run it all, and return the page once its first explorer is there."""
    server, folder = lab
    pages = []

    def run(notebook: nbformat.NotebookNode, name: str) -> Page:
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, folder / name)
        page = browser.new_page(viewport={"width": 1400, "height": 1200})
        pages.append(page)
        page.set_default_timeout(SECONDS * 1000)
        expect.set_options(timeout=SECONDS * 1000)
        page.goto(f"{server['url']}lab?token={server['token']}&reset")
        page.wait_for_function("() => window.jupyterapp !== undefined")
        page.evaluate(
            """async (path) => {
                const app = window.jupyterapp;
                await app.restored;
                const widget = await app.commands.execute("docmanager:open", { path });
                await widget.context.ready;
                await widget.context.sessionContext.ready;
                await app.commands.execute("notebook:run-all-cells");
            }""",
            name,
        )
        errors = page.locator(".jp-OutputArea [data-mime-type='application/vnd.jupyter.error']")
        expect(page.locator(".course-explorer input[type=range]").first.or_(errors.first)).to_be_visible()
        assert errors.count() == 0, errors.first.inner_text()
        return page

    yield run
    for page in pages:
        page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")  # up to 1 GB each
        page.close()


# Everything that the first explorer draws: the coordinates of curves and bars, and the texts.
DRAWN = (
    "JSON.stringify([...document.querySelector('.course-explorer').querySelectorAll('svg')]"
    ".map((node) => node.innerHTML))"
)


def move(slider: Locator, position: float, *others: str) -> str:
    """Set the slider, in steps of its grid; returns what is drawn once that is none of ``others``."""
    slider.fill(str(position))
    slider.page.wait_for_function(f"others => !others.includes({DRAWN})", arg=list(others))
    return slider.page.evaluate(DRAWN)


def test_slider_off_the_grid_computes_a_frame(run_in_lab):
    page = run_in_lab(new_notebook(cells=[new_code_cell(SMALL)]), "small.ipynb")
    explorer = page.locator(".course-explorer").first
    summary = explorer.locator(".ce-summary")
    slider = explorer.locator("input[type=range]")
    expect(summary).to_have_text("The end is at 3.0000.")
    slider.fill("1")
    expect(summary).to_have_text("The end is at 6.0000.")  # on the grid: a stored frame
    slider.fill("1.5")
    expect(summary).to_have_text("The end is at 7.5000.")  # between: computed by the kernel
    explorer.get_by_label("minus").check()
    expect(summary).to_have_text("The end is at -7.5000.")  # the other control, still between
    slider.fill("3")
    expect(summary).to_have_text("The end is at -12.0000.")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.name)
def test_chapters_slider_gives_a_fresh_frame(run_in_lab, path: Path):
    page = run_in_lab(first_explorer(path), path.name)
    explorer = page.locator(".course-explorer").first
    # A slider that knows nothing between its values, which were measured beforehand, steps by 1.
    between = explorer.locator("input[type=range]:not([step='1'])")
    slider = between.first if between.count() else explorer.locator("input[type=range]").first
    last = int(slider.get_attribute("max"))
    place = last // 3
    far = move(slider, last)
    above = move(slider, place + 1, far) if place + 1 < last else far
    below = move(slider, place, *{far, above})
    if between.count():
        # Until the kernel answers, the nearer of the two frames beside it is shown; the fresh one is neither.
        fresh = move(slider, place + 0.4, above, below)
        assert fresh not in {far, above, below}
    expect(explorer.locator(".ce-trouble")).to_have_text("")
