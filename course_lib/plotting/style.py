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
    """Set matplotlib's defaults to the book's: its colours, dashes, type sizes and quiet grid."""
    colours = [palette.LIGHT[f"series-{k + 1}"] for k in range(palette.SERIES)]
    dashes = [(0, dash) if dash else "-" for dash in palette.DASHES]
    ink, muted, line = palette.LIGHT["ink"], palette.LIGHT["muted"], palette.LIGHT["line"]
    matplotlib.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.2),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "font.family": "sans-serif",
            "font.size": 10,
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
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
    elif isinstance(values, list | tuple) and values and isinstance(values[0], torch.Tensor):
        values = torch.stack(list(values)).detach().cpu()
    return np.asarray(values, dtype=float)
