"""Everything that depends on where the book is published, derived from the repository's URL."""

from __future__ import annotations

from urllib.parse import urlsplit

from sphinx.application import Sphinx
from sphinx.config import Config


def pages_address(repository_url: str) -> str:
    """The address at which GitHub Pages publishes a repository, ending in a slash.

    Raises:
        ValueError: the URL does not end in ``/owner/name``.
    """
    parts = [part for part in urlsplit(repository_url).path.split("/") if part]
    if len(parts) != 2:
        raise ValueError(
            f"repository url in _config.yml is {repository_url!r}; it should be like "
            "'https://github.com/owner/name'"
        )
    owner, name = parts[0].lower(), parts[1].removesuffix(".git")
    # A repository named owner.github.io is published at the root of its host.
    folder = "" if name.lower() == f"{owner}.github.io" else f"{name}/"
    return f"https://{owner}.github.io/{folder}"


def set_address(app: Sphinx, config: Config) -> None:
    """Fill in the link previews' address and the root that the page-not-found page links from.

    Raises:
        ValueError: as :func:`pages_address`.
    """
    address = pages_address(config.html_theme_options["repository_url"])
    config.html_baseurl = config.html_baseurl or address
    config.ogp_site_url = config.ogp_site_url or address
    root = urlsplit(config.html_baseurl).path
    config.notfound_urls_prefix = root
    text = config.notfound_context
    text["body"] = text["body"].replace("{root}", root)


def fill_in(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace ``{repository}`` in a Markdown page by the URL, in code too, where MyST replaces nothing."""
    if app.env.doc2path(docname).endswith(".md"):
        source[0] = source[0].replace("{repository}", app.config.html_theme_options["repository_url"])


def setup(app: Sphinx) -> None:
    app.connect("source-read", fill_in)
    # Before the extensions that read these settings look at them.
    app.connect("config-inited", set_address, priority=100)
