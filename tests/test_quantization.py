import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.models.mobilenetv2 import MobileNetV2
from course_lib.quantization import fold_batch_norm, input_ranges, round_to_grid, round_weights, simulate


def network(activation="relu6"):
    torch.manual_seed(0)
    model = MobileNetV2(in_channels=1, num_classes=10, width=0.35, stem="small", activation=activation)
    for norm in model.modules():  # as if it had been trained: constants that matter
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.2)
            nn.init.normal_(norm.running_mean, std=0.2)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    return model.eval()


@settings(max_examples=50, deadline=None)
@given(
    low=st.floats(-10, 0), width=st.floats(0.1, 20), bits=st.sampled_from([2, 4, 8]), seed=st.integers(0, 100)
)
def test_rounding_is_torchs_fake_quantisation(low, width, bits, seed):
    high = max(low + width, 0.05)
    x = 5 * torch.randn(200, generator=torch.Generator().manual_seed(seed))
    step = (high - low) / (2**bits - 1)
    expected = torch.fake_quantize_per_tensor_affine(x, step, round(-low / step), 0, 2**bits - 1)
    got = round_to_grid(x, low, high, bits)
    # A value half way between two may go either way: 1 / step and division by it round differently.
    half_way = ((x / step).remainder(1) - 0.5).abs() < 1e-4
    torch.testing.assert_close(got[~half_way], expected[~half_way], rtol=1e-5, atol=1e-5)
    assert (got != x).any()


def test_a_grid_has_so_many_values_and_0_is_one_of_them():
    values = round_to_grid(torch.linspace(-3, 9, 100_000), -1.3, 4.9, bits=4).unique()
    assert len(values) == 16
    assert (values == 0).any()
    assert round_to_grid(torch.tensor([0.0, 100.0]), 2, 6, bits=8).tolist() == [0, 6]  # widened to hold 0


def test_rounding_is_never_off_by_more_than_half_a_step():
    x = torch.rand(1000) * 6
    assert (round_to_grid(x, 0, 6, 8) - x).abs().max() <= 6 / 255 / 2 + 1e-6


@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_have_a_grid_each_channel_or_one(per_channel):
    weight = torch.randn(4, 3, 3, 3) * torch.tensor([100.0, 1, 1, 0.01])[:, None, None, None]
    error = (round_weights(weight, 8, per_channel) - weight).abs().amax((1, 2, 3))
    largest = weight.abs().amax((1, 2, 3))
    step = (largest if per_channel else largest.max()) / 127
    assert (error <= step / 2 + 1e-6).all()
    assert (round_weights(weight, 8, per_channel)[3] == 0).all() == (not per_channel)
    assert torch.equal(round_weights(torch.zeros(2, 2)), torch.zeros(2, 2))


def test_folding_changes_no_output_and_leaves_no_batch_norm():
    model, x = network(), torch.randn(4, 1, 8, 8)
    folded = fold_batch_norm(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    torch.testing.assert_close(folded(x), model(x), rtol=1e-4, atol=1e-4)


def test_ranges_are_those_of_the_inputs_and_hooks_go():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU6(), nn.Linear(4, 2)), 9 * torch.randn(50, 3)
    ranges = input_ranges(model, x)
    assert ranges["0"] == (x.min().item(), x.max().item())
    hidden = model[:2](x)
    assert ranges["2"] == (hidden.min().item(), hidden.max().item())
    assert ranges["2"][1] == 6
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_layer_that_runs_twice_has_the_range_of_both_runs():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1, bias=False)
            nn.init.constant_(self.layer.weight, -0.5)

        def forward(self, x):
            return self.layer(self.layer(x))

    assert input_ranges(Twice(), torch.tensor([[2.0], [4.0]]))["layer"] == (-2, 4)


def test_a_linear_layer_simulated_is_the_one_computed_in_integers():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(20, 5)), torch.rand(64, 20) * 6
    low, high = 0.0, x.max().item()
    step = high / 255
    integers = (x / step).round().long()
    weight = model[0].weight.detach()
    weight_step = weight.abs().amax(1) / 127
    products = integers @ (weight / weight_step[:, None]).round().long().T  # int64: exact
    expected = products * step * weight_step + model[0].bias
    torch.testing.assert_close(simulate(model, x)(x), expected, rtol=1e-4, atol=1e-4)
    assert low == 0


def test_more_bits_are_nearer_to_the_network():
    model, x = network(), torch.randn(32, 1, 8, 8)
    errors = [(simulate(model, x, bits=bits)(x) - model(x)).abs().mean().item() for bits in (3, 5, 8, 12)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02 * model(x).abs().mean()
    untouched = simulate(model, x, weights=False, inputs=False)
    torch.testing.assert_close(untouched(x), model(x), rtol=1e-4, atol=1e-4)
    assert (simulate(model, x, inputs=False)(x) != simulate(model, x, weights=False)(x)).any()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="bits is 1"):
        round_to_grid(torch.ones(3), 0, 1, bits=1)
    with pytest.raises(ValueError, match=r"low is 0\.0 and high is 0\.0"):
        round_to_grid(torch.ones(3), 0, 0)
    with pytest.raises(ValueError, match="bits is 40"):
        simulate(network(), torch.randn(2, 1, 8, 8), bits=40)
