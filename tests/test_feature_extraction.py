"""Every network of the book goes through ``torch.fx``, as torchvision's feature extraction asks for."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from course_lib import layers, models

SMALL = {"num_classes": 5}
# Each network, small, and the images it takes. One that is not here fails the first test.
NETWORKS = {
    "AlexNet": [({"width": 0.1, "hidden": 32} | SMALL, (3, 65, 65))],
    "CifarResNet": [
        ({"depth": 8}, (3, 16, 16)),
        ({"depth": 8, "pre_activation": True, "shortcut": "B"}, (3, 16, 16)),
        ({"depth": 8, "residual": False, "batch_norm": False}, (3, 16, 16)),
    ],
    "SimpleConvNet": [({}, (1, 28, 28)), ({"conv": layers.Conv2d}, (1, 28, 28))],
    "DeepConvNet": [({}, (1, 28, 28))],
    "EfficientNetLite0": [(SMALL, (3, 64, 64))],
    "GoogLeNet": [
        ({"width": 0.125} | SMALL, (3, 64, 64)),
        ({"width": 0.125, "aux_logits": True, "transform_input": True} | SMALL, (3, 224, 224)),
    ],
    "LeNet5": [({}, (1, 28, 28))],
    "MLP": [
        ({"in_features": 12, "hidden": [6, 5], "out_features": 4}, (3, 2, 2)),
        ({"in_features": 12, "hidden": [6, 5], "out_features": 4, "batch_norm": "after"}, (3, 2, 2)),
    ],
    "MobileNetV1": [({"width": 0.25} | SMALL, (3, 64, 64))],
    "MobileNetV2": [({"width": 0.25} | SMALL, (3, 64, 64))],
    "ResNet": [
        ({"depth": 18, "width": 8} | SMALL, (3, 64, 64)),
        ({"depth": 50, "width": 8, "pre_activation": True} | SMALL, (3, 64, 64)),
    ],
    "VGG": [({"depth": 11, "width": 0.1, "hidden": 32} | SMALL, (3, 64, 64))],
}
CASES = [
    pytest.param(name, *case, id=f"{name}-{k}")
    for name, cases in NETWORKS.items()
    for k, case in enumerate(cases)
]


def networks():
    """Every module of the room, with its name."""
    for module in pkgutil.iter_modules(models.__path__, "course_lib.models."):
        for name, kind in vars(importlib.import_module(module.name)).items():
            if inspect.isclass(kind) and issubclass(kind, nn.Module) and kind.__module__ == module.name:
                yield name, kind


# Parts of networks, which the networks above have in them.
PARTS = {
    "SameConv2d", "ConvNorm", "Inception", "AuxiliaryHead", "InvertedResidual", "PadShortcut", "BasicBlock",
    "Bottleneck", "PreActBasicBlock", "PreActBottleneck",
}  # fmt: skip


def test_every_network_is_here():
    assert {name for name, _ in networks() if not name.startswith("_")} - PARTS == set(NETWORKS)


@pytest.mark.filterwarnings("ignore:NOTE")  # GoogLeNet has heads in training only
@pytest.mark.parametrize(("name", "arguments", "shape"), CASES)
def test_features_of_every_network_can_be_taken(name, arguments, shape):
    torch.manual_seed(0)
    model = dict(networks())[name](**arguments).eval()
    x = torch.randn(3, *shape)
    names, modules, seen = get_graph_node_names(model)[1], dict(model.named_modules()), {}
    weighted = [n for n in names if isinstance(modules.get(n), nn.Conv2d | layers.Conv2d | nn.Linear)]
    inner = weighted[len(weighted) // 2]
    handle = modules[inner].register_forward_hook(lambda _module, _x, y: seen.update(it=y.clone()))
    expected = model(x)
    handle.remove()
    got = create_feature_extractor(model, [inner, names[-1]])(x[:2])  # a batch of another size
    torch.testing.assert_close(got[names[-1]], expected[:2])
    torch.testing.assert_close(got[inner].relu(), seen["it"][:2].relu())  # an in-place ReLU writes over it
