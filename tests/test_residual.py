import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from course_lib import measure
from course_lib.models.cifar_resnet import CifarResNet
from course_lib.models.mobilenetv2 import MobileNetV2
from course_lib.models.resnet import ResNet


def hooks_on(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def small(**options):
    generator = torch.Generator().manual_seed(0)
    return CifarResNet(14, in_channels=1, widths=(4, 6, 8), generator=generator, **options)


def batch(n=5):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 1, 8, 8, generator=generator), torch.arange(n) % 10


@pytest.mark.parametrize(
    ("options", "where"), [({}, "x"), ({"shortcut": "B"}, "projection"), ({"pre_activation": True}, "x")]
)
def test_ratios_are_those_of_the_blocks_own_parts(options, where):
    model, (x, _) = small(**options), batch()
    ratios = measure.residual_ratios(model, x)
    assert list(ratios) == [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1)]
    model.train()
    signal = model.conv1(x)
    if not options.get("pre_activation"):
        signal = model.relu(model.bn1(signal))
    for name, block in measure.residual_blocks(model).items():
        plain = signal
        if block.shortcut is not None:
            plain = block.shortcut(signal)
        block.module.residual = False  # then the block returns F(x), with or without the ReLU after it
        seen = []
        handle = block.branch.register_forward_hook(lambda _m, _i, y, seen=seen: seen.append(y.clone()))
        block.module(signal)
        handle.remove()
        block.module.residual = True
        expected = (seen[0].flatten(1).norm(dim=1) / plain.flatten(1).norm(dim=1)).mean()
        assert ratios[name] == pytest.approx(expected.item(), rel=1e-4)
        signal = block.module(signal)


def test_ratios_are_the_same_on_torchvisions_network():
    mine, theirs = ResNet(18, num_classes=5), torchvision.models.resnet18(num_classes=5)
    mine.load_state_dict(theirs.state_dict())
    x = torch.randn(4, 3, 32, 32)
    assert measure.residual_ratios(mine, x) == measure.residual_ratios(theirs, x)
    wide = torchvision.models.mobilenet_v2(num_classes=5, width_mult=0.5).eval()
    own = MobileNetV2(num_classes=5, width=0.5).eval()
    own.load_state_dict(wide.state_dict())
    found = measure.residual_ratios(own, x)
    assert found == measure.residual_ratios(wide, x)
    assert len(found) == 10  # of 17 blocks, seven change the shape
    assert len(measure.residual_blocks(own)) == len(measure.residual_blocks(wide)) == 17


@pytest.mark.parametrize("residual", [True, False])
def test_gradient_norms_are_autograds(residual):
    model, (x, y) = small(residual=residual), batch()
    norms = measure.gradient_norms(model, x, y)
    assert all(p.grad is None for p in model.parameters())
    signal, outputs = model.relu(model.bn1(model.conv1(x))), []
    for stage in (model.layer1, model.layer2, model.layer3):
        for block in stage:
            signal = block(signal)
            outputs.append(signal)
    loss = F.cross_entropy(model.fc(signal.mean(dim=(2, 3))), y)
    for norm, gradient in zip(norms.values(), torch.autograd.grad(loss, outputs), strict=True):
        assert norm == pytest.approx(gradient.norm().item(), rel=1e-4)
        assert norm > 0


def test_nothing_is_left_behind():
    model, (x, y) = small(), batch()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure.residual_ratios(model, x)
    measure.gradient_norms(model, x, y)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match="shape"), measure.without(model, "layer1.0"):
        model(torch.ones(1, 3, 8, 8))
    with pytest.raises(ValueError, match="shape"):
        measure.residual_ratios(model, torch.ones(1, 3, 8, 8))
    assert hooks_on(model) == 0


@pytest.mark.parametrize("options", [{}, {"pre_activation": True}])
def test_a_removed_block_hands_on_its_shortcut(options):
    model, (x, _) = small(**options).eval(), batch()
    whole = model(x)
    for name, block in measure.residual_blocks(model).items():
        seen = {}
        handle = block.module.register_forward_hook(lambda _m, i, y, seen=seen: seen.update(x=i[0], y=y))
        with measure.without(model, name) as reduced:
            y = reduced(x)
        handle.remove()
        given = seen["x"] if block.shortcut is None else block.shortcut(seen["x"])
        torch.testing.assert_close(seen["y"], given if options else given.relu())
        assert not torch.equal(y, whole)
    assert torch.equal(model(x), whole)


def test_several_blocks_at_once_and_all_of_a_stage():
    model, (x, _) = small(), batch()
    with measure.without(model, ["layer1.0", "layer1.1"]):
        signal = x.expand(-1, 4, -1, -1).abs()
        assert torch.equal(model.layer1(signal), signal)


def test_a_plain_block_hands_on_its_input_or_says_that_it_cannot():
    model, (x, _) = small(residual=False).eval(), batch()
    with measure.without(model, "layer2.1"):
        signal = torch.rand(2, 6, 4, 4)
        assert torch.equal(model.layer2[1](signal), signal)
    message = r"'layer2.0'.*\(5, 4, 8, 8\) to \(5, 6, 4, 4\)"
    with pytest.raises(ValueError, match=message), measure.without(model, "layer2.0"):
        model(x)


class Other(nn.Module):
    """A network with one residual block of nobody's making."""

    def __init__(self):
        super().__init__()
        self.block = nn.Module()
        self.block.inner = nn.Linear(3, 3)
        self.block.forward = lambda x: x + self.block.inner(x)

    def forward(self, x):
        return self.block(x)


def test_any_network_with_its_branches_named():
    model, x = Other(), torch.randn(4, 3)
    branches = {"block": "block.inner"}
    expected = (model.block.inner(x).norm(dim=1) / x.norm(dim=1)).mean().item()
    assert measure.residual_ratios(model, x, branches)["block"] == pytest.approx(expected, rel=1e-5)
    with measure.without(model, "block", branches):
        assert torch.equal(model(x), x)


def test_errors_name_what_is_there():
    with pytest.raises(ValueError, match="Linear without a residual block"):
        measure.residual_blocks(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"'block.outer'"):
        measure.residual_blocks(Other(), {"block": "block.outer"})
    with (
        pytest.raises(ValueError, match=r"'layer9.0'.*layer1.0, layer1.1"),
        measure.without(small(), "layer9.0"),
    ):
        pass


def test_latency_measures_every_run_and_counts_them():
    calls = []
    found = measure.latency(lambda: calls.append(1), repeats=5, warmup=2, device="cpu")
    assert len(calls) == 7
    assert found.runs == 5
    assert 0 < found.low <= found.median <= found.high
    assert "n = 5" in str(found)
    assert measure.latency(lambda: None, repeats=1, warmup=0, device="cpu").runs == 1
    for wrong in ({"repeats": 0}, {"repeats": 2.5}, {"warmup": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            measure.latency(lambda: None, **wrong)
