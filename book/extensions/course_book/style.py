"""Style sheets made at build time: the library's palette, and the book's typeface.

Source Serif (SIL Open Font License) comes from an installed package, cut down to the characters
that a page of this book can hold: about 30 KB a face instead of 210. Without the package the
pages fall back to the reader's own serif.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

from course_lib import palette

logger = logging.getLogger(__name__)

FONT_PACKAGE = "font_source_serif_pro"
FACES = {  # file in the package: (weight, style)
    "SourceSerifPro-Regular": (400, "normal"),
    "SourceSerifPro-It": (400, "italic"),
    "SourceSerifPro-Semibold": (600, "normal"),
    "SourceSerifPro-SemiboldIt": (600, "italic"),
}
# Latin with its accents, Greek, punctuation, super- and subscripts, arrows, mathematics, ticks.
CHARACTERS = (
    (0x20, 0x17F), (0x2B0, 0x2FF), (0x370, 0x3FF), (0x2000, 0x20CF), (0x2100, 0x214F),
    (0x2150, 0x218F), (0x2190, 0x22FF), (0x25A0, 0x25FF), (0x2713, 0x2717), (0xFB00, 0xFB06),
)  # fmt: skip


def write_palette(app: Sphinx) -> None:
    """Write ``course_lib.palette`` as custom properties, the only colours that book.css names."""
    diverging = ", ".join(palette.DIVERGING)
    text = palette.css() + f":root {{ --course-diverging: {diverging}; }}\n"
    static_folder(app).joinpath("palette.css").write_text(text, encoding="utf-8")


def write_fonts(app: Sphinx) -> None:
    """Write the typeface's faces and the style sheet that names them."""
    rules = []
    folder = static_folder(app) / "fonts"
    files = font_folder()
    if files is None:
        logger.info("%s is not installed: the pages use the reader's own serif", FONT_PACKAGE)
    else:
        folder.mkdir(exist_ok=True)
        shutil.copy(files / "LICENSE.txt", folder / "LICENSE.txt")
        for face, (weight, style) in FACES.items():
            cut_face(files / f"{face}.ttf", folder / f"{face}.woff")
            rules.append(
                f'@font-face {{ font-family: "Course Serif"; font-weight: {weight}; font-style: {style}; '
                f'font-display: swap; src: url("fonts/{face}.woff") format("woff"); }}\n'
            )
    static_folder(app).joinpath("fonts.css").write_text("".join(rules), encoding="utf-8")


def font_folder() -> Path | None:
    """Where the installed typeface keeps its files; None if it is not installed."""
    spec = find_spec(FONT_PACKAGE)
    return Path(spec.origin).parent / "files" if spec and spec.origin else None


def font_file(face: str) -> Path | None:
    """One face's file, whole, for drawing with matplotlib."""
    folder = font_folder()
    return folder / f"{face}.ttf" if folder else None


def cut_face(source: Path, target: Path) -> None:
    """Keep one face's :data:`CHARACTERS`, with its kerning, ligatures and figures, as WOFF."""
    if target.exists():
        return
    from fontTools import subset

    options = subset.Options(flavor="woff", layout_features=["*"], notdef_outline=True)
    font = subset.load_font(str(source), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[code for first, last in CHARACTERS for code in range(first, last + 1)])
    subsetter.subset(font)
    subset.save_font(font, str(target), options)


def static_folder(app: Sphinx) -> Path:
    """The folder of the built book that style sheets and scripts are served from."""
    folder = Path(app.outdir) / "_static"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_palette)
    app.connect("builder-inited", write_fonts)
    for name in ("palette.css", "fonts.css"):  # before book.css, which uses both
        app.add_css_file(name, priority=300)
