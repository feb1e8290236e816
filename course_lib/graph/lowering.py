"""From torch's record of a function to the graph that travels: numbered values, constants, operations.

A graph is a list. Its values are numbered: first the inputs, then the constants, then what each operation
gives, in order. An operation has a name, arguments (``%7`` is value 7) and the type and shape of what it
gives, so that the page need not know torch's rules for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx

from course_lib.graph.operations import ARITHMETIC_NAMES, COMPARISON_NAMES, NAMES, VIEW_NAMES
from course_lib.graph.packing import encode, pack

aten = torch.ops.aten
SMALL = 4096  # a constant of so few numbers may be computed here even if it grows by that
NO_INPUT = ("dtype", "layout", "device", "pin_memory", "memory_format", "non_blocking", "copy", "stable")


@dataclass(frozen=True)
class Ref:
    """Value number ``index`` of the graph."""

    index: int


@dataclass(frozen=True)
class Node:
    """One operation: torch's overload, its arguments with ``Ref`` for tensors, and what it gives."""

    op: Any
    args: tuple
    kwargs: Mapping[str, Any]
    gives: tuple[tuple[str, tuple[int, ...]] | None, ...]  # (type, shape) of each result, None if not used

    @property
    def name(self) -> str:
        return NAMES[self.op]

    @property
    def single(self) -> bool:
        """It gives one tensor, not a tuple or list of them."""
        returns = self.op._schema.returns
        return len(returns) == 1 and str(returns[0].type) == "Tensor"


@dataclass(frozen=True)
class Graph:
    """What a function does, as a list of operations on numbered values.

    Attributes:
        inputs: name, type and shape of each.
        constants: tensors that the function took from outside, or that depend on no input.
        nodes: the operations.
        outputs: the number of the value of each leaf of the result.
        structure: how the leaves make up the result.
    """

    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    constants: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Ref, ...]
    structure: pytree.TreeSpec

    def run(self, **inputs: float | Tensor) -> Any:
        """What the function gives for ``inputs``, computed by torch from this very graph.

        Raises ``ValueError`` for an input that is not one of the graph's, is missing, or has another shape.
        """
        values: list[Any] = [self._input(inputs, *which) for which in self.inputs]
        if unknown := set(inputs) - {name for name, _, _ in self.inputs}:
            raise ValueError(f"the graph has no input {', '.join(sorted(unknown))}")
        values += self.constants

        def fill(arguments: Any) -> Any:
            return pytree.tree_map(lambda a: values[a.index] if isinstance(a, Ref) else a, arguments)

        with torch.no_grad():
            for node in self.nodes:
                result = node.op(*fill(node.args), **fill(dict(node.kwargs)))
                values += [result] if isinstance(result, Tensor) else result
        return pytree.tree_unflatten([values[ref.index] for ref in self.outputs], self.structure)

    @staticmethod
    def _input(inputs: Mapping[str, Any], name: str, dtype: str, shape: tuple[int, ...]) -> Tensor:
        if name not in inputs:
            raise ValueError(f"the graph needs the input {name!r}")
        value = torch.as_tensor(inputs[name], dtype=getattr(torch, dtype)).detach()
        if value.shape != shape:
            raise ValueError(
                f"input {name!r} has shape {tuple(value.shape)}; the graph was traced for {shape}"
            )
        return value

    def packed(self, packing: str = "float32") -> Graph:
        """The same graph with its constants rounded to what ``packing`` keeps of them."""
        return replace(self, constants=tuple(pack(c, packing)[1] for c in self.constants))

    def to_dict(self, packing: str = "float32") -> dict[str, Any]:
        """The graph as JSON. ``packing`` of the constants: ``"float32"``, ``"float16"``, ``"int8"``
        (with a scale for each output channel) or ``"auto"`` (8 bits where that costs at most 1 %).

        ``nodes`` are [name, arguments, what it gives]: a number of ``types`` or, with several results, a
        list of them, null for one that nobody needs.
        """
        types: dict[tuple, int] = {}

        def number(kind: tuple | None) -> int | None:
            return None if kind is None else types.setdefault(kind, len(types))

        nodes = [
            [
                node.name,
                _arguments(node),
                number(node.gives[0]) if node.single else list(map(number, node.gives)),
            ]
            for node in self.nodes
        ]
        return {
            "inputs": [{"name": n, "dtype": d, "shape": list(s)} for n, d, s in self.inputs],
            "constants": [encode(pack(c, packing)[0]) for c in self.constants],
            "types": [[dtype, list(shape)] for dtype, shape in types],
            "nodes": nodes,
            "outputs": pytree.tree_unflatten([f"%{ref.index}" for ref in self.outputs], self.structure),
        }


def lower(module: fx.GraphModule, names: Sequence[str], structure: pytree.TreeSpec) -> Graph:
    """``module``, a functional record, as a graph. Raises ``Untraceable`` for an unknown operation."""
    return _Lowering(module, names).graph(structure)


@dataclass
class _Value:
    """What a node of torch's record becomes: a constant, or a value that is computed."""

    meta: Tensor
    constant: Tensor | None = None  # known now; needs no place unless somebody uses it
    place: Any = None  # an _Op, or the number of an input
    which: int = 0


@dataclass
class _Op:
    op: Any
    args: tuple
    kwargs: dict
    results: list[_Value | None]


class _Lowering:
    """Walks torch's record once: folds what is constant, writes down the rest, then numbers what is used."""

    def __init__(self, module: fx.GraphModule, names: Sequence[str]) -> None:
        self.module, self.names = module, names
        self.ops: list[_Op] = []
        self.known: dict[fx.Node, Any] = {}
        self.inputs: list[_Value] = []

    def graph(self, structure: pytree.TreeSpec) -> Graph:
        constants = iter(self.module.constants)
        for node in self.module.graph.nodes:
            if node.op == "placeholder":
                meta = node.meta["val"]
                if len(self.inputs) < len(self.names):
                    self.known[node] = _Value(meta, place=len(self.inputs))
                    self.inputs.append(self.known[node])
                else:
                    self.known[node] = _Value(meta, constant=next(constants))
            elif node.op == "call_function":
                self.known[node] = self._call(node)
            elif node.op == "get_attr":
                value = getattr(self.module, node.target)
                self.known[node] = _Value(value, constant=value.detach().clone())
            else:
                leaves = [self.known[leaf] for leaf in pytree.tree_leaves(node.args[0])]
        return self._number(leaves, structure)

    def _call(self, node: fx.Node) -> Any:
        if getattr(node.target, "__name__", "") == "getitem":
            return self.known[node.args[0]][node.args[1]]
        args, kwargs = pytree.tree_map(
            lambda a: self.known[a] if isinstance(a, fx.Node) else a, (node.args, node.kwargs)
        )
        op, meta = node.target, node.meta.get("val")
        if op._schema.name.endswith("_like") or op._schema.name.startswith("aten::new_"):
            args = (
                _Value(args[0].meta, constant=torch.zeros(args[0].meta.shape, dtype=args[0].meta.dtype)),
                *args[1:],
            )
        given = [a for a in pytree.tree_leaves((args, kwargs)) if isinstance(a, _Value)]
        if (
            all(v.constant is not None for v in given)
            and (folded := self._fold(op, args, kwargs, given)) is not None
        ):
            return folded
        if op not in NAMES:
            from course_lib.graph.tracing import Untraceable

            name = str(op).removesuffix(".default")
            raise Untraceable(
                f"{self.module.where(node)}: the operation {name} is not one that a page can run. Express it "
                "by others (course_lib.graph.OPERATIONS has them all), or compute it outside of the function"
            )
        if NAMES[op] == "same":
            return (
                args[1]
                if op is aten.copy.default and _alike(args[0], args[1])
                else self._same(op, args, meta)
            )
        args, kwargs = self._one_type(op, args, kwargs, meta)
        if NAMES[op] == "add" and meta.dtype == torch.bool:  # 1 + 1 is 1 there
            op, args, kwargs = aten.logical_or.default, args[:2], {}
        if NAMES[op] == "as_strided":
            args = (self._in_memory_order(args[0], node), *args[1:])
        return self._append(op, args, kwargs, meta)

    def _same(self, op: Any, args: tuple, meta: Tensor) -> _Value:
        """Copies and aliases are what they copy: nothing here is ever changed in place."""
        if op is not aten.copy.default:
            return args[0]
        value = args[1]
        if value.meta.dtype != meta.dtype:
            value = self._cast(value, meta.dtype)
        return (
            value
            if value.meta.shape == meta.shape
            else self._append(aten.expand.default, (value, list(meta.shape)), {}, meta)
        )

    def _append(self, op: Any, args: tuple, kwargs: dict, meta: Any) -> Any:
        several = not isinstance(meta, Tensor)
        results = [_Value(m) if isinstance(m, Tensor) else None for m in (meta if several else [meta])]
        made = _Op(op, args, kwargs, results)
        for k, value in enumerate(results):
            if value is not None:
                value.place, value.which = made, k
        self.ops.append(made)
        return results if several else results[0]

    def _fold(self, op: Any, args: tuple, kwargs: dict, given: list[_Value]) -> Any:
        """The result, if it can be known now and that does not make the graph larger."""
        view = NAMES.get(op) in VIEW_NAMES
        if view and NAMES[op] != "same" and given and not all(_uniform(v.constant) for v in given):
            return None
        plain = pytree.tree_map(lambda a: a.constant if isinstance(a, _Value) else a, (args, kwargs))
        with torch.no_grad():
            result = op(*plain[0], **plain[1])
        results = [result] if isinstance(result, Tensor) else list(result)
        size = sum(r.numel() for r in results if isinstance(r, Tensor) and not _uniform(r))
        if given and size > max(SMALL, sum(v.constant.numel() for v in given)):
            return None
        values = [_Value(r, constant=r) if isinstance(r, Tensor) else None for r in results]
        return values[0] if isinstance(result, Tensor) else values

    def _one_type(self, op: Any, args: tuple, kwargs: dict, meta: Any) -> tuple[tuple, dict]:
        """Both sides of an arithmetic operation in the type that torch computes in."""
        name = NAMES[op]
        if name in ARITHMETIC_NAMES:
            dtype = meta.dtype
        elif name == "cat":
            return ([self._cast(v, meta.dtype) for v in args[0]], *args[1:]), kwargs
        elif name in COMPARISON_NAMES and len(args) == 2:
            plain = [a.meta if isinstance(a, _Value) else a for a in args]
            dtype = torch.result_type(*plain)
        else:
            return args, kwargs
        start = 1 if name == "where" else 0
        cast = lambda a: self._cast(a, dtype) if isinstance(a, _Value) else a  # noqa: E731
        return (*args[:start], *map(cast, args[start:])), {k: cast(v) for k, v in kwargs.items()}

    def _cast(self, value: _Value, dtype: torch.dtype) -> _Value:
        if value.meta.dtype == dtype:
            return value
        if value.constant is not None:
            return _Value(value.meta.to(dtype), constant=value.constant.to(dtype))
        return self._append(aten._to_copy.default, (value,), {"dtype": dtype}, value.meta.to(dtype))

    def _in_memory_order(self, value: _Value, node: fx.Node) -> _Value:
        """``as_strided`` speaks of memory; in the page tensors lie in it axis by axis: bring them to that."""
        meta = value.meta
        order = sorted(range(meta.dim()), key=lambda d: (-meta.stride(d), d))
        lying = meta.permute(order)
        if not lying.is_contiguous() or meta.storage_offset():
            from course_lib.graph.tracing import Untraceable

            raise Untraceable(f"{self.module.where(node)}: as_strided of a view; call contiguous() before it")
        if order == list(range(meta.dim())):
            return value
        return self._append(aten.permute.default, (value, order), {}, lying)

    def _number(self, leaves: list[_Value], structure: pytree.TreeSpec) -> Graph:
        """Keep what the outputs need, and number it."""
        used: set[int] = set()
        read: set[int] = set()
        constants: dict[int, Tensor] = {}
        waiting = list(leaves)
        while waiting:
            value = waiting.pop()
            read.add(id(value))
            if value.constant is not None:
                constants[id(value.constant)] = value.constant
            elif isinstance(value.place, _Op) and id(value.place) not in used:
                used.add(id(value.place))
                waiting += [
                    a
                    for a in pytree.tree_leaves((value.place.args, value.place.kwargs))
                    if isinstance(a, _Value)
                ]
        unique, index_of_constant = _distinct(list(constants.values()))
        start = len(self.inputs) + len(unique)
        index_of_op: dict[int, int] = {}
        kept = [op for op in self.ops if id(op) in used]
        for op in kept:
            index_of_op[id(op)] = start
            start += len(op.results)

        def ref(value: Any) -> Any:
            if not isinstance(value, _Value):
                return value
            if value.constant is not None:
                return Ref(len(self.inputs) + index_of_constant[id(value.constant)])
            if isinstance(value.place, int):
                return Ref(value.place)
            return Ref(index_of_op[id(value.place)] + value.which)

        nodes = tuple(
            Node(
                op.op,
                pytree.tree_map(ref, op.args),
                pytree.tree_map(ref, op.kwargs),
                tuple(_kind(value) if id(value) in read else None for value in op.results),
            )
            for op in kept
        )
        inputs = tuple((n, *_kind(v)) for n, v in zip(self.names, self.inputs, strict=True))
        return Graph(inputs, tuple(unique), nodes, tuple(map(ref, leaves)), structure)


def _kind(value: _Value | None) -> tuple[str, tuple[int, ...]] | None:
    return value and (str(value.meta.dtype).removeprefix("torch."), tuple(value.meta.shape))


def _alike(a: _Value, b: _Value) -> bool:
    return a.meta.shape == b.meta.shape and a.meta.dtype == b.meta.dtype


def _uniform(tensor: Tensor) -> bool:
    """All numbers the same, to the bit (one number, or none, is that too)."""
    if tensor.numel() < 2:
        return True
    first = tensor.flatten()[0]
    return bool((tensor == first).all()) and (
        first != 0
        or not bool(tensor.is_floating_point() and (torch.signbit(tensor) != torch.signbit(first)).any())
    )


def _distinct(constants: list[Tensor]) -> tuple[list[Tensor], dict[int, int]]:
    """Each different tensor once, and where each of the given ones is."""
    unique: list[Tensor] = []
    seen: dict[tuple, int] = {}
    index = {}
    for constant in constants:
        content = constant.contiguous()
        key = (constant.dtype, constant.shape, content.numpy().tobytes())
        if key not in seen:
            seen[key] = len(unique)
            unique.append(content)
        index[id(constant)] = seen[key]
    return unique, index


def _arguments(node: Node) -> list[Any]:
    """All arguments in the order of torch's schema, without those that the result's type says already."""
    schema = node.op._schema.arguments
    values = []
    for k, argument in enumerate(schema):
        if argument.name in NO_INPUT:
            continue
        given = k < len(node.args)
        value = node.args[k] if given else node.kwargs.get(argument.name, argument.default_value)
        values.append(_json(value))
    while values and values[-1] is None:
        values.pop()
    return values


def _json(value: Any) -> Any:
    if isinstance(value, Ref):
        return f"%{value.index}"
    if isinstance(value, list | tuple):
        return [_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
