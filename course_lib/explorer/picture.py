"""A still picture of one frame, for readers without scripts: GitHub, print, link previews."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Canvas
from PIL import Image

from course_lib import palette

LIMIT = 25_000  # bytes: the picture is inside every explorer
WIDTH = 7.2  # inches, at 110 dots each
STYLE = {
    "axes.edgecolor": palette.LIGHT["muted"],
    "axes.labelcolor": palette.LIGHT["muted"],
    "axes.titlecolor": palette.LIGHT["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 8,
    "xtick.color": palette.LIGHT["muted"],
    "ytick.color": palette.LIGHT["muted"],
}


def png(frame: dict[str, Any]) -> bytes:
    """The frame as PNG, on white paper, at most 25 KB; the same frame gives the same bytes."""
    from matplotlib import rc_context

    panels = frame["panels"]
    columns = min(len(panels), frame["columns"] or math.ceil(math.sqrt(len(panels))))
    rows = math.ceil(len(panels) / columns)
    with rc_context({**STYLE, "savefig.facecolor": palette.LIGHT["paper"]}):
        height = min(3.6, max(1.5, 0.75 * WIDTH / columns))
        canvas = Canvas(figsize=(WIDTH, rows * height), dpi=110, layout="constrained")
        FigureCanvasAgg(canvas)
        axes = canvas.subplots(rows, columns, squeeze=False).flatten()
        for ax, panel in zip(axes, panels, strict=False):
            DRAW[panel["kind"]](ax, panel)
            heading = "\n".join(text for text in (panel["title"], panel["note"]) if text)
            ax.set_title(heading, fontsize=7.5, loc="left")
            ax.set_xlabel(panel.get("xlabel", ""), fontsize=7)
        for ax in axes[len(panels) :]:
            ax.set_axis_off()
        raw = io.BytesIO()
        canvas.savefig(raw, format="png", metadata={"Software": None})
    drawn = Image.open(raw).convert("RGB")
    while True:
        for colours in (64, 24, 12):
            small = io.BytesIO()
            drawn.quantize(colours, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
            if small.tell() <= LIMIT:
                return small.getvalue()
        drawn = drawn.resize((drawn.width * 3 // 4, drawn.height * 3 // 4), Image.Resampling.LANCZOS)


def alt(frame: dict[str, Any], title: str | None, values: str) -> str:
    """A text for the picture where the author gave none."""
    names = ", ".join(f"{panel['kind']} {panel['title']}".strip() for panel in frame["panels"])
    return f"{title or 'Interactive figure'} at {values}: {names}."


def _series(k: int) -> str:
    return palette.LIGHT[f"series-{k}"]


def _numbers(values: list[float | None]) -> np.ndarray:
    return np.array([math.nan if v is None else v for v in values], dtype=float)


def _histogram(ax: Any, panel: dict[str, Any]) -> None:
    edges = np.linspace(*panel["range"], len(panel["heights"]) + 1)
    ax.stairs(panel["heights"], edges, fill=True, color=_series(panel["series"]), alpha=0.75)
    ax.locator_params(nbins=3)
    if panel["log"]:
        ax.xaxis.set_major_formatter(lambda v, _: f"$10^{{{v:g}}}$")


def _lines(ax: Any, panel: dict[str, Any]) -> None:
    x = _numbers(panel["x"])
    for k, (label, y) in enumerate(zip(panel["labels"], panel["y"], strict=True)):
        ax.plot(
            x, _numbers(y), label=label, color=_series(k + 1), linewidth=1.3,
            linestyle=(0, palette.DASHES[k] or (1, 0)),
            marker=palette.MARKERS[k] if len(panel["labels"]) > 1 else "",
            markevery=max(1, len(x) // 6), markersize=3.5,
        )  # fmt: skip
    ax.set(xscale="log" if panel["xlog"] else "linear", yscale="log" if panel["ylog"] else "linear")
    ax.set(xlim=panel["xlim"], ylim=panel["ylim"])
    ax.set_ylabel(panel["ylabel"], fontsize=7)
    if len(panel["labels"]) > 1:
        ax.legend(fontsize=7, frameon=False)


def _bars(ax: Any, panel: dict[str, Any]) -> None:
    ax.barh(panel["labels"], _numbers(panel["values"]), color=_series(panel["series"]), height=0.6)
    ax.invert_yaxis()
    ax.set_xlim(panel["xlim"])


def _image(ax: Any, panel: dict[str, Any]) -> None:
    pixels = np.frombuffer(base64.b64decode(panel["pixels"]), np.uint8)
    pixels = pixels.reshape(panel["rows"], panel["columns"], panel["channels"])
    ax.imshow(pixels.repeat(3 // panel["channels"], axis=-1), interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _heatmap(ax: Any, panel: dict[str, Any]) -> None:
    stops = palette.SEQUENTIAL if panel["colours"] == "sequential" else palette.DIVERGING
    low, high = panel["limits"]
    rows, columns = panel["rows"], panel["columns"]
    left, right = panel["xlim"] or (0, columns)
    top, bottom = panel["ylim"] or (0, rows)
    drawn = ax.imshow(
        _numbers(panel["values"]).reshape(rows, columns), vmin=low, vmax=high,
        cmap=LinearSegmentedColormap.from_list("course", stops),
        extent=(left, right, bottom, top), interpolation="nearest", aspect="auto",
    )  # fmt: skip
    ax.set_ylabel(panel["ylabel"], fontsize=7)
    for axis, names in ((ax.xaxis, panel["columnNames"]), (ax.yaxis, panel["rowNames"])):
        if names:
            axis.set_ticks([k + 0.5 for k in range(len(names))], names)
    ax.figure.colorbar(drawn, ax=ax, fraction=0.05)


def _landscape(ax: Any, panel: dict[str, Any]) -> None:
    for contour in panel["contours"]:
        ax.plot(_numbers(contour["x"]), _numbers(contour["y"]), color=palette.LIGHT["muted"], linewidth=0.5)
    for k, path in enumerate(panel["paths"]):
        shown = slice(None if panel["upto"] is None else panel["upto"] + 1)
        x, y = _numbers(path["x"])[shown], _numbers(path["y"])[shown]
        style = {"color": _series(k + 1), "linestyle": (0, palette.DASHES[k] or (1, 0))}
        ax.plot(x, y, **style, label=path["label"], linewidth=1.2, marker=palette.MARKERS[k], markersize=2)
        ax.plot(x[:1], y[:1], color=_series(k + 1), marker="o", markersize=7, markerfacecolor="none")
        ax.plot(x[-1:], y[-1:], color=_series(k + 1), marker=palette.MARKERS[k], markersize=5)
    ax.set(xlim=panel["xlim"], ylim=panel["ylim"], aspect="equal")
    ax.set_ylabel(panel["ylabel"], fontsize=7)
    if len(panel["paths"]) > 1:
        ax.legend(fontsize=7, frameon=False)


DRAW = {
    "histogram": _histogram,
    "lines": _lines,
    "bars": _bars,
    "image": _image,
    "heatmap": _heatmap,
    "landscape": _landscape,
}
