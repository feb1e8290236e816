"""LeNet-5, AlexNet, VGG and GoogLeNet: the published sizes, and torchvision's own classes to the bit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision

from course_lib import device as devices
from course_lib.models.alexnet import AlexNet
from course_lib.models.googlenet import GoogLeNet, Outputs, loss_with_heads
from course_lib.models.lenet import LeNet5
from course_lib.models.vgg import DEPTHS, VGG


def parameters(make):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in make().parameters())


def published(name):
    return torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (LeNet5, 61_706),
        (AlexNet, 61_100_840),
        (VGG, 138_357_544),
        (GoogLeNet, 6_624_904),
        (lambda: GoogLeNet(aux_logits=True), 13_004_888),
    ],
)
def test_published_parameter_counts(make, count):
    assert parameters(make) == count


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_vgg_has_torchvisions_count(depth):
    assert parameters(lambda: VGG(depth)) == published(f"vgg{depth}")
    assert parameters(lambda: VGG(depth, batch_norm=True)) == published(f"vgg{depth}_bn")


def twins():
    """(ours, torchvision's, side of an image); narrow where torchvision's classes allow it."""
    from torchvision.models.vgg import make_layers

    yield pytest.param(AlexNet, lambda: torchvision.models.alexnet(num_classes=7), 65, id="AlexNet")
    for batch_norm in (False, True):
        rows = [8, "M", 16, "M", 32, 32, "M", 64, 64, "M", 64, 64, "M"]

        def theirs(batch_norm=batch_norm, rows=rows):
            model = torchvision.models.VGG(make_layers(rows, batch_norm), num_classes=7, init_weights=False)
            model.classifier = torch.nn.Sequential(
                torch.nn.Linear(64 * 49, 32), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(32, 32),
                torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(32, 7),
            )  # fmt: skip
            return model

        yield pytest.param(
            lambda batch_norm=batch_norm, **k: VGG(11, batch_norm=batch_norm, width=1 / 8, hidden=32, **k),
            theirs, 40, id=f"VGG-11, batch_norm={batch_norm}",
        )  # fmt: skip
    for heads in (False, True):
        yield pytest.param(
            lambda heads=heads, **k: GoogLeNet(aux_logits=heads, transform_input=heads, **k),
            lambda heads=heads: torchvision.models.GoogLeNet(
                7, aux_logits=heads, transform_input=heads, init_weights=False
            ),
            40, id=f"GoogLeNet, heads={heads}",
        )  # fmt: skip


@pytest.mark.parametrize("device", devices.available())
@pytest.mark.parametrize(("make", "make_theirs", "side"), list(twins()))
def test_torchvisions_weights_load_both_ways_and_logits_are_equal(make, make_theirs, side, device):
    torch.manual_seed(0)
    ours, theirs = make(num_classes=7).to(device), make_theirs().to(device)
    for module in theirs.modules():  # statistics that are not those of a fresh network
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 3, side, side, device=device)
    ours.eval(), theirs.eval()
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))
    ours.train(), theirs.train()
    results = []
    for model in (ours, theirs):
        torch.manual_seed(1)  # the same units dropped
        outputs = model(x)
        sum(
            logits.square().sum() for logits in (outputs if isinstance(outputs, tuple) else [outputs])
        ).backward()
        results.append((outputs, [parameter.grad for parameter in model.parameters()]))
    for mine, other in zip(results[0][1], results[1][1], strict=True):
        assert torch.equal(mine, other)
        assert mine.abs().max() > 0


@pytest.mark.parametrize(
    ("make", "side"),
    [
        (AlexNet, 63), (VGG, 32), (GoogLeNet, 15),
        (lambda **k: AlexNet(stem="small", **k), 15),
        (lambda **k: VGG(stem="small", **k), 16),
        (lambda **k: GoogLeNet(stem="small", **k), 5),
    ],
)  # fmt: skip
def test_the_smallest_image_goes_through_and_a_smaller_one_is_refused(make, side):
    model = make(in_channels=2, num_classes=4, width=1 / 16).eval()
    assert model(torch.zeros(1, 2, side, side + 3)).shape == (1, 4)
    with pytest.raises(ValueError, match=rf"{side - 1}×{side}; .* at least {side} pixels"):
        model(torch.zeros(1, 2, side - 1, side))


def test_lenet_takes_28_and_32():
    assert LeNet5().features(torch.zeros(1, 1, 28, 28)).shape == (1, 16, 5, 5)
    assert LeNet5(image_size=32).features(torch.zeros(1, 1, 32, 32)).shape == (1, 16, 5, 5)
    assert LeNet5(in_channels=3, image_size=32, num_classes=4)(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


def test_the_heads_speak_in_training_only_and_count_three_tenths():
    torch.manual_seed(0)
    model = GoogLeNet(num_classes=4, aux_logits=True, stem="small", width=1 / 8)
    x, y = torch.randn(4, 3, 16, 16), torch.arange(4)
    outputs = model(x)
    assert isinstance(outputs, Outputs)
    parts = [F.cross_entropy(logits, y).item() for logits in outputs]
    assert loss_with_heads(outputs, y).item() == pytest.approx(parts[0] + 0.3 * (parts[1] + parts[2]))
    logits = model.eval()(x)
    assert loss_with_heads(logits, y).item() == pytest.approx(F.cross_entropy(logits, y).item())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VGG(17), "depth is 17; a VGG has 11, 13, 16, 19 layers"),
        (lambda: VGG(stem="tiny"), "stem is 'tiny'; it must be one of 'imagenet', 'small'"),
        (lambda: AlexNet(width=0), "width is 0"),
        (lambda: AlexNet(hidden=-1), "hidden is -1"),
        (lambda: GoogLeNet(in_channels=1, transform_input=True), "in_channels is 1; transform_input"),
        (lambda: LeNet5(image_size=11), "image_size is 11; two 5×5 convolutions"),
        (lambda: LeNet5(activation="swish"), "activation is 'swish'"),
        (lambda: LeNet5()(torch.zeros(1, 1, 32, 32)), "32×32; this network was built for image_size=28"),
        (lambda: AlexNet(width=0.1, hidden=8)(torch.zeros(1, 1, 64, 64)), r"\(1, 1, 64, 64\); .* \(N, 3, H"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
