import math

import pytest
import torch
from torch import nn

from course_lib import measure, training
from course_lib.data import Images
from course_lib.models.cifar_resnet import CifarResNet
from course_lib.models.mlp import layer_stack


def hooks_on(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def test_activations_and_gradients_are_the_ones_autograd_gives():
    model, x = network(), torch.randn(5, 4)
    with measure.record(model) as seen:
        model(x).square().sum().backward()
    z = model[0](x)
    a = z.relu()
    y = model[2](a)
    gradients = torch.autograd.grad(y.square().sum(), [z, a, y])
    assert list(seen.activations) == list(seen.gradients) == ["0", "1", "2"]
    for name, value, gradient in zip("012", [z, a, y], gradients, strict=True):
        torch.testing.assert_close(seen.activations[name], value)
        torch.testing.assert_close(seen.gradients[name], gradient)
        assert gradient.abs().max() > 0


def test_an_in_place_activation_does_not_overwrite_the_recording():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))
    x = torch.randn(8, 4)
    with measure.record(model) as seen:
        model(x).sum().backward()
    assert (seen.activations["0"] < 0).any()
    assert (seen.activations["1"] >= 0).all()


def test_a_layer_that_runs_twice_is_recorded_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(self.layer(x))

    model = Twice()
    with measure.record(model) as seen:
        model(torch.ones(2, 3))
        model(torch.ones(2, 3))  # a new pass starts a new recording
    assert list(seen.activations) == ["layer", "layer#2"]


def test_hooks_are_removed_whatever_happens():
    model = network()
    with measure.record(model):
        assert hooks_on(model) == 4
        with pytest.raises(RuntimeError):
            model(torch.ones(1, 99))
    assert hooks_on(model) == 0
    with pytest.raises(KeyboardInterrupt), measure.record(model):
        raise KeyboardInterrupt
    assert hooks_on(model) == 0
    with measure.record(model, ["0"]) as seen:
        model(torch.ones(1, 4))
    assert hooks_on(model) == 0
    assert list(seen.activations) == ["0"]


def test_keep_reduces_what_is_stored():
    model = network()
    with measure.record(model, keep=measure.statistics) as seen:
        model(torch.randn(50, 4)).sum().backward()
    assert seen.activations["1"].zero > 0.1
    assert seen.gradients["2"].std == 0  # the gradient of a sum is 1 everywhere
    assert seen.gradients["2"].mean == 1


def test_gradients_can_be_left_out_and_no_grad_is_fine():
    model = network()
    with measure.record(model, gradients=False) as seen:
        model(torch.ones(1, 4)).sum().backward()
    assert seen.gradients == {}
    with torch.no_grad(), measure.record(model) as seen:
        model(torch.ones(1, 4))
    assert len(seen.activations) == 3


def test_an_unknown_layer_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'conv1'.*0, 1, 2"), measure.record(network(), ["conv1"]):
        pass


def test_statistics():
    found = measure.statistics(torch.tensor([[0.0, 3.0], [0.0, -3.0]]))
    assert (found.mean, found.zero, found.nonfinite) == (0, 0.5, 0)
    assert found.std == found.rms == pytest.approx(3 / math.sqrt(2))


def test_statistics_count_what_is_not_finite_and_keep_tiny_signals():
    found = measure.statistics(torch.tensor([1.0, math.nan, math.inf, -1.0]))
    assert (found.mean, found.nonfinite) == (0, 2)
    assert measure.statistics(torch.full((10,), 1e-30)).rms == pytest.approx(1e-30)
    assert math.isnan(measure.statistics(torch.tensor([math.nan])).mean)
    with pytest.raises(ValueError, match="empty"):
        measure.statistics(torch.empty(0, 3))


def test_input_spread_sees_what_a_histogram_cannot():
    inputs = torch.randn(500, 1, generator=torch.Generator().manual_seed(0))
    units = torch.linspace(-1, 1, 40)
    assert measure.statistics(units.expand(500, 40)).std > 0.5
    assert measure.input_spread(units.expand(500, 40)) == 0
    assert measure.input_spread(units + 0.1 * inputs) == pytest.approx(0.1, rel=0.1)
    with pytest.raises(ValueError, match=r"\(1, 40\)"):
        measure.input_spread(units.expand(1, 40))


def test_propagate_sends_a_unit_gradient_back_and_leaves_grad_alone():
    stack = layer_stack(
        100, 3, activation="linear", weight_init=0.1, generator=torch.Generator().manual_seed(0)
    )
    seen = measure.propagate(
        stack, torch.randn(1000, 100), generator=torch.Generator().manual_seed(1), keep=measure.statistics
    )
    assert seen.gradients["5"].std == pytest.approx(1, rel=0.01)
    assert seen.gradients["1"].std == pytest.approx(1, rel=0.1)  # std 1/√n keeps a linear signal's size
    assert all(p.grad is None for p in stack.parameters())


class Apple(torch.Tensor):
    """A tensor of a device that has no float64."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        result = super().__torch_function__(function, types, args, kwargs or {})
        if isinstance(result, cls) and result.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return result


def block_network():
    torch.manual_seed(0)
    return CifarResNet(8, widths=(4, 4, 8)).eval()


ON_A_DEVICE = {
    "statistics": lambda x: measure.statistics(x),
    "statistics of bfloat16": lambda x: measure.statistics(x.bfloat16()),
    "statistics of whole numbers": lambda x: measure.statistics((9 * x).long()),
    "input_spread": lambda x: measure.input_spread(x),
    "record": lambda x: propagated(x).activations,
    "gradients": lambda x: propagated(x).gradients,
    "residual_ratios": lambda x: measure.residual_ratios(block_network(), x),
    "gradient_norms": lambda x: measure.gradient_norms(block_network(), x, torch.tensor([0, 1, 2, 3])),
    "open_units": lambda x: measure.open_units(block_network(), x),
    "there_and_back": lambda x: measure.there_and_back(
        x.flatten(1)[:, :2], 5, generator=torch.Generator().manual_seed(0)
    ).restored.tolist(),
    "influence": lambda x: measure.influence(block_network(), x).sum().item(),
    "summary": lambda x: str(measure.summary(block_network(), x.shape)),
    "evaluate": lambda x: training.evaluate(block_network(), in_images(x)),
}


def propagated(x):
    torch.manual_seed(0)  # nothing in place: a hook of a tensor subclass is lost there
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(784, 5))
    return measure.propagate(model, x, keep=measure.statistics)


def in_images(x):
    pixels = (x.abs() * 100).clamp(0, 255).to(torch.uint8)
    return Images(pixels, torch.arange(4), range(10), [0.3] * 3, [0.2] * 3)


@pytest.mark.parametrize("name", ON_A_DEVICE)
def test_a_device_without_float64_measures_the_same(name):
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with pytest.raises(TypeError, match="float64"):
        x.as_subclass(Apple).double()
    torch.manual_seed(2)
    expected = ON_A_DEVICE[name](x)
    torch.manual_seed(2)
    assert str(ON_A_DEVICE[name](x.as_subclass(Apple))) == str(expected)
