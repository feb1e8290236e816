"""The picture that a link to a page shows where links are previewed: its title, in the book's type."""

from __future__ import annotations

import hashlib
import textwrap
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from course_lib import palette

from . import numbering, style

FOLDER = "_images/cards"
SIZE = (1200, 630)  # pixels; what the sites that show such pictures ask for


def draw_card(target: Path, site: str, title: str, above: str) -> None:
    """Draw ``title`` with the book's name below it and a row of distributions that stay alike."""
    import numpy as np
    from matplotlib.figure import Figure

    font = style.font_file("SourceSerifPro-Semibold")
    named = {"font": font} if font else {"family": "serif"}
    colours = palette.LIGHT
    figure = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100, facecolor=colours["panel"])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, SIZE[0]), ylim=(0, SIZE[1]))
    axes.axis("off")
    axes.axvspan(0, 14, color=colours["accent"], linewidth=0)
    if above:
        axes.text(90, 505, above, size=25, color=colours["accent"], va="center", **named)
    wrapped = "\n".join(textwrap.wrap(title, 24)[:3])
    axes.text(90, 455, wrapped, size=50, color=colours["ink"], va="top", linespacing=1.15, **named)
    axes.text(90, 80, site, size=23, color=colours["muted"], va="center", **named)
    bell = np.exp(-(np.linspace(-2.6, 2.6, 80) ** 2) / 2)
    for k in range(5):  # the distribution of a signal in five layers, at the right initialisation
        x = np.linspace(0, 96, 80) + 630 + 100 * k
        shade = 0.25 + 0.12 * k
        axes.fill_between(x, 55, 55 + 90 * bell, color=colours["accent"], alpha=shade, linewidth=0)
    figure.savefig(target)


def add_card(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Point the page's link preview at its card, drawing the card if it is not there yet."""
    if doctree is None or app.builder.name != "html":
        return
    title = app.env.titles[page].astext() if page in app.env.titles else app.config.html_title
    chapter = numbering.chapter_number(page)
    above = f"Chapter {chapter}" if chapter else ""
    key = hashlib.sha256(f"{app.config.html_title}|{title}|{above}".encode()).hexdigest()[:12]
    target = Path(app.outdir) / FOLDER / f"{key}.png"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        draw_card(target, app.config.html_title, title, above)
    meta = context["meta"] = dict(context.get("meta") or {})
    meta.setdefault("og:image", f"{app.config.ogp_site_url}{FOLDER}/{target.name}")
    meta.setdefault("og:image:alt", f"{title} · {app.config.html_title}")
    width, height = SIZE
    context["metatags"] = context.get("metatags", "") + (
        f'<meta property="og:image:width" content="{width}" />\n'
        f'<meta property="og:image:height" content="{height}" />\n'
        '<meta name="twitter:card" content="summary_large_image" />\n'
    )


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", add_card, priority=100)  # before the extension that writes the tags
