import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib import device
from course_lib.layers import Conv2d, Conv2dFunction, col2im, im2col, output_size
from course_lib.models.convnets import SimpleConvNet

DEVICES = [name for name in device.available() if ":" not in name]
TOLERANCE = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-9},
    torch.float32: {"rtol": 1e-3, "atol": 1e-3},
}
KERNEL = st.one_of(st.integers(1, 4), st.tuples(st.integers(1, 4), st.integers(1, 4)))
STEP = st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3)))
MARGIN = st.one_of(st.integers(0, 3), st.tuples(st.integers(0, 3), st.integers(0, 3)))
SIZE = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def placements(draw):
    """An image's size, and a kernel with its stride, padding and dilation that fits it."""
    size, kernel, stride, padding, dilation = map(draw, (SIZE, KERNEL, STEP, MARGIN, STEP))
    try:
        output_size(size, kernel, stride, padding, dilation)
    except ValueError:
        assume(False)
    return size, {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}


def images(shape, at="cpu", dtype=torch.float32, channels_last=False, seed=0):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(at, dtype)
    return x.to(memory_format=torch.channels_last) if channels_last else x


@pytest.mark.parametrize("at", DEVICES)
@settings(max_examples=100, deadline=None)
@given(
    placement=placements(),
    n=st.integers(1, 3),
    groups=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    bias=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    channels_last=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_conv2d_equals_torchs(at, placement, n, groups, channels, bias, dtype, channels_last, seed):
    """Value, and the gradients of input, weight and bias, for whatever setting fits."""
    if at == "mps" and dtype == torch.float64:
        return
    size, arguments = placement
    before, after = (groups * c for c in channels)
    theirs = nn.Conv2d(before, after, groups=groups, bias=bias, **arguments).to(at, dtype)
    mine = Conv2d(before, after, groups=groups, bias=bias, **arguments).to(at, dtype)
    mine.load_state_dict(theirs.state_dict())
    x = images((n, before, *size), at, dtype, channels_last, seed).requires_grad_()
    twin = x.detach().clone().requires_grad_()
    y, expected = mine(x), theirs(twin)
    assert y.shape == expected.shape
    assert y.dtype == dtype
    upstream = images(y.shape, at, dtype, channels_last, seed + 1)
    y.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(y, expected, **TOLERANCE[dtype])
    torch.testing.assert_close(x.grad, twin.grad, **TOLERANCE[dtype])
    for (name, a), b in zip(mine.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(
            a.grad, b.grad, **TOLERANCE[dtype], msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("at", DEVICES)
@settings(max_examples=60, deadline=None)
@given(placement=placements(), channels=st.integers(1, 3), channels_last=st.booleans())
def test_im2col_and_col2im_equal_unfold_and_fold(at, placement, channels, channels_last):
    size, arguments = placement
    x = images((2, channels, *size), at, channels_last=channels_last)
    columns = im2col(x, **arguments)
    torch.testing.assert_close(columns, F.unfold(x, **arguments), rtol=0, atol=0)
    other = images(columns.shape, at, seed=1)
    back = col2im(other, size, **arguments)
    torch.testing.assert_close(back, F.fold(other, size, **arguments), rtol=1e-5, atol=1e-5)
    # col2im is the transpose of im2col: ⟨im2col(x), c⟩ = ⟨x, col2im(c)⟩.
    torch.testing.assert_close((columns * other).sum(), (x * back).sum(), rtol=1e-3, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(placement=placements())
def test_output_size_is_what_comes_out(placement):
    size, arguments = placement
    assert nn.Conv2d(1, 1, **arguments)(torch.zeros(1, 1, *size)).shape[2:] == output_size(size, **arguments)


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_pass_torchs_check(groups):
    x = images((4, 4, 5, 6), dtype=torch.float64).requires_grad_()
    weight = images((6, 4 // groups, 3, 2), dtype=torch.float64, seed=1).requires_grad_()
    bias = images((6,), dtype=torch.float64, seed=2).requires_grad_()
    arguments = (x, weight, bias, (2, 1), (1, 0), (1, 2), groups)
    assert torch.autograd.gradcheck(Conv2dFunction.apply, arguments)
    for gradient in torch.autograd.grad(Conv2dFunction.apply(*arguments).square().sum(), arguments[:3]):
        assert gradient.abs().max() > 0.1


def test_x_may_be_a_view_with_holes_and_an_offset():
    base = images((3, 5, 12, 12))
    x = base[1:, 1:4, 2::2, 1:-1]
    torch.testing.assert_close(im2col(x, 3, 2, 1), F.unfold(x, 3, stride=2, padding=1))


def test_meta_tensors_give_shapes():
    layer = Conv2d(3, 8, 3, stride=2, padding=1, groups=1).to("meta")
    x = torch.empty(2, 3, 9, 9, device="meta", requires_grad=True)
    y = layer(x)
    assert y.shape == (2, 8, 5, 5)
    y.sum().backward()
    assert x.grad.shape == x.shape


def test_an_empty_batch_gives_an_empty_batch():
    layer = Conv2d(2, 3, 3)
    y = layer(torch.zeros(0, 2, 6, 6))
    assert y.shape == (0, 3, 4, 4)
    y.sum().backward()
    assert not layer.weight.grad.any()


def test_only_the_gradients_that_are_asked_for():
    layer = Conv2d(1, 2, 3)
    layer.weight.requires_grad_(False)
    x = images((2, 1, 5, 5))
    layer(x).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(layer.bias.grad, torch.full((2,), 18.0))


def test_drawn_as_torch_draws():
    weight = Conv2d(16, 64, 5).weight
    assert weight.abs().max() <= 1 / 20
    assert weight.std().item() == pytest.approx(1 / 20 / 3**0.5, rel=0.02)


def test_autocast_computes_in_sixteen_bits_and_keeps_gradients_of_its_own_type():
    mine, theirs = Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)
    mine.load_state_dict(theirs.state_dict())
    x = images((4, 2, 6, 6))
    with torch.autocast("cpu", torch.bfloat16):
        y, expected = mine(x), theirs(x)
    assert y.dtype == expected.dtype == torch.bfloat16
    y.float().square().sum().backward()
    expected.float().square().sum().backward()
    assert mine.weight.grad.dtype == torch.float32
    torch.testing.assert_close(mine.weight.grad, theirs.weight.grad, rtol=0.05, atol=0.5)


def test_sums_over_many_images_are_not_rounded_to_sixteen_bits():
    """Images of 64×64 are worked on one or a few at a time, so the weights' gradient has many parts."""
    layer = Conv2d(16, 2, 3)
    x = images((40, 16, 64, 64)).abs()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    y.sum().backward()
    twin = x.double().requires_grad_(False)
    weight = layer.weight.detach().double().requires_grad_()
    F.conv2d(twin, weight).sum().backward()
    torch.testing.assert_close(layer.weight.grad.double(), weight.grad, rtol=1e-4, atol=0)


def test_simple_conv_net_runs_on_it_and_loads_torchs_weights():
    from course_lib.layers import MaxPool2d

    theirs = SimpleConvNet()
    mine = SimpleConvNet(conv=Conv2d, pool=MaxPool2d)
    assert sum(p.numel() for p in mine.parameters()) == 433_890
    mine.load_state_dict(theirs.state_dict())
    x = images((4, 1, 28, 28))
    torch.testing.assert_close(mine(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Conv2d(1, 1, 7)(torch.zeros(2, 1, 5, 6)), ["7×7", "5×6", "≤ size + 2 · padding"]),
        (lambda: Conv2d(1, 1, 3, dilation=3)(torch.zeros(2, 1, 5, 9)), ["7×7", "5×9"]),
        (lambda: Conv2d(4, 6, 3, groups=4), ["groups is 4", "in_channels=4", "out_channels=6"]),
        (lambda: Conv2d(3, 6, 3)(torch.zeros(2, 4, 8, 8)), ["(2, 4, 8, 8)", "in_channels=3", "(6, 3, 3, 3)"]),
        (lambda: Conv2d(3, 6, 3)(torch.zeros(3, 8, 8)), ["(3, 8, 8)", "(N, C, H, W)", "x[None]"]),
        (lambda: Conv2d(3, 6, 3)(torch.zeros(3, 8)), ["(3, 8)", "(N, C, H, W)"]),
        (lambda: Conv2d(0, 6, 3), ["in_channels is 0"]),
        (lambda: Conv2d(3, 6, (3, 3, 3)), ["kernel_size is (3, 3, 3)"]),
        (lambda: Conv2d(3, 6, 3, stride=0), ["stride is 0"]),
        (lambda: Conv2d(3, 6, 3, padding=-1), ["padding is -1"]),
        (lambda: Conv2d(3, 6, 3, dilation=1.5), ["dilation is 1.5"]),
        (lambda: col2im(torch.zeros(1, 10, 4), (3, 3), 2), ["(1, 10, 4)", "(N, C·2·2, 2·2 = 4)"]),
        (lambda: col2im(torch.zeros(1, 8, 9), (3, 3), 2), ["(1, 8, 9)", "2·2 = 4"]),
    ],
)  # fmt: skip
def test_errors_show_the_shapes_and_the_rule(call, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call()
    for word in words:
        assert word in str(error.value)
