"""The first lines of a chapter, and the library's own source shown in its place."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from course_lib import device as devices
from course_lib import plotting
from course_lib.terminal import printable


def in_notebook() -> bool:
    """Whether an IPython kernel is running this code."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def show(plain: str, **rich: str) -> None:
    """Display ``plain``, with richer forms of it (``html=…``, ``markdown=…``) where a notebook shows them."""
    if not in_notebook():
        print(printable(plain))
        return
    from IPython.display import display

    display({"text/plain": plain, **{f"text/{kind}": text for kind, text in rich.items()}}, raw=True)


def setup(seed: int = 0, device: str | torch.device | None = None) -> torch.device:
    """Seed everything, set the book's plot style, and return the device to compute on.

    Prints nothing, so that a chapter's stored output is the same on every machine.
    Raises ``ValueError`` for a device that is not there.
    """
    chosen = devices.resolve(device)
    devices.seed_everything(seed)
    plotting.use_style()
    if in_notebook():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina")  # twice the pixels, the same size on the page
    return chosen


def require(*requirements: str) -> None:
    """Install what a chapter uses beyond the library's own dependencies, where it is not there already.

    requirements: as pip takes them, ``"optuna>=4.2"``. In a clone made ready by ``make`` everything is
    there and nothing happens; in Colab pip brings it, held to the versions that are installed: a notebook
    must not replace the torch or numpy that came with the machine.

    Raises ``ValueError`` for a text that is no requirement, ``ImportError`` with pip's words where it fails.
    """
    missing = [text for text in requirements if not _is_installed(text)]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder, "constraints.txt")
        held.write_text("".join(f"{name}=={version}\n" for name, version in _installed()), "utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(held), *missing]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ImportError(f"this chapter needs {', '.join(missing)}, and pip failed:\n{done.stderr.strip()}")
    importlib.invalidate_caches()


def _installed() -> Iterator[tuple[str, str]]:
    """Name and version of each package, but for those that pip could not be held to.

    Debian's own packages are versioned ``1.1build1``, a half-removed one has no metadata at all. pip refuses
    a whole list for one such line, so they stay out of it: what it does not know, it does not replace.
    """
    for one in importlib.metadata.distributions():
        metadata = one.metadata
        name, version = (metadata["Name"], metadata["Version"]) if metadata else (None, None)
        try:
            Requirement(f"{name}=={version}")
            Version(version or "")
        except (InvalidRequirement, InvalidVersion):
            continue
        yield name, version


def _is_installed(text: str) -> bool:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise ValueError(f"requirement is {text!r}; it must be as pip takes it, 'optuna>=4.2' say") from error
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    try:
        return requirement.specifier.contains(Version(version or ""), prereleases=True)
    except InvalidVersion:  # there, and nobody can say whether it is new enough: it is left alone
        return True


def show_source(thing: Callable[..., Any] | type | ModuleType, docstring: bool = False) -> None:
    """Show the source of a function, class or module of the library, as it is now.

    ``docstring=False`` leaves the docstrings out, for a page whose prose says the same.
    Raises ``ValueError`` for something that has no Python source.
    """
    try:
        source = textwrap.dedent(inspect.getsource(thing))
    except (TypeError, OSError) as error:
        raise ValueError(f"thing is {thing!r}, which has no Python source to show") from error
    if not docstring:
        source = _without_docstrings(source)
    module = inspect.getmodule(thing)
    place = module.__name__.replace(".", "/") + ".py" if module else ""
    show(source, markdown=f"```python\n# {place}\n{source.rstrip()}\n```")


def _without_docstrings(source: str) -> str:
    lines = source.splitlines()
    dropped: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            docstring = node.body[0]
            dropped.update(range(docstring.lineno, docstring.end_lineno + 1))
            if docstring.end_lineno < len(lines) and not lines[docstring.end_lineno].strip():
                dropped.add(docstring.end_lineno + 1)  # and the blank line behind it
    return "\n".join(line for number, line in enumerate(lines, start=1) if number not in dropped)
