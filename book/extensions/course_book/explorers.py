"""One copy of the explorer's style and script a page.

An explorer brings its own, because a notebook is also read cell by cell elsewhere. On a page of the book the
first copy mounts every explorer there is, and the others are 50 KB each that a phone would have to load.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

START = '<figure class="course-explorer">'
COPIES = re.compile(r"<style>.*?</style>|<script type=\"module\">.*?</script>", re.DOTALL)


def keep_first(body: str) -> str:
    """``body`` without the styles and scripts of explorers that an earlier explorer has brought already."""
    seen: set[str] = set()

    def once(copy: re.Match[str]) -> str:
        if copy[0] in seen:
            return ""
        seen.add(copy[0])
        return copy[0]

    before, *explorers = body.split(START)
    ready = []
    for explorer in explorers:
        figure, end, rest = explorer.partition("</figure>")
        ready.append(COPIES.sub(once, figure) + end + rest)
    return START.join([before, *ready])


def mend(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if START in context.get("body", ""):
        context["body"] = keep_first(context["body"])


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", mend)
