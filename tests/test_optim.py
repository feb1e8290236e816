import copy
import inspect
import io
import math

import pytest
import torch
from torch import nn

from course_lib import layers, optim

# name -> (ours, torch's, settings of ours, the same for torch's)
TWINS = {
    "SGD": (optim.SGD, torch.optim.SGD, {"lr": 0.05}, {"lr": 0.05}),
    "Momentum": (optim.Momentum, torch.optim.SGD, {"lr": 0.02}, {"lr": 0.02, "momentum": 0.9}),
    "Momentum 0.5": (optim.Momentum, torch.optim.SGD, *2 * ({"lr": 0.02, "momentum": 0.5},)),
    "Nesterov": (
        optim.Nesterov, torch.optim.SGD, {"lr": 0.02}, {"lr": 0.02, "momentum": 0.9, "nesterov": True},
    ),
    "AdaGrad": (optim.AdaGrad, torch.optim.Adagrad, {}, {}),
    "AdaGrad eps": (optim.AdaGrad, torch.optim.Adagrad, *2 * ({"lr": 0.1, "eps": 0.3},)),
    "RMSprop": (optim.RMSprop, torch.optim.RMSprop, {}, {}),
    "RMSprop 0.9": (optim.RMSprop, torch.optim.RMSprop, *2 * ({"lr": 0.003, "alpha": 0.9, "eps": 0.1},)),
    "Adam": (optim.Adam, torch.optim.Adam, {}, {}),
    "Adam betas": (optim.Adam, torch.optim.Adam, *2 * ({"lr": 0.01, "betas": (0.5, 0.8), "eps": 0.1},)),
    "AdamW": (optim.AdamW, torch.optim.AdamW, {}, {}),
    "AdamW decay": (optim.AdamW, torch.optim.AdamW, *2 * ({"lr": 0.01, "weight_decay": 0.3},)),
}  # fmt: skip
ALL = (optim.SGD, optim.Momentum, optim.Nesterov, optim.AdaGrad, optim.RMSprop, optim.Adam, optim.AdamW)
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def problem(seed, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(generator=generator)
    x = torch.randn(32, 6, dtype=torch.float64, generator=generator)
    y = torch.randn(32, 3, dtype=torch.float64, generator=generator)
    return model.to(device), x.to(device), y.to(device)


def train(model, optimizer, x, y, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


def assert_equal(model, twin, atol=1e-6):
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=atol)


def build(kind, params, fast=None, **settings):
    optimizer = kind(params, **settings)
    optimizer.fast = fast
    return optimizer


def saved_and_loaded(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fast", [False, True], ids=["readable", "fast"])
@pytest.mark.parametrize("name", TWINS)
def test_equals_torchs_over_200_steps_and_resumed(name, fast, seed, device):
    ours, theirs, settings, torchs_settings = TWINS[name]
    model, x, y = problem(seed, device)
    before = [p.clone() for p in model.parameters()]
    straight, twin = copy.deepcopy(model), copy.deepcopy(model)

    optimizer = build(ours, model.parameters(), fast, **settings)
    train(model, optimizer, x, y, 100)
    state = saved_and_loaded(optimizer.state_dict())
    optimizer = build(ours, model.parameters(), fast, lr=1.0)
    optimizer.load_state_dict(state)
    train(model, optimizer, x, y, 100)

    train(straight, build(ours, straight.parameters(), fast, **settings), x, y, 200)
    train(twin, theirs(twin.parameters(), **torchs_settings), x, y, 200)
    assert_equal(straight, twin)
    assert_equal(model, twin)
    for mine, start in zip(model.parameters(), before, strict=True):
        assert (mine - start).abs().max() > 1e-3


@pytest.mark.parametrize("fast", [False, True], ids=["readable", "fast"])
@pytest.mark.parametrize("name", TWINS)
def test_groups_and_schedulers_work_on_it(name, fast):
    ours, theirs, settings, torchs_settings = TWINS[name]
    model, x, y = problem(0)
    twin = copy.deepcopy(model)

    def run(network, kind, settings):
        groups = [
            {"params": network[0].parameters(), "lr": 0.01},
            {"params": network[2].parameters()},
        ]
        optimizer = kind(groups, **settings)
        optimizer.fast = fast
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.5)
        for _ in range(20):
            train(network, optimizer, x, y, 1)
            scheduler.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01 / 16)

    run(model, ours, settings)
    run(twin, theirs, torchs_settings)
    assert_equal(model, twin, atol=1e-9)


@pytest.mark.parametrize("kind", [optim.Momentum, optim.Adam])
def test_a_one_cycle_schedule_moves_momentum_too(kind):
    model, x, y = problem(0)
    optimizer = kind(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    train(model, optimizer, x, y, 1)
    schedule.step()
    group = optimizer.param_groups[0]
    assert group.get("momentum", group.get("betas", [0])[0]) != 0.9


@pytest.mark.parametrize("fast", [False, True], ids=["readable", "fast"])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(optim.Adam, torch.optim.Adam), (optim.AdamW, torch.optim.AdamW)]
)
def test_a_parameter_that_joins_late_has_its_own_bias_correction(ours, theirs, fast):
    model, x, y = problem(1)
    twin = copy.deepcopy(model)
    for network, kind in ((model, ours), (twin, theirs)):
        network[2].requires_grad_(False)
        optimizer = kind(network.parameters())
        optimizer.fast = fast
        train(network, optimizer, x, y, 20)
        network[2].requires_grad_(True)
        train(network, optimizer, x, y, 20)
    assert_equal(model, twin, atol=1e-12)


def test_a_subclass_with_its_own_update_is_never_replaced_by_a_fast_twin():
    class Backwards(optim.SGD):
        def update(self, w, g, state, group):
            w.add_(g, alpha=group["lr"])

    weight = torch.ones(1, requires_grad=True)
    weight.grad = torch.ones(1)
    build(Backwards, [weight], fast=True, lr=0.5).step()
    assert weight.item() == 1.5


def test_the_fast_twin_is_the_one_that_is_called(monkeypatch):
    called = []
    monkeypatch.setitem(optim.FAST, optim.SGD, lambda *arguments: called.append(arguments))
    weight = torch.ones(1, requires_grad=True)
    weight.grad = torch.ones(1)
    build(optim.SGD, [weight], fast=True, lr=0.5).step()
    assert len(called) == 1
    build(optim.SGD, [weight], lr=0.5).step()  # on the CPU the readable update is as fast
    assert len(called) == 1


def test_the_state_can_be_read():
    weight = torch.ones(2, requires_grad=True)
    optimizer = optim.Adam([weight], lr=0.1)
    assert not optimizer.state
    weight.grad = torch.tensor([1.0, -2.0])
    optimizer.step()
    state = optimizer.state[weight]
    assert set(state) == {"m", "v", "step"}
    assert state["step"] == 1
    torch.testing.assert_close(state["m"], torch.tensor([0.1, -0.2]))
    torch.testing.assert_close(state["v"], torch.tensor([0.001, 0.004]))
    torch.testing.assert_close(weight.detach(), torch.tensor([0.9, 1.1]))  # a first step is lr long


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


@pytest.mark.parametrize("fast", [False, True], ids=["readable", "fast"])
@pytest.mark.parametrize("kind", ALL)
def test_a_parameter_without_gradient_stays(kind, fast):
    moved, still = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    optimizer = build(kind, [moved, still], fast, lr=0.1)
    optimizer.step()
    assert moved.item() == 1
    moved.grad = torch.ones(1)
    optimizer.step()
    assert still.item() == 1
    assert still not in optimizer.state
    assert moved.item() < 0.95


@pytest.mark.parametrize("kind", ALL)
def test_a_learning_rate_of_zero_changes_nothing(kind):
    weight = torch.ones(3, requires_grad=True)
    weight.grad = torch.ones(3)
    kind([weight], lr=0.0).step()
    assert weight.tolist() == [1, 1, 1]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("lr", [-0.1, math.nan, math.inf, "0.1", None])
def test_a_bad_learning_rate_is_named(kind, lr):
    with pytest.raises(ValueError, match="lr is"):
        kind([torch.ones(1, requires_grad=True)], lr=lr)


@pytest.mark.parametrize(
    ("kind", "setting", "message"),
    [
        (optim.Momentum, {"momentum": 1.0}, "momentum is 1.0; it must be at least 0 and below 1"),
        (optim.Momentum, {"momentum": -0.1}, "momentum is -0.1"),
        (optim.Nesterov, {"momentum": 1.5}, "momentum is 1.5"),
        (optim.Nesterov, {"momentum": math.nan}, "momentum is nan"),
        (optim.AdaGrad, {"eps": -1e-8}, "eps is -1e-08"),
        (optim.RMSprop, {"alpha": 1.0}, "alpha is 1.0"),
        (optim.RMSprop, {"eps": math.inf}, "eps is inf"),
        (optim.Adam, {"betas": (0.9, 1.0)}, r"betas\[1\] is 1.0"),
        (optim.Adam, {"betas": (-0.1, 0.9)}, r"betas\[0\] is -0.1"),
        (optim.Adam, {"betas": 0.9}, "betas is 0.9; give two numbers"),
        (optim.Adam, {"eps": -1.0}, "eps is -1.0"),
        (optim.AdamW, {"weight_decay": -0.01}, "weight_decay is -0.01"),
        (optim.AdamW, {"weight_decay": math.nan}, "weight_decay is nan"),
    ],
)
def test_a_bad_setting_is_named_in_the_call_and_in_a_group(kind, setting, message):
    weight = torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match=message):
        kind([weight], lr=0.1, **setting)
    with pytest.raises(ValueError, match=message):
        kind([{"params": [weight], **setting}], lr=0.1)


def test_a_sparse_gradient_is_refused():
    table = nn.Embedding(5, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match=r"\(5, 2\) is sparse; Adam takes dense real ones.*sparse=False"):
        optim.Adam(table.parameters()).step()


def test_a_complex_parameter_is_refused():
    weight = torch.ones(1, dtype=torch.complex64, requires_grad=True)
    weight.grad = torch.ones(1, dtype=torch.complex64)
    with pytest.raises(ValueError, match="is complex; AdaGrad"):
        optim.AdaGrad([weight]).step()


@pytest.mark.parametrize(("kind", "other"), [(optim.Adam, optim.SGD), (optim.Nesterov, optim.AdaGrad)])
def test_the_state_of_another_optimizer_is_refused(kind, other):
    model, x, y = problem(0)
    optimizer = other(model.parameters(), lr=0.1)
    train(model, optimizer, x, y, 1)
    with pytest.raises(ValueError, match=f"it is not from {kind.__name__}"):
        kind(model.parameters(), lr=0.1).load_state_dict(optimizer.state_dict())


def test_decay_groups_hold_every_parameter_once_and_decay_the_weights_only():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.LayerNorm((2, 6, 6)), nn.Flatten(), nn.Linear(72, 3)
    )
    weights, rest = optim.decay_groups(model, 0.1)
    assert [p.ndim for p in weights["params"]] == [4, 2]
    assert (weights["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    assert {id(p) for p in weights["params"] + rest["params"]} == {id(p) for p in model.parameters()}
    assert len(weights["params"] + rest["params"]) == len(list(model.parameters()))

    before = [p.detach().clone() for p in model.parameters()]
    optimizer = optim.AdamW([weights, rest], lr=0.5)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for p, old in zip(model.parameters(), before, strict=True):
        decays = any(p is w for w in weights["params"])
        torch.testing.assert_close(p.detach(), 0.95 * old if decays else old)


def test_decay_groups_leave_empty_groups_out_and_refuse_a_negative_decay():
    assert len(optim.decay_groups(nn.BatchNorm1d(3), 0.1)) == 1
    assert len(optim.decay_groups(nn.Linear(3, 2, bias=False), 0.1)) == 1
    with pytest.raises(ValueError, match=r"weight_decay is -0\.1; it must be a finite number, 0 or more"):
        optim.decay_groups(nn.Linear(3, 2), -0.1)


FOREIGN = {
    "weight decay": (optim.SGD, {"weight_decay": 0.5}, "weight_decay=0.5, which SGD does not have: .* lr$"),
    "momentum": (optim.SGD, {"momentum": 0.9}, "momentum=0.9, which SGD does not have"),
    "a typing error": (
        optim.AdamW,
        {"weight_decy": 0.1},
        "weight_decy=0.1, which AdamW does not have: .*decay",
    ),
    "ascent": (optim.Adam, {"maximize": True}, "maximize=True, which Adam does not have"),
    "other betas": (optim.RMSprop, {"betas": (0.9, 0.99)}, "betas=.*, which RMSprop does not have"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_setting_that_the_optimizer_does_not_have_is_refused(case):
    kind, setting, message = FOREIGN[case]
    w = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=message):
        kind([{"params": [w], **setting}], lr=0.1)
    optimizer = kind([w], lr=0.1)
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], **setting})
    assert len(optimizer.param_groups) == 1
    state = optimizer.state_dict()
    state["param_groups"][0] |= setting
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)


def test_decay_groups_are_for_optimizers_that_decay():
    with pytest.raises(ValueError, match=r"weight_decay=0.5, which SGD does not have"):
        optim.SGD(optim.decay_groups(nn.Linear(2, 2), 0.5), lr=0.1)
    optim.SGD(optim.decay_groups(nn.Linear(2, 2), 0.0), lr=0.1)


@pytest.mark.parametrize("settings", [{"momentum": 0.9}, {"weight_decay": 0.1}, {"maximize": True}])
def test_torchs_state_is_refused_where_it_would_be_ignored(settings):
    w = nn.Parameter(torch.ones(2))
    theirs = torch.optim.SGD([w], lr=0.1, **settings)
    w.grad = torch.ones(2)
    theirs.step()
    with pytest.raises(ValueError, match=f"{next(iter(settings))}=.*, which SGD does not have"):
        optim.SGD([w], lr=0.1).load_state_dict(theirs.state_dict())
    state = theirs.state_dict()
    state["param_groups"][0] |= {"momentum": 0, "weight_decay": 0, "maximize": False}
    if settings == {"momentum": 0.9}:
        with pytest.raises(ValueError, match="a memory 'momentum_buffer': it is not from SGD"):
            optim.SGD([w], lr=0.1).load_state_dict(state)
    else:
        optim.SGD([w], lr=0.1).load_state_dict(state)  # its many other settings are off


@pytest.mark.parametrize("kind", ALL)
def test_a_state_is_loaded_as_often_as_one_likes_after_schedules_too(kind):
    model, x, y = problem(0)
    groups = [{"params": [p], "name": name} for name, p in model.named_parameters()]
    optimizer = kind(groups, lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=9, cycle_momentum="momentum" in optimizer.defaults or kind is optim.Adam
    )
    train(model, optimizer, x, y, 2)
    schedule.step()
    defaults = dict(optimizer.defaults)
    for _ in range(3):
        optimizer.load_state_dict(optimizer.state_dict())
        train(model, optimizer, x, y, 1)
    assert optimizer.defaults == defaults
    copied = copy.deepcopy(optimizer)
    copied.load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("fast", [True, False, None])
def test_a_copy_keeps_what_was_set_and_moves_its_own_weights_only(kind, fast):
    model, x, y = problem(0)
    optimizer = build(kind, model.parameters(), fast, lr=0.01)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)  # puts a step of its own over the optimizer's
    train(model, optimizer, x, y, 1)
    copied, twin = copy.deepcopy((optimizer, model))
    before = [p.detach().clone() for p in model.parameters()]
    train(twin, copied, x, y, 2)
    assert copied.fast is fast
    for p, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(p, old)
    train(model, optimizer, x, y, 2)
    assert_equal(model, twin, atol=0)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("fast", [True, False])
def test_a_rate_may_be_a_tensor(kind, fast):
    """torch's schedules then change it in place."""
    model, x, y = problem(0)
    twin = copy.deepcopy(model)
    settings = [{"lr": 0.01}, {"lr": torch.tensor(0.01, dtype=torch.float64)}]
    if "betas" in kind(twin.parameters(), **settings[0]).defaults:
        settings[1]["betas"] = torch.tensor(0.9, dtype=torch.float64), 0.999
    for each, setting in zip((model, twin), settings, strict=True):
        optimizer = build(kind, each.parameters(), fast, **setting)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        for _ in range(3):
            train(each, optimizer, x, y, 1)
            schedule.step()
    assert_equal(model, twin, atol=1e-12)


def test_what_a_subclass_notes_in_a_group_stays():
    class Counting(optim.SGD):
        def update(self, w, g, state, group):
            group["name"] = group.get("name", "") + "|"

    w = nn.Parameter(torch.ones(2))
    w.grad = torch.ones(2)
    optimizer = Counting([w], lr=0.1)
    for _ in range(3):
        optimizer.step()
    assert optimizer.param_groups[0]["name"] == "|||"


def positional(function):
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds]


TORCHS = {
    layers.BatchNorm: nn.BatchNorm2d,
    optim.AdaGrad: torch.optim.Adagrad,
} | {
    ours: getattr(theirs, name)
    for module, theirs in ((layers, nn), (optim, torch.optim))
    for name, ours in vars(module).items()
    if isinstance(ours, type) and hasattr(theirs, name) and ours is not getattr(theirs, name)
    and ours.__module__.startswith("course_lib.")
}  # fmt: skip


@pytest.mark.parametrize("ours", TORCHS, ids=lambda kind: kind.__name__)
def test_a_place_among_the_arguments_means_what_it_means_in_torch(ours):
    """Code that moves over must not change its meaning in silence: what differs goes by name only."""
    mine, theirs = positional(ours), positional(TORCHS[ours])
    assert mine == theirs[: len(mine)]
