import pytest
import torch
from torch.autograd import Function

from course_lib.layers import Conv2dFunction, MaxPool2dFunction, col2im, im2col
from course_lib.measure import gradient_check


def conv(x, weight, bias):
    return Conv2dFunction.apply(x, weight, bias, 2, 1, 1, 1)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Forgetful(Function):
    """A convolution of 3×3 whose col2im overwrites where windows overlap, instead of adding."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        y = weight.flatten(1) @ im2col(x, 3)
        return y.unflatten(2, (x.shape[2] - 2, x.shape[3] - 2))

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        columns = weight.flatten(1).T @ grad.flatten(2)
        covered = col2im(torch.ones_like(columns), x.shape[2:], 3)
        grad_weight = (grad.flatten(2) @ im2col(x, 3).mT).sum(0).view(weight.shape)
        return col2im(columns, x.shape[2:], 3) / covered, grad_weight


def test_a_right_backward_passes_and_is_not_zero():
    checks = gradient_check(
        conv, {"x": random(4, 2, 5, 5), "w": random(3, 2, 3, 3, seed=1), "b": random(3, seed=2)}
    )
    assert list(checks) == ["x", "w", "b"]
    for check in checks.values():
        assert check.error < 1e-7
        assert not check.all_zero
        assert check.backward.shape == check.differences.shape


def test_it_agrees_with_torchs_own_gradients():
    x = random(4, 3)
    (check,) = gradient_check(lambda x: torch.sin(x) ** 2, [x]).values()
    upstream = check.differences / (2 * torch.sin(x) * torch.cos(x))
    assert upstream.std() > 0.1
    assert check.error < 1e-8


def test_a_planted_bug_is_caught_and_only_where_it_is():
    checks = gradient_check(Forgetful.apply, {"x": random(4, 2, 5, 5), "w": random(3, 2, 3, 3, seed=1)})
    assert checks["x"].error > 0.1
    assert checks["w"].error < 1e-7


def test_a_gradient_of_zeros_is_said_to_be_one():
    (check,) = gradient_check(lambda x: (x - x.detach()) * 0, [random(1, 3)]).values()
    assert check.all_zero
    assert "all gradients are zero" in str(check)


def test_the_inputs_are_left_alone_whatever_their_layout():
    x = random(4, 2, 4, 4).to(memory_format=torch.channels_last)
    before = x.clone()
    (check,) = gradient_check(lambda x: MaxPool2dFunction.apply(x, 2, 2, 0, 1), {"x": x}).values()
    assert check.error < 1e-7
    assert torch.equal(x, before)
    assert not x.requires_grad


def test_numbers_without_dimensions():
    (check,) = gradient_check(lambda x: x**3, [torch.tensor(2.0, dtype=torch.float64)]).values()
    assert check.error < 1e-8


def test_mistakes():
    with pytest.raises(ValueError, match=r"'w' is torch.float32; it must be torch.float64"):
        gradient_check(lambda w: w, {"w": torch.ones(2)})
    with pytest.raises(ValueError, match="step is 0"):
        gradient_check(lambda x: x, [random(2)], step=0)
    with pytest.raises(ValueError, match="does not depend on input 'b'"):
        gradient_check(lambda a, b: a, {"a": random(2), "b": random(2)})
