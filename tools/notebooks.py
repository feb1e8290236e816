"""Run, check and rewrite the notebooks: ``python -m tools.notebooks execute|check|canonical|repository``."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager

from tools import bootstrap
from tools.canonical import canonical
from tools.contract import Notebook, parse, problems

ROOT = Path(__file__).resolve().parent.parent
CELL_SECONDS, NOTEBOOK_SECONDS = 20, 60
# What a kernel of the book runs with: no progress bars, and the device that everybody has. One thread, for
# the chapters' networks are small: it is as fast as two where nothing else runs, and where something does,
# two that wait for each other were seen to take ten times as long.
ENVIRONMENT = {
    "COURSE_PROGRESS": "0",
    "COURSE_DEVICE": "cpu",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
}


@contextlib.contextmanager
def environment() -> Iterator[None]:
    """Let kernels that start inside run as those did that made the stored outputs."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def write(path: Path, text: str) -> bool:
    """Replace a file's text in one step; returns whether it changed."""
    if path.read_bytes() == text.encode("utf-8"):
        return False
    part = path.with_suffix(".part")
    part.write_text(text, "utf-8")
    os.replace(part, path)
    return True


def run(
    notebook: nbformat.NotebookNode,
    folder: Path,
    kernel: AsyncKernelManager | None = None,
    allow_errors: bool = False,
) -> list[float]:
    """Execute ``notebook`` in place, its kernel in ``folder``; returns each code cell's seconds.

    ``kernel`` is not yet started; None is one in this very environment, whatever the machine calls python3.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell raises, unless ``allow_errors``.
    """
    kernel = kernel or AsyncKernelManager(
        kernel_name=CURRENT_ENV_KERNEL_NAME, kernel_spec_manager=NbvalKernelspecManager()
    )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    client = NotebookClient(
        notebook,
        km=kernel,
        timeout=600,
        allow_errors=allow_errors,
        record_timing=True,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    with environment():
        # A manager that nbclient did not make itself it leaves running; the log is the kernel's own, what
        # cells write is an output.
        client.execute(cleanup_kc=True, stderr=subprocess.DEVNULL)
    return [_seconds(cell.metadata.execution) for cell in notebook.cells if "execution" in cell.metadata]


def _seconds(execution: dict[str, str]) -> float:
    start, end = (
        datetime.fromisoformat(execution[key]) for key in ("iopub.execute_input", "shell.execute_reply")
    )
    return (end - start).total_seconds()


def with_bootstrap(notebook: nbformat.NotebookNode, url: str) -> nbformat.NotebookNode:
    """Make the first code cell of ``notebook`` the bootstrap for the repository ``url``, in place."""
    first = next((cell for cell in notebook.cells if cell.cell_type == "code"), None)
    if first is None or not first.source.startswith(bootstrap.FIRST_LINE):
        first = nbformat.v4.new_code_cell()
        titled = bool(notebook.cells) and notebook.cells[0].cell_type == "markdown"
        notebook.cells.insert(int(titled), first)  # behind the title, with which a page begins
    first.source = bootstrap.source(url)
    first.id = bootstrap.CELL_ID
    first.metadata["tags"] = ["hide-cell"]
    return notebook


def execute(paths: Sequence[Path], url: str) -> int:
    """Run the notebooks and store their outputs; one that fails keeps what it had."""
    failed = 0
    for path in paths:
        try:
            notebook = with_bootstrap(parse(path), url)
            seconds = run(notebook, path.parent)
        except ValueError as error:
            print(error, file=sys.stderr)
            failed += 1
            continue
        except CellExecutionError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            failed += 1
            continue
        write(path, canonical(notebook, path.name))
        slowest = max(range(len(seconds)), key=seconds.__getitem__)
        print(f"{path.name}: {sum(seconds):.1f} s, slowest code cell {slowest + 1}: {seconds[slowest]:.1f} s")
        if sum(seconds) > NOTEBOOK_SECONDS or seconds[slowest] > CELL_SECONDS:
            limits = f"{NOTEBOOK_SECONDS} s a notebook or {CELL_SECONDS} s a cell"
            print(f"{path.name}: over the limit of {limits}", file=sys.stderr)
    return int(failed > 0)


def check(paths: Sequence[Path], url: str) -> int:
    """Print each breach of the contract."""
    found = []
    for path in paths:
        try:
            found += problems(Notebook.read(path, url))
        except ValueError as error:
            found.append(str(error))
    print("\n".join(found) or f"{len(paths)} notebooks keep the contract")
    return int(bool(found))


def rewrite(paths: Sequence[Path], url: str) -> int:
    """Put the notebooks in canonical form, with the bootstrap cell of the repository; run nothing."""
    failed = 0
    for path in paths:
        try:
            notebook = with_bootstrap(parse(path), url)
        except ValueError as error:
            print(error, file=sys.stderr)
            failed += 1
            continue
        changed = write(path, canonical(notebook, path.name))
        print(f"{path.name}: {'rewritten' if changed else 'as it was'}")
    return int(failed > 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks", description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "_config.yml", help="the book's _config.yml")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function in {"execute": execute, "check": check, "canonical": rewrite}.items():
        command = commands.add_parser(name, help=function.__doc__)
        command.add_argument("paths", nargs="*", type=Path, help="notebooks; all of the book's if none")
        command.set_defaults(function=function)
    command = commands.add_parser("repository", help="Set the repository's URL, in all notebooks too.")
    command.add_argument("url", help="https://github.com/OWNER/REPO")
    command.set_defaults(function=rewrite, paths=[])
    options = parser.parse_args(arguments)
    try:
        if options.command == "repository":
            bootstrap.write_url(options.config, options.url)
        url = bootstrap.read_url(options.config)
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return options.function(options.paths or sorted((options.config.parent / "book").glob("*.ipynb")), url)


if __name__ == "__main__":
    raise SystemExit(main())
