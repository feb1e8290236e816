import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib import device
from course_lib.layers import AvgPool2d, AvgPool2dFunction, MaxPool2d, MaxPool2dFunction

DEVICES = [name for name in device.available() if ":" not in name]
TWINS = {MaxPool2d: nn.MaxPool2d, AvgPool2d: nn.AvgPool2d}


@st.composite
def windows(draw):
    """A window, its stride and its padding; the image has room for it."""
    kernel = draw(st.one_of(st.integers(1, 4), st.tuples(st.integers(1, 4), st.integers(1, 4))))
    smallest = min(kernel) if isinstance(kernel, tuple) else kernel
    stride = draw(st.one_of(st.none(), st.integers(1, 4), st.tuples(st.integers(1, 4), st.integers(1, 4))))
    return {"kernel_size": kernel, "stride": stride, "padding": draw(st.integers(0, smallest // 2))}


def dilated(arguments, pool, dilation):
    """Max pooling can be dilated, average pooling cannot."""
    return arguments | ({"dilation": dilation} if pool is MaxPool2d else {})


@pytest.mark.parametrize("at", DEVICES)
@pytest.mark.parametrize("pool", TWINS)
@settings(max_examples=60, deadline=None)
@given(
    arguments=windows(),
    size=st.tuples(st.integers(7, 10), st.integers(7, 10)),
    dilation=st.integers(1, 2),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    channels_last=st.booleans(),
    levels=st.sampled_from([3, 1000]),  # with three, most windows have several largest
    seed=st.integers(0, 2**31),
)
def test_pooling_equals_torchs(at, pool, arguments, size, dilation, dtype, channels_last, levels, seed):
    if at == "mps" and dtype == torch.float64:
        return
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-levels, levels, (2, 3, *size), generator=generator).to(at, dtype)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    x.requires_grad_()
    # On CUDA, torch before 2.14 gives a wrong gradient for channels_last with padding (pytorch#188344).
    twin = x.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
    arguments = dilated(arguments, pool, dilation)
    y, expected = pool(**arguments)(x), TWINS[pool](**arguments)(twin)
    assert y.dtype == dtype
    torch.testing.assert_close(y, expected)
    upstream = torch.randn(y.shape, generator=generator).to(at, dtype)
    y.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("function", [MaxPool2dFunction, AvgPool2dFunction])
def test_gradients_pass_torchs_check(function):
    x = torch.randperm(4 * 2 * 5 * 7).view(4, 2, 5, 7).double().div(100).requires_grad_()
    where = ((3, 2), (2, 1), (1, 1)) + (((1, 2),) if function is MaxPool2dFunction else ())  # its dilation
    assert torch.autograd.gradcheck(lambda x: function.apply(x, *where), (x,))
    (gradient,) = torch.autograd.grad(function.apply(x, *where).square().sum(), x)
    assert gradient.abs().max() > 0.1


@pytest.mark.parametrize("pool", TWINS)
def test_meta_tensors_and_empty_batches_give_shapes(pool):
    x = torch.empty(2, 3, 7, 9, device="meta", requires_grad=True)
    y = pool(2)(x)
    assert y.shape == (2, 3, 3, 4)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert pool(2)(torch.zeros(0, 3, 6, 6)).shape == (0, 3, 3, 3)


@pytest.mark.parametrize("pool", TWINS)
def test_nothing_to_learn_and_nothing_to_save(pool):
    assert not list(pool(2).parameters())
    assert not pool(2).state_dict()


def test_the_border_never_wins_and_always_counts():
    """Negative numbers all over: a border of zeros would be the largest of every window that touches it."""
    x = torch.full((1, 1, 3, 3), -5.0)
    assert (MaxPool2d(3, 1, 1)(x) == -5).all()
    torch.testing.assert_close(AvgPool2d(3, 1, 1)(x)[0, 0, 0, 0], torch.tensor(-5 * 4 / 9))


def test_not_a_number_is_not_hidden():
    x = torch.zeros(1, 1, 2, 2)
    x[0, 0, 1, 0] = float("nan")
    assert MaxPool2d(2)(x).isnan().all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: p(4)(torch.zeros(1, 1, 3, 5)), ["4×4", "3×5"]),
        (lambda p: p(2)(torch.zeros(1, 3, 5)), ["(1, 3, 5)", "(N, C, H, W)"]),
        (lambda p: p(2, padding=2), ["padding is 2", "half the kernel at most"]),
        (lambda p: p(0), ["kernel_size is 0"]),
        (lambda p: p(2, stride=0), ["stride is 0"]),
        (lambda p: p(2.0), ["kernel_size is 2.0"]),
    ],
)
@pytest.mark.parametrize("pool", TWINS)
def test_errors_show_the_shapes_and_the_rule(pool, call, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call(pool)
    for word in words:
        assert word in str(error.value)
