"""Search results show where a word stands in its page, but for books that are opened from a folder.

There a browser lets no page read another one, and each result would be an error in the console.
"""

from __future__ import annotations

from sphinx.application import Sphinx

FROM_A_FOLDER = 'if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;'


def setup(app: Sphinx) -> None:
    app.add_js_file(None, body=FROM_A_FOLDER, priority=300)  # Sphinx sets the option at 200
