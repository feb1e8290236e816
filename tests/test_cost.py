"""What networks cost: torchvision's published figures, hand-counted layers, and that nothing is changed."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import nn

from course_lib import measure
from course_lib.models.alexnet import AlexNet
from course_lib.models.convnets import SimpleConvNet
from course_lib.models.googlenet import GoogLeNet
from course_lib.models.mobilenetv2 import MobileNetV2
from course_lib.models.resnet import ResNet
from course_lib.models.vgg import VGG

OURS = {
    "alexnet": AlexNet,
    "vgg11": lambda: VGG(11),
    "vgg16": VGG,
    "vgg19_bn": lambda: VGG(19, batch_norm=True),
    "googlenet": GoogLeNet,
    "resnet18": lambda: ResNet(18),
    "resnet50": lambda: ResNet(50),
    "resnet152": lambda: ResNet(152),
    "mobilenet_v2": MobileNetV2,
}


@pytest.mark.parametrize("name", OURS)
def test_parameters_and_multiply_adds_are_the_published_ones(name):
    meta = torchvision.models.get_model_weights(name).DEFAULT.meta
    with torch.device("meta"):
        model = OURS[name]()
    total = measure.summary(model, (1, 3, 224, 224)).total
    assert total.parameters == meta["num_params"]
    assert round(total.multiply_adds / 1e9, 3) == meta["_ops"]


@pytest.mark.parametrize("depth", [None, 1, 2])
def test_rows_add_up_to_the_whole(depth):
    with torch.device("meta"):
        model = ResNet(18)
    found = measure.summary(model, (2, 3, 64, 64), depth=depth)
    for figure in ("parameters", "multiply_adds", "activations"):
        assert sum(getattr(row, figure) for row in found.rows) == getattr(found.total, figure)
    assert found.total.output == (2, 1000)


def test_a_layer_is_counted_as_by_hand():
    model = SimpleConvNet()
    found = measure.summary(model, (8, 1, 28, 28))
    conv = found["conv"]
    assert conv.output == (8, 30, 24, 24)
    assert conv.parameters == 30 * 5 * 5 + 30
    assert conv.multiply_adds == 8 * 30 * 24 * 24 * 5 * 5
    assert conv.activations == 8 * 30 * 24 * 24 * 4
    assert found["hidden"].multiply_adds == 8 * 30 * 12 * 12 * 100
    assert found["relu"].activations == 8 * (30 * 24 * 24 + 100) * 4, "a module that runs twice has one row"
    with pytest.raises(KeyError, match="there are conv, relu, pool, hidden, output"):
        found["fc"]


def test_what_is_overwritten_in_place_and_what_is_shared_count_once():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(inplace=True), shared, nn.ReLU())
    found = measure.summary(model, (3, 4))
    assert [row.activations for row in found.rows] == [2 * 48, 0, 48]
    assert found.total.parameters == sum(row.parameters for row in found.rows) == 20


def test_what_happens_outside_of_layers_is_in_the_total():
    class Outside(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(5, 4))
            self.inside = nn.Linear(5, 2)

        def forward(self, x):
            return self.inside(x @ self.weight.T)

    found = measure.summary(Outside(), (3, 4))
    assert [row.name for row in found.rows] == ["inside"]
    assert found.total.multiply_adds == 3 * 4 * 5 + 3 * 5 * 2
    assert found.total.parameters == 20 + 12


def test_a_single_layer_is_a_network_too():
    found = measure.summary(nn.Conv2d(8, 8, 3, groups=8), (1, 8, 6, 6))
    assert [row.name for row in found.rows] == ["Conv2d"]
    assert found.total.multiply_adds == 8 * 4 * 4 * 9


def test_nothing_is_changed():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(64, 2))
    model.train()
    model[2].eval()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    measure.summary(model, (2, 3, 6, 6))
    measure.saved_for_backward(model, (2, 3, 6, 6))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [module.training for module in model] == [True, True, False, True, True]
    assert torch.equal(state, torch.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_error_in_the_network_leaves_no_hook():
    model = VGG(11, width=1 / 64, hidden=4)
    with pytest.raises(ValueError, match="at least 32 pixels"):
        measure.summary(model, (1, 3, 16, 16))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert model.training


@pytest.mark.parametrize("shape", [(), 3, (1, -3, 224, 224), (1, 3.0, 224, 224), "224"])
def test_a_shape_that_is_none_is_refused(shape):
    for function in (measure.summary, measure.saved_for_backward):
        with pytest.raises(ValueError, match="input_shape is"):
            function(nn.Linear(2, 2), shape)
    with pytest.raises(ValueError, match="depth is 0"):
        measure.summary(nn.Linear(2, 2), (1, 2), depth=0)


def test_it_is_a_table_in_print_and_in_a_notebook():
    found = measure.summary(SimpleConvNet(), (1, 1, 28, 28))
    lines = str(found).splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "multiply-adds", "activations"]
    assert lines[-1].split()[-1] != ""
    assert "433,890" in lines[-1]
    assert found._repr_html_().count("<tr>") == len(found.rows) + 2


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (9999, "9,999"),
        (12345, "12.3 k"),
        (3_504_872, "3.50 M"),
        (1.8e9, "1.80 G"),
        (714e6, "714 M"),
    ],
)
def test_large_numbers_are_short(number, text):
    assert measure.short(number) == text


def test_saved_for_backward_is_what_a_step_holds():
    """Two linear layers and a ReLU: the input of each linear layer, and the ReLU's output, once."""
    model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 30))
    assert measure.saved_for_backward(model, (8, 10)) == 8 * (10 + 20) * 4
    frozen = copy.deepcopy(model).requires_grad_(False)
    assert measure.saved_for_backward(frozen, (8, 10)) == 0
