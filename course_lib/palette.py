"""The colours of the book: one palette for figures, explorers and pages, light and dark.

The six series colours start from Okabe and Ito's set, which readers with any of the common
colour deficiencies can tell apart, darkened (or, on dark paper, lightened) until each has a
contrast of at least 3 : 1 with its background. Colour is never the only mark: series ``k`` also
has dash pattern ``DASHES[k]`` and marker ``MARKERS[k]``.

Source: M. Okabe, K. Ito, "Color universal design", 2008.
"""

from __future__ import annotations

LIGHT: dict[str, str] = {
    "paper": "#ffffff",
    "panel": "#f6f5f1",
    "line": "#d9d6cd",
    "muted": "#5c5f66",
    "ink": "#1d2126",
    "accent": "#0b6aa8",
    "good": "#0f7a58",
    "bad": "#b5400a",
    "series-1": "#0b6aa8",
    "series-2": "#c8500a",
    "series-3": "#12825f",
    "series-4": "#9b4a8c",
    "series-5": "#8f6b00",
    "series-6": "#4b5563",
}

DARK: dict[str, str] = {
    "paper": "#14171b",
    "panel": "#1c2026",
    "line": "#3a4049",
    "muted": "#a3a9b3",
    "ink": "#e8e6e0",
    "accent": "#67b7ef",
    "good": "#4ccba0",
    "bad": "#ff9a5c",
    "series-1": "#67b7ef",
    "series-2": "#ff9a5c",
    "series-3": "#4ccba0",
    "series-4": "#e29ad2",
    "series-5": "#e0bd4e",
    "series-6": "#aeb7c4",
}

SERIES = 6

# On-off lengths in points, as SVG's stroke-dasharray and matplotlib's (0, dashes) take them.
DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (6, 2),
    (2, 2),
    (8, 2, 2, 2),
    (4, 1.5, 1.5, 1.5, 1.5, 1.5),
    (1, 3),
)

# matplotlib's names; the explorer draws the same shapes.
MARKERS: tuple[str, ...] = ("o", "s", "^", "D", "v", "P")

# Stops of the colour maps, evenly spaced from the lowest value to the highest.
SEQUENTIAL: tuple[str, ...] = (
    "#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c",
    "#28ae80", "#5ec962", "#addc30", "#fde725",
)  # fmt: skip
DIVERGING: tuple[str, ...] = ("#08406b", "#2f7fbc", "#9cc7e4", "#f7f4ee", "#f6b58a", "#d1621c", "#7a2c02")


def css_variables(theme: dict[str, str]) -> str:
    """The palette as CSS custom properties, ``--course-ink: #1d2126; …``, for one rule's body."""
    return " ".join(f"--course-{name}: {colour};" for name, colour in theme.items())


# Where a page says that it is dark: the book's theme, JupyterLab, Colab, VS Code.
DARK_PAGES = (
    'html[data-theme="dark"]',
    'body[data-jp-theme-light="false"]',
    'html[theme="dark"]',
    "body.vscode-dark",
)


def css(selector: str = ":root") -> str:
    """A style sheet that defines the palette on ``selector``, light, and dark inside dark pages.

    Paper is white, so print is always light.
    """
    if selector == ":root":
        dark = ", ".join(DARK_PAGES)
    else:
        dark = ", ".join(f"{page} {selector}" for page in DARK_PAGES)
    return (
        f"{selector} {{ {css_variables(LIGHT)} }}\n@media screen {{ {dark} {{ {css_variables(DARK)} }} }}\n"
    )
