"""The engine in Chromium against torch: every operation, on what Hypothesis makes up, many cases in one call.

A case is a label, a function and its tensors. The functions of an example are traced as one graph, the page
runs it, and each result is compared: shape, NaN, infinities, numbers.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page
from torch import Tensor, nn

from course_lib import explorer, graph, layers
from course_lib.graph.random import Generator

pytestmark = pytest.mark.browser

ENGINE = Path(explorer.__file__).with_name("engine.js")
ODD = (float("nan"), float("inf"), -float("inf"), -0.0, 0.0, 1.0, -1.0, 2.5, 0.5, -1.5)
RUN = """
async ({graph, inputs, times}) => {
  const decode = (text) => new Float64Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const encode = (data) => {
    const bytes = new Uint8Array(Float64Array.from(data).buffer);
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return btoa(text);
  };
  const pack = (tree) => ArrayBuffer.isView(tree.data) ? {data: encode(tree.data), shape: tree.shape}
    : Array.isArray(tree) ? tree.map(pack)
    : Object.fromEntries(Object.entries(tree).map(([k, v]) => [k, pack(v)]));
  const loaded = engine.load(graph), values = {};
  for (const [name, {data, shape}] of Object.entries(inputs)) values[name] = {data: decode(data), shape};
  let result;
  for (let k = 0; k < times; k++) result = loaded.run(values);
  return pack(result);
}
"""


@dataclass
class Engine:
    page: Page

    def run(self, made: graph.Graph, inputs: dict[str, Any], packing: str = "float32", times: int = 2) -> Any:
        """What the page gives, in float64; it runs twice, for the second run works in used memory."""
        packed = {name: _packed(torch.as_tensor(value)) for name, value in inputs.items()}
        return _unpacked(
            self.page.evaluate(RUN, {"graph": made.to_dict(packing), "inputs": packed, "times": times})
        )


def _packed(tensor: Tensor) -> dict[str, Any]:
    data = np.ascontiguousarray(tensor.detach().double().numpy())
    return {"data": base64.b64encode(data.tobytes()).decode(), "shape": list(tensor.shape)}


def _unpacked(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_unpacked(part) for part in tree]
    if isinstance(tree.get("data"), str):
        data = np.frombuffer(base64.b64decode(tree["data"]), np.float64)
        return torch.from_numpy(data.copy()).view(tree["shape"])
    return {key: _unpacked(part) for key, part in tree.items()}


@pytest.fixture(scope="module")
def engine(chromium: Browser) -> Iterator[Engine]:
    page = chromium.new_page()
    source = ENGINE.read_text(encoding="utf-8")
    page.goto("about:blank")
    page.evaluate(
        "async (source) => { const url = URL.createObjectURL(new Blob([source], {type: 'text/javascript'}));"
        " globalThis.engine = await import(url); }",
        source,
    )
    yield Engine(page)
    page.close()


# ---- Cases ----

Case = tuple[str, Callable[..., Any], list[Tensor]]

# No shrinking: the message names the one case of the many that fails, and a trace takes its time.
quick = settings(
    max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True,
    phases=[Phase.generate],
)  # fmt: skip
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
filled = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
floats = st.sampled_from([torch.float32, torch.float32, torch.float64])
everything = st.sampled_from(
    [torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool, torch.int16]
)
layouts = st.sampled_from(["plain", "plain", "transposed", "every second", "one row"])


def tensor(
    shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32, odd: bool = False
) -> Tensor:
    """Numbers of a seed; ``odd`` puts NaN, infinities and both zeros between them."""
    generator = np.random.default_rng(seed)
    values = torch.from_numpy(np.asarray(generator.standard_normal(shape) * 2))
    if odd and dtype.is_floating_point:
        which = torch.from_numpy(np.asarray(generator.integers(0, 2 * len(ODD), shape)))
        for k, value in enumerate(ODD):
            values = torch.where(which == k, value, values)
    if dtype == torch.bool:
        return values > 0
    return (values if dtype.is_floating_point else (values * 3).abs()).to(dtype)


def laid_out(layout: str, x: Tensor) -> Tensor:
    """The same shape, otherwise in memory."""
    if layout == "transposed" and x.dim() > 1:
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "every second" and x.dim() > 0:
        return torch.stack([x, x], -1).flatten(-2)[..., ::2]
    if layout == "one row" and x.dim() > 0:
        return x[:1].expand(x.shape) if len(x) else x
    return x


def check(engine: Engine, cases: list[Case], tolerance: float = 1e-5) -> None:
    """Trace all cases as one function, run it in the page, compare with torch."""
    inputs = {f"t{k}_{j}": t for k, (_, _, tensors) in enumerate(cases) for j, t in enumerate(tensors)}

    def together(**given: Tensor) -> dict[str, Any]:
        results = {}
        for k, (_, fn, tensors) in enumerate(cases):
            result = fn(*(given[f"t{k}_{j}"] for j in range(len(tensors))))
            results[str(k)] = list(result) if isinstance(result, tuple) else result
        return results

    expected = together(**{name: t.clone() for name, t in inputs.items()})
    found = engine.run(graph.trace(together, inputs), inputs)
    for k, (label, _, tensors) in enumerate(cases):
        pairs = zip(_listed(found[str(k)]), _listed(expected[str(k)]), strict=True)
        for ours, theirs in pairs:
            where = f"{label} of {tensors}"
            assert ours.shape == theirs.shape, where
            size = theirs.detach().double().nan_to_num(0, 0, 0).abs().max() if theirs.numel() else 0
            fine = tolerance if theirs.dtype != torch.float64 else tolerance * 1e-7
            torch.testing.assert_close(
                ours, theirs.detach().double(), rtol=fine, atol=fine * (1 + float(size)), equal_nan=True,
                msg=lambda text, where=where: f"{where}\n{text}",
            )  # fmt: skip


def _listed(result: Any) -> list[Tensor]:
    return list(result) if isinstance(result, list | tuple) else [result]


def several(case: st.SearchStrategy[Case]) -> st.SearchStrategy[list[Case]]:
    return st.lists(case, min_size=16, max_size=16)


OF_ONE = (
    "neg abs sign exp expm1 log log2 log10 log1p sqrt rsqrt reciprocal sin cos tan asin acos atan "
    "sinh cosh tanh sigmoid erf relu floor ceil round trunc isnan isinf isfinite logical_not square "
    "exp2 frac"
)
UNARY = {
    name: getattr(torch, name)
    for name in OF_ONE.split()
} | {
    "silu": F.silu, "gelu": F.gelu, "elu": F.elu, "leaky_relu": F.leaky_relu, "softplus": F.softplus,
    "relu6": F.relu6, "hardtanh": F.hardtanh, "logsigmoid": F.logsigmoid, "mish": F.mish,
    "hardswish": F.hardswish, "nan_to_num": torch.nan_to_num,
    "round to 2": lambda x: torch.round(x, decimals=2),
}  # fmt: skip


@st.composite
def unary(draw: st.DrawFn) -> Case:
    name, layout = draw(st.sampled_from(sorted(UNARY))), draw(layouts)
    x = tensor(draw(shapes), draw(st.integers(0, 99)), draw(floats), odd=draw(st.booleans()))
    return f"{name}, {layout}", lambda x: UNARY[name](laid_out(layout, x)), [x]


@quick
@given(cases=several(unary()))
def test_functions_of_one_tensor(engine: Engine, cases: list[Case]) -> None:
    check(engine, cases)


OF_TWO = (
    "add sub mul div maximum minimum pow atan2 fmod remainder eq ne lt le gt ge logical_and "
    "logical_or logical_xor floor_divide"
)
BINARY = {
    name: getattr(torch, name)
    for name in OF_TWO.split()
} | {
    "add 0.5": lambda x, y: torch.add(x, y, alpha=0.5 if (x * y).is_floating_point() else 2),
    "sub 3": lambda x, y: torch.sub(x, y, alpha=3),
    "div trunc": lambda x, y: torch.div(x, y, rounding_mode="trunc"),
    "rsub": lambda x, y: torch.rsub(x, y), "where": lambda x, y: torch.where(x > y, x, y),
    "lerp": lambda x, y: torch.lerp(x.float(), y.float(), 0.3), "clamp": lambda x, y: torch.clamp(x, max=y),
    "addcdiv": lambda x, y: torch.addcdiv(x.double(), y.double(), y.double() + 1, value=0.1),
    "addcmul": lambda x, y: torch.addcmul(x.double(), y.double(), y.double(), value=-2.0),
    "in place": lambda x, y: (x + y).mul_(2).add_(1),
}  # fmt: skip
ONLY_FLOATS = {
    "pow",
    "atan2",
    "fmod",
    "remainder",
    "floor_divide",
    "div trunc",
    "div",
    "sub",
    "sub 3",
    "rsub",
    "add 0.5",
}


@st.composite
def binary(draw: st.DrawFn) -> Case:
    name, layout = draw(st.sampled_from(sorted(BINARY))), draw(layouts)
    types = floats if name in ONLY_FLOATS else everything
    shape = draw(shapes)
    other = tuple(1 if draw(st.integers(0, 3)) == 0 else n for n in shape)[draw(st.integers(0, len(shape))) :]
    odd = draw(st.booleans())
    x = tensor(shape, draw(st.integers(0, 99)), draw(types), odd)
    y = tensor(other, draw(st.integers(0, 99)), draw(types), odd)
    if draw(st.booleans()):
        x, y = y, x
    return f"{name}, {layout}", lambda x, y: BINARY[name](laid_out(layout, x), y), [x, y]


@quick
@given(cases=several(binary()))
def test_functions_of_two_tensors_that_broadcast(engine: Engine, cases: list[Case]) -> None:
    check(engine, cases)


@st.composite
def with_number(draw: st.DrawFn) -> Case:
    name = draw(
        st.sampled_from(["add", "sub", "mul", "div", "pow", "eq", "lt", "ge", "fmod", "remainder", "maximum"])
    )
    number = draw(st.sampled_from([0.1, 2, 2.0, -3, 0.5, 1, 0.0, -0.0, float("inf"), float("nan")]))
    x = tensor(draw(shapes), draw(st.integers(0, 99)), draw(floats), odd=draw(st.booleans()))
    turned = draw(st.booleans())
    if name == "maximum":
        return f"clamp at {number}", lambda x: torch.clamp(x, number), [x]
    operator = {
        "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
        "div": lambda a, b: a / b,
        "pow": lambda a, b: a**b, "eq": lambda a, b: a == b,
        "lt": lambda a, b: a < b, "ge": lambda a, b: a >= b,
        "fmod": torch.fmod, "remainder": torch.remainder,
    }[name]  # fmt: skip
    if turned and name not in ("fmod", "remainder"):
        return f"{number} {name}", lambda x: operator(number, x), [x]
    return f"{name} {number}", lambda x: operator(x, number), [x]


@quick
@given(cases=several(with_number()))
def test_a_plain_number_and_a_tensor(engine: Engine, cases: list[Case]) -> None:
    check(engine, cases)


REDUCTIONS = "sum mean prod amax amin any all var std argmax argmin max min logsumexp norm total"


@st.composite
def reduced(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from(REDUCTIONS.split()))
    shape = draw(shapes if name in ("sum", "mean", "any", "all") else filled)
    layout, keep = draw(layouts), draw(st.booleans())
    dtype = draw(floats if name in ("mean", "var", "std", "logsumexp", "norm") else everything)
    x = tensor(shape, draw(st.integers(0, 99)), dtype, odd=draw(st.booleans()))
    if dtype == torch.bool and name in ("argmax", "argmin"):
        x = x.to(torch.uint8)
    dim = draw(st.integers(-len(shape), len(shape) - 1)) if shape else None
    some = [dim] if draw(st.booleans()) else None

    def compute(x: Tensor) -> Any:
        x = laid_out(layout, x)
        if dim is None or name == "total":
            return x.sum()
        if name in ("prod", "argmax", "argmin", "max", "min"):
            result = getattr(torch, name)(x, dim, keepdim=keep)
            return tuple(result) if name in ("max", "min") else result
        if name in ("sum", "mean", "amax", "amin", "var", "std", "logsumexp", "norm"):
            which = {"norm": torch.linalg.vector_norm}.get(name) or getattr(torch, name)
            dims = some or list(range(x.dim()))
            return which(x, dim=dims, keepdim=keep)
        return getattr(torch, name)(x, dim, keepdim=keep)

    return f"{name}, dim {dim}, {some}, keepdim {keep}, {layout}", compute, [x]


@quick
@given(cases=several(reduced()))
def test_reductions(engine: Engine, cases: list[Case]) -> None:
    check(engine, cases)


@st.composite
def ordered(draw: st.DrawFn) -> Case:
    shape = draw(filled)
    x = tensor(shape, draw(st.integers(0, 99)), draw(floats), odd=draw(st.booleans()))
    dim, largest = draw(st.integers(-len(shape), len(shape) - 1)), draw(st.booleans())
    k = draw(st.integers(1, shape[dim]))
    name = draw(st.sampled_from(["sort", "topk", "cumsum", "softmax", "log_softmax", "flip", "roll"]))
    compute = {
        "sort": lambda x: tuple(torch.sort(x, dim=dim, descending=largest, stable=True)),
        "topk": lambda x: torch.topk(x, k, dim, largest).values,
        "cumsum": lambda x: torch.cumsum(x, dim), "softmax": lambda x: torch.softmax(x, dim),
        "log_softmax": lambda x: torch.log_softmax(x, dim), "flip": lambda x: torch.flip(x, [dim]),
        "roll": lambda x: torch.roll(x, k, dim),
    }[name]  # fmt: skip
    return f"{name}, dim {dim}, k {k}, largest {largest}", compute, [x]


@quick
@given(cases=several(ordered()))
def test_what_goes_along_an_axis(engine: Engine, cases: list[Case]) -> None:
    check(engine, cases)


@st.composite
def views(draw: st.DrawFn) -> Case:
    x = tensor(draw(st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)), draw(st.integers(0, 99)))
    chosen = draw(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 99)), min_size=1, max_size=5))

    def compute(x: Tensor) -> Tensor:
        for which, k in chosen:
            x = _look(x, which, k)
        return x

    return f"views {chosen}", compute, [x]


def _look(x: Tensor, which: int, k: int) -> Tensor:
    d = k % x.dim() if x.dim() else 0
    if x.dim() == 0 or which == 0:
        return x.unsqueeze(-1)
    if which == 1:
        return x.transpose(d, -1)
    if which == 2:
        return x.narrow(d, k % x.shape[d], x.shape[d] - k % x.shape[d])
    if which == 3:
        return x.select(d, k % x.shape[d])
    if which == 4:
        return x.reshape(-1, x.shape[d])
    if which == 5:
        return x.flip(d)
    if which == 6:
        return x.squeeze()
    if which == 7:
        return x.unsqueeze(0).expand(2, *x.shape)
    if which == 8:
        return x.diagonal(k % 3 - 1) if x.dim() > 1 and min(x.shape[:2]) > 1 else x
    if which == 9:
        return x.split(1 + k % 2, d)[-1]
    return x.unfold(d, 1 + k % x.shape[d], 1 + k % 2)


@quick
@given(cases=several(views()))
def test_views_of_views(engine: Engine, cases: list[Case]) -> None:
    check(engine, cases)


@st.composite
def product(draw: st.DrawFn) -> Case:
    m, k, n, b = (draw(st.integers(0, 9)) for _ in range(4))
    kind, turned = (
        draw(st.sampled_from(["mm", "bmm", "addmm", "linear", "einsum", "vector"])),
        draw(st.booleans()),
    )
    left = tensor((b, m, k) if kind == "bmm" else (m, k), 1, odd=draw(st.integers(0, 5)) == 0)
    right = (
        tensor((b, n, k) if kind == "bmm" else (n, k), 2)
        if turned
        else tensor((b, k, n) if kind == "bmm" else (k, n), 2)
    )
    bias = tensor((n,), 3)

    def compute(x: Tensor, y: Tensor, bias: Tensor) -> Tensor:
        y = y.mT if turned else y
        if kind == "addmm":
            return torch.addmm(bias, x, y, beta=0.5, alpha=2)
        if kind == "linear":
            return F.linear(x, y.mT, bias)
        if kind == "einsum":
            return torch.einsum("mk,kn->nm", x, y)
        if kind == "vector":
            return y.mT @ (x[0] if len(x) else x.sum(0))
        return x @ y

    return f"{kind} {m, k, n, b}, turned {turned}", compute, [left, right, bias]


@quick
@given(cases=several(product()))
def test_matrix_products(engine: Engine, cases: list[Case]) -> None:
    check(engine, cases)


def with_gradients(fn: Callable[..., Tensor]) -> Callable[..., list[Tensor]]:
    """``fn`` and the gradient of a weighted sum of what it gives, by each of its tensors."""

    def compute(*tensors: Tensor) -> list[Tensor]:
        leaves = [t.detach().requires_grad_() for t in tensors]
        y = fn(*leaves)
        weights = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view(y.shape)
        return [y.detach(), *torch.autograd.grad((y * weights).sum(), leaves)]

    return compute


@st.composite
def convolved(draw: st.DrawFn) -> Case:
    dims = draw(st.sampled_from([1, 2, 2, 2]))
    groups, per_in, per_out = (draw(st.integers(1, 3)) for _ in range(3))
    some = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(dims))  # noqa: E731
    kernel, stride, padding, dilation = some(1, 3), some(1, 3), some(0, 2), some(1, 2)
    size = tuple(d * (k - 1) + 1 + draw(st.integers(0, 4)) for k, d in zip(kernel, dilation, strict=True))
    n, transposed = draw(st.integers(1, 2)), draw(st.booleans())
    x = tensor((n, groups * per_in, *size), 1)
    bias = tensor((groups * per_out,), 3)
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if transposed:
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        options["padding"] = tuple(min(p, (r - 1) // 2) for p, r in zip(padding, reach, strict=True))
        options["output_padding"] = tuple(
            min(1, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True)
        )
        weight = tensor((groups * per_in, per_out, *kernel), 2)
        fn = (F.conv_transpose1d, F.conv_transpose2d)[dims - 1]
    else:
        weight = tensor((groups * per_out, per_in, *kernel), 2)
        fn = (F.conv1d, F.conv2d)[dims - 1]
    compute = with_gradients(lambda x, w, b: fn(x, w, b, **options))
    return f"{fn.__name__} {options}", compute, [x, weight, bias]


@quick
@given(cases=several(convolved()))
def test_convolutions_and_their_gradients(engine: Engine, cases: list[Case]) -> None:
    check(engine, cases)


@st.composite
def pooled(draw: st.DrawFn) -> Case:
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    ceil, count = draw(st.booleans()), draw(st.booleans())
    x = tensor(
        (draw(st.integers(1, 2)), 2, draw(st.integers(3, 7)), draw(st.integers(3, 7))),
        draw(st.integers(0, 9)),
    )
    name = draw(
        st.sampled_from(
            ["max", "avg", "adaptive", "adaptive one", "ours max", "ours avg", "nearest", "bilinear"]
        )
    )
    fn = {
        "max": lambda x: F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil),
        "avg": lambda x: F.avg_pool2d(x, kernel, stride, padding, ceil_mode=ceil, count_include_pad=count),
        "adaptive": lambda x: F.adaptive_avg_pool2d(x, kernel),
        "adaptive one": lambda x: F.adaptive_avg_pool2d(x, 1),
        "ours max": layers.MaxPool2d(kernel, stride, padding),
        "ours avg": layers.AvgPool2d(kernel, stride, padding),
        "nearest": lambda x: F.interpolate(x, scale_factor=2),
        "bilinear": lambda x: F.interpolate(x, size=(5, 9), mode="bilinear"),
    }[name]  # fmt: skip
    if name in ("nearest", "bilinear"):
        return name, fn, [x]
    return f"{name} {kernel, stride, padding, ceil, count}", with_gradients(fn), [x]


@quick
@given(cases=several(pooled()))
def test_poolings_and_their_gradients(engine: Engine, cases: list[Case]) -> None:
    check(engine, cases)


def test_max_pooling_of_odd_values(engine: Engine) -> None:
    x = tensor((2, 3, 6, 6), 5, odd=True)
    check(engine, [("max", lambda x: F.max_pool2d(x, 2, return_indices=True), [x]),
                   ("padded", lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True), [x])])  # fmt: skip


@st.composite
def normalised(draw: st.DrawFn) -> Case:
    n, c = draw(st.integers(2, 4)), draw(st.sampled_from([2, 4]))
    spatial = draw(st.sampled_from([(), (3, 2)]))
    x, weight, bias = tensor((n, c, *spatial), 1), tensor((c,), 2), tensor((c,), 3)
    mean, var = tensor((c,), 4), tensor((c,), 5).abs() + 0.5
    name = draw(st.sampled_from(["batch", "batch eval", "layer", "group", "ours"]))

    def ours(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return layers.BatchNormFunction.apply(x, w, b, 1e-5)[0]

    fn = {
        "batch": lambda x, w, b: F.batch_norm(x, mean.clone(), var.clone(), w, b, training=True),
        "batch eval": lambda x, w, b: F.batch_norm(x, mean, var, w, b),
        "layer": lambda x, w, b: F.layer_norm(x.movedim(1, -1), (c,), w, b),
        "group": lambda x, w, b: F.group_norm(x, 2, w, b), "ours": ours,
    }[name]  # fmt: skip
    return f"{name} {x.shape}", with_gradients(fn), [x, weight, bias]


@quick
@given(cases=several(normalised()))
def test_normalisations_and_their_gradients(engine: Engine, cases: list[Case]) -> None:
    check(engine, cases, tolerance=1e-4)


@st.composite
def placed(draw: st.DrawFn) -> Case:
    shape = draw(st.lists(st.integers(1, 4), min_size=2, max_size=3).map(tuple))
    x = tensor(shape, draw(st.integers(0, 99)))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    n = shape[dim]
    where = torch.from_numpy(np.random.default_rng(draw(st.integers(0, 99))).integers(0, n, shape))
    flat = where.flatten()[: 1 + draw(st.integers(0, 5))]
    pad = [draw(st.integers(-1 if min(shape) > 1 else 0, 2)) for _ in range(2)]
    a, b = (torch.tensor([0, -1, 0]) % shape[k] - draw(st.sampled_from([0, shape[k]])) for k in range(2))
    first = torch.zeros(shape[0], dtype=torch.long)
    cases: dict[str, tuple[Callable[..., Any], list[Tensor]]] = {
        "gather": (lambda x, i: x.gather(dim, i), [x, where]),
        "scatter value": (lambda x, i: x.scatter(dim, i, 7.0), [x, where]),
        "scatter_add": (lambda x, i: x.scatter_add(dim, i, x * 2), [x, where]),
        "index_select": (lambda x, i: x.index_select(dim, i), [x, flat]),
        "index_add": (lambda x, i: x.index_add(dim, i, x.index_select(dim, i)), [x, flat]),
        "embedding": (lambda x, i: F.embedding(i % x.shape[0], x.flatten(1)), [x, flat]),
        "x[i]": (lambda x, i: x[i], [x, a]),
        "x[i, j]": (lambda x, i, j: x[i, j], [x, a, b]),
        "x[:, j]": (lambda x, j: x[:, j], [x, b]),
        "x[i[:, None], j]": (lambda x, i, j: x[i[:, None], j], [x, a, b]),
        "x[i, ..., k]": (lambda x, i: x[i, ..., i % x.shape[-1]], [x, a]),
        "put": (lambda x, i, j: x.index_put((i, j), torch.tensor(3.0)), [x, a, b]),
        "put and add": (lambda x, i, j: x.index_put((i, j), x[i, j] + 1, accumulate=True), [x, a, b]),
        "assign": (_assigned, [x]),
        "cat": (lambda x: torch.cat([x, 2 * x, laid_out("transposed", x)], dim), [x]),
        "stack": (lambda x: torch.stack([x, -x], dim), [x]),
        "pad": (lambda x: F.pad(x, pad, value=-1.5), [x]),
        "one_hot": (lambda i: F.one_hot(i, 5), [where]),
        "tril": (lambda x: torch.tril(x), [x]),
        "meshgrid": (lambda x: torch.meshgrid(x.flatten(), x[0].flatten(), indexing="ij"), [x]),
        "repeat": (lambda x: x.repeat(*[2] * x.dim()), [x]),
        "masked_fill": (lambda x: x.masked_fill(x > 0, 0.5), [x]),
        "loss": (with_gradients(lambda x: F.cross_entropy(x.flatten(1), first, reduction="none")), [x]),
        "smooth": (with_gradients(lambda x: F.cross_entropy(x.flatten(1), first, label_smoothing=0.1)), [x]),
        "mse": (with_gradients(lambda x: F.mse_loss(x, torch.ones_like(x))), [x]),
        "bce": (with_gradients(lambda x: F.binary_cross_entropy_with_logits(x, torch.ones_like(x))), [x]),
        "huber": (with_gradients(lambda x: F.smooth_l1_loss(x, torch.zeros_like(x))), [x]),
    }  # fmt: skip
    name = draw(st.sampled_from(sorted(cases)))
    return f"{name}, dim {dim}, pad {pad}", *cases[name]


def _assigned(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[0] = x[-1]
    y[:, 1:] += x[:, 1:]
    return y


@quick
@given(cases=several(placed()))
def test_picking_placing_and_losses(engine: Engine, cases: list[Case]) -> None:
    check(engine, cases)


# ---- Reading a graph ----


def test_every_operation_of_the_list_is_in_the_engine(engine: Engine) -> None:
    from course_lib.graph import operations

    known = set(engine.page.evaluate("engine.OPERATIONS"))
    assert set(operations.NAMES.values()) - {"same"} == known


def test_an_unknown_operation_is_named(engine: Engine) -> None:
    made = graph.trace(lambda x: x + 1, {"x": 1.0}).to_dict()
    made["nodes"][0][0] = "teleport"
    assert '"teleport"' in failure(engine, made)


def failure(engine: Engine, made: dict) -> str:
    return engine.page.evaluate(
        "(g) => { try { engine.load(g); return '' } catch (e) { return e.message } }", made
    )


@pytest.mark.parametrize("packing", ["float32", "float16", "int8"])
def test_constants_cut_short_or_damaged_are_refused(engine: Engine, packing: str) -> None:
    weight = tensor((10, 20), 0)
    made = graph.trace(lambda x: x @ weight, {"x": tensor((3, 10), 1)}).to_dict(packing)
    whole = made["constants"][0]["data"]
    assert failure(engine, made) == ""
    made["constants"][0]["data"] = whole[: len(whole) // 2 // 4 * 4]
    assert "constant 0" in failure(engine, made)
    assert "cut short" in failure(engine, made)
    made["constants"][0]["data"] = whole[:-3] + "!!!"
    assert "base64" in failure(engine, made)
    made["constants"][0] |= {"data": whole, "packing": "zip"}
    assert "does not know" in failure(engine, made)


@pytest.mark.parametrize(("packing", "kept"), [("float16", 1e-3), ("int8", 1e-2), ("auto", 1e-2)])
def test_packed_constants_arrive_as_python_says(engine: Engine, packing: str, kept: float) -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)).eval()
    x = tensor((2, 1, 8, 8), 0)
    made = graph.trace(lambda x: model(x), {"x": x})
    found = engine.run(made, {"x": x}, packing)
    torch.testing.assert_close(found, made.packed(packing).run(x=x).double(), rtol=1e-5, atol=1e-5)
    size = model(x).detach().abs().max()
    assert (found - model(x).double()).abs().max() < kept * 3 * size


def test_odd_constants_arrive_to_the_bit(engine: Engine) -> None:
    constants = {
        "odd": torch.tensor(ODD), "empty": torch.zeros(0, 3), "integers": torch.tensor([2**40, -5, 3]),
        "zeros": torch.zeros(4, 5), "minus": torch.full((3,), -0.0), "masks": torch.tensor([True, False]),
        "small": torch.tensor([1, 255, 7], dtype=torch.uint8), "one": torch.tensor(3.5, dtype=torch.float64),
        "nan": torch.full((2, 2), float("nan")),
    }  # fmt: skip
    made = graph.trace(lambda x: {"x": x + 1, **constants}, {"x": 1.0})
    found = engine.run(made, {"x": 1.0})
    for name, constant in constants.items():
        torch.testing.assert_close(found[name], constant.double(), rtol=0, atol=0, equal_nan=True)
        assert torch.equal(found[name].signbit(), constant.double().signbit()) or name == "odd"


def test_wrong_inputs_are_named(engine: Engine) -> None:
    made = graph.trace(lambda x, y: x.sum() + y, {"x": torch.zeros(3), "y": 1.0}).to_dict()
    run = "([g, v]) => { try { engine.load(g).run(v); return '' } catch (e) { return e.message } }"
    assert '"y"' in engine.page.evaluate(run, [made, {"x": {"data": [1, 2, 3], "shape": [3]}}])
    assert '"x"' in engine.page.evaluate(run, [made, {"x": {"data": [1, 2], "shape": [2]}, "y": 1}])
    assert '"x"' in engine.page.evaluate(run, [made, {"x": 4, "y": 1}])


def test_what_comes_out_can_go_in_again(engine: Engine) -> None:
    """A state fed back, one of its parts an old one that is only handed on."""
    made = graph.trace(
        lambda x, before: {"x": x * 2, "before": x, "last": before},
        {"x": torch.ones(2), "before": torch.zeros(2)},
    )
    found = engine.page.evaluate(
        """(g) => {
          const {run} = engine.load(g);
          let state = {x: {data: [1, 3], shape: [2]}, before: {data: [0, 0], shape: [2]}}, seen = [];
          for (let k = 0; k < 4; k++) {
            state = run(state);
            seen.push([state.x, state.before, state.last].flatMap(({data}) => [...data]));
          }
          return seen;
        }""",
        made.to_dict(),
    )
    assert found == [[2, 6, 1, 3, 0, 0], [4, 12, 2, 6, 1, 3], [8, 24, 4, 12, 2, 6], [16, 48, 8, 24, 4, 12]]


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**32 - 1])
def test_the_page_draws_the_same_random_numbers(engine: Engine, seed: int) -> None:
    found = engine.page.evaluate(
        """(seed) => {
          const g = engine.generator(seed);
          const draw = (f) => Array.from({length: 500}, f);
          const integers = draw(g.integer), uniforms = [...g.uniform([10, 50]).data];
          return {integers, uniforms, normals: draw(() => g.normal())};
        }""",
        seed,
    )
    ours = Generator(seed)
    assert found["integers"] == [ours.integer() for _ in range(500)]
    assert found["uniforms"] == ours.uniform([500]).tolist()
    assert found["normals"] == pytest.approx(ours.normal([500]).tolist(), rel=1e-12, abs=1e-12)
