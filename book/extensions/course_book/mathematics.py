"""MathJax from the installed package, so that no page asks another host for it.

The package's own extension copies all 24 MB of it into each book: eight bundles of which a page
loads one. This copies that one, its fonts, and the parts that it loads on demand (the
accessibility tree, more TeX commands).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.fileutil import copy_asset

PACKAGE = "sphinx-mathjax-offline"
PARTS = ("tex-chtml.js", "output/chtml/fonts", "input/tex/extensions", "a11y", "sre")


def mathjax_folder() -> Path:
    """Where the installed package keeps MathJax.

    Raises:
        ExtensionError: the package is missing.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ExtensionError(f"{PACKAGE} is not installed; `pip install -r requirements.txt` brings it")
    return Path(spec.origin).parent / "static" / "mathjax"


def copy_mathjax(app: Sphinx) -> None:
    """Copy the parts that pages load to ``_static/mathjax``."""
    source, target = mathjax_folder(), Path(app.outdir) / "_static" / "mathjax"
    for part in PARTS:
        destination = target / part
        if not destination.exists():
            destination.parent.mkdir(parents=True, exist_ok=True)
            copy_asset(
                str(source / part), str(destination if (source / part).is_dir() else destination.parent)
            )


def setup(app: Sphinx) -> None:
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    app.connect("builder-inited", copy_mathjax)
