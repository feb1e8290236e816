"""An explorer that computes in its page: its function traced, its panels and sentences as templates.

The function runs once for each combination of the choices (names, booleans), with tensors without values for
everything that is continuous. What comes back is a figure with tensors in it: these become the outputs of a
graph, and the figure without them the template that the page fills.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib import graph
from course_lib.explorer import frames
from course_lib.explorer.figure import Figure
from course_lib.explorer.finish import FINISH
from course_lib.explorer.template import Text, from_parts, parts, record

CHECKED = 24  # settings of the grid at which the trace is compared with the function
CLOSE = 1e-5  # of the largest number of a tensor

Frame = dict[str, Any]


@dataclass(frozen=True)
class Traced:
    """A figure's function for one combination of the choices."""

    template: Frame
    graph: graph.Graph

    def frame(self, **inputs: Any) -> Frame:
        """The figure in numbers, computed by torch from the graph as the page does from its copy."""
        return finished(self.template, self.graph.run(**inputs))


def is_continuous(control: Any) -> bool:
    """Whether the page computes with the control's value; of the others each value has its own graph."""
    return control.numeric or hasattr(control, "argument")


def choices(controls: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The combinations of the controls that are not continuous; the last one changes fastest."""
    return frames.combinations({n: c for n, c in controls.items() if not is_continuous(c)})


def example(control: Any) -> Any:
    """An input of the graph for a continuous control."""
    return control.argument(control.start) if hasattr(control, "argument") else control.start


def as_tensor(control: Any, value: Any) -> Tensor:
    """What ``fn`` gets in the trace, with its value."""
    if hasattr(control, "argument"):
        return control.argument(value)
    return torch.tensor(value, dtype=torch.int64 if control.integer else torch.float64)


def with_arguments(fn: Callable[..., Figure], controls: Mapping[str, Any]) -> Callable[..., Figure]:
    """``fn`` called with the controls' plain values, which it receives as tensors where they are that."""

    @functools.wraps(fn)
    def called(**values: Any) -> Figure:
        return fn(
            **{
                n: controls[n].argument(v) if hasattr(controls[n], "argument") else v
                for n, v in values.items()
            }
        )

    return called


def trace_figure(fn: Callable[..., Figure], inputs: Mapping[str, Any]) -> Traced:
    """``fn(**inputs)`` as a template and a graph. Raises ``graph.Untraceable``."""
    found: list[Frame] = []

    @functools.wraps(fn)
    def outputs(**tensors: Tensor) -> list[Tensor]:
        with record():
            figure = fn(**tensors)
        if not isinstance(figure, Figure):
            raise ValueError(f"explore: fn returned a {type(figure).__name__}; it must return a Figure")
        template, leaves = _taken_apart(figure.to_dict())
        found.append(template)
        return leaves

    traced = graph.trace(outputs, inputs)
    return Traced(found[-1], traced)


def trace_all(fn: Callable[..., Figure], controls: Mapping[str, Any]) -> list[Traced]:
    """One :class:`Traced` for each of :func:`choices`."""
    inputs = {name: example(control) for name, control in controls.items() if is_continuous(control)}
    return [trace_figure(_fixed(fn, chosen), inputs) for chosen in choices(controls)]


def check(fn: Callable[..., Figure], controls: Mapping[str, Any], traced: list[Traced]) -> None:
    """Raises ValueError where a graph and ``fn`` disagree on the grid, as where a value was frozen."""
    combinations = list(frames.combinations(controls))
    which = {json.dumps(chosen): one for chosen, one in zip(choices(controls), traced, strict=True)}
    last = len(combinations) - 1  # spread over all of them, so that no value of the last control is left out
    for k in sorted({round(k * last / (CHECKED - 1)) for k in range(CHECKED)}):
        values = combinations[k]
        chosen = {name: v for name, v in values.items() if not is_continuous(controls[name])}
        inputs = {name: as_tensor(controls[name], v) for name, v in values.items() if name not in chosen}
        with record():
            expected = fn(**chosen, **inputs).to_dict()
        template, leaves = _taken_apart(expected)
        ours = which[json.dumps(chosen)]
        if template != ours.template:
            raise ValueError(
                f"explore: at {frames.describe(values)} fn gives other words or panels than where it was "
                "traced. What depends on a continuous control must be a tensor in a panel, or in text(...) "
                "and cases(...)"
            )
        for one, other in zip(ours.graph.run(**inputs), leaves, strict=True):
            if not _close(one, other):
                raise ValueError(
                    f"explore: at {frames.describe(values)} the traced fn gives other numbers than fn "
                    "itself. A value was frozen when it was traced: compute with tensors all the way"
                )


def encode(traced: list[Traced], packing: str) -> dict[str, Any]:
    """All templates and graphs as JSON, what they share written once."""
    which, pool = pooled([one.graph for one in traced], packing)
    return {"templates": frames.encode([one.template for one in traced]), "which": which, **pool}


def pooled(graphs: Iterable[graph.Graph], packing: str) -> tuple[list[int], dict[str, Any]]:
    """The place of each graph, and the graphs and their constants, each once.

    Choices seldom change a network's weights, and often not the computation.
    """
    constants: dict[str, int] = {}
    unique: dict[str, int] = {}
    which = []
    for one in graphs:
        packed = one.to_dict(packing)
        packed["constants"] = [
            constants.setdefault(json.dumps(c), len(constants)) for c in packed["constants"]
        ]
        which.append(unique.setdefault(json.dumps(packed), len(unique)))
    return which, {"graphs": [json.loads(g) for g in unique], "constants": [json.loads(c) for c in constants]}


def finished(template: Frame, outputs: list[Tensor]) -> Frame:
    """The template with its tensors in place, in numbers."""

    def fill(node: Any) -> Any:
        if isinstance(node, dict):
            if "$" in node:
                return outputs[node["$"]]
            if "text" in node and len(node) == 1:
                return from_parts(node, lambda place: outputs[place["$"]]).filled()
            return {key: fill(value) for key, value in node.items()}
        return [fill(value) for value in node] if isinstance(node, list) else node

    filled = fill(template)
    return {**filled, "panels": [FINISH[panel["kind"]](panel) for panel in filled["panels"]]}


def _fixed(fn: Callable[..., Figure], chosen: Mapping[str, Any]) -> Callable[..., Figure]:
    @functools.wraps(fn)
    def fixed(**inputs: Any) -> Figure:
        return fn(**chosen, **inputs)

    return fixed


def _taken_apart(figure: Frame) -> tuple[Frame, list[Tensor]]:
    """The figure with ``{"$": k}`` for its tensors and templates for its sentences, and the tensors."""
    leaves: list[Tensor] = []

    def place(tensor: Tensor) -> dict[str, int]:
        leaves.append(tensor)
        return {"$": len(leaves) - 1}

    def take(node: Any) -> Any:
        if isinstance(node, Tensor):
            return place(node)
        if isinstance(node, Text):
            return parts(node, place)
        if isinstance(node, dict):
            return {key: take(value) for key, value in node.items()}
        return [take(value) for value in node] if isinstance(node, (list, tuple)) else node

    return take(figure), leaves


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    one, other = one.double(), other.double()
    finite = other.isfinite()
    if not torch.equal(one.isfinite(), finite):
        return False
    size = other[finite].abs().max() if finite.any() else 0.0
    return bool((one[finite] - other[finite]).abs().le(CLOSE * size + 1e-12).all())


def _shown(frame: Frame, pick: Mapping[str, bool]) -> Frame:
    """The frame without the lines and paths that are hidden at first."""
    panels = []
    for panel in frame["panels"]:
        if panel["kind"] == "landscape":
            panel = panel | {"paths": [path for path in panel["paths"] if pick.get(path["label"], True)]}
        elif panel["kind"] == "lines":
            kept = [k for k, label in enumerate(panel["labels"]) if pick.get(label, True)]
            panel = panel | {key: [panel[key][k] for k in kept] for key in ("labels", "y")}
        panels.append(panel)
    return {**frame, "panels": panels}


def widget(
    fn: Callable[..., Figure],
    controls: Mapping[str, Any],
    computes: Mapping[str, Any],
    first: Frame,
    grid: list[Frame],
    *,
    title: str | None,
    caption: str | None,
    alt: str | None,
) -> Any:
    """The Explorer of a page that computes.

    computes: what the page computes with, for its specification.  first: the frame that stands in the
    picture.  grid: frames from which the room of the notes is known, so that nothing jumps.

    Raises ValueError for an explorer that is too large.
    """
    from course_lib.explorer import picture, static
    from course_lib.explorer.widget import Explorer

    start = {name: control.start for name, control in controls.items()}
    spec = static.specification(controls, frames.encode([first]), title=title)
    spec["room"] = [max((f["panels"][k]["note"] for f in grid), key=len) for k in range(len(first["panels"]))]
    spec.update(computes)
    html = static.html(
        spec,
        png=picture.png(_shown(first, spec.get("pick", {}))),
        alt=alt or picture.alt(first, title, frames.describe(start)),
        title=title,
        caption=caption,
    )
    size = static.own_bytes(html)
    if size > frames.LIMIT:
        weights = len(json.dumps(spec["live"]["constants"])) if "live" in spec else 0
        raise ValueError(
            f"explore: the page that computes takes {size / 1000:,.0f} KB, {weights / 1000:,.0f} KB of it "
            f"constants; at most {frames.LIMIT / 1000:.0f} KB are allowed. Take a smaller network, "
            'fewer choices, or packing="int8"'
        )
    return Explorer(fn, controls, spec, html, first, caption)
