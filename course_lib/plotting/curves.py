"""Curves over steps or epochs, with a band over runs and each label at its line's end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib import palette
from course_lib.plotting.style import as_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
        runs = np.atleast_2d(as_array(values))
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
