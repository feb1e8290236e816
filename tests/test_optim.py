import copy
import math

import pytest
import torch
from torch import nn

from course_lib import optim


def problem(seed):
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(generator=generator)
    x = torch.randn(32, 6, dtype=torch.float64, generator=generator)
    y = torch.randn(32, 3, dtype=torch.float64, generator=generator)
    return model, x, y


def train(model, optimizer, x, y, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize("seed", range(3))
def test_sgd_equals_torchs_over_200_steps_and_resumed(seed):
    model, x, y = problem(seed)
    before = [p.clone() for p in model.parameters()]
    twin = copy.deepcopy(model)
    optimizer = optim.SGD(model.parameters(), lr=0.05)
    train(model, optimizer, x, y, 100)
    state = optimizer.state_dict()
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    optimizer.load_state_dict(state)
    train(model, optimizer, x, y, 100)
    train(twin, torch.optim.SGD(twin.parameters(), lr=0.05), x, y, 200)
    for mine, theirs, start in zip(model.parameters(), twin.parameters(), before, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
        assert (mine - start).abs().max() > 1e-3


def test_groups_and_schedulers_work_on_it():
    model, x, y = problem(0)
    twin = copy.deepcopy(model)

    def run(network, kind):
        groups = [
            {"params": network[0].parameters(), "lr": 0.01},
            {"params": network[2].parameters()},
        ]
        optimizer = kind(groups, lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.5)
        for _ in range(20):
            train(network, optimizer, x, y, 1)
            scheduler.step()

    run(model, optim.SGD)
    run(twin, torch.optim.SGD)
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)


def test_closure_is_evaluated_with_gradients():
    weight = torch.ones(1, requires_grad=True)
    optimizer = optim.SGD([weight], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (3 * weight).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3
    assert weight.item() == pytest.approx(1 - 0.5 * 3)


def test_a_parameter_without_gradient_stays():
    moved, still = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    moved.grad = torch.ones(1)
    optim.SGD([moved, still], lr=0.1).step()
    assert still.item() == 1
    assert moved.item() == pytest.approx(0.9)


@pytest.mark.parametrize("lr", [-0.1, math.nan, math.inf])
def test_a_bad_learning_rate_is_named(lr):
    with pytest.raises(ValueError, match="lr is"):
        optim.SGD([torch.ones(1, requires_grad=True)], lr=lr)
