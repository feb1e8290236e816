import math

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.models.cifar_resnet import CifarResNet
from course_lib.models.resnet import DEPTHS, PadShortcut, ResNet

COUNTS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}
CIFAR_COUNTS = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def outputs_of(model, names, x):
    """The shapes of these layers' outputs."""
    shapes = {}
    modules = dict(model.named_modules())
    handles = [
        modules[name].register_forward_hook(
            lambda _m, _i, y, name=name: shapes.update({name: tuple(y.shape)})
        )
        for name in names
    ]
    model(x)
    for handle in handles:
        handle.remove()
    return shapes


@pytest.mark.parametrize("depth", DEPTHS)
def test_parameters_and_names_are_torchvisions(depth):
    with torch.device("meta"):
        mine, theirs = ResNet(depth), getattr(torchvision.models, f"resnet{depth}")()
    assert count(mine) == COUNTS[depth]
    weights = getattr(torchvision.models, f"ResNet{depth}_Weights").DEFAULT
    assert count(mine) == weights.meta["num_params"]
    assert {k: v.shape for k, v in mine.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }


@pytest.mark.parametrize(("depth", "side"), [(18, 64), (50, 33)])
def test_logits_and_gradients_are_torchvisions_to_the_bit(depth, side):
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, f"resnet{depth}")(num_classes=7)
    mine = ResNet(depth, num_classes=7)
    mine.load_state_dict(theirs.state_dict())
    x = torch.randn(4, 3, side, side, generator=seeded())
    for mode in (True, False):
        y, z = mine.train(mode)(x), theirs.train(mode)(x)
        assert torch.equal(y, z)
        assert y.std(dim=0).min() > 0
    mine.zero_grad()
    theirs.zero_grad()
    mine.train()(x).square().sum().backward()
    theirs.train()(x).square().sum().backward()
    for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)
    assert mine.conv1.weight.grad.abs().max() > 0
    theirs.load_state_dict(mine.state_dict())  # strict the other way


@pytest.mark.parametrize(("depth", "wide"), [(18, 1), (34, 1), (50, 4)])
def test_stage_shapes_from_224(depth, wide):
    with torch.device("meta"):
        model, x = ResNet(depth), torch.empty(2, 3, 224, 224)
        found = outputs_of(model, ["conv1", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool"], x)
    assert found == {
        "conv1": (2, 64, 112, 112),
        "maxpool": (2, 64, 56, 56),
        "layer1": (2, 64 * wide, 56, 56),
        "layer2": (2, 128 * wide, 28, 28),
        "layer3": (2, 256 * wide, 14, 14),
        "layer4": (2, 512 * wide, 7, 7),
        "avgpool": (2, 512 * wide, 1, 1),
    }


@pytest.mark.parametrize("depth", CIFAR_COUNTS)
def test_cifar_parameter_counts(depth):
    with torch.device("meta"):
        assert count(CifarResNet(depth)) == CIFAR_COUNTS[depth]
        # Option A has no parameters, so the plain twin has as many; B adds two projections with BatchNorm.
        assert count(CifarResNet(depth, residual=False)) == CIFAR_COUNTS[depth]
        projections = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
        assert count(CifarResNet(depth, shortcut="B")) == CIFAR_COUNTS[depth] + projections


def test_cifar_depth_counts_the_layers_of_weights_on_the_main_path():
    with torch.device("meta"):
        for depth in CIFAR_COUNTS:
            layers = [m for m in CifarResNet(depth).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
            assert len(layers) == depth


@settings(max_examples=12, deadline=None)
@given(
    depth=st.sampled_from([18, 50]),
    stem=st.sampled_from(["imagenet", "small"]),
    side=st.integers(17, 50),
    channels=st.integers(1, 4),
    classes=st.integers(1, 12),
    residual=st.booleans(),
    pre_activation=st.booleans(),
    shortcut=st.sampled_from("ABC"),
    batch_norm=st.booleans(),
)
def test_any_size_channels_and_classes(
    depth, stem, side, channels, classes, residual, pre_activation, shortcut, batch_norm
):
    with torch.device("meta"):
        model = ResNet(
            depth, stem=stem, in_channels=channels, num_classes=classes, residual=residual,
            pre_activation=pre_activation, shortcut=shortcut, batch_norm=batch_norm,
        )  # fmt: skip
        assert model(torch.empty(2, channels, side, side + 3)).shape == (2, classes)
        small = CifarResNet(
            20, in_channels=channels, num_classes=classes, residual=residual, pre_activation=pre_activation,
            shortcut=shortcut, batch_norm=batch_norm, widths=(3, 5, 8),
        )  # fmt: skip
        assert small(torch.empty(2, channels, side - 14, side)).shape == (2, classes)


@pytest.mark.parametrize("pre_activation", [False, True])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_block_adds_what_it_was_given(pre_activation, batch_norm):
    model = CifarResNet(
        8, in_channels=1, widths=(4, 4, 4), pre_activation=pre_activation, batch_norm=batch_norm,
        generator=seeded(),
    )  # fmt: skip
    block = model.layer1[0]
    x = torch.randn(4, 4, 6, 6, generator=seeded(1)).relu()
    branch = []
    handle = block.branch_end.register_forward_hook(lambda _m, _i, y: branch.append(y.clone()))
    y = block(x)
    handle.remove()
    expected = x + branch[0]
    torch.testing.assert_close(y, expected if pre_activation else expected.relu())
    assert branch[0].abs().max() > 0.1
    block.residual = False
    torch.testing.assert_close(block(x), branch[0] if pre_activation else branch[0].relu())


def test_pad_shortcut_keeps_every_other_pixel_and_adds_channels_of_zeros():
    x = torch.randn(2, 3, 5, 6)
    y = PadShortcut(3, 7, 2)(x)
    assert y.shape == (2, 7, 3, 3)
    assert torch.equal(y[:, :3], x[:, :, ::2, ::2])
    assert y[:, 3:].abs().max() == 0


def test_plain_twin_has_no_shortcut_and_the_same_layers():
    with torch.device("meta"):
        plain, residual = ResNet(34, residual=False), ResNet(34, shortcut="A")
    assert not any("downsample" in name for name in plain.state_dict())
    assert plain.state_dict().keys() == residual.state_dict().keys()


@pytest.mark.parametrize("pre_activation", [False, True])
def test_zero_init_residual_makes_the_identity_of_every_block(pre_activation):
    model = CifarResNet(
        20, in_channels=1, widths=(4, 4, 4), pre_activation=pre_activation, zero_init_residual=True
    )
    x = torch.rand(4, 4, 8, 8)
    torch.testing.assert_close(model.layer1(x), x)
    with pytest.raises(ValueError, match="zero_init_residual"):
        CifarResNet(20, zero_init_residual=True, batch_norm=False)


def test_pre_activation_normalises_once_after_the_last_block():
    model = ResNet(18, pre_activation=True, stem="small", width=4, num_classes=5)
    names = list(model.state_dict())
    assert "norm.weight" in names
    assert "bn1.weight" not in names
    blocks = [name for name in names if name.startswith("layer1.0.")]
    assert blocks.index("layer1.0.bn1.weight") < blocks.index("layer1.0.conv1.weight")
    # Identity shortcuts touch nothing: a stage with branches at zero hands on what it was given, signs too.
    for block in model.layer1:
        nn.init.zeros_(block.branch_end.weight)
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(model.layer1(x), x)


def test_the_same_generator_draws_the_same_network():
    one, two = (CifarResNet(20, generator=seeded(3)).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert one["layer2.0.conv1.weight"].std() == pytest.approx((2 / (16 * 9)) ** 0.5, rel=0.05)


def test_channels_last_gives_the_same_logits():
    model = ResNet(18, stem="small", width=8, num_classes=5, generator=seeded()).eval()
    x = torch.randn(3, 3, 20, 20, generator=seeded(1))
    expected = model(x)
    model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(x.to(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResNet(35), r"depth is 35.*18, 34, 50, 101, 152"),
        (lambda: CifarResNet(21), r"depth is 21.*6n \+ 2.*20, 32, 44, 56, 110"),
        (lambda: CifarResNet(2), r"depth is 2"),
        (lambda: ResNet(18, stem="tiny"), r"stem is 'tiny'.*'imagenet', 'small'"),
        (lambda: ResNet(18, shortcut="D"), r"shortcut is 'D'.*'A', 'B', 'C'"),
        (lambda: ResNet(18, num_classes=0), r"num_classes is 0"),
        (lambda: CifarResNet(20, in_channels=1.5), r"in_channels is 1.5"),
        (lambda: CifarResNet(20, widths=(16, 8, 32)), r"widths are \(16, 8, 32\)"),
        (lambda: CifarResNet(20, widths=(16, 32)), r"widths are \(16, 32\)"),
        (lambda: ResNet(18, weight_init="best"), r"scheme is 'best'"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("model", "smallest"),
    [
        (lambda: ResNet(18), 17),
        (lambda: ResNet(50, stem="small"), 5),
        (lambda: CifarResNet(20), 3),
    ],
)
def test_images_too_small_or_of_other_channels_are_refused(model, smallest):
    with torch.device("meta"):
        model = model().eval()
        assert model(torch.empty(1, 3, smallest, smallest)).shape[0] == 1
        with pytest.raises(ValueError, match=f"at least {smallest} pixels"):
            model(torch.empty(1, 3, smallest, smallest - 1))
        with pytest.raises(ValueError, match=r"\(N, 3, H, W\)"):
            model(torch.empty(1, 1, 32, 32))


@pytest.mark.parametrize("depth", [8, 56])
def test_the_first_loss_is_ln_of_the_classes_at_any_depth(depth):
    model = CifarResNet(depth, in_channels=1, widths=(4, 4, 8), generator=seeded())
    x, y = torch.randn(20, 1, 8, 8, generator=seeded(1)), torch.arange(20) % 10
    loss = nn.functional.cross_entropy(model(x), y).item()
    assert loss == pytest.approx(math.log(10), abs=0.15)
