"""What the book's build does beyond Jupyter Book's own settings, one idea a module."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

from . import (
    accessible,
    address,
    cards,
    docstrings,
    explorers,
    mathematics,
    numbering,
    references,
    search,
    style,
)

MODULES = (
    accessible,
    address,
    cards,
    docstrings,
    explorers,
    mathematics,
    numbering,
    references,
    search,
    style,
)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx, which finds this package through ``local_extensions`` in ``_config.yml``."""
    for module in MODULES:
        module.setup(app)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
