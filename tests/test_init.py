import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib import init

TWINS = {
    "xavier_normal_": (init.xavier_normal_, nn.init.xavier_normal_),
    "xavier_uniform_": (init.xavier_uniform_, nn.init.xavier_uniform_),
    "kaiming_normal_": (
        init.kaiming_normal_,
        lambda w, generator: nn.init.kaiming_normal_(w, nonlinearity="relu", generator=generator),
    ),
    "kaiming_uniform_": (
        init.kaiming_uniform_,
        lambda w, generator: nn.init.kaiming_uniform_(w, nonlinearity="relu", generator=generator),
    ),
}
SHAPES = st.sampled_from([(7, 5), (64, 64), (8, 3, 5, 5), (6, 4, 3), (2, 3, 3, 3, 3)])


@pytest.mark.parametrize("name", TWINS)
@settings(max_examples=20, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**31), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_equals_torch_draw_for_draw(name, shape, seed, dtype):
    ours, torchs = TWINS[name]
    mine = ours(torch.empty(shape, dtype=dtype), generator=torch.Generator().manual_seed(seed))
    theirs = torchs(torch.empty(shape, dtype=dtype), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=0)
    assert mine.std() > 0


@given(shape=SHAPES)
def test_fans_are_torchs(shape):
    weight = torch.empty(shape)
    assert init.fan_in_and_fan_out(weight) == nn.init._calculate_fan_in_and_fan_out(weight)


@pytest.mark.parametrize("activation", ["linear", "sigmoid", "tanh", "relu"])
def test_gains_are_torchs(activation):
    assert init.gain(activation) == pytest.approx(nn.init.calculate_gain(activation))


@pytest.mark.parametrize(
    ("scheme", "std"),
    [
        ("xavier", math.sqrt(2 / (400 + 300))),
        ("kaiming", math.sqrt(2 / 400)),
        ("he", math.sqrt(2 / 400)),
        (0.05, 0.05),
    ],
)
def test_initialize_sets_every_weight_and_clears_biases(scheme, std):
    model = nn.Sequential(nn.Linear(400, 300), nn.ReLU(), nn.Linear(300, 400))
    init.initialize(model, scheme, torch.Generator().manual_seed(0))
    assert model[0].weight.std().item() == pytest.approx(std, rel=0.02)
    assert model[2].weight.std().item() > 0
    assert model[0].bias.abs().max() == 0


def test_initialize_reaches_convolutions_and_leaves_batchnorm():
    model = nn.Sequential(nn.Conv2d(3, 64, 5), nn.BatchNorm2d(64))
    init.initialize(model, "kaiming", torch.Generator().manual_seed(0))
    assert model[0].weight.std().item() == pytest.approx(math.sqrt(2 / 75), rel=0.05)
    assert (model[1].weight == 1).all()


def test_the_same_seed_gives_the_same_network():
    def weights(seed):
        return init.initialize(nn.Linear(9, 9), "xavier", torch.Generator().manual_seed(seed)).weight

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


@pytest.mark.parametrize("std", [-0.1, math.nan, math.inf, True, None])
def test_a_bad_std_is_named(std):
    with pytest.raises(ValueError, match="std is"):
        init.initialize(nn.Linear(2, 2), std)


def test_an_unknown_scheme_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'lecun'.*xavier, kaiming"):
        init.initialize(nn.Linear(2, 2), "lecun")


def test_a_bias_has_no_fan_in():
    with pytest.raises(ValueError, match=r"\(10,\).*two dimensions"):
        init.fan_in_and_fan_out(torch.empty(10))


def test_an_unknown_gain_is_named():
    with pytest.raises(ValueError, match="'swish'"):
        init.gain("swish")


def test_a_second_argument_that_torch_would_take_for_the_mean_is_refused():
    with pytest.raises(TypeError, match="positional"):
        init.normal_(torch.empty(3, 3), 0.01)
