import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib import device
from course_lib.layers import BatchNorm, BatchNormFunction, Dropout

DEVICES = [name for name in device.available() if ":" not in name]
SIXTEEN_BITS = {"rtol": 2e-2, "atol": 2e-2}
TOLERANCE = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-9},
    torch.float32: {"rtol": 1e-4, "atol": 1e-4},
    torch.bfloat16: SIXTEEN_BITS,
}
SHAPES = st.one_of(
    st.tuples(st.integers(2, 9), st.integers(1, 5)),
    st.tuples(st.integers(2, 5), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.just(1), st.integers(1, 4), st.integers(2, 4), st.integers(1, 4)),  # one image is enough
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def twins(channels, at="cpu", dtype=torch.float32, dims=4, seed=0, **arguments):
    """A BatchNorm with random γ and β, and torch's with the same state."""
    theirs = (nn.BatchNorm2d if dims == 4 else nn.BatchNorm1d)(channels, **arguments)
    with torch.no_grad():
        theirs.weight.copy_(torch.randn(channels, generator=seeded(seed)))
        theirs.bias.copy_(torch.randn(channels, generator=seeded(seed + 1)))
    mine = BatchNorm(channels, **arguments)
    mine.load_state_dict(theirs.state_dict())
    return mine.to(at, dtype), theirs.to(at, dtype)


def batch(shape, at="cpu", dtype=torch.float32, seed=0, scale=1.0, offset=0.0, channels_last=False):
    x = (offset + scale * torch.randn(shape, generator=seeded(seed))).to(at, dtype)
    if channels_last and x.dim() == 4:
        x = x.to(memory_format=torch.channels_last)
    return x.requires_grad_()


def layouts(x):
    """The layouts in which ``x`` lies gaplessly: two, where a dimension of 1 leaves it open."""
    formats = [torch.contiguous_format] + [torch.channels_last] * (x.dim() == 4)
    return [x.is_contiguous(memory_format=layout) for layout in formats]


def assert_same_state(mine, theirs, **tolerance):
    assert list(mine.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(mine.state_dict()[name], value, **tolerance, msg=lambda m: f"{name}: {m}")  # noqa: B023


@pytest.mark.parametrize("at", DEVICES)
@settings(max_examples=60, deadline=None)
@given(
    shape=SHAPES,
    dtype=st.sampled_from([torch.float32, torch.float64]),
    channels_last=st.booleans(),
    training=st.booleans(),
    momentum=st.sampled_from([0.1, 0.7, None]),
    scale=st.floats(0.1, 10),
    offset=st.floats(-10, 10),
    seed=st.integers(0, 2**31),
)
def test_batch_norm_equals_torchs(at, shape, dtype, channels_last, training, momentum, scale, offset, seed):
    """Output, three gradients, the state and the memory layout, over two batches in a row."""
    if at == "mps" and dtype == torch.float64:
        return
    mine, theirs = twins(shape[1], at, dtype, len(shape), seed, momentum=momentum, eps=1e-3)
    mine.train(training)
    theirs.train(training)
    for step in range(2):
        x = batch(shape, at, dtype, seed + step, scale, offset, channels_last)
        twin = x.detach().clone().requires_grad_()
        y, expected = mine(x), theirs(twin)
        torch.testing.assert_close(y, expected, **TOLERANCE[dtype])
        assert y.dtype == expected.dtype
        assert layouts(y) == layouts(expected)

        upstream = torch.randn(shape, generator=seeded(seed + 7)).to(x)
        y.backward(upstream)
        expected.backward(upstream)
        # A batch of two values a channel has x̂ = ±1: its gradient is what cancellation leaves of 1/std.
        loose = {key: 10 * value / scale for key, value in TOLERANCE[dtype].items()}
        torch.testing.assert_close(x.grad, twin.grad, **loose)
        for name, parameter in mine.named_parameters():
            torch.testing.assert_close(
                parameter.grad, theirs.get_parameter(name).grad, rtol=1e-3, atol=2e-4 * (1 + abs(offset))
            )
    assert_same_state(mine, theirs, **TOLERANCE[dtype])


@pytest.mark.parametrize("at", DEVICES)
@pytest.mark.parametrize("mixed", [True, False], ids=["float32 parameters", "bfloat16 throughout"])
def test_batch_norm_in_sixteen_bits(at, mixed):
    mine, theirs = twins(6, at, torch.float32 if mixed else torch.bfloat16)
    x = batch((16, 6, 5, 5), at, torch.bfloat16, offset=3.0)
    twin = x.detach().clone().requires_grad_()
    y, expected = mine(x), theirs(twin)
    assert y.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected, **SIXTEEN_BITS)
    upstream = torch.randn(y.shape, generator=seeded(1)).to(y)
    y.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(x.grad, twin.grad, **SIXTEEN_BITS)
    for name, parameter in mine.named_parameters():
        assert parameter.grad.dtype == parameter.dtype
        torch.testing.assert_close(parameter.grad, theirs.get_parameter(name).grad, rtol=2e-2, atol=0.2)


def test_statistics_of_sixteen_bits_are_taken_in_thirty_two():
    x = (3 + torch.randn(4096, 2, generator=seeded())).bfloat16()
    layer = BatchNorm(2, momentum=1.0)
    layer(x)
    torch.testing.assert_close(layer.running_mean.double(), x.double().mean(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 3), (7, 2), (4, 3, 2, 5), (5, 2, 1, 1)])
@pytest.mark.parametrize("training", [True, False])
def test_backward_is_the_derivative_of_forward(shape, training):
    """Batch ≥ 4: with one or two values a channel, x̂ hardly moves and any backward passes."""
    mine, _ = twins(shape[1], dtype=torch.float64, dims=len(shape), momentum=0.0)  # gradcheck calls it often
    mine.running_mean.normal_(generator=seeded(5))
    mine.train(training)
    x = batch(shape, dtype=torch.float64, offset=2.0)

    def function(x, weight, bias):
        return torch.func.functional_call(mine, {"weight": weight, "bias": bias}, (x,))

    inputs = (x, mine.weight.detach().requires_grad_(), mine.bias.detach().requires_grad_())
    assert torch.autograd.gradcheck(function, inputs)
    upstream = torch.randn(shape, generator=seeded(3), dtype=torch.float64)
    for grad in torch.autograd.grad(function(*inputs), inputs, upstream):
        assert grad.abs().min() > 1e-6


def test_the_gradient_has_no_mean_and_no_part_along_x_hat():
    x = batch((8, 3, 4, 4), dtype=torch.float64)
    layer = BatchNorm(3, eps=0.0).double()
    y = layer(x)
    (grad,) = torch.autograd.grad(y, x, torch.randn(x.shape, generator=seeded(1), dtype=torch.float64))
    assert grad.sum((0, 2, 3)).abs().max() < 1e-12
    assert (grad * y.detach()).sum((0, 2, 3)).abs().max() < 1e-12
    assert grad.abs().max() > 0.1


def test_images_share_one_mean_a_channel():
    """Not one for each pixel: 3 running means, not 75."""
    layer = BatchNorm(3)
    y = layer(torch.arange(2 * 75.0).reshape(2, 3, 5, 5))
    assert layer.running_mean.shape == (3,)
    assert y.mean((0, 2, 3)).abs().max() < 1e-5
    assert y[:, 0, 0, 0].mean() < -0.1  # one pixel alone is not centred


def test_input_and_incoming_gradient_are_left_alone():
    for layer in (BatchNorm(3), Dropout(0.5)):
        x = batch((6, 3))
        before, upstream = x.detach().clone(), torch.randn(6, 3)
        passed = upstream.clone()
        layer(x).backward(passed)
        assert torch.equal(x.detach(), before)
        assert torch.equal(passed, upstream)


def test_state_dicts_load_both_ways():
    mine, theirs = BatchNorm(4), nn.BatchNorm2d(4)
    for k in range(3):
        mine(torch.randn(5, 4, 2, 2, generator=seeded(k)) * 3 + 1)
    theirs.load_state_dict(mine.state_dict())
    assert theirs.num_batches_tracked == 3
    back = BatchNorm(4)
    back.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(back.eval()(x), theirs.eval()(x))


def test_a_copy_and_a_move_keep_the_layer():
    layer = BatchNorm(3)
    layer(torch.randn(6, 3))
    twin = copy.deepcopy(layer).double()
    assert twin.running_mean.dtype == torch.float64
    assert twin.num_batches_tracked.dtype == torch.int64
    with torch.device("meta"):
        assert BatchNorm(3)(torch.empty(2, 3, 4, 4)).shape == (2, 3, 4, 4)


def test_evaluation_treats_each_example_alone():
    layer = BatchNorm(3)
    layer(torch.randn(50, 3) * 2 + 1)
    layer.eval()
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    x = torch.randn(4, 3)
    torch.testing.assert_close(layer(x)[:1], layer(x[:1]))
    for name, value in layer.state_dict().items():
        assert torch.equal(value, state[name])


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 3), r"\(1, 3\).*1 value a channel.*eval\(\)"),
        ((1, 3, 1, 1), r"1 value a channel"),
        ((0, 3), r"0 values a channel"),
        ((4, 5), r"5 channels.*num_features=3"),
        ((4, 3, 7), r"\(4, 3, 7\).*\(N, C\) or \(N, C, H, W\)"),
        ((3,), r"\(3,\)"),
    ],
)
def test_batch_norm_says_what_does_not_fit(shape, said):
    layer = BatchNorm(3)
    with pytest.raises(ValueError, match=said):
        layer(torch.zeros(shape))
    assert layer.num_batches_tracked == 0


def test_one_value_a_channel_is_fine_in_evaluation():
    assert BatchNorm(3).eval()(torch.zeros(1, 3)).shape == (1, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_features": 0}, {"num_features": 2.0}, {"num_features": True}, {"num_features": 3, "eps": -1e-5},
        {"num_features": 3, "eps": math.nan}, {"num_features": 3, "momentum": 1.5},
        {"num_features": 3, "momentum": "fast"},
    ],
)  # fmt: skip
def test_batch_norm_names_a_bad_argument(arguments):
    with pytest.raises(ValueError, match=f"{list(arguments)[-1]} is "):
        BatchNorm(**arguments)


def test_the_function_returns_the_batchs_statistics():
    x = torch.randn(9, 4, 3, 3, generator=seeded())
    _, mean, var = BatchNormFunction.apply(x, torch.ones(4), torch.zeros(4), 1e-5)
    torch.testing.assert_close(mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(var, x.var((0, 2, 3), correction=0))


@settings(max_examples=40, deadline=None)
@given(
    shape=st.one_of(SHAPES, st.just((0, 3)), st.just(())),
    p=st.sampled_from([0.0, 0.2, 0.5, 0.9]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    channels_last=st.booleans(),
    training=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_dropout_equals_torchs_mask_for_mask_on_a_cpu(shape, p, dtype, channels_last, training, seed):
    results = []
    for layer in (Dropout(p), nn.Dropout(p)):
        x = batch(shape, dtype=dtype, seed=seed, channels_last=channels_last)
        torch.manual_seed(seed)
        y = layer.train(training)(x)
        (grad,) = torch.autograd.grad(y, x, torch.ones_like(y))
        results.append((y, grad, torch.rand(1)))  # the next number too: neither may draw more
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs)
        assert layouts(mine) == layouts(theirs)


@pytest.mark.parametrize("at", DEVICES)
@pytest.mark.parametrize("inverted", [True, False])
@pytest.mark.parametrize("p", [0.2, 0.5])
def test_dropouts_shares_are_torchs(at, inverted, p):
    """100,000 draws: the share that is dropped is within five standard deviations of p, as torch's is."""
    torch.manual_seed(0)
    n = 100_000
    margin = 5 * math.sqrt(p * (1 - p) / n)
    x = torch.full((n,), 2.0, device=at, requires_grad=True)
    layer = Dropout(p, inverted=inverted)
    y = layer(x)
    assert abs((y == 0).double().mean().item() - p) < margin
    assert abs((nn.Dropout(p)(x) == 0).double().mean().item() - p) < margin
    assert y[y != 0].unique().tolist() == pytest.approx([2 / (1 - p) if inverted else 2.0])
    assert y.mean().item() == pytest.approx(layer.eval()(x).mean().item(), abs=10 * margin)
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad * 2, y)
    assert not torch.equal(layer.train()(x), y)  # a new mask each time


@pytest.mark.parametrize("inverted", [True, False])
def test_dropout_backward_is_the_derivative_of_forward(inverted):
    x = batch((6, 5), dtype=torch.float64)

    def function(x):
        torch.manual_seed(4)
        return Dropout(0.4, inverted=inverted)(x)

    assert torch.autograd.gradcheck(function, x)
    (grad,) = torch.autograd.grad(function(x).sum(), x)
    assert 0 < (grad != 0).sum() < grad.numel()


def test_classic_and_inverted_differ_by_the_factor_alone():
    x = torch.randn(1000)
    torch.manual_seed(1)
    inverted = Dropout(0.2)(x)
    torch.manual_seed(1)
    classic = Dropout(0.2, inverted=False)(x)
    torch.testing.assert_close(classic, 0.8 * inverted)
    assert torch.equal(Dropout(0.2).eval()(x), x)
    torch.testing.assert_close(Dropout(0.2, inverted=False).eval()(x), 0.8 * x)


@pytest.mark.parametrize("p", [-0.1, 1.0, 1, 2, math.nan, "half", True, None])
def test_dropout_names_a_bad_probability(p):
    with pytest.raises(ValueError, match=r"p is .*\[0, 1\)"):
        Dropout(p)
