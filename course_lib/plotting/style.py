"""Matplotlib's defaults, set to the book's; and what every figure needs."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import torch
from cycler import cycler

from course_lib import palette

# pyplot and what draws are imported where a figure is made: they take longer than the rest of the library.

WIDTH = 7.2  # inches: the width of the book's text


def use_style() -> None:
    """Set matplotlib's defaults to the book's: its colours, dashes, type sizes and quiet grid.

    All colours are set, so that no style sheet in use before (``dark_background``) shines through.
    """
    colours = [palette.LIGHT[f"series-{k + 1}"] for k in range(palette.SERIES)]
    dashes = [(0, dash) if dash else "-" for dash in palette.DASHES]
    ink, muted, line = palette.LIGHT["ink"], palette.LIGHT["muted"], palette.LIGHT["line"]
    # A style sheet that was in use before, a dark one say, may have set any of the colours.
    defaults = matplotlib.rcParamsDefault
    matplotlib.rcParams.update({key: defaults[key] for key in defaults if key.endswith("color")})
    matplotlib.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.2),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "font.family": "sans-serif",
            "font.size": 10,
            "figure.facecolor": palette.LIGHT["paper"],
            "axes.facecolor": palette.LIGHT["paper"],
            "text.color": ink,
            "axes.prop_cycle": cycler(color=colours, linestyle=dashes),
            "axes.edgecolor": muted,
            "axes.labelcolor": ink,
            "axes.titlesize": 10.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": line,
            "grid.linewidth": 0.6,
            "xtick.color": muted,
            "ytick.color": muted,
            "lines.linewidth": 1.8,
            "legend.frameon": False,
            "image.cmap": "viridis",
        }
    )


def as_array(values: Any) -> np.ndarray:
    """Numbers of any kind as ``float64``: a tensor on any device and of any precision, a list of tensors.

    Raises ``ValueError`` for what has no place on a real axis.
    """
    if isinstance(values, list | tuple) and any(isinstance(one, torch.Tensor) for one in values):
        return np.asarray([as_array(one) for one in values], dtype=float)
    if isinstance(values, torch.Tensor):
        if values.is_complex():
            raise ValueError(f"values are {values.dtype}; draw their real part, or their size, abs()")
        values = values.detach().cpu().to(torch.float64).numpy()  # NumPy has no bfloat16
    return np.asarray(values, dtype=float)


def verbatim(text: str) -> str:
    """A name as matplotlib draws it letter by letter: a ``$`` in it is a dollar, and begins no formula."""
    return text.replace("$", r"\$")
