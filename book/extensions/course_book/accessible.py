"""What the theme and docutils leave out of a page for readers who do not see it."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

# Roles that docutils gives to a list of references, and that its content does not keep to.
REFERENCE_ROLES = re.compile(
    r'role="list" (class="citation-list")|(class="citation" id="[^"]*") role="doc-biblioentry"'
)


def name_folds(contents: Any) -> Any:
    """Name the buttons that unfold a part of the contents; the theme draws a bare arrow.

    ``contents`` is the tree of the contents as BeautifulSoup has it, or None.
    """
    if contents is None:
        return None
    for summary in contents.select("summary"):
        link = summary.find_parent("li").find("a")
        summary["aria-label"] = f"Pages of {link.get_text(strip=True)}"
    return contents


def mend(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Mend the page's contents and its references."""
    theirs = context.get("generate_toctree_html")
    if theirs is not None:
        context["generate_toctree_html"] = lambda *args, **kwargs: name_folds(theirs(*args, **kwargs))
    if "citation-list" in context.get("body", ""):
        context["body"] = REFERENCE_ROLES.sub(lambda match: match[1] or match[2], context["body"])


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", mend, priority=900)  # after the theme has added its functions
