"""A still picture of one frame, for readers without scripts: GitHub, print, link previews."""

from __future__ import annotations

import base64
import io
import math
import re
import warnings
from functools import cache
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
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

    panels = [_plain(panel) for panel in frame["panels"]]
    columns = min(len(panels), frame["columns"] or math.ceil(math.sqrt(len(panels))))
    rows = math.ceil(len(panels) / columns)
    style = {**STYLE, "savefig.facecolor": palette.LIGHT["paper"], "font.family": _families()}
    with rc_context(style), warnings.catch_warnings():
        # A letter that no font here has is drawn as a box; the page itself draws it in the reader's font.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
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


def _plain(value: Any) -> Any:
    """A panel whose texts matplotlib draws letter by letter, as the page does: no ``$`` begins a formula."""
    if isinstance(value, str):
        return value.replace("$", r"\$")
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple) and any(isinstance(one, str | dict) for one in value):
        return [_plain(one) for one in value]
    return value


@cache
def _families() -> list[str]:
    """matplotlib's own font, and behind it those of this machine that have the letters of East Asia."""
    from matplotlib.font_manager import fontManager

    wide = re.compile("CJK|Droid Sans Fallback|WenQuanYi|Hiragino|PingFang|Gothic|Meiryo|YaHei|Malgun|Nanum")
    installed = sorted({font.name for font in fontManager.ttflist if wide.search(font.name)})
    return ["DejaVu Sans", *installed]


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
    x, shown = _numbers(panel["x"]), slice(None if panel["upto"] is None else panel["upto"] + 1)
    for k, (label, y) in enumerate(zip(panel["labels"], panel["y"], strict=True)):
        ax.plot(
            x[shown], _numbers(y)[shown], label=label, color=_series(k + 1), linewidth=1.3,
            linestyle=(0, palette.DASHES[k] or (1, 0)),
            marker=palette.MARKERS[k] if len(panel["labels"]) > 1 else "",
            markevery=max(1, len(x) // 6), markersize=3.5,
        )  # fmt: skip
    ax.set(xscale="log" if panel["xlog"] else "linear", yscale="log" if panel["ylog"] else "linear")
    # The axis is that of all points, also where only the first of them are drawn.
    ax.set(xlim=panel["xlim"] or (None if panel["upto"] is None else (x.min(), x.max())), ylim=panel["ylim"])
    ax.set_ylabel(panel["ylabel"], fontsize=7)
    if len(panel["labels"]) > 1:
        ax.legend(fontsize=7, frameon=False)


def _bars(ax: Any, panel: dict[str, Any]) -> None:
    ax.barh(panel["labels"], _numbers(panel["values"]), color=_series(panel["series"]), height=0.6)
    ax.invert_yaxis()
    ax.set_xlim(panel["xlim"])


def _scatter(ax: Any, panel: dict[str, Any]) -> None:
    if panel["values"] is None:
        for k, (label, x, y) in enumerate(zip(panel["labels"], panel["x"], panel["y"], strict=True)):
            ax.plot(x, y, ls="", color=_series(k + 1), marker=palette.MARKERS[k], markersize=3.5, label=label)
        if len(panel["labels"]) > 1:
            ax.legend(fontsize=7, frameon=False)
    else:
        low, high = panel["limits"]
        x, y, z = (_numbers(v) for v in (panel["x"][0], panel["y"][0], panel["values"]))
        share = ((z - low) / (high - low)).clip(0, 1)
        known = np.isfinite(z)
        ax.plot(x[~known], y[~known], ls="", marker="x", markersize=4, color=palette.LIGHT["muted"])
        drawn = ax.scatter(
            x[known], y[known], c=z[known], s=8 + 40 * share[known], vmin=low, vmax=high,
            cmap=_colours(panel["colours"]), edgecolors=palette.LIGHT["ink"], linewidths=0.4,
        )  # fmt: skip
        ax.figure.colorbar(drawn, ax=ax, fraction=0.05).set_label(panel["zlabel"], fontsize=7)
    ax.set(xscale="log" if panel["xlog"] else "linear", yscale="log" if panel["ylog"] else "linear")
    if panel["box"]:
        left, right, low, high = panel["box"]
        ax.plot(
            [left, right, right, left, left], [low, low, high, high, low], "--", color=palette.LIGHT["ink"]
        )
    ax.set(xlim=panel["xlim"], ylim=panel["ylim"])
    ax.set_ylabel(panel["ylabel"], fontsize=7)


def _image(ax: Any, panel: dict[str, Any]) -> None:
    pixels = np.frombuffer(base64.b64decode(panel["pixels"]), np.uint8)
    pixels = pixels.reshape(panel["rows"], panel["columns"], panel["channels"])
    ax.imshow(pixels.repeat(3 // panel["channels"], axis=-1), interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    _frames(ax, panel, -0.5, -0.5, 1, 1)


def _frames(ax: Any, panel: dict[str, Any], left: float, top: float, w: float, h: float) -> None:
    """The marks of an image or heat map whose first cell's corner is at (left, top) and w by h wide."""
    for row, column, high, wide, series in panel["marks"]:
        place = (left + column * w, top + row * h), wide * w, high * h
        ax.add_patch(Rectangle(*place, fill=False, edgecolor=_series(series), linewidth=1.6))


def _colours(name: str) -> LinearSegmentedColormap:
    stops = palette.SEQUENTIAL if name == "sequential" else palette.DIVERGING
    return LinearSegmentedColormap.from_list("course", stops)


def _heatmap(ax: Any, panel: dict[str, Any]) -> None:
    low, high = panel["limits"]
    rows, columns = panel["rows"], panel["columns"]
    left, right = panel["xlim"] or (0, columns)
    top, bottom = panel["ylim"] or (0, rows)
    drawn = ax.imshow(
        _numbers(panel["values"]).reshape(rows, columns), vmin=low, vmax=high,
        cmap=_colours(panel["colours"]),
        extent=(left, right, bottom, top), interpolation="nearest", aspect="auto",
    )  # fmt: skip
    ax.set_ylabel(panel["ylabel"], fontsize=7)
    for axis, names in ((ax.xaxis, panel["columnNames"]), (ax.yaxis, panel["rowNames"])):
        if names:
            axis.set_ticks([k + 0.5 for k in range(len(names))], names)
    ax.figure.colorbar(drawn, ax=ax, fraction=0.05)
    w, h = (right - left) / columns, (bottom - top) / rows
    _frames(ax, panel, left, top, w, h)
    if panel["written"] and max(rows, columns) <= 12:
        for k, v in enumerate(panel["values"]):
            if v is not None:
                bright = np.dot(drawn.to_rgba(v)[:3], (0.3, 0.59, 0.11)) > 0.55
                ax.text(
                    left + (k % columns + 0.5) * w, top + (k // columns + 0.5) * h, f"{v:.2g}", fontsize=6,
                    ha="center", va="center", color=palette.LIGHT["ink" if bright else "paper"],
                )  # fmt: skip


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
    "scatter": _scatter,
    "image": _image,
    "heatmap": _heatmap,
    "landscape": _landscape,
}
