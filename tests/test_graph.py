"""Tracing without a browser: what a graph computes, what it refuses and says, how constants are packed."""

from __future__ import annotations

import json
import math
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import graph, layers, optim
from course_lib.graph import Untraceable, trace
from course_lib.graph.packing import pack
from course_lib.graph.random import Generator
from course_lib.models.cifar_resnet import CifarResNet
from course_lib.models.convnets import DeepConvNet, SimpleConvNet
from course_lib.models.lenet import LeNet5
from course_lib.models.mlp import MLP
from course_lib.models.mobilenetv2 import MobileNetV2


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def digits(n: int, size: int = 28, channels: int = 1) -> torch.Tensor:
    return torch.randn(n, channels, size, size, generator=seeded())


def training_step(model: nn.Module, make=optim.SGD):
    """One step of an optimizer of the library as a function of tensors, and an example of its state."""
    trained = [name for name, _ in model.named_parameters()]

    def step(lr, x, y, **state):
        weights = {name: state[name].detach().requires_grad_() for name in trained}
        loss = F.cross_entropy(torch.func.functional_call(model, {**state, **weights}, x), y)
        for weight, g in zip(weights.values(), torch.autograd.grad(loss, weights.values()), strict=True):
            weight.grad = g
        optimizer = make(weights.values(), lr=lr)
        optimizer.step()
        return {"loss": loss, **{**state, **{k: w.detach() for k, w in weights.items()}}}

    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return step, state


NETWORKS = {
    "MLP": (lambda: MLP(784, [20, 10], 10, batch_norm=True, dropout=0.5), 28, 1),
    "SimpleConvNet": (lambda: SimpleConvNet(), 28, 1),
    "DeepConvNet": (lambda: DeepConvNet(), 28, 1),
    "LeNet": (lambda: LeNet5(), 28, 1),
    "ResNet-8": (lambda: CifarResNet(8), 32, 3),
    "ResNet-20": (lambda: CifarResNet(20), 32, 3),
    "MobileNetV2": (lambda: MobileNetV2(width=0.25, stem="small", num_classes=10), 32, 3),
    "layers of the book": (
        lambda: nn.Sequential(
            layers.Conv2d(1, 4, 3, padding=1), layers.BatchNorm(4), nn.ReLU(), layers.MaxPool2d(2),
            layers.AvgPool2d(2), nn.Flatten(), nn.Linear(196, 10),
        ), 28, 1,
    ),
}  # fmt: skip


def network(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    make, size, channels = NETWORKS[name]
    return make(), digits(4, size, channels)


@cache
def traced(name: str) -> graph.Graph:
    model, x = network(name)
    model.eval()
    return trace(lambda x: {"logits": model(x)}, {"x": x})


@cache
def traced_step(name: str) -> graph.Graph:
    model, x = network(name)
    step, state = training_step(without_dropout(model))
    return trace(step, {"lr": 0.1, "x": x, "y": torch.tensor([1, 2, 3, 4]), **state})


def without_dropout(model: nn.Module) -> nn.Module:
    model.train()
    for module in model.modules():
        if isinstance(module, layers.Dropout | nn.Dropout):
            module.p = 0
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_what_it_gives(name):
    model, x = network(name)
    model.eval()
    torch.testing.assert_close(traced(name).run(x=x)["logits"], model(x).detach(), rtol=1e-5, atol=1e-5)
    json.dumps(traced(name).to_dict())


@pytest.mark.parametrize("name", ["MLP", "SimpleConvNet", "ResNet-8", "layers of the book"])
def test_a_training_step_gives_what_it_gives(name):
    model, x = network(name)
    step, state = training_step(without_dropout(model))
    y = torch.tensor([1, 2, 3, 4])
    expected = step(0.1, x, y, **{k: v.clone() for k, v in state.items()})
    found = traced_step(name).run(lr=0.1, x=x, y=y, **state)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value.detach(), rtol=1e-5, atol=1e-6)


OPTIMIZERS = {
    "SGD": (optim.SGD, {}),
    "Momentum": (optim.Momentum, {"momentum": 0.9}),
    "Nesterov": (optim.Nesterov, {"momentum": 0.9}),
    "AdaGrad": (optim.AdaGrad, {"eps": 1e-8}),
    "RMSprop": (optim.RMSprop, {"alpha": 0.9}),
    "Adam": (optim.Adam, {"beta1": 0.9, "beta2": 0.99}),
    "AdamW": (optim.AdamW, {"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.1}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizers_of_the_book_with_their_settings_free(name):
    """A few steps down a valley: learning rate, momentum and betas are inputs of the graph."""
    make, example = OPTIMIZERS[name]

    def descend(start, lr, **settings):
        if "beta1" in settings:
            settings["betas"] = settings.pop("beta1"), settings.pop("beta2")
        w = start.detach().clone().requires_grad_()
        optimizer = make([w], lr=lr, **settings)
        for _ in range(4):
            loss = (w * torch.tensor([1.0, 10.0]) * w).sum() / 2
            (w.grad,) = torch.autograd.grad(loss, [w])
            optimizer.step()
        return w.detach()

    start = torch.tensor([1.0, -2.0])
    made = trace(descend, {"start": start, "lr": 0.5, **example})
    for lr, start in ((0.03, torch.tensor([1.0, 3.0])), (0.2, torch.tensor([-1.0, 0.5]))):
        other = {key: value * 0.9 for key, value in example.items()}
        expected = descend(start, lr, **dict(other))
        torch.testing.assert_close(made.run(start=start, lr=lr, **other), expected, rtol=1e-5, atol=1e-6)


# ---- What cannot be traced ----


def branch(x):
    if x > 0:
        return x
    return -x


def number(x):
    return x * math.sqrt(x)


def item(x):
    return torch.tensor(1.0) * x.item()


def count(x):
    return torch.zeros(x.int())


def mask(x):
    v = torch.stack([x, -x])
    return v[v > 0]


def nonzero(x):
    return torch.nonzero(x.reshape(1))


def chance(x):
    return x + torch.randn(3)


def dropped(x):
    return F.dropout(x.expand(4), 0.5)


def array(x):
    return x.numpy()


def listed(x):
    return x.reshape(1).tolist()


def lacking(x):
    return torch.linalg.svd(x.expand(2, 2))[1]


def words(x):
    return {"x": x, "text": "a sentence"}


class Remembers:
    total = torch.zeros(3)


def changes(x):
    Remembers.total += x
    return Remembers.total * 2


@pytest.mark.parametrize(
    ("fn", "line", "says"),
    [
        (branch, "if x > 0:", ["branch", "torch.where", "control"]),
        (number, "return x * math.sqrt(x)", ["Python number", "torch.sqrt"]),
        (item, "return torch.tensor(1.0) * x.item()", ["item()", "leave"]),
        (count, "return torch.zeros(x.int())", ["fixed in the page"]),
        (mask, "return v[v > 0]", ["shape depends on values", "torch.where"]),
        (nonzero, "return torch.nonzero(x.reshape(1))", ["shape depends on values", "nonzero"]),
        (chance, "return x + torch.randn(3)", ["random", "before", "input"]),
        (dropped, "return F.dropout(x.expand(4), 0.5)", ["random", "input"]),
        (array, "return x.numpy()", ["NumPy", "torch's operation"]),
        (listed, "return x.reshape(1).tolist()", ["tolist()"]),
        (lacking, "return torch.linalg.svd(x.expand(2, 2))[1]", ["svd", "not one that a page can run"]),
        (words, "", ["str", "a sentence"]),
        (changes, "Remembers.total += x", ["change in place", "functional_call"]),
    ],
)
def test_what_cannot_be_traced_says_where_and_what_to_do(fn, line, says):
    with pytest.raises(Untraceable) as caught:
        trace(fn, {"x": 2.0})
    message = str(caught.value)
    assert fn.__name__ in message
    assert line in message
    for part in says:
        assert part in message, message
    assert torch.equal(Remembers.total, torch.zeros(3))


def test_rows_of_a_tensor_and_numbers_in_double_precision():
    def rows(points, beta):
        x, y = points.T
        return {"x": x * beta, "each": [row.sum() for row in points], "y": y - beta}

    made = trace(rows, {"points": torch.randn(3, 2, generator=seeded()), "beta": 0.999})
    points = torch.randn(3, 2, generator=seeded(1)).double().float()
    found, expected = (
        made.run(points=points, beta=0.999),
        rows(points, torch.tensor(0.999, dtype=torch.float64)),
    )
    assert torch.equal(found["x"], expected["x"])
    assert found["each"] == expected["each"]
    assert trace(lambda x: x, {"x": 0.5}).run(x=0.999).item() == 0.999


def test_a_mistake_of_the_function_is_its_own():
    def wrong(x):
        raise ValueError("weight_scale is 3")

    with pytest.raises(ValueError, match="weight_scale is 3") as caught:
        trace(wrong, {"x": 1.0})
    assert not isinstance(caught.value, Untraceable)


def test_inputs_of_other_types_are_refused():
    for value in ("text", True, None, torch.zeros(2, dtype=torch.complex64), torch.zeros(2).half()):
        with pytest.raises(ValueError, match=r"inputs\['x'\]"):
            trace(lambda x: x, {"x": value})


def test_run_names_wrong_inputs():
    made = trace(lambda x, y: x * y, {"x": torch.zeros(3), "y": 1.0})
    with pytest.raises(ValueError, match="'y'"):
        made.run(x=torch.zeros(3))
    with pytest.raises(ValueError, match="no input z"):
        made.run(x=torch.zeros(3), y=1.0, z=2.0)
    with pytest.raises(ValueError, match=r"'x'.*\(4,\)"):
        made.run(x=torch.zeros(4), y=1.0)


# ---- Constants ----


def test_constants_are_folded_and_stand_once():
    weight = torch.randn(50, 50, generator=seeded())

    def twice(x):
        return {"a": x @ (weight * 2), "b": x @ (weight * 2), "c": torch.zeros(1000, 1000)[:2, :2] + x.sum()}

    made = trace(twice, {"x": torch.ones(2, 50)})
    assert sorted(node.name for node in made.nodes) == ["add", "mm", "mm", "sum"]
    assert sum(c.numel() for c in made.constants) <= 2500 + 4
    assert len(json.dumps(made.to_dict())) < 1.4 * 4 * 2500


def test_a_constant_does_not_grow_by_folding():
    row = torch.arange(1000.0)
    made = trace(lambda x: x + (row[:, None] * row).sum(), {"x": 1.0})
    assert len(json.dumps(made.to_dict())) < 10_000


@pytest.mark.parametrize("packing", ["float16", "int8", "auto"])
def test_the_error_of_a_packing_is_what_it_should_be(packing):
    weight = torch.randn(20, 10, 3, 3, generator=seeded()) * torch.logspace(-3, 1, 20)[:, None, None, None]
    packed, arrived = pack(weight, packing)
    largest = weight.flatten(1).abs().amax(1).view(-1, 1, 1, 1)
    if packing == "float16":
        assert ((arrived - weight).abs() <= weight.abs() * 2**-11 + 2**-25).all()
    else:
        assert packed.packing == "int8"
        assert ((arrived - weight).abs() <= largest / 127 * 0.501).all()


def test_what_a_packing_cannot_hold_is_kept():
    odd = torch.tensor([math.nan, 1.0] * 40)
    for values in (torch.full((99,), 1e6), odd, torch.randn(4, 4), torch.arange(99)):
        for packing in ("float16", "int8"):
            assert torch.equal(pack(values, packing)[1].nan_to_num(7), values.nan_to_num(7))
    with pytest.raises(ValueError, match="zip"):
        pack(torch.zeros(3), "zip")


# ---- What torch decomposes to ----

FORWARD = """
_native_batch_norm_legit_no_training add.Tensor addmm avg_pool2d clamp constant_pad_nd convolution
max_pool2d_with_indices mean.dim permute relu slice_copy.Tensor tanh view_copy
"""
TRAINING = """
_log_softmax _to_copy add.Tensor addmm avg_pool2d avg_pool2d_backward constant_pad_nd convolution
convolution_backward div.Scalar div.Tensor exp expand_copy gather le.Scalar max_pool2d_with_indices
max_pool2d_with_indices_backward mean.dim mm mul.Tensor ne.Scalar neg permute relu rsqrt scatter.value
slice_copy.Tensor slice_scatter squeeze.dim squeeze.dims sub.Tensor sum sum.dim_IntList tanh unsqueeze
var.correction view_copy where.self
"""


def operations_of(graphs) -> set[str]:
    return {
        str(node.op).removeprefix("aten.").removesuffix(".default") for made in graphs for node in made.nodes
    }


def test_torch_decomposes_networks_and_training_to_these_operations():
    """A new torch that gives others must be seen here, with their names, and not as a wrong picture."""
    of_torch = [name for name in NETWORKS if name not in ("MLP", "layers of the book")]
    forward = operations_of(traced(name) for name in of_torch)
    training = operations_of(traced_step(name) for name in ("SimpleConvNet", "ResNet-8", "LeNet"))
    for found, expected in ((forward, set(FORWARD.split())), (training, set(TRAINING.split()))):
        assert found == expected, f"new: {sorted(found - expected)}, gone: {sorted(expected - found)}"


def test_operations_has_torchs_own_names():
    assert {"aten.add.Tensor", "aten.relu", "aten.max_pool2d_with_indices"} <= graph.OPERATIONS


# ---- Random numbers ----


def test_the_generator_is_even_and_normal():
    uniform = Generator(1).uniform([50_000])
    assert uniform.min() >= 0
    assert uniform.max() < 1
    counts = torch.histc(uniform, 20, 0, 1) / 2500
    assert (counts - 1).abs().max() < 5 / math.sqrt(2500)  # five standard deviations
    normal = Generator(2).normal([50_000])
    assert abs(normal.mean()) < 5 / math.sqrt(50_000)
    assert abs(normal.std() - 1) < 5 / math.sqrt(100_000)
    lagged = (uniform[1:] - 0.5) * (uniform[:-1] - 0.5) * 12
    assert abs(lagged.mean()) < 5 / math.sqrt(50_000)


def test_seeds_give_other_numbers_and_the_same_again():
    assert Generator(7).uniform((3, 2)).tolist() == Generator(7).uniform((3, 2)).tolist()
    assert len({Generator(seed).integer() for seed in range(1000)}) == 1000
    for seed in (-1, 2**32, 1.5, True, "x"):
        with pytest.raises(ValueError, match="seed"):
            Generator(seed)
