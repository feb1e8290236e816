"""A network, drawn from the network itself: what runs, in which order, and what is handed to what.

A batch without numbers goes through the network. Hooks see which blocks run; whatever happens to a tensor
between two blocks (an addition, a concatenation) is seen as torch does it. Nothing is read from the source,
so the picture cannot differ from what is computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from course_lib import palette
from course_lib.plotting.style import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Layers that belong to the one before them: no box of their own.
QUIET = (
    nn.ReLU, nn.ReLU6, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.Hardswish, nn.BatchNorm2d, nn.BatchNorm1d, nn.Dropout,
    nn.Identity, nn.Flatten,
)  # fmt: skip
JOINS = {"cat": "concat", "concat": "concat", "add": "+", "add_": "+", "__add__": "+", "__iadd__": "+"}
# What kind of box: its colour in the palette, and a hatch that tells it without colour.
LOOKS = {
    "input": ("muted", ""),
    "convolution": ("series-1", ""),
    "pooling": ("series-2", "////"),
    "linear": ("series-3", "...."),
    "block": ("series-4", "xx"),
    "join": ("ink", ""),
}


@dataclass(frozen=True)
class Node:
    """A box of the diagram.

    name: as in ``model.named_modules()``; ``"input"``, and ``"+"`` or ``"concat"`` for what joins two ways.
    kind: ``"convolution"``, ``"pooling"``, ``"linear"``, ``"block"``, ``"join"`` or ``"input"``.
    label: a few words.  output: the shape of what comes out, with the batch.
    sources: the nodes whose output it takes, as positions in the list of all nodes.
    """

    name: str
    kind: str
    label: str
    output: tuple[int, ...]
    sources: tuple[int, ...]


def trace(model: nn.Module, input_shape: Sequence[int], *, depth: int | None = None) -> list[Node]:
    """The nodes of ``model`` on a batch of ``input_shape``, (N, …), in the order in which they ran.

    depth: how far to look inside: 1 gives a node to each direct child of the network, ``None`` to every layer
    but activations, normalisation and dropout, which count to the layer before them. Evaluation mode; the
    network is left as it was. Raises ``ValueError`` for a depth below 1, and what the network says of images
    that do not fit.
    """
    if depth is not None and (not isinstance(depth, int) or depth < 1):
        raise ValueError(f"depth is {depth!r}; it must be None or a whole number of at least 1")
    x = torch.empty(tuple(input_shape), device="meta")
    nodes = [Node("input", "input", "input", tuple(x.shape), ())]
    made: dict[int, tuple[Tensor, frozenset[int]]] = {id(x): (x, frozenset({0}))}  # held: ids stay unique
    inside = 0

    def sources(values: Any) -> frozenset[int]:
        return frozenset().union(*(made[id(v)][1] for v in _tensors(values) if id(v) in made))

    def put(output: Any, where: Iterable[int]) -> None:
        for tensor in _tensors(output):
            made[id(tensor)] = (tensor, frozenset(where))

    class Between(TorchFunctionMode):
        def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            before = [] if inside else [made[id(v)][1] for v in _tensors((args, kwargs)) if id(v) in made]
            output = func(*args, **(kwargs or {}))
            if before and isinstance(output, Tensor):
                together = frozenset().union(*before)
                if len(set(before)) > 1 and (name := getattr(func, "__name__", "")) in JOINS:
                    nodes.append(
                        Node(JOINS[name], "join", JOINS[name], tuple(output.shape), _sorted(together))
                    )
                    together = frozenset({len(nodes) - 1})
                put(output, together)
            return output

    def enter(_module: nn.Module, _inputs: Any) -> None:
        nonlocal inside
        inside += 1

    def leave(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            nonlocal inside
            inside -= 1
            if inside:
                return
            if isinstance(module, QUIET):
                put(output, sources(inputs))
                return
            shape = tuple(output.shape) if isinstance(output, Tensor) else ()
            kind, label = _kind_and_label(module)
            nodes.append(Node(name, kind, label, shape, _sorted(sources(inputs))))
            put(output, {len(nodes) - 1})

        return hook

    named = [*model.named_parameters(), *model.named_buffers()]
    state = {name: torch.empty_like(tensor, device="meta") for name, tensor in named}
    modes = [(module, module.training) for module in model.modules()]
    handles = []
    try:
        model.eval()
        for name, module in model.named_modules():
            level, leaf = name.count(".") + 1, not any(module.children())
            if name and (leaf if depth is None else level == depth or (level < depth and leaf)):
                handles.append(module.register_forward_pre_hook(enter))
                handles.append(module.register_forward_hook(leave(name)))
        with torch.no_grad(), Between():
            functional_call(model, state, (x,))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    return nodes


def diagram(
    model: nn.Module, input_shape: Sequence[int], *, depth: int | None = None, title: str = ""
) -> Figure:
    """Draw the network: boxes as :func:`trace` finds them, arrows for what is handed on.

    A network that is a chain is drawn to scale, on logarithmic axes: a box is as tall as its image has pixels
    and as wide as it has channels, so that one sees the image shrink and the channels grow. One that branches
    is drawn as cards side by side. :func:`alt_text` of the figure puts it in words.

    Raises ``ValueError`` for more than 64 boxes: give a smaller ``depth``.
    """
    nodes = trace(model, input_shape, depth=depth)
    if len(nodes) > 64:
        raise ValueError(
            f"depth is {depth!r}, which makes {len(nodes)} boxes; 64 can be read. Give a smaller depth: 1 "
            "makes one box of each part of the network"
        )
    columns, rows = _layout(nodes)
    from matplotlib import pyplot as plt

    tall = max(rows) - min(rows)
    if tall == 0:
        figure, ax = plt.subplots(figsize=(WIDTH, 3.3))
        boxes = _slabs(ax, nodes)
    else:
        upright = max(columns) > 7  # then there is no room for words side by side
        figure, ax = plt.subplots(figsize=(WIDTH, 0.9 + (1.5 if upright else 0.62) * (tall + 1)))
        boxes = _cards(ax, nodes, columns, rows, upright)
    for target, node in enumerate(nodes):
        for source in node.sources:
            _arrow(ax, boxes, source, target, rows)
    ax.set_axis_off()
    ax.set_title(title)
    _legend(ax, nodes)
    ax.autoscale_view()
    figure.set_label(_in_words(nodes, title or type(model).__name__))
    return figure


Box = tuple[float, float, float, float]  # left, middle, width, height


def _slabs(ax: Axes, nodes: list[Node]) -> list[Box]:
    """A chain, to logarithmic scale, with its labels upright."""
    widths = [0.12 + 0.045 * math.log2(1 + _channels(node)) for node in nodes]
    gap = max(0.16, 0.42 - 0.012 * len(nodes))
    left, boxes = 0.0, []
    for node, width in zip(nodes, widths, strict=True):
        height = 0.16 + 0.34 * math.log2(1 + _side(node))
        boxes.append((left, 0.0, width, height))
        _box(ax, boxes[-1], node)
        ax.text(
            left + width / 2, -height / 2 - 0.07, node.label, rotation=90, ha="center", va="top",
            fontsize=7.5, color=palette.LIGHT["ink"],
        )  # fmt: skip
        ax.text(
            left + width / 2, height / 2 + 0.07, _shape(node), rotation=90, ha="center", va="bottom",
            fontsize=7, color=palette.LIGHT["muted"],
        )  # fmt: skip
        left += width + gap
    highest = max(height for *_, height in boxes)
    ax.set(xlim=(-0.2, left - gap + 0.2), ylim=(-highest / 2 - 1.6, highest / 2 + 1.9))
    return boxes


def _cards(ax: Axes, nodes: list[Node], columns: list[int], rows: list[float], upright: bool) -> list[Box]:
    """A network with branches: equal boxes with the words inside."""
    boxes = []
    for node, column, row in zip(nodes, columns, rows, strict=True):
        boxes.append((1.5 * column, -row, 1.1, 0.86 if upright else 0.66))
        _box(ax, boxes[-1], node, faint=True)
        ax.text(
            1.5 * column + 0.55, -row, f"{node.label}\n{_shape(node)}", ha="center", va="center",
            fontsize=5.5 if upright else 7.5, rotation=90 if upright else 0, linespacing=1.25,
            color=palette.LIGHT["ink"],
        )  # fmt: skip
    ax.set(xlim=(-0.1, 1.5 * max(columns) + 1.2), ylim=(-max(rows) - 0.5, -min(rows) + 0.9))
    return boxes


def _box(ax: Axes, box: Box, node: Node, faint: bool = False) -> None:
    from matplotlib.patches import Rectangle

    left, middle, width, height = box
    colour, hatch = LOOKS[node.kind]
    colour = palette.LIGHT[colour]
    ax.add_patch(
        Rectangle((left, middle - height / 2), width, height, fc=_tint(colour, 0.12 if faint else 0.55), lw=0)
    )
    ax.add_patch(
        Rectangle(
            (left, middle - height / 2), width, height, fill=False, ec=colour, lw=1.1,
            hatch=None if faint else hatch,
        )
    )  # fmt: skip


def _tint(colour: str, share: float) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(1 - share * (1 - part) for part in to_rgb(colour))


def _arrow(ax: Axes, boxes: list[Box], source: int, target: int, rows: list[float]) -> None:
    """From the right edge of one box to the left edge of another; over the others where they are between."""
    (left, y1, width, height), (x2, y2, w2, h2) = boxes[source], boxes[target]
    x1 = left + width
    style = {"arrowstyle": "-|>,head_width=0.16,head_length=0.28", "lw": 0.9, "color": palette.LIGHT["muted"]}
    between = [
        k
        for k in range(len(boxes))
        if k not in (source, target) and x1 < boxes[k][0] < x2 and rows[k] == rows[source] == rows[target]
    ]
    if not between:
        knee = max(x1, x2 - 0.4)  # straight on in its own row, so that it crosses no box; then to its target
        ax.plot([x1, knee], [y1, y1], lw=0.9, ls="-", color=style["color"], solid_capstyle="butt")
        ax.annotate("", (x2, y2), (knee, y1), arrowprops={**style, "shrinkA": 0, "shrinkB": 1})
        return
    top = max(boxes[k][3] for k in (*between, source, target)) / 2 + 0.15
    start, end = (x1 - width / 2, y1 + height / 2), (x2 + w2 / 2, y2 + h2 / 2)
    bend = -min(0.5, 2 * top / max(end[0] - start[0], 0.1))
    style |= {"connectionstyle": f"arc3,rad={bend}", "color": palette.LIGHT["bad"]}
    ax.annotate("", end, start, arrowprops=style)


def _layout(nodes: list[Node]) -> tuple[list[int], list[float]]:
    """Column: the longest way from the input. Row: that of the first source, or a new one if it is taken."""
    columns: list[int] = []
    for node in nodes:
        columns.append(1 + max((columns[s] for s in node.sources), default=-1))
    lanes: list[float] = []
    taken: set[tuple[int, float]] = set()
    for node, column in zip(nodes, columns, strict=True):
        wanted = [lanes[s] for s in node.sources]
        row = min(wanted) if node.kind == "join" else wanted[0] if wanted else 0.0
        while (column, row) in taken:
            row += 1
        taken.add((column, row))
        lanes.append(row)
    # What is in a column of its own stands in the middle of what it comes from or goes to.
    deepest = max(lanes)
    alone = {c for c in columns if columns.count(c) == 1}
    rows = [deepest / 2 if c in alone else row for c, row in zip(columns, lanes, strict=True)]
    return columns, rows


def _legend(ax: Axes, nodes: list[Node]) -> None:
    from matplotlib.patches import Patch

    kinds = [kind for kind in LOOKS if kind not in ("input", "join") and any(n.kind == kind for n in nodes)]
    handles = [
        Patch(
            fc=_tint(palette.LIGHT[LOOKS[k][0]], 0.55),
            ec=palette.LIGHT[LOOKS[k][0]],
            hatch=LOOKS[k][1],
            label=k,
        )
        for k in kinds
    ]
    ax.legend(handles=handles, loc="upper right", ncols=len(kinds), fontsize=8, bbox_to_anchor=(1, 1.08))


def _kind_and_label(module: nn.Module) -> tuple[str, str]:
    kind = type(module).__name__
    if isinstance(module, nn.Conv2d):
        k, s = module.kernel_size, module.stride[0]
        depthwise = module.groups > 1 and module.groups == module.in_channels
        name = "depthwise" if depthwise else "conv"
        return "convolution", f"{name} {k[0]}×{k[1]}" + (f" /{s}" if s > 1 else "")
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        size = module.kernel_size if isinstance(module.kernel_size, int) else module.kernel_size[0]
        s = module.stride if isinstance(module.stride, int) else module.stride[0]
        word = "max" if isinstance(module, nn.MaxPool2d) else "mean"
        return "pooling", f"{word} {size}×{size}" + (f" /{s}" if s > 1 else "")
    if "Pool" in kind:
        return "pooling", "mean" if "Avg" in kind else "max"
    if isinstance(module, nn.Linear):
        return "linear", "linear"
    return "block", {"Sequential": "layers"}.get(kind, kind)


def _channels(node: Node) -> int:
    return node.output[1] if len(node.output) > 1 else 1


def _side(node: Node) -> int:
    return max(node.output[2:]) if len(node.output) > 2 else 1


def _shape(node: Node) -> str:
    return " × ".join(map(str, node.output[1:]))


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))


def _sorted(sources: frozenset[int]) -> tuple[int, ...]:
    return tuple(sorted(sources))


def _in_words(nodes: list[Node], title: str) -> str:
    joins = [n.label for n in nodes if n.kind == "join"]
    parts = []
    for k, node in enumerate(nodes):
        words = f"{node.label} ({_shape(node)})"
        if k and node.sources != (k - 1,):
            words += " from " + " and ".join(
                nodes[s].label if nodes[s].kind != "input" else "the input" for s in node.sources
            )
        parts.append(words)
    middle = f", with {len(joins)} place{'s' if len(joins) > 1 else ''} where ways meet" if joins else ""
    return f"Diagram of {title}, {len(nodes) - 1} boxes{middle}: {', '.join(parts)}."
