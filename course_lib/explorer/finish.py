"""From a panel's tensors to what is drawn: counting, scaling, rounding, and what the note has to add.

Each function takes a panel as the panel functions describe it, with tensors in it, and gives the same panel
in plain numbers. ``finish.js`` says the same in JavaScript, for panels that are computed in the page; tests
hold the two to each other.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Panel = dict[str, Any]


def histogram(raw: Panel) -> Panel:
    """``values`` to ``heights``, the fraction of them in each bin."""
    x: Tensor = raw["values"]
    total, bins = x.numel(), raw["bins"]
    low, high = (v.item() for v in torch.aminmax(x))
    missing = 0
    if not math.isfinite(high - low):  # NaN and infinity both show in the extremes: no mask otherwise
        x = x[x.isfinite()]
        missing = total - x.numel()
    zeros = 0
    if raw["log"]:
        x = x[x != 0].abs().log10()
        zeros = total - missing - x.numel()
    if raw["range"] is not None:
        low, high = raw["range"]
    elif x.numel():
        low, high = own_range(x)
    else:
        low, high = 0.0, 1.0
    # histc leaves out what lies beyond the ends, which is right for a range that was asked for.
    counts = torch.histc(x, bins, low, high).tolist() if x.numel() else [0.0] * bins
    outside = round(x.numel() - sum(counts))
    remarks = [raw["note"]]
    if zeros:
        remarks.append(f"{_percent(zeros, total)} zero")
    if outside > 0:
        remarks.append(f"{_percent(outside, total)} beyond")
    return {
        **_labels(raw, "kind", "title", "xlabel", "ylabel"),
        "note": _note(remarks, missing),
        "range": _round_ends(low, high),
        "log": raw["log"],
        "heights": rounded([c / total for c in counts], 3, floor=1e-6),
        "series": raw["series"],
        "missing": missing,
    }


def lines(raw: Panel) -> Panel:
    """Numbers that are not finite, or not positive on a log axis, become gaps."""
    xs, ys = _list(raw["x"]), [_list(y) for y in raw["y"]]
    if not all(map(math.isfinite, xs)):
        raise ValueError("lines: x has a value that is not finite; every x must be a number")
    if raw["xlog"] and min(xs) <= 0:
        raise ValueError(f"lines: x has {min(xs):.4g} on a log axis; every x must be above 0")
    missing = sum(not math.isfinite(v) for y in ys for v in y)
    below = 0
    if raw["ylog"]:
        below = sum(v <= 0 for y in ys for v in y if math.isfinite(v))
        ys = [[v if v > 0 else math.nan for v in y] for y in ys]
    return {
        **_labels(raw, "kind", "title", "xlabel", "ylabel"),
        "note": _note([raw["note"], f"{below:,} not positive" if below else ""], missing),
        "x": rounded(xs),
        "labels": raw["labels"],
        "y": [rounded(y) for y in ys],
        **_labels(raw, "xlog", "ylog", "xlim", "ylim"),
        "upto": _whole(raw["upto"]),
        "missing": missing,
    }


def bars(raw: Panel) -> Panel:
    """A bar that is not finite is left out."""
    numbers = _list(raw["values"])
    missing = sum(not math.isfinite(v) for v in numbers)
    return {
        **_labels(raw, "kind", "title", "xlabel"),
        "note": _note([raw["note"]], missing),
        "labels": raw["labels"],
        "values": rounded(numbers),
        **_labels(raw, "xlim", "series"),
        "missing": missing,
    }


def scatter(raw: Panel) -> Panel:
    """The ends of the values' colours, and a value that is not finite counted."""
    xs, ys = [_list(x) for x in raw["x"]], [_list(y) for y in raw["y"]]
    for axis, all_of_them in (("x", xs), ("y", ys)):
        for label, numbers in zip(raw["labels"], all_of_them, strict=True):
            log = raw[f"{axis}log"]
            odd = [v for v in numbers if not math.isfinite(v) or (log and v <= 0)]
            if odd:
                rule = "finite and above 0 on a log axis" if log else "finite"
                raise ValueError(
                    f"scatter: {axis} of {label!r} has {odd[0]:.4g}; every {axis} must be {rule}"
                )
    numbers, ends, missing = None, None, 0
    if raw["values"] is not None:
        z = raw["values"]
        good = z[z.isfinite()]
        missing = len(z) - len(good)
        low, high = raw["limits"] or (own_range(good) if len(good) else (0.0, 1.0))
        numbers, ends = rounded(z.tolist()), _round_ends(low, high)
    return {
        **_labels(raw, "kind", "title", "xlabel", "ylabel", "zlabel"),
        "note": _note([raw["note"]], missing),
        "labels": raw["labels"],
        "x": [rounded(x) for x in xs],
        "y": [rounded(y) for y in ys],
        "values": numbers,
        "limits": ends,
        **_labels(raw, "colours", "box", "xlog", "ylog", "xlim", "ylim"),
        "missing": missing,
    }


def image(raw: Panel) -> Panel:
    """Pixels (H, W, C) to 8 bits a channel between the limits, default 0 and 1 or its own."""
    x = raw["pixels"].cpu()
    finite = x.isfinite().all(-1)
    good = x[finite]
    if raw["limits"] is not None:
        low, high = raw["limits"]
    elif not good.numel() or (good.min() >= 0 and good.max() <= 1):
        low, high = 0.0, 1.0
    else:
        low, high = own_range(good)
    scaled = ((x.nan_to_num(low, high, low) - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8)
    gaps = (~finite).flatten().nonzero().flatten().tolist()
    return {
        **_labels(raw, "kind", "title", "xlabel"),
        "note": _note([raw["note"]], len(gaps)),
        **_labels(raw, "rows", "columns", "channels"),
        "limits": _round_ends(low, high),
        "pixels": base64.b64encode(scaled.contiguous().numpy().tobytes()).decode("ascii"),
        "marks": raw["marks"],
        "gaps": gaps,
        "missing": len(gaps),
    }


def heatmap(raw: Panel) -> Panel:
    """The ends of the colours, default the smallest and largest value, or symmetric about 0."""
    x = raw["values"].cpu()
    good = x[x.isfinite()]
    if raw["limits"] is not None:
        low, high = raw["limits"]
    elif not good.numel():
        low, high = 0.0, 1.0
    elif raw["colours"] == "diverging":
        high = good.abs().max().item() or 1.0
        low = -high
    else:
        low, high = own_range(good)
    missing = x.numel() - good.numel()
    return {
        **_labels(raw, "kind", "title", "xlabel", "ylabel"),
        "note": _note([raw["note"]], missing),
        **_labels(raw, "rows", "columns"),
        "values": rounded(x.tolist(), 3),
        "limits": _round_ends(low, high),
        **_labels(raw, "colours", "xlim", "ylim", "columnNames", "rowNames", "marks", "written"),
        "missing": missing,
    }


def landscape(raw: Panel) -> Panel:
    """Points of paths that are not finite become gaps."""
    paths = [
        {"label": path["label"], "x": rounded(path["x"].tolist()), "y": rounded(path["y"].tolist())}
        for path in raw["paths"]
    ]
    upto = _whole(raw["upto"])
    drawn = slice(None if upto is None else upto + 1)
    missing = sum(
        a is None or b is None for p in paths for a, b in zip(p["x"][drawn], p["y"][drawn], strict=True)
    )
    return {
        **_labels(raw, "kind", "title", "xlabel", "ylabel"),
        "note": _note([raw["note"]], missing),
        **_labels(raw, "xlim", "ylim", "contours"),
        "paths": paths,
        "upto": upto,
        "missing": missing,
    }


FINISH = {
    "histogram": histogram,
    "lines": lines,
    "bars": bars,
    "scatter": scatter,
    "image": image,
    "heatmap": heatmap,
    "landscape": landscape,
}


def own_range(x: Tensor) -> tuple[float, float]:
    """The smallest and largest of finite values, widened where they are the same."""
    low, high = (v.item() for v in torch.aminmax(x))
    if high - low > 1e-6 * max(abs(low), abs(high)) and high - low > 1e-36:
        return low, high
    half = 0.5 * abs(low) or 0.5
    return low - half, high + half


def rounded(values: Sequence[float], digits: int = 4, floor: float = 0.0) -> list[float | None]:
    """``values`` to so many significant digits; not finite: None; nonzero and below ``floor``: ``floor``."""
    result: list[float | None] = []
    for v in values:
        if not math.isfinite(v):
            result.append(None)
        elif abs(v) < floor:
            result.append(0.0 if v == 0 else floor)
        else:
            result.append(float(f"{v:.{digits - 1}e}"))
    return result


def _labels(raw: Panel, *names: str) -> Panel:
    return {name: raw[name] for name in names}


def _list(values: Any) -> list[float]:
    return list(map(float, values)) if isinstance(values, list) else values.tolist()


def _whole(upto: Any) -> int | None:
    return int(upto) if isinstance(upto, Tensor) else upto


def _round_ends(low: float, high: float) -> list[float]:
    """The ends of an axis to four digits, or to as many more as it takes to tell them apart."""
    for digits in (4, 6, 9, 17):
        ends = [float(f"{low:.{digits - 1}e}"), float(f"{high:.{digits - 1}e}")]
        # Rounding may move an end by half a thousandth of the width, which nobody can see.
        if all(abs(end - v) <= 5e-4 * (high - low) for end, v in zip(ends, (low, high), strict=True)):
            return ends
    return [low, high]


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"


def _note(remarks: Sequence[str], missing: int) -> str:
    if missing:
        remarks = [*remarks, f"{missing:,} not finite"]
    return " · ".join(remark for remark in remarks if remark)
