"""Running a function once to see what it does: its operations, one after another.

Two passes. The first records what torch is asked for, gradients and changes in place among it, on tensors
that have a shape and a type but no values, so that whatever would need a value shows. The second rewrites
the record: no change in place, and only operations that :mod:`course_lib.graph.operations` names.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
)
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

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

    try:
        recorded = _record(flat, list(example.values()))
    except Untraceable:
        raise
    except DynamicOutputShapeException as error:
        raise Untraceable(f"{_line(error, fn)}: {SHAPE} ({error.func})") from None
    except DataDependentOutputException as error:
        raise Untraceable(f"{_line(error, fn)}: {VALUES['item']} ({error.func})") from None
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
    tracer = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True, record_stack_traces=True)
    return tracer(*example)


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
    constants = [_attribute(recorded, name).detach() for name in names]
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
        self.fn, self.chance = fn, _Chance(fn)

    def __enter__(self) -> _Watch:
        super().__enter__()
        self.chance.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.chance.__exit__(*error)
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in VALUES and args and isinstance(args[0], FakeTensor):
            raise Untraceable(f"{_line(None, self.fn)}: {VALUES[name]}")
        factor = "alpha" if isinstance(kwargs.get("alpha"), Tensor) else "value"
        if isinstance(kwargs.get(factor), Tensor) and name.rstrip("_") in WRITTEN_OUT:
            out = WRITTEN_OUT[name.rstrip("_")](*args, kwargs[factor])
            return args[0].copy_(out) if name.endswith("_") else out
        return func(*args, **kwargs)


WRITTEN_OUT: dict[str, Callable[..., Tensor]] = {
    "add": lambda x, y, alpha: x + alpha * y,
    "sub": lambda x, y, alpha: x - alpha * y,
    "addcmul": lambda x, y, z, value: x + value * y * z,
    "addcdiv": lambda x, y, z, value: x + value * (y / z),
}


class _Chance(TorchDispatchMode):
    """Refuses random numbers."""

    def __init__(self, fn: Callable) -> None:
        super().__init__()
        self.fn = fn

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise Untraceable(f"{_line(None, self.fn)}: {CHANCE} ({resolve_name(func) or func})")
        return func(*args, **kwargs or {})


def _name(fn: Callable) -> str:
    return getattr(fn, "__name__", type(fn).__name__)


def _line(error: BaseException | None, fn: Callable) -> str:
    """The line that led to ``error``, or to here: in the file of ``fn`` if there is one, else the nearest."""
    frames = traceback.extract_tb(error.__traceback__) if error else traceback.extract_stack()
    return _spoken([(f.filename, f.lineno, f.line) for f in frames], fn)


def _line_of(node: Any, fn: Callable) -> str:
    """The line that a node of the graph comes from."""
    frames = []
    lines = (node.meta.get("stack_trace") or "").splitlines() if isinstance(node, fx.Node) else []
    for k, line in enumerate(lines):
        if line.strip().startswith('File "'):
            file, number = line.strip().removeprefix('File "').split('", line ')
            text = lines[k + 1].strip() if k + 1 < len(lines) else ""
            frames.append((file, int(number.split(",")[0]), text))
    return _spoken(frames, fn)


def _spoken(frames: list[tuple[str, int | None, str | None]], fn: Callable) -> str:
    code = getattr(inspect.unwrap(fn) if callable(fn) else fn, "__code__", None)
    home = code.co_filename if code else ""
    outside = [f for f in frames if not f[0].startswith((OURS, TORCH)) and "<eval_with_key>" not in f[0]]
    at_home = [f for f in outside if f[0] == home]
    for _, number, text in reversed(at_home or outside):
        return f"{_name(fn)}, line {number}, `{(text or '').strip()}`"
    return _name(fn)
