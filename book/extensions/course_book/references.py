"""The bibliography, renewed with every build.

Which works it prints depends on what the other pages cite, but Sphinx writes only pages that have
changed themselves, and so would leave links to entries that are not there.
"""

from __future__ import annotations

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def bibliographies(app: Sphinx, env: BuildEnvironment) -> set[str]:
    """The pages that hold a bibliography, to be written again."""
    return {key.docname for key in env.get_domain("cite").bibliographies}


def setup(app: Sphinx) -> None:
    app.connect("env-updated", bibliographies)
