"""The explorer as one piece of HTML that needs nothing else: no kernel, no network, no other file."""

from __future__ import annotations

import base64
import html as escaping
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from course_lib import palette
from course_lib.explorer.controls import Control

OVERHEAD = 15_000  # bytes of the picture, for an estimate before there is one
STILL = "A still picture: with scripts on, in the HTML book or in Jupyter, the controls move it."


PARTS = (
    "page/template.js",
    "page/finish.js",
    "page/compute.js",
    "page/point.js",
    "page/play.js",
    "explorer.js",
)


def _source(name: str) -> str:
    """A script without comment lines and indentation: it stands in every explorer."""
    source = files(__package__).joinpath(*name.split("/")).read_text(encoding="utf-8")
    return re.sub(r"(?m)^[ \t]*(//.*)?(\n|$)|^[ \t]+", "", source)


@cache
def script() -> str:
    """The explorer's module."""
    return "\n".join(map(_source, PARTS))


@cache
def engine() -> str:
    """The engine, as one statement that makes it known to every explorer of its page, once.

    Explorers that were read before it and wait for it are mounted then.
    """
    source = re.sub(r"(?m)^export ", "", _source("engine.js"))
    return (
        f"globalThis.courseEngine ??= (() => {{\n{source}\nreturn {{ load, generator }};\n}})();\n"
        "globalThis.courseExplorers?.();"
    )


@cache
def style() -> str:
    """The palette as custom properties, then ``explorer.css`` without comments and indentation."""
    source = (files(__package__) / "explorer.css").read_text(encoding="utf-8")
    source = re.sub(r"/\*.*?\*/\s*", "", source, flags=re.DOTALL)
    dark = ", ".join(f"{page} .course-explorer .ce-still img" for page in palette.DARK_PAGES)
    # The picture has white paper; turned, it is dark with the same hues.
    turned = f"@media screen {{ {dark} {{ filter: invert(0.92) hue-rotate(180deg); }} }}\n"
    return palette.css(".course-explorer") + re.sub(r"(?m)^\s+", "", source) + turned


def specification(
    controls: Mapping[str, Control], encoded: Mapping[str, Any], *, title: str | None
) -> dict[str, Any]:
    """What the script reads: the controls, the packed frames and the palette's marks that are no colour."""
    return {
        "title": title or "",
        "controls": [control.to_dict(name) for name, control in controls.items()],
        "frames": dict(encoded),
        "dashes": [list(dash) for dash in palette.DASHES],
        "markers": list(palette.MARKERS),
        "maps": {"sequential": list(palette.SEQUENTIAL), "diverging": list(palette.DIVERGING)},
    }


def own_bytes(html: str) -> int:
    """Bytes of an explorer's HTML without script and style, of which a page of the book holds one copy."""
    return len(re.sub(r'<(style|script type="module")>.*?</', "", html, flags=re.DOTALL).encode())


def html(spec: Mapping[str, Any], *, png: bytes, alt: str, title: str | None, caption: str | None) -> str:
    """The ``<figure>``: picture, frames, script. The same arguments give the same bytes."""
    # In a script element only "</" could end it early, and "<!--" confuse the parser.
    data = json.dumps(spec, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    heading = f'<p class="ce-title">{escaping.escape(title)}</p>\n' if title else ""
    figcaption = f"<figcaption>{escaping.escape(caption)}</figcaption>\n" if caption else ""
    marked = " data-computes" if spec.keys() & {"live", "play"} else ""
    computing = f'<script type="module">{engine()}</script>\n' if spec.keys() & {"live", "play"} else ""
    return (
        '<figure class="course-explorer">\n'
        f"<style>{style()}</style>\n"
        f'<div class="ce-still">\n{heading}'
        f'<img alt="{escaping.escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">\n'
        f'<p class="ce-hint">{STILL}</p>\n</div>\n'
        f'<script type="application/json" class="course-frames"{marked}>{data}</script>\n'
        f"{figcaption}"
        f"{computing}"
        f'<script type="module">{script()}\nmountAll(document);</script>\n'
        "</figure>"
    )
