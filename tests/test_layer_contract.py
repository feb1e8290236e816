"""What every layer with a backward of its own owes to those who use it as they use torch's.

The layers are found, not listed: a new one is tested from the day it is there.
"""

from __future__ import annotations

import copy
import importlib
import io
import pkgutil
import warnings

import pytest
import torch
from torch import nn
from torch.optim import swa_utils

import course_lib
from course_lib import export, layers
from course_lib.distributed import normalization

# How to build each layer and its twin in torch, and an input. A layer that is not here fails the first test.
BUILD = {
    "Conv2d": (
        lambda: layers.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
    ),
    "MaxPool2d": (lambda: layers.MaxPool2d(3, 2, 1), lambda: nn.MaxPool2d(3, 2, 1)),
    "AvgPool2d": (lambda: layers.AvgPool2d(2), lambda: nn.AvgPool2d(2)),
    "BatchNorm": (lambda: layers.BatchNorm(4), lambda: nn.BatchNorm2d(4)),
    "Dropout": (lambda: layers.Dropout(0.4), lambda: nn.Dropout(0.4)),
}
FUNCTIONS = {
    name: kind
    for name, kind in vars(layers).items()
    if isinstance(kind, type) and issubclass(kind, torch.autograd.Function)
}


def twins(name, dtype=torch.float64):
    torch.manual_seed(0)
    mine, theirs = BUILD[name][0]().to(dtype), BUILD[name][1]().to(dtype)
    theirs.load_state_dict(mine.state_dict())
    return mine, theirs


def images(n=4, dtype=torch.float64, side=6):
    return torch.randn(n, 4, side, side, dtype=dtype, generator=torch.Generator().manual_seed(1))


def test_every_layer_with_a_backward_of_its_own_is_here():
    assert {name.removesuffix("Function") for name in FUNCTIONS} == set(BUILD)
    for module in pkgutil.walk_packages(course_lib.__path__, "course_lib."):
        importlib.import_module(module.name)
    elsewhere = {
        kind.__name__
        for kind in torch.autograd.Function.__subclasses__()
        if kind.__module__.startswith("course_lib.") and kind not in FUNCTIONS.values()
    }
    assert elsewhere == {"SyncBatchNormFunction"}  # refuses; see the next test


def test_the_batch_norm_of_many_processes_refuses_a_second_derivative(monkeypatch):
    """What it saves is made from x, so x's part in it would be lost."""
    monkeypatch.setattr(normalization, "_summed", lambda *parts: parts)  # as with one process
    x = images().requires_grad_()
    y, *_ = normalization.SyncBatchNormFunction.apply(
        x, torch.ones(4).double(), torch.zeros(4).double(), 1e-5
    )
    with pytest.raises(RuntimeError, match=r"second derivative .* through SyncBatchNorm is not written"):
        torch.autograd.grad(y.sum(), x, create_graph=True)
    torch.autograd.grad(y.sum(), x)


# ---- second derivatives ----------------------------------------------------------------------------


def penalised(layer, x, power):
    """A loss with the size of its own gradient in it, as gradient penalties have; its gradients."""
    torch.manual_seed(2)
    x = x.clone().requires_grad_()
    y = (layer(x) ** power).sum()
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    loss = y + (g * torch.linspace(1, 2, g.numel(), dtype=g.dtype).view_as(g)).pow(2).sum()
    wanted = [x, *layer.parameters()]
    return torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("name", BUILD)
@pytest.mark.parametrize("power", [1, 2, 3])
def test_second_derivatives_are_torchs(name, power):
    """Power 1: the gradient that comes in needs none itself, and the penalty was lost without a word."""
    mine, theirs = twins(name)
    moved = False
    for got, expected in zip(
        penalised(mine, images(), power), penalised(theirs, images(), power), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8)
        moved |= bool(expected.abs().max() > 1e-3)
    assert moved


@pytest.mark.parametrize("name", ["Conv2d", "BatchNorm", "AvgPool2d"])
def test_second_derivatives_are_those_of_central_differences(name):
    layer = twins(name)[0]
    x = images(4, side=3).requires_grad_()

    def function(x, *parameters):
        named = dict(zip(dict(layer.named_parameters()), parameters, strict=True))
        return torch.func.functional_call(copy.deepcopy(layer), named, (x,))

    assert torch.autograd.gradgradcheck(
        function, (x, *(p.detach().requires_grad_() for p in layer.parameters())), atol=1e-4
    )


@pytest.mark.parametrize("name", BUILD)
def test_autograd_functional_is_right(name):
    mine, theirs = twins(name)
    x = images(2, side=4)

    def loss(layer):
        def of(x):
            torch.manual_seed(3)
            return (layer(x) ** 3).sum()

        return of

    functional = torch.autograd.functional
    for way in (
        functional.hessian,
        lambda f, x: functional.hvp(f, x, x)[1],
        lambda f, x: functional.jvp(f, x, x),
    ):
        torch.testing.assert_close(way(loss(mine), x), way(loss(theirs), x), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", BUILD)
def test_torch_func_is_refused_rather_than_wrong(name):
    layer = twins(name)[0]
    ways = {
        "setup_context": lambda: torch.func.grad(lambda x: layer(x).sum())(images()),
        "vmap|setup_context": lambda: torch.func.vmap(lambda x: layer(x[None]), randomness="same")(images()),
    }
    for message, way in ways.items():
        with pytest.raises(RuntimeError, match=message):
            way()


# ---- beside torch's own ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILD)
@pytest.mark.parametrize("channels_last", [False, True])
def test_what_comes_out_may_be_overwritten(name, channels_last):
    """By ``ReLU(inplace=True)``, in training: an output that is a view refuses it."""
    mine, theirs = twins(name)
    x = images().to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    grads = []
    for layer in (mine, theirs):
        torch.manual_seed(4)
        leaf = x.clone().requires_grad_()
        y = nn.ReLU(inplace=True)(layer(leaf))
        grads.append(torch.autograd.grad(y.square().sum(), [leaf, *layer.parameters()]))
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("name", BUILD)
def test_whole_numbers_are_pooled_or_refused_by_name(name):
    x = torch.arange(2 * 4 * 36, dtype=torch.uint8).view(2, 4, 6, 6)
    mine, theirs = BUILD[name][0](), BUILD[name][1]()
    if name == "MaxPool2d":
        for dtype in (torch.uint8, torch.int32, torch.int64):
            assert torch.equal(mine(x.to(dtype)).float(), theirs(x.float()))
            assert mine(x.to(dtype)).dtype == dtype
        assert mine(torch.full((1, 1, 2, 2), -7)).unique().tolist() == [-7]
    else:
        with pytest.raises(ValueError, match=r"x is torch.uint8; it must be of a floating-point type"):
            mine(x)


@pytest.mark.parametrize("name", BUILD)
def test_a_layer_is_one_node_for_fx(name):
    layer = twins(name)[0]
    graph = torch.fx.symbolic_trace(nn.Sequential(nn.ReLU(), layer))
    assert [node.op for node in graph.graph.nodes].count("call_module") == 2
    torch.testing.assert_close(graph.eval()(images()), layer.eval()(images().relu()))


# ---- BatchNorm and torch's tools -------------------------------------------------------------------


def network(norm):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double()


def test_torchs_tools_know_our_batch_norm():
    mine, theirs = network(layers.BatchNorm(4)), network(nn.BatchNorm2d(4))
    batches = [images(6) + k for k in range(3)]
    for model in (mine, theirs):
        model(batches[0] * 7)  # statistics that update_bn must forget
        swa_utils.update_bn(batches, model)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(mine.state_dict()[name], value)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(mine)
    assert isinstance(converted[1], nn.SyncBatchNorm)
    torch.testing.assert_close(converted.eval()(images()), theirs.eval()(images()))
    norm = layers.BatchNorm(4)
    norm(images(dtype=torch.float32))
    norm.reset_running_stats()
    assert norm.running_mean.tolist() == [0] * 4
    assert norm.num_batches_tracked == 0


def test_without_running_statistics_the_batch_serves():
    mine, theirs = layers.BatchNorm(4).double(), nn.BatchNorm2d(4, track_running_stats=False).double()
    torch.func.replace_all_batch_norm_modules_(mine)
    assert mine.running_mean is None
    for training in (True, False):
        torch.testing.assert_close(mine.train(training)(images()), theirs.train(training)(images()))
    with pytest.raises(ValueError, match="1 value a channel"):
        mine(images(1)[:, :, :1, :1])


def test_states_of_older_files_load_as_into_torchs():
    """Before version 0.4.1 of torch there was no num_batches_tracked; torchvision has such files."""
    state = dict(nn.BatchNorm2d(4).state_dict())
    del state["num_batches_tracked"]
    layer = layers.BatchNorm(4)
    layer.load_state_dict(state)
    with pytest.raises(RuntimeError, match="running_mean"):
        layer.load_state_dict({name: state[name] for name in state if name != "running_mean"})


# ---- graphs ----------------------------------------------------------------------------------------


def own_layers():
    torch.manual_seed(0)
    model = nn.Sequential(
        layers.Conv2d(4, 6, 3, padding=1), layers.BatchNorm(6), nn.ReLU(inplace=True),
        layers.MaxPool2d(3, 2, 1), layers.Conv2d(6, 8, 3, groups=2, dilation=2, padding=2),
        nn.ReLU(inplace=True), layers.AvgPool2d(2), layers.Dropout(0.3), nn.Flatten(), nn.Linear(32, 3),
    )  # fmt: skip
    model(images(8, torch.float32, 8))
    return model.eval()


def many(n, channels_last):
    x = images(n, torch.float32, 8)
    return x.to(memory_format=torch.channels_last) if channels_last else x


def jit(model, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is on its way out, and in use
        warnings.simplefilter("error", torch.jit.TracerWarning)
        file = io.BytesIO()
        torch.jit.save(torch.jit.trace(model, many(4, False)), file)
        file.seek(0)
        return torch.jit.load(file)


GRAPHS = {
    "export": lambda model, folder: export.to_program(model, many(4, False)).module(),
    "jit": jit,
    "onnx": lambda model, folder: export.Runtime(export.to_onnx(model, many(4, False), folder / "it.onnx")),
}


@pytest.mark.parametrize("way", GRAPHS)
def test_a_network_of_our_layers_becomes_a_graph_for_any_number_of_images(way, tmp_path, monkeypatch):
    if way == "onnx":
        pytest.importorskip("onnxruntime")
    monkeypatch.setattr(layers.convolution, "CACHED", 2**13)  # so that 4 images are several parts
    model = own_layers()
    graph = GRAPHS[way](model, tmp_path)
    for n in (1, 2, 7, 40):
        for channels_last in (False, True):
            x = many(n, channels_last)
            torch.testing.assert_close(graph(x), model(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(Exception, match=r"size|shape|dimension|Guard"):  # each raises a type of its own
        graph(images(2, torch.float32, 12))


def test_a_batch_in_parts_is_the_batch_in_one(monkeypatch):
    model, x = own_layers(), many(9, False)
    whole = model(x)
    monkeypatch.setattr(layers.convolution, "CACHED", 2**13)
    torch.testing.assert_close(model(x), whole)
