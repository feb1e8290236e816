"""The first lines of a chapter, and the library's own source shown in its place."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from course_lib import device as devices
from course_lib import plotting


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
        print(plain)
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
