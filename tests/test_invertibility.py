import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.measure import invertibility
from course_lib.measure.invertibility import chance_lost, open_units, spiral, there_and_back
from course_lib.models.mobilenetv2 import MobileNetV2


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_spiral_winds_from_the_middle_to_its_radius():
    points = spiral(300, turns=2.0, radius=3.0)
    assert points.shape == (300, 2)
    distance = points.norm(dim=1)
    assert distance.diff().min() > 0
    assert distance[-1].item() == pytest.approx(3)
    angles = torch.atan2(points[:, 1], points[:, 0])
    turns = (angles.diff() < -math.pi).sum()  # from +180° to −180°
    assert turns == 2
    steps = angles.diff().remainder(2 * math.pi)
    torch.testing.assert_close(steps, steps[:1].expand_as(steps))  # evenly round
    with pytest.raises(ValueError, match="points is 1"):
        spiral(1)


@settings(max_examples=25, deadline=None)
@given(
    d=st.integers(1, 4),
    n=st.integers(1, 12),
    seed=st.integers(0, 1000),
    activation=st.sampled_from(["relu", "relu6"]),
)
def test_what_enough_open_units_carry_comes_back_and_nothing_else(d, n, seed, activation):
    x = 3 * torch.randn(40, d, generator=generator(seed))
    e = there_and_back(x, n, activation, generator=generator(seed + 1))
    z = x.double() @ e.matrix.T
    assert torch.equal(e.open, (z > 0) & ((z < 6) if activation == "relu6" else True))
    assert torch.equal(e.lost, e.restored.isnan().any(1))
    rank = torch.stack(
        [torch.linalg.matrix_rank(e.matrix[row]) if row.any() else torch.tensor(0) for row in e.open]
    )
    assert torch.equal(e.lost, rank < d)
    kept = ~e.lost
    conditions = [torch.linalg.cond(e.matrix[row]) for row in e.open[kept]]
    if kept.any():
        assert (e.restored - x)[kept].abs().max() < 1e-11 * max(conditions)


def test_where_too_few_units_are_open_other_inputs_say_the_same():
    e = there_and_back(torch.randn(50, 3, generator=generator()), 4, generator=generator(1))
    assert e.lost.any()
    for x, row in zip(e.x[e.lost], e.open[e.lost], strict=True):
        rows = e.matrix[row]
        nullspace = torch.linalg.svd(rows)[2][-1] if len(rows) else torch.eye(3).double()[0]
        other = x + 1e-6 * nullspace  # a small step along what no open unit sees
        torch.testing.assert_close((other @ e.matrix.T).relu(), (x @ e.matrix.T).relu(), rtol=0, atol=1e-12)


def test_without_an_activation_the_pseudoinverse_undoes_it():
    x = spiral(50)
    e = there_and_back(x, 5, "linear", generator=generator())
    torch.testing.assert_close(e.projected, x)
    torch.testing.assert_close(e.restored, x)
    assert not e.lost.any()


def test_the_projection_is_the_papers():
    x = spiral(50)
    e = there_and_back(x, 6, generator=generator(3))
    torch.testing.assert_close(e.projected, (x @ e.matrix.T).relu() @ torch.linalg.pinv(e.matrix).T)


@pytest.mark.parametrize(("d", "n"), [(2, 2), (2, 3), (2, 5), (3, 7), (4, 3)])
def test_the_chance_of_loss_is_what_is_counted(d, n):
    x = torch.randn(1, d, generator=generator())
    lost = [there_and_back(x, n, generator=generator(seed)).lost.item() for seed in range(1000)]
    assert sum(lost) / 1000 == pytest.approx(chance_lost(d, n), abs=0.06)


def test_chances_by_hand():
    assert chance_lost(2, 2) == 3 / 4
    assert chance_lost(2, 5) == 6 / 32
    assert chance_lost(3, 2) == 1  # two numbers never say what three were


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"'gelu'.*linear, relu, relu6"):
        there_and_back(spiral(5), 3, "gelu")
    with pytest.raises(ValueError, match="n is 0"):
        there_and_back(spiral(5), 0)
    with pytest.raises(ValueError, match=r"\(5,\)"):
        there_and_back(torch.ones(5), 3)
    with pytest.raises(ValueError, match="no ReLU or ReLU6 module after"):
        open_units(nn.Sequential(nn.Linear(3, 3), nn.Tanh()), torch.ones(2, 3))


def hand_made():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
        model[0].bias.zero_()
    return model


def test_open_units_counted_by_hand():
    x = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [-1.0, 3.0], [3.0, -1.0]])  # open: 2, 1, 1, 1
    (layer,) = open_units(hand_made(), x)
    assert (layer.name, layer.carried, layer.units) == ("1", 2, 3)
    assert (layer.mean, layer.least, layer.most, layer.invertible) == (1.25, 1, 2, 0.25)


def test_a_relu6_is_closed_above_6_too():
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU6())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [10.0]]))
    (layer,) = open_units(model, torch.tensor([[0.5], [1.0], [7.0], [-1.0]]))
    assert layer.mean == 0.75  # 2, 1, 0 and 0 of the two
    assert layer.invertible == 0.5


def test_a_mobilenet_carries_what_its_bottlenecks_hold():
    model = MobileNetV2(in_channels=1, num_classes=10, stem="small", generator=generator())
    layers = {
        layer.name: layer for layer in open_units(model, torch.randn(2, 1, 8, 8, generator=generator()))
    }
    assert (layers["features.0.2"].carried, layers["features.0.2"].units) == (1, 32)
    assert (layers["features.3.conv.0.2"].carried, layers["features.3.conv.0.2"].units) == (24, 144)
    assert layers["features.3.conv.1.2"].carried == 24  # a depthwise convolution makes no new dimensions
    assert layers["features.4.conv.1.2"].carried == 4 * 24  # stride 2: four positions become one
    assert (layers["features.18.2"].carried, layers["features.18.2"].units) == (320, 1280)


def test_open_units_leaves_the_model_as_it_was():
    model = MobileNetV2(in_channels=1, num_classes=10, width=0.35, stem="small", generator=generator())
    model.train()
    model.features[3].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    open_units(model, torch.randn(2, 1, 8, 8))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match="shape"):
        open_units(model, torch.randn(2, 3, 8, 8))
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())


def test_every_activation_knows_where_it_is_open():
    z = torch.linspace(-8, 8, 101).double()
    for name, (apply, is_open) in invertibility.ACTIVATIONS.items():
        y = apply(z)
        assert torch.equal(y[is_open(y)], z[is_open(y)]), name
