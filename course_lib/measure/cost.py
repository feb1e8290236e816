"""What a network costs, before it has run once: parameters, multiply-adds, shapes, memory, layer by layer.

The network is sent a batch that has a shape and no numbers (torch's ``meta`` device), so that VGG-19 at
224×224 is counted in milliseconds. Hooks see what passes through each layer; torch's flop counter counts.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from course_lib.terminal import printable


@dataclass(frozen=True)
class Cost:
    """One layer, or a group of layers.

    Attributes:
        name: as in ``model.named_modules()``.
        kind: the class's name.
        output: the shape of what came out, with the batch; ``()`` if that is no tensor.
        parameters: how many numbers are learned; shared ones count where they appear first.
        multiply_adds: of the whole batch, one multiplication and one addition together being one.
        activations: bytes of what the layers inside put out for the whole batch; what is overwritten in
            place counts once.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    activations: int


@dataclass(frozen=True)
class Summary:
    """A table: one row a layer, in the order in which they ran, and the sum of the whole network.

    ``total`` is measured on the network as a whole, so it holds what its layers do not show too.
    ``print`` gives plain text, a notebook a table.
    """

    rows: tuple[Cost, ...]
    total: Cost

    def __getitem__(self, name: str) -> Cost:
        """The row of the layer ``name``. Raises ``KeyError`` that lists the ones that there are."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"there is no row {name!r}; there are {', '.join(row.name for row in self.rows)}")

    def cells(self) -> list[list[str]]:
        """Head, rows and total as text, for a table of one's own."""
        head = ["layer", "kind", "output", "parameters", "multiply-adds", "activations"]
        return [head, *(_cells(row) for row in self.rows), _cells(self.total)]

    def __str__(self) -> str:
        table = self.cells()
        widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
        lines = [
            "  ".join(
                cell.ljust(width) if k < 3 else cell.rjust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in table
        ]
        rule = "─" * max(map(len, lines))
        return printable("\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *rows = self.cells()
        style = [' style="text-align: left"'] * 3 + [' style="text-align: right"'] * 3

        def line(row: list[str], tag: str) -> str:
            cells = "".join(f"<{tag}{s}>{html.escape(c)}</{tag}>" for c, s in zip(row, style, strict=True))
            return f"<tr>{cells}</tr>"

        body = "\n".join(line(row, "td") for row in rows[:-1])
        return (
            f'<table class="course-cost">\n<thead>{line(head, "th")}</thead>\n<tbody>\n{body}\n</tbody>\n'
            f"<tfoot>{line(rows[-1], 'th')}</tfoot>\n</table>"
        )


def summary(model: nn.Module, input_shape: Sequence[int], *, depth: int | None = None) -> Summary:
    """What ``model`` costs on a batch of ``input_shape``, (N, …), in evaluation mode. Nothing is changed.

    Args:
        depth: how far to look inside: 1 gives a row to each direct child of the network, ``None`` to every
            layer without children. A module that runs twice has one row, with both runs.

    Raises:
        ValueError: an ``input_shape`` that is no shape, a depth below 1; what the network says of images that
            do not fit.
    """
    x = _shape_only(input_shape)
    if depth is not None and (not isinstance(depth, int) or depth < 1):
        raise ValueError(f"depth is {depth!r}; it must be None or a whole number of at least 1")
    chosen = {
        name: module for name, module in model.named_modules() if name and _is_row(name, module, depth)
    } or {"": model}
    leaves = [module for module in model.modules() if not any(module.children())]
    seen: dict[str, dict[str, Any]] = {}
    inside: list[str] = []
    counter = FlopCounterMode(display=False)
    everything = 0

    def enter(name: str) -> Any:
        def hook(module: nn.Module, _inputs: Any) -> None:
            row = seen.setdefault(name, {"flops": 0, "bytes": 0, "output": ()})
            row["flops"] -= counter.get_total_flops()
            inside.append(name)

        return hook

    def leave(name: str) -> Any:
        def hook(module: nn.Module, _inputs: Any, output: Any) -> None:
            seen[name]["flops"] += counter.get_total_flops()
            seen[name]["output"] = tuple(output.shape) if isinstance(output, Tensor) else ()
            inside.pop()

        return hook

    def weigh(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal everything
        if isinstance(output, Tensor) and not any(output is value for value in inputs):
            size = output.numel() * output.element_size()
            everything += size
            if inside:
                seen[inside[-1]]["bytes"] += size

    handles = [module.register_forward_hook(weigh) for module in leaves]
    for name, module in chosen.items():
        handles.append(module.register_forward_pre_hook(enter(name)))
        handles.append(module.register_forward_hook(leave(name)))
    try:
        with _mode(model, training=False), torch.no_grad(), counter:
            output = functional_call(model, _without_numbers(model), (x,))
    finally:
        for handle in handles:
            handle.remove()
    counted: set[int] = set()
    rows = []
    for name, row in seen.items():
        own = {id(p): p.numel() for p in chosen[name].parameters() if id(p) not in counted}
        counted |= own.keys()
        kind, flops = type(chosen[name]).__name__, row["flops"]
        rows.append(Cost(name or kind, kind, row["output"], sum(own.values()), flops // 2, row["bytes"]))
    shape = tuple(output.shape) if isinstance(output, Tensor) else ()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    total = Cost("total", type(model).__name__, shape, parameters, counter.get_total_flops() // 2, everything)
    return Summary(tuple(rows), total)


def saved_for_backward(model: nn.Module, input_shape: Sequence[int]) -> int:
    """Bytes that a training step must hold between forward and backward, for a batch of ``input_shape``.

    Counted by torch's own hooks on what autograd saves; parameters, which are there anyway, are not in it.
    This, not the parameters, is what fills a GPU. Raises ``ValueError`` as :func:`summary` does.
    """
    x = _shape_only(input_shape)
    state = _without_numbers(model)
    for name, parameter in model.named_parameters():
        state[name].requires_grad_(parameter.requires_grad)
    own = {_storage(tensor) for tensor in state.values()}
    saved: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in own:
            saved[_storage(tensor)] = tensor  # held, so that no other tensor takes its address
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with _mode(model, training=True), torch.enable_grad(), hooks:
        functional_call(model, state, (x,))
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values())


def short(number: float, unit: str = "") -> str:
    """1,234,567 as ``1.23 M``, with three digits; below 10,000 the number itself."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size and number >= 1e4:
            return f"{_three(number / size)} {letter}{unit}"
    return f"{number:,.0f}{' ' + unit if unit else ''}"


def _three(value: float) -> str:
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def _cells(row: Cost) -> list[str]:
    shape = " × ".join(map(str, row.output))
    numbers = [f"{row.parameters:,}", short(row.multiply_adds), short(row.activations, "B")]
    return [row.name, row.kind, shape, *numbers]


def _is_row(name: str, module: nn.Module, depth: int | None) -> bool:
    level = name.count(".") + 1
    is_leaf = not any(module.children())
    return is_leaf if depth is None else level == depth or (level < depth and is_leaf)


def _shape_only(input_shape: Sequence[int]) -> Tensor:
    shape = tuple(input_shape) if isinstance(input_shape, Sequence) else ()
    if not shape or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape):
        raise ValueError(
            f"input_shape is {input_shape!r}; give the shape of a batch, (1, 3, 224, 224) for one photograph"
        )
    return torch.empty(shape, device="meta")


def _without_numbers(model: nn.Module) -> dict[str, Tensor]:
    """The network's parameters and buffers as shapes alone."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in named}


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


@contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Training or evaluation mode inside, and the mode of each module as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
