"""Running a function once to see what it does: its operations, one after another.

Two passes. The first records what torch is asked for, gradients and changes in place among it, on tensors
that have a shape and a type but no values, so that whatever would need a value shows. The second rewrites
the record: no change in place, and only operations that :mod:`course_lib.graph.operations` names.
"""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from course_lib.graph.lowering import Graph, lower
from course_lib.graph.operations import decompositions

Value = float | Tensor
TYPES = (
    torch.float32, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip
OURS = str(Path(__file__).parent)
TORCH = str(Path(torch.__file__).parent)

VALUES = {
    "__bool__": "a branch (if, while, and, or, not, min, max) on the value of a tensor. The page runs "
    "the operations that this one run took, so a branch would be frozen: use torch.where(condition, a, b), "
    "torch.minimum or torch.clamp, or make the choice a control with names, which gets a graph for each",
    "__float__": "a tensor turned into a Python number (float(), math.sqrt and the like), which would freeze "
    "its value: stay with tensors: torch.sqrt for math.sqrt, x ** 0.5, x * y",
    "__int__": "a tensor turned into a Python int, which would freeze its value: stay with tensors "
    "(torch.floor, torch.round), or fix the number outside of the function",
    "__index__": "a tensor used as a Python index, count or size (range(), x[i], torch.zeros(n)); sizes and "
    "counts are fixed in the page: give them as constants, or take x.index_select(0, i) and torch.where",
    "item": "item(), which would freeze the value of a tensor: leave the number as a tensor of 0 dimensions",
    "tolist": "tolist(), which would freeze the values of a tensor: leave them in the tensor",
    "numpy": "a tensor turned into a NumPy array, which would freeze its values: use torch's operation",
    "__array__": "a tensor turned into a NumPy array, which would freeze its values: use torch's operation",
}  # fmt: skip
ASKED = (
    "the value of a tensor where torch takes a Python number, which would freeze it: leave numbers tensors "
    "of 0 dimensions; sizes and counts are fixed in the page, so give them as constants"
)
SHAPE = (
    "a result whose shape depends on values (nonzero, unique, masked_select, x[mask]); shapes are fixed in "
    "the page: keep the shape and use torch.where(mask, x, 0), or torch.topk with a fixed k"
)
CHANCE = (
    "random numbers drawn inside of the function; the page must get the same numbers as torch: draw them "
    "before and let the function use them, or make them an input"
)
CAPTURED = (
    "a change in place of a tensor that the function did not get as an input, so the next call would give "
    "something else: make it an input (torch.func.functional_call for the parameters and buffers of a model) "
    "and return what it becomes; a model that is only used needs eval()"
)


class Untraceable(ValueError):
    """A function cannot become a graph: which operation, in which line, and what to do instead."""


def trace(fn: Callable[..., Any], inputs: Mapping[str, Value]) -> Graph:
    """Run ``fn(**inputs)`` once and give its operations as a graph.

    Args:
        fn: gives a dict, list or tuple, nested as you like, of tensors and numbers. It may take gradients,
            change tensors that it made in place, and use tensors and models from outside: these become
            constants.
        inputs: an example of each input. A float becomes a tensor of 0 dimensions (float64), an int as well
            (int64). Shapes and types are fixed with this; the values are not.

    Raises:
        Untraceable: with the operation, the line of ``fn``, and what to do instead: a branch on a value,
            ``item()``, a shape that depends on values, randomness inside, an operation that the page lacks.
        ValueError: an input of a type that the page has not.
    """
    example = {name: _as_tensor(name, value) for name, value in inputs.items()}
    form: list[pytree.TreeSpec] = []

    def flat(*tensors: Tensor) -> list[Tensor]:
        with _Watch(fn):
            result = fn(**dict(zip(example, tensors, strict=True)))
        leaves, structure = pytree.tree_flatten(result)
        form.append(structure)
        return [_as_output(leaf, fn) for leaf in leaves]

    recorded = _record(flat, list(example.values()))
    functional = _functionalize(recorded, list(example.values()), fn)
    return lower(functional, list(example), form[-1])


def _as_tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, bool) or not isinstance(value, int | float | Tensor):
        raise ValueError(f"inputs[{name!r}] is {value!r}; it must be a number or a tensor")
    if not isinstance(value, Tensor):
        return torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float64)
    _check_type(f"inputs[{name!r}]", value)
    return value.detach().cpu().clone()


def _check_type(what: str, value: Tensor) -> None:
    if value.dtype not in TYPES:
        known = ", ".join(str(t).removeprefix("torch.") for t in TYPES)
        raise ValueError(f"{what} is of type {value.dtype}; the page has {known}")


def _as_output(leaf: Any, fn: Callable) -> Tensor:
    if isinstance(leaf, bool | int | float):
        return torch.tensor(leaf, dtype=torch.float64 if isinstance(leaf, float) else None)
    if not isinstance(leaf, Tensor):
        raise Untraceable(
            f"{_name(fn)} gave {type(leaf).__name__} {str(leaf)[:60]!r}; give tensors and numbers, in "
            "dicts, lists or tuples"
        )
    return leaf


def _record(flat: Callable[..., list[Tensor]], example: list[Tensor]) -> fx.GraphModule:
    """The first pass: what torch is asked for, below autograd."""
    return make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)(*example)


def _functionalize(recorded: fx.GraphModule, example: list[Tensor], fn: Callable) -> fx.GraphModule:
    """The second pass: nothing in place, everything in the operations that the page has.

    What the function took from outside becomes an input here, so that a change of it is seen. The result has
    these tensors as ``constants``, and their placeholders after those of the inputs.
    """
    graph = recorded.graph
    names = list(dict.fromkeys(n.target for n in graph.nodes if n.op == "get_attr"))
    places: dict[str, fx.Node] = {}
    first = next(n for n in graph.nodes if n.op != "placeholder")
    with graph.inserting_before(first):
        for name in names:
            places[name] = graph.placeholder(f"constant_{len(places)}")
    for node in [n for n in graph.nodes if n.op == "get_attr"]:
        node.replace_all_uses_with(places[node.target])
        graph.erase_node(node)
    # Copies: a network that trains on must not change the graph that was made of it.
    constants = [_attribute(recorded, name).detach().clone() for name in names]
    for constant in constants:
        _check_type("a tensor that the function takes from outside", constant)
    recorded.recompile()

    def again(*tensors: Tensor) -> Any:
        with fx.traceback.preserve_node_meta():
            return fx.Interpreter(recorded).run(*tensors)

    functional = make_fx(
        torch.func.functionalize(again, remove="mutations_and_views"),
        decomposition_table=decompositions(), tracing_mode="fake",
    )(*example, *constants)  # fmt: skip
    placeholders = [n for n in functional.graph.nodes if n.op == "placeholder"]
    of_constants = set(placeholders[len(example) :])
    for node in reversed(functional.graph.nodes):
        if node.target is torch.ops.aten.copy_.default:  # what functionalize gives back to changed inputs
            if node.args[0] in of_constants:
                raise Untraceable(f"{_line_of(node.args[1], fn)}: {CAPTURED}")
            node.replace_all_uses_with(node.args[1])
            functional.graph.erase_node(node)
    functional.graph.eliminate_dead_code()
    functional.constants = constants
    functional.where = lambda node: _line_of(node, fn)
    return functional


def _attribute(module: fx.GraphModule, name: str) -> Tensor:
    value: Any = module
    for part in name.split("."):
        value = getattr(value, part)
    return value


class _Watch(TorchFunctionMode):
    """Stands between the function and torch: refuses what needs a value, allows numbers that are tensors.

    torch's ``add(alpha=)``, ``addcmul(value=)`` and ``addcdiv(value=)`` take Python numbers only. A learning
    rate that is an input is a tensor, so these are written out for it.
    """

    def __init__(self, fn: Callable) -> None:
        super().__init__()
        self.fn, self.record = fn, _Record(fn)

    def __enter__(self) -> _Watch:
        super().__enter__()
        self.record.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.record.__exit__(*error)
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in VALUES and args and isinstance(args[0], FakeTensor):
            raise Untraceable(f"{_line(self.fn)}: {VALUES[name]}")
        if name.rstrip("_") == "lerp" and len(args) == 3 and isinstance(args[2], Tensor):
            kwargs = {**kwargs, "value": args[2]}
            args = args[:2]
        factor = "alpha" if isinstance(kwargs.get("alpha"), Tensor) else "value"
        if isinstance(kwargs.get(factor), Tensor) and name.rstrip("_") in WRITTEN_OUT:
            out = WRITTEN_OUT[name.rstrip("_")](*args, kwargs[factor])
            return args[0].copy_(out) if name.endswith("_") else out
        return func(*args, **kwargs)


WRITTEN_OUT: dict[str, Callable[..., Tensor]] = {
    "lerp": lambda x, y, value: x + value * (y - x),
    "add": lambda x, y, alpha: x + alpha * y,
    "sub": lambda x, y, alpha: x - alpha * y,
    "addcmul": lambda x, y, z, value: x + value * y * z,
    "addcdiv": lambda x, y, z, value: x + value * (y / z),
}


class _Record(TorchDispatchMode):
    """Notes for every operation the line that it comes from, and refuses those that no page can repeat."""

    def __init__(self, fn: Callable) -> None:
        super().__init__()
        self.fn = fn

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func.namespace == "profiler":  # torch's optimizers time their steps: no part of the computation
            with _disable_current_modes():
                return func(*args, **kwargs or {})
        reason = _refused(func, args)
        if reason:
            name = str(func).removesuffix(".default")
            raise Untraceable(f"{_line(self.fn)}: {reason} ({name})")
        with fx.traceback.preserve_node_meta():
            fx.traceback.set_stack_trace([_line(self.fn)])
            return func(*args, **kwargs or {})


def _refused(func: Any, args: tuple) -> str | None:
    if torch.Tag.nondeterministic_seeded in func.tags:
        return CHANCE
    if not any(isinstance(arg, FakeTensor) for arg in pytree.tree_leaves(args)):
        return None  # a tensor from outside: its values are known
    if func is torch.ops.aten.index.Tensor:
        masks = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        return SHAPE if masks else None
    if torch.Tag.dynamic_output_shape in func.tags:
        return SHAPE
    return ASKED if torch.Tag.data_dependent_output in func.tags else None


def _name(fn: Callable) -> str:
    return getattr(fn, "__name__", type(fn).__name__)


def _line(fn: Callable) -> str:
    """The line being run: the innermost in the file of ``fn`` if there is one, else outside of torch."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    home, nearest = code.co_filename if code else "", None
    frame: Any = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file == home:
            return _spoken(fn, file, frame.f_lineno, home)
        if nearest is None and not file.startswith((OURS, TORCH, "<")):
            nearest = file, frame.f_lineno
        frame = frame.f_back
    return _spoken(fn, *nearest, home) if nearest else _name(fn)


def _spoken(fn: Callable, file: str, line: int, home: str) -> str:
    place = "" if file == home else f" of {Path(file).name}"
    return f"{_name(fn)}, line {line}{place}, `{linecache.getline(file, line).strip()}`"


def _line_of(node: Any, fn: Callable) -> str:
    """The line that a node of the graph comes from."""
    noted = node.meta.get("stack_trace") if isinstance(node, fx.Node) else None
    return noted or _name(fn)
