import pytest
import torch
from torch import nn

from course_lib.models.mlp import ACTIVATIONS, MLP, layer_stack


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_equals_the_same_network_from_torchs_parts(activation):
    model = MLP(12, [8, 7], 5, activation=activation, generator=seeded())
    twin = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 8), ACTIVATIONS[activation](), nn.Linear(8, 7), ACTIVATIONS[activation](),
        nn.Linear(7, 5),
    )  # fmt: skip
    twin.load_state_dict(dict(zip(twin.state_dict(), model.state_dict().values(), strict=True)))
    x = torch.randn(6, 1, 3, 4, generator=seeded(1))
    assert torch.equal(model(x), twin(x))
    model(x).square().sum().backward()
    twin(x).square().sum().backward()
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)
        assert mine.grad.abs().max() > 0


@pytest.mark.parametrize(("place", "bias"), [(True, False), ("before", False), ("after", True)])
def test_batch_norm_and_dropout_stand_where_they_are_asked_for(place, bias):
    model = MLP(12, [8, 7], 5, batch_norm=place, dropout=0.3, generator=seeded())

    def hidden(fan_in, width):
        norm, relu = nn.BatchNorm1d(width), nn.ReLU()
        between = [relu, norm] if place == "after" else [norm, relu]
        return [nn.Linear(fan_in, width, bias=bias), *between, nn.Dropout(0.3)]

    # The last layer has neither: logits are not normalised, and never dropped.
    twin = nn.Sequential(*hidden(12, 8), *hidden(8, 7), nn.Linear(7, 5))
    at = [0, 4, 8]
    for k, l in enumerate(at):
        twin[l].load_state_dict(model.layers[k].state_dict())
    x = torch.randn(6, 12, generator=seeded(1))
    results = []
    for network in (model, twin):
        torch.manual_seed(3)
        y = network.train()(x)
        y.square().sum().backward()
        results.append([y, network.eval()(x)])
    torch.testing.assert_close(*results)
    for k, l in enumerate(at):
        torch.testing.assert_close(model.layers[k].weight.grad, twin[l].weight.grad, rtol=1e-4, atol=1e-5)
        assert model.layers[k].weight.grad.abs().max() > 0


def test_without_them_the_network_is_as_before():
    model = MLP(12, [8], 5)
    assert list(model.state_dict()) == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
    ]
    assert torch.equal(model.train()(torch.ones(2, 12)), model.eval()(torch.ones(2, 12)))


def test_batch_norm_does_not_change_the_draw_of_the_weights():
    plain, normed = (MLP(9, [8, 8], 3, batch_norm=place, generator=seeded(4)) for place in (False, True))
    for mine, theirs in zip(plain.layers, normed.layers, strict=True):
        assert torch.equal(mine.weight, theirs.weight)


@pytest.mark.parametrize("place", ["between", None, 2])
def test_a_bad_place_for_batch_norm_and_a_bad_dropout_are_named(place):
    with pytest.raises(ValueError, match=r"batch_norm is .*'before' or 'after'"):
        MLP(3, [3], 2, batch_norm=place)
    with pytest.raises(ValueError, match=r"p is 1.0"):
        MLP(3, [3], 2, dropout=1.0)


def test_parameter_count_of_the_books_network():
    assert sum(p.numel() for p in MLP(784, [100] * 4, 10).parameters()) == 109_810


def test_shapes_on_meta():
    with torch.device("meta"):
        assert MLP(784, [100], 10)(torch.empty(3, 1, 28, 28)).shape == (3, 10)


def test_no_hidden_layer_is_a_linear_classifier():
    model = MLP(4, [], 2)
    x = torch.randn(3, 4)
    assert torch.equal(model(x), model.layers[0](x))


def test_layer_stack_alternates_and_has_the_asked_scale():
    stack = layer_stack(200, 3, activation="tanh", weight_init=0.3, generator=seeded())
    assert [type(m) for m in stack] == [nn.Linear, nn.Tanh] * 3
    assert all(m.bias is None for m in stack[::2])
    assert stack[4].weight.std().item() == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize("widths", [(0, [5], 2), (3, [5, -1], 2), (3, [2.5], 2)])
def test_a_bad_width_is_named(widths):
    with pytest.raises(ValueError, match="widths are"):
        MLP(*widths)


def test_bad_activation_depth_and_input():
    with pytest.raises(ValueError, match=r"'gelu'.*relu, tanh"):
        MLP(3, [3], 2, activation="gelu")
    with pytest.raises(ValueError, match="depth is 0"):
        layer_stack(10, 0)
    with pytest.raises(ValueError, match=r"x has 4 numbers.*in_features=3"):
        MLP(3, [3], 2)(torch.zeros(1, 2, 2))
