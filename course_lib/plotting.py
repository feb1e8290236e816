"""Figures in the book's style: matplotlib, one palette, readable without colour.

Every function returns the matplotlib ``Figure``, so that a chapter can still change it. Figures
are drawn on white paper; the book's style sheet turns them over for dark pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import torch
from cycler import cycler

from course_lib import palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


def curves(
    series: Mapping[str, Any],
    x: Sequence[float] | None = None,
    *,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    xscale: str = "linear",
    yscale: str = "linear",
    smooth: int = 1,
    ylim: tuple[float, float] | None = None,
    references: Mapping[str, float] | None = None,
    markers: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """Draw each series as its mean over runs, with a band from the lowest run to the highest.

    Args:
        series: label → values of shape (points,) for one run or (runs, points) for several.
        x: the points' positions; ``None`` counts from 0.
        smooth: width of a centred moving average along the points, applied to each run.
        references: label → height of a thin horizontal line.
        markers: draw the palette's marker at each point too, for few points.
        ax: where to draw; ``None`` makes a new figure.

    Labels stand at the ends of the lines, and each line has its own dash pattern.
    Raises ``ValueError`` if there is no series, more than the palette has, or an ``x`` of another length.
    """
    if not series or len(series) > palette.SERIES:
        raise ValueError(f"series has {len(series)} entries; draw 1 to {palette.SERIES} in one figure")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    ax = ax if ax is not None else plt.subplots()[1]
    ends: list[tuple[float, str, str]] = []
    right = 0.0
    for k, (label, values) in enumerate(series.items()):
        runs = np.atleast_2d(_as_array(values))
        position = np.arange(runs.shape[1]) if x is None else np.asarray(x, dtype=float)
        if position.shape != (runs.shape[1],):
            raise ValueError(f"x has {position.size} points, series {label!r} has {runs.shape[1]}")
        runs, position = _moving_average(runs, smooth), _moving_average(position[None], smooth)[0]
        colour = palette.LIGHT[f"series-{k + 1}"]
        style = (0, palette.DASHES[k]) if palette.DASHES[k] else "-"
        mean = runs.mean(axis=0)
        marker = palette.MARKERS[k] if markers else None
        ax.plot(position, mean, color=colour, linestyle=style, marker=marker, markersize=5, label=label)
        if len(runs) > 1:
            ax.fill_between(position, runs.min(axis=0), runs.max(axis=0), color=colour, alpha=0.18, lw=0)
        finite = np.flatnonzero(np.isfinite(mean))
        if finite.size:
            ends.append((float(mean[finite[-1]]), label, colour))
        right = max(right, float(position[-1]))
    for label, height in (references or {}).items():
        ax.axhline(height, color=palette.LIGHT["muted"], lw=0.9, ls=(0, (1, 2)))
        ends.append((height, label, palette.LIGHT["muted"]))
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale)
    if ylim is not None:
        ax.set_ylim(*ylim)
    if xscale == "linear" and np.all(position == np.round(position)):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))  # there is no layer 2.5
    if yscale == "log":
        ax.yaxis.set_major_locator(LogLocator(numticks=7))
        ax.yaxis.set_minor_formatter(NullFormatter())
    _label_ends(ax, ends, right)
    return ax.figure


def histograms(
    rows: Mapping[str, Mapping[str, Any]],
    *,
    bins: int = 40,
    limits: tuple[float, float] | None = None,
    share_x: bool = True,
    xlabel: str = "",
) -> Figure:
    """A grid of histograms: one row an experiment, one column a layer.

    Args:
        rows: row label → {column label → tensor of any shape}.
        bins: how many bins, over ``limits`` or the range of the row's finite values.
        share_x: one range for a whole row; else one for each histogram.

    Heights are fractions of the values. The mean and standard deviation are written above each.
    Raises ``ValueError`` for no rows, or rows with different columns.
    """
    columns = [list(row) for row in rows.values()]
    if not columns or any(names != columns[0] for names in columns):
        raise ValueError(
            f"rows have the columns {columns}; each row needs the same ones, and there must be one"
        )
    shape = (len(rows), len(columns[0]))
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(*shape, figsize=(WIDTH, 0.35 + 1.35 * shape[0]), squeeze=False)
    for i, (row_label, row) in enumerate(rows.items()):
        data = {name: _finite(_as_array(values)) for name, values in row.items()}
        together = np.concatenate(list(data.values()))
        for ax, (name, values) in zip(axes[i], data.items(), strict=True):
            low, high = limits or _range(together if share_x else values)
            counts, edges = np.histogram(values.clip(low, high), bins=bins, range=(low, high))
            ax.stairs(counts / max(values.size, 1), edges, fill=True, color=palette.LIGHT["series-1"])
            ax.set_title(f"{name}\n" if i == 0 else "", fontsize=9.5, fontweight="bold", loc="center", pad=2)
            ax.text(
                0.5, 1.0, f"{values.mean():.2g} ± {values.std():.2g}", transform=ax.transAxes,
                ha="center", va="bottom", fontsize=7.5, color=palette.LIGHT["muted"],
            )  # fmt: skip
            ax.set_yticks([])
            ax.spines["left"].set_visible(False)
            ax.grid(False)
            ax.tick_params(labelsize=7.5, length=2)
            ax.locator_params(axis="x", nbins=3)
        axes[i][0].set_ylabel(row_label, fontsize=9)
    if xlabel:
        figure.supxlabel(xlabel, fontsize=9)
    return figure


def _as_array(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
    elif isinstance(values, list | tuple) and values and isinstance(values[0], torch.Tensor):
        values = torch.stack(list(values)).detach().cpu()
    return np.asarray(values, dtype=float)


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _moving_average(runs: np.ndarray, width: int) -> np.ndarray:
    if width <= 1 or width > runs.shape[1]:
        return runs
    kernel = np.full(width, 1 / width)
    return np.stack([np.convolve(run, kernel, mode="valid") for run in runs])


def _label_ends(ax: Axes, ends: list[tuple[float, str, str]], right: float) -> None:
    """Write each label right of its line's end, pushed apart until no two overlap."""
    ax.figure.canvas.draw()
    to_axes = ax.transAxes.inverted()
    heights = []
    for value, label, colour in ends:
        y = to_axes.transform(ax.transData.transform((right, value)))[1]
        heights.append([min(max(float(y), 0.0), 1.0) if np.isfinite(y) else 0.0, label, colour])
    heights.sort(key=lambda end: end[0])
    gap = 14 / (ax.get_window_extent().height * 72 / ax.figure.dpi)  # 14 points, in axes heights
    for below, above in pairwise(heights):
        above[0] = max(above[0], below[0] + gap)
    excess = max(heights[-1][0] - 1.0, 0.0) if heights else 0.0
    for i in range(len(heights) - 1, -1, -1):
        ceiling = heights[i + 1][0] - gap if i + 1 < len(heights) else 1.0
        heights[i][0] = min(heights[i][0], ceiling) if excess else heights[i][0]
    for y, label, colour in heights:
        ax.annotate(
            label, (1.0, y), xycoords="axes fraction", xytext=(5, 0), textcoords="offset points",
            va="center", color=colour, fontsize=9, annotation_clip=False,
        )  # fmt: skip
