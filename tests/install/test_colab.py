"""In an environment with the versions that Colab ships, the bootstrap brings course_lib and nothing else."""

from __future__ import annotations

import functools
import hashlib
import http.server
import importlib.metadata
import shutil
import subprocess
import threading
from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

from tools import bootstrap
from tools.canonical import WIDGET_VIEW, is_chapter
from tools.notebooks import run

pytestmark = pytest.mark.install

ROOT = Path(__file__).parents[2]
CHAPTERS = [path for path in sorted((ROOT / "book").glob("*.ipynb")) if is_chapter(path.name)]
# Colab's image of August 2026, but for torch and torchvision, which are this environment's: they are 5 GB.
COLAB = [
    "anywidget==0.9.21",
    "filelock",
    "ipykernel==6.17.1",
    "ipython==7.34.0",
    "ipywidgets==7.7.1",
    "jupyter-client<8",
    "matplotlib==3.10.0",
    "mlxtend==0.23.4",
    "notebook<7",
    "numpy==2.1.3",
    "platformdirs",
    "safetensors",
    "scikit-image==0.25.2",
    "setuptools",
    "tqdm==4.67.3",
    "traitlets==5.7.1",
]
LARGE = ("torch", "nvidia", "cuda", "triton")


def large() -> list[str]:
    """torch, torchvision and what comes with them that is large."""
    names = {one.metadata["Name"] for one in importlib.metadata.distributions()}
    return sorted(name for name in names if name.lower().startswith(LARGE))


@pytest.fixture(scope="module")
def colab(environment):
    """An environment like Colab's, kept in _build until the versions change, without course_lib."""
    torch = importlib.metadata.version("torch")
    key = hashlib.sha256(" ".join([*COLAB, torch, environment.__doc__]).encode()).hexdigest()[:12]
    made = environment(ROOT / "_build" / "colab" / key)
    complete = made.folder / "complete"
    if not complete.exists():
        made.create(with_pip=True).link(*large())
        versions = [f"torch=={torch}", f"torchvision=={importlib.metadata.version('torchvision')}"]
        done = made.pip("install", "--quiet", *versions, *COLAB)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1]
            pytest.skip(f"the package index gave no environment like Colab's: {last}")
        complete.touch()
    made.pip("uninstall", "--yes", "--quiet", "course-lib")
    before = made.packages()
    assert {"torch", "torchvision", "ipywidgets"} <= set(before)
    assert "course-lib" not in before
    return made


@pytest.fixture(scope="module")
def clone(package: Path) -> str:
    """The address of a git repository that holds the package."""
    git = ["git", "-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "init.defaultBranch=main"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "as it is"]):
        subprocess.run([*git, *command], cwd=package, check=True)
    return package.as_uri()


@pytest.fixture
def site(wheel: Path, tmp_path: Path):
    """The address of the book's site, served as GitHub Pages would, and what was asked of it."""
    (tmp_path / "site" / "wheels").mkdir(parents=True)
    shutil.copy(wheel, tmp_path / "site" / "wheels")
    (tmp_path / "site" / "wheels" / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>\n')
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, form: str, *values: object) -> None:
            asked.append(str(values[0]))

    handler = functools.partial(Handler, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


class Spec(KernelSpecManager):
    """Only the kernel of one environment, in which this repository is not on the path."""

    def __init__(self, python: Path) -> None:
        super().__init__()
        self.python = str(python)

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [self.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Colab", language="python", env={"PYTHONPATH": ""})


def execute(notebook: nbformat.NotebookNode, environment, content: Path, **places: str) -> None:
    """Run ``notebook`` in place in ``content``, in the environment, its bootstrap pointed at ``places``."""
    url = bootstrap.read_url(ROOT / "_config.yml")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].source == bootstrap.source(url)
    assert bootstrap.site(url) in code[0].source
    for old, new in ((bootstrap.site(url), places["site"]), (url, places["repository"])):
        code[0].source = code[0].source.replace(old, new)
    manager = AsyncKernelManager(kernel_name="colab", kernel_spec_manager=Spec(environment.python))
    content.mkdir()
    run(notebook, content, manager)


def added(environment, before: dict[str, str]) -> dict[str, str]:
    """What pip lists now and did not before; fails if anything else changed."""
    after = environment.packages()
    assert {name: after.get(name) for name in before} == before
    return {name: version for name, version in after.items() if name not in before}


def test_bootstrap_takes_the_wheel_of_the_site(colab, site, tmp_path: Path):
    before = colab.packages()
    address, asked = site
    url = bootstrap.read_url(ROOT / "_config.yml")
    cells = [bootstrap.source(url), "import course_lib\nprint(course_lib.__version__)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    try:
        execute(notebook, colab, tmp_path / "content", site=address, repository="file:///nowhere")
        assert set(added(colab, before)) == {"course-lib"}
    finally:
        colab.pip("uninstall", "--yes", "--quiet", "course-lib")
    assert notebook.cells[0].outputs == []
    assert notebook.cells[1].outputs[0].text.strip() == importlib.metadata.version("course-lib")
    assert any(".whl" in request for request in asked), asked


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.name)
def test_chapter_runs_and_pip_changed_nothing_else(colab, clone: str, path: Path, tmp_path: Path):
    before = colab.packages()
    notebook = nbformat.read(path, as_version=4)
    new = {"course-lib": ""}
    try:
        execute(notebook, colab, tmp_path / "content", site="file:///nowhere", repository=clone)
        new = added(colab, before)
        # A chapter may require more packages than Colab has; what was there stays as it was all the same.
        wants_more = any("require(" in cell.source for cell in notebook.cells if cell.cell_type == "code")
        assert "course-lib" in new
        assert wants_more or len(new) == 1, new
    finally:
        colab.pip("uninstall", "--yes", "--quiet", *new)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    live = [output.data for output in outputs if WIDGET_VIEW in output.get("data", {})]
    assert live, "no explorer came out live"
    assert all("course-explorer" in data["text/html"] for data in live if "Explorer(" in data["text/plain"])
