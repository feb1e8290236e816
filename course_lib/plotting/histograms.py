"""Histograms of layers side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib import palette
from course_lib.plotting.style import WIDTH, as_array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        data = {name: _finite(as_array(values)) for name, values in row.items()}
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


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)
