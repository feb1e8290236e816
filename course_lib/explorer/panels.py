"""What an explorer shows, described and not drawn: a panel is a plain dict.

The panel functions take tensors (any device), arrays or lists, and return JSON-ready dicts.
Numbers keep four significant digits (histogram heights and heat maps three), which is more than a
reader can see and a quarter of the bytes. A value that is not finite becomes ``None``, is counted
under ``"missing"`` and named in the panel's note: the drawing shows a gap, never a made-up number.

What needs no values, shapes and names, is checked here; what does is in ``finish.py``, so that a panel whose
values are only known in the page can be finished there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes

from course_lib import palette
from course_lib.explorer.finish import FINISH, rounded
from course_lib.explorer.template import recording

Panel = dict[str, Any]
KINDS = ("histogram", "lines", "bars", "scatter", "image", "heatmap", "landscape")


def histogram(
    values: Any,
    *,
    bins: int = 30,
    range: tuple[float, float] | None = None,
    log: bool = False,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    note: str = "",
    series: int = 1,
) -> Panel:
    """The fraction of ``values`` in each of ``bins`` bins of equal width.

    range: ends of the axis; ``None`` takes the smallest and largest finite value. Values outside a
    given range count in the total, and the note says how many there are.
    log: the axis is log10 |value| (``range`` then too); exact zeros have no place on it and are
    counted in the note.
    series: which of the palette's colours, 1 to 6.

    Raises ValueError for no values, fewer than one bin, and a range without width.
    """
    x = _tensor(values, "histogram", "values").flatten()
    if not isinstance(bins, int) or bins < 1:
        raise ValueError(f"histogram: bins is {bins!r}; it must be a whole number from 1 up")
    if x.numel() == 0:
        raise ValueError("histogram: values is empty; there is nothing to count")
    if not 1 <= series <= palette.SERIES:
        raise ValueError(f"histogram: series is {series!r}; the palette has 1 to {palette.SERIES}")
    return _panel(
        {
            "kind": "histogram",
            "title": title,
            "xlabel": xlabel,
            "ylabel": ylabel,
            "note": note,
            "values": x,
            "bins": bins,
            "range": None if range is None else list(_limits(range, "histogram", "range")),
            "log": bool(log),
            "series": series,
        }
    )


def lines(
    series: Mapping[str, Any],
    *,
    x: Any = None,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    xscale: str = "linear",
    yscale: str = "linear",
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float, float] | None = None,
    upto: int | None = None,
    note: str = "",
) -> Panel:
    """Up to six lines over one x: ``{"label": y, ...}``, each y of the same length as x.

    x: default 0, 1, 2, ...  xscale, yscale: ``"linear"`` or ``"log"``; on a log axis a value that is
    not positive is a gap, and the note says how many there are.
    upto: draw only what comes up to this place of each line, 0 the first point alone; the axes stay.

    Raises ValueError for no series, more than six, lengths that differ, and unknown scales.
    """
    if not isinstance(series, Mapping) or not series:
        raise ValueError(f'lines: series is {series!r:.80}; give a dict {{"label": values, ...}}')
    if len(series) > palette.SERIES:
        raise ValueError(f"lines: {len(series)} series; at most {palette.SERIES} can be told apart")
    _check_scales("lines", xscale=xscale, yscale=yscale)
    ys = {label: _tensor(y, "lines", f"series {label!r}").flatten() for label, y in series.items()}
    length = len(next(iter(ys.values())))
    if length == 0:
        raise ValueError(f"lines: series {next(iter(ys))!r} is empty; give at least one point")
    xs = list(map(float, range(length))) if x is None else _tensor(x, "lines", "x").flatten()
    for label, y in [*ys.items(), ("x", xs)]:
        if len(y) != length:
            raise ValueError(
                f"lines: {label!r} has {len(y)} values and {next(iter(ys))!r} {length}; make them equal"
            )
    return _panel(
        {
            "kind": "lines",
            "title": title,
            "xlabel": xlabel,
            "ylabel": ylabel,
            "note": note,
            "x": xs,
            "labels": [str(label) for label in ys],
            "y": list(ys.values()),
            "xlog": xscale == "log",
            "ylog": yscale == "log",
            "xlim": _optional_limits(xlim, "lines", "xlim", positive=xscale == "log"),
            "ylim": _optional_limits(ylim, "lines", "ylim", positive=yscale == "log"),
            "upto": _upto(upto, "lines"),
        }
    )


def bars(
    values: Mapping[str, Any] | Sequence[str],
    heights: Any = None,
    *,
    title: str = "",
    xlabel: str = "",
    xlim: tuple[float, float] | None = None,
    note: str = "",
    series: int = 1,
) -> Panel:
    """One horizontal bar a label: ``bars({"relu": 0.4, "tanh": 0.3})`` or ``bars(labels, values)``.

    xlabel: what the bars measure.  xlim: ends of the axis, else from 0 to the longest bar.

    Raises ValueError for no bars and for labels and values of different length.
    """
    if isinstance(values, Mapping):
        labels, numbers = list(values), _tensor(list(values.values()), "bars", "values")
    elif heights is not None:
        labels, numbers = list(values), _tensor(heights, "bars", "values").flatten()
    else:
        raise ValueError(f'bars: got {values!r:.60}; give {{"label": value, ...}} or labels and values')
    if not labels or len(labels) != len(numbers):
        raise ValueError(
            f"bars: {len(labels)} labels and {len(numbers)} values; give one value a label, at least one"
        )
    if not 1 <= series <= palette.SERIES:
        raise ValueError(f"bars: series is {series!r}; the palette has 1 to {palette.SERIES}")
    return _panel(
        {
            "kind": "bars",
            "title": title,
            "xlabel": xlabel,
            "note": note,
            "labels": [str(label) for label in labels],
            "values": numbers,
            "xlim": _optional_limits(xlim, "bars", "xlim"),
            "series": series,
        }
    )


def scatter(
    series: Mapping[str, tuple[Any, Any]],
    *,
    values: Any = None,
    limits: tuple[float, float] | None = None,
    colours: str = "sequential",
    box: tuple[float, float, float, float] | None = None,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    zlabel: str = "",
    xscale: str = "linear",
    yscale: str = "linear",
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float, float] | None = None,
    note: str = "",
) -> Panel:
    """Points: ``{"label": (xs, ys), ...}``, up to six series, each with its own mark.

    values: one number a point, where there is one series; it sets a point's colour and size, from
    ``limits[0]`` to ``limits[1]`` (default the smallest and largest value). A value that is not finite
    is drawn as a cross.  zlabel: what the values are.  colours: as in :func:`heatmap`.
    box: a dashed frame around part of the plane, (left, right, low, high) in axis values.
    xscale, yscale: ``"linear"`` or ``"log"``.

    Raises ValueError for no series, more than six, xs, ys or values of different length, values with
    several series, a position that is not finite or not above 0 on a log axis, and unknown scales.
    """
    if not isinstance(series, Mapping) or not series:
        raise ValueError(f'scatter: series is {series!r:.80}; give a dict {{"label": (xs, ys), ...}}')
    if len(series) > palette.SERIES:
        raise ValueError(f"scatter: {len(series)} series; at most {palette.SERIES} can be told apart")
    _check_scales("scatter", xscale=xscale, yscale=yscale)
    _check_colours("scatter", colours)
    xs, ys = [], []
    for label, (x, y) in series.items():
        xs.append(_tensor(x, "scatter", f"x of {label!r}").flatten())
        ys.append(_tensor(y, "scatter", f"y of {label!r}").flatten())
        if len(xs[-1]) != len(ys[-1]):
            raise ValueError(
                f"scatter: {label!r} has {len(xs[-1])} xs and {len(ys[-1])} ys; give as many of each"
            )
    if values is not None:
        values = _tensor(values, "scatter", "values").flatten()
        if len(series) > 1 or len(values) != len(xs[0]):
            raise ValueError(
                f"scatter: {len(values)} values for {len(series)} series of "
                f"{', '.join(str(len(x)) for x in xs)} points; give one series and one value a point"
            )
    return _panel(
        {
            "kind": "scatter",
            "title": title,
            "xlabel": xlabel,
            "ylabel": ylabel,
            "zlabel": zlabel,
            "note": note,
            "labels": [str(label) for label in series],
            "x": xs,
            "y": ys,
            "values": values,
            "limits": None if limits is None else list(_limits(limits, "scatter", "limits")),
            "colours": colours,
            "box": None if box is None else [
                *_limits(box[:2], "scatter", "box[:2]"), *_limits(box[2:], "scatter", "box[2:]")
            ],
            "xlog": xscale == "log",
            "ylog": yscale == "log",
            "xlim": _optional_limits(xlim, "scatter", "xlim", positive=xscale == "log"),
            "ylim": _optional_limits(ylim, "scatter", "ylim", positive=yscale == "log"),
        }
    )  # fmt: skip


def image(
    pixels: Any,
    *,
    limits: tuple[float, float] | None = None,
    marks: Sequence[tuple[float, ...]] = (),
    title: str = "",
    xlabel: str = "",
    note: str = "",
) -> Panel:
    """A picture with crisp pixels: (H, W) or (1, H, W) grey, (H, W, 3) or (3, H, W) in colour.

    limits: the values of black and white; default 0 and 255 for uint8, 0 and 1 for numbers between
    these, else the smallest and largest value. Kept with 8 bits a channel.
    marks: frames around pixels, each ``(row, column, height, width)`` or with a fifth number, which of
    the palette's colours, 1 to 6.

    Raises ValueError for another shape, an empty image, limits without width, and a mark that lies
    outside.
    """
    x = torch.as_tensor(pixels).detach()
    whole = x.dtype == torch.uint8
    x = _tensor(x, "image", "pixels")
    if x.ndim == 3 and x.shape[0] in (1, 3) and x.shape[-1] != 3:
        x = x.permute(1, 2, 0)
    if x.ndim == 2:
        x = x.unsqueeze(-1)
    if x.ndim != 3 or x.shape[-1] not in (1, 3) or x.numel() == 0:
        raise ValueError(
            f"image: pixels has shape {tuple(torch.as_tensor(pixels).shape)}; "
            "it must be (H, W), (H, W, 3) or (3, H, W), and not empty"
        )
    ends = [0.0, 255.0] if whole else None
    return _panel(
        {
            "kind": "image",
            "title": title,
            "xlabel": xlabel,
            "note": note,
            "rows": x.shape[0],
            "columns": x.shape[1],
            "channels": x.shape[2],
            "limits": ends if limits is None else list(_limits(limits, "image", "limits")),
            "pixels": x,
            "marks": _marks(marks, "image", x.shape[0], x.shape[1]),
        }
    )


def heatmap(
    matrix: Any,
    *,
    limits: tuple[float, float] | None = None,
    colours: str = "sequential",
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float, float] | None = None,
    columns: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
    marks: Sequence[tuple[float, ...]] = (),
    written: bool = False,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    note: str = "",
) -> Panel:
    """A matrix (rows, columns) as coloured cells, row 0 at the top.

    limits: the values at the ends of the colour bar; default the smallest and largest value, and with
    ``colours="diverging"`` symmetric about 0.  xlim: axis values at the left and right edge;
    ylim: at the top and bottom edge.  columns, rows: names instead of axis values.
    marks: frames around cells, as in :func:`image`.  written: each number stands in its cell, where
    there is room for all of them.

    Raises ValueError for another shape, unknown colours, names that do not fit the matrix, and a mark
    that lies outside.
    """
    x = _tensor(matrix, "heatmap", "matrix")
    if x.ndim != 2 or x.numel() == 0:
        raise ValueError(f"heatmap: matrix has shape {tuple(x.shape)}; it must be (rows, columns), not empty")
    _check_colours("heatmap", colours)
    for name, names, length in (("rows", rows, x.shape[0]), ("columns", columns, x.shape[1])):
        if names is not None and len(names) != length:
            raise ValueError(f"heatmap: {len(names)} names for {length} {name}; give one each")
    return _panel(
        {
            "kind": "heatmap",
            "title": title,
            "xlabel": xlabel,
            "ylabel": ylabel,
            "note": note,
            "rows": x.shape[0],
            "columns": x.shape[1],
            "values": x.flatten(),
            "limits": None if limits is None else list(_limits(limits, "heatmap", "limits")),
            "colours": colours,
            "xlim": _edges(xlim, "xlim"),
            "ylim": _edges(ylim, "ylim"),
            "columnNames": None if columns is None else [str(name) for name in columns],
            "rowNames": None if rows is None else [str(name) for name in rows],
            "marks": _marks(marks, "heatmap", x.shape[0], x.shape[1]),
            "written": bool(written),
        }
    )


def landscape(
    matrix: Any,
    paths: Mapping[str, tuple[Any, Any]] | None = None,
    *,
    levels: Sequence[float],
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    upto: int | None = None,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    note: str = "",
) -> Panel:
    """Contour lines of a function of two variables, and up to six paths over them.

    matrix: the function's values (rows, columns) at evenly spaced points: columns from ``xlim[0]`` to
    ``xlim[1]``, rows from ``ylim[0]``, the lower edge, to ``ylim[1]``. Both axes have one scale, so that
    a step down the gradient stands at right angles to the lines.
    paths: ``{"label": (xs, ys), ...}``, one point a step, the first one the start.
    levels: the values that get a line.  upto: draw only so many steps of each path, 0 the start alone;
    frames that differ in nothing else then share the paths.

    Raises ValueError for a matrix with fewer than two rows or columns, no levels, more than six paths,
    and paths whose xs and ys differ in length.
    """
    if isinstance(matrix, FakeTensor):
        raise ValueError(
            "landscape: matrix is computed inside of the function that is traced, and contour lines are "
            "drawn once, beforehand; compute it outside, for each choice that changes it"
        )
    with _disable_current_modes():  # a trace has no values, and this is a constant of it
        z = _tensor(matrix, "landscape", "matrix").double().cpu()
    if z.ndim != 2 or min(z.shape) < 2:
        raise ValueError(
            f"landscape: matrix has shape {tuple(z.shape)}; it must be (rows, columns), from 2 up"
        )
    (left, right), (low, high) = (
        _limits(ends, "landscape", n) for ends, n in ((xlim, "xlim"), (ylim, "ylim"))
    )
    heights = list(map(float, levels))
    if not heights or not all(map(math.isfinite, heights)):
        raise ValueError(f"landscape: levels is {levels!r:.60}; give one finite number or more")
    paths = paths or {}
    if len(paths) > palette.SERIES:
        raise ValueError(f"landscape: {len(paths)} paths; at most {palette.SERIES} can be told apart")
    upto = _upto(upto, "landscape")
    drawn = []
    for label, (xs, ys) in paths.items():
        x, y = (_tensor(v, "landscape", f"path {label!r}").flatten() for v in (xs, ys))
        if len(x) != len(y) or not len(x):
            raise ValueError(
                f"landscape: path {label!r} has {len(x)} xs and {len(y)} ys; give as many of each"
            )
        drawn.append({"label": str(label), "x": x, "y": y})
    with _disable_current_modes():
        contours = _contours(z, (left, right), (low, high), heights)
    return _panel(
        {
            "kind": "landscape",
            "title": title,
            "xlabel": xlabel,
            "ylabel": ylabel,
            "note": note,
            "xlim": [left, right],
            "ylim": [low, high],
            "contours": contours,
            "paths": drawn,
            "upto": upto,
        }
    )


def _panel(raw: Panel) -> Panel:
    """The panel in numbers; while its function is traced, as it is, for the page to finish."""
    return raw if recording() else FINISH[raw["kind"]](raw)


def _contours(
    z: torch.Tensor, xlim: tuple[float, float], ylim: tuple[float, float], levels: Sequence[float]
) -> list[dict[str, Any]]:
    import contourpy  # comes with matplotlib, and like it is needed only where something is drawn

    at = torch.linspace(*xlim, z.shape[1]), torch.linspace(*ylim, z.shape[0])
    lines_of = contourpy.contour_generator(*at, torch.where(z.isfinite(), z, math.nan).numpy()).lines
    contours = []
    for level in levels:
        pieces = [point for line in lines_of(level) for point in (*line.tolist(), [math.nan, math.nan])]
        contours.append(
            {"level": level, "x": rounded([x for x, _ in pieces], 4), "y": rounded([y for _, y in pieces], 4)}
        )
    return contours


def _upto(upto: Any, panel: str) -> Any:
    """A number of steps, which may be a tensor."""
    if isinstance(upto, torch.Tensor) and upto.numel() == 1 and not upto.is_floating_point():
        return upto.detach().flatten() if recording() else int(upto)
    if upto is not None and (not isinstance(upto, int) or upto < 0):
        raise ValueError(f"{panel}: upto is {upto!r}; it must be a whole number of steps, 0 or more")
    return upto


def _tensor(values: Any, panel: str, argument: str) -> torch.Tensor:
    """``values`` as a real tensor without gradient, float32 at least, where it is."""
    try:
        x = _stacked(values).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{panel}: {argument} is {values!r:.80}; it must be numbers") from error
    if x.is_complex():
        raise ValueError(f"{panel}: {argument} is complex; give real numbers")
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _stacked(values: Any) -> torch.Tensor:
    """``torch.as_tensor``, which on a list of tensors would ask for their values."""
    if isinstance(values, (list, tuple)) and any(isinstance(v, torch.Tensor) for v in values):
        return torch.stack([torch.as_tensor(v).double() for v in values])
    return torch.as_tensor(values)


def _check_scales(panel: str, **scales: str) -> None:
    for name, scale in scales.items():
        if scale not in ("linear", "log"):
            raise ValueError(f'{panel}: {name} is {scale!r}; it must be "linear" or "log"')


def _check_colours(panel: str, colours: str) -> None:
    if colours not in ("sequential", "diverging"):
        raise ValueError(f'{panel}: colours is {colours!r}; it must be "sequential" or "diverging"')


def _marks(marks: Sequence[tuple[float, ...]], panel: str, rows: int, columns: int) -> list[list[float]]:
    """Each mark as [row, column, height, width, series]."""
    ready = []
    for mark in marks:
        row, column, height, width, series = (*mark, 1)[:5] if len(mark) in (4, 5) else (-1,) * 5
        inside = min(row, column) >= 0 and row + height <= rows and column + width <= columns
        if not (inside and min(height, width) > 0 and series in range(1, palette.SERIES + 1)):
            raise ValueError(
                f"{panel}: mark {tuple(mark)} must be (row, column, height, width) inside {rows}×{columns}, "
                f"perhaps with a colour, 1 to {palette.SERIES}"
            )
        ready.append([row, column, height, width, series])
    return ready


def _limits(limits: Any, panel: str, argument: str) -> tuple[float, float]:
    try:
        low, high = map(float, limits)
    except (TypeError, ValueError):
        raise ValueError(f"{panel}: {argument} is {limits!r}; it must be (low, high)") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{panel}: {argument} is {limits!r}; low must be below high, both finite")
    return low, high


def _optional_limits(limits: Any, panel: str, argument: str, positive: bool = False) -> list[float] | None:
    if limits is None:
        return None
    low, high = _limits(limits, panel, argument)
    if positive and low <= 0:
        raise ValueError(f"{panel}: {argument} is {limits!r}; a log axis starts above 0")
    return [low, high]


def _edges(edges: Any, argument: str) -> list[float] | None:
    """Axis values at two edges, in either direction."""
    if edges is None:
        return None
    first, last = edges
    _limits(sorted((first, last)), "heatmap", argument)
    return [float(first), float(last)]
