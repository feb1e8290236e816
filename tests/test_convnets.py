"""The two small convolutional networks: sizes, parameters, what they refuse, and that they learn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.models.convnets import DeepConvNet, SimpleConvNet


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_simple_convnet_has_the_parameters_of_its_source():
    assert parameters(SimpleConvNet()) == 433_890


def test_deep_convnet_has_the_layers_of_its_source():
    model = DeepConvNet()
    convolutions = [layer for layer in model.features if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [16, 16, 32, 32, 64, 64]
    assert [layer.padding[0] for layer in convolutions] == [1, 1, 1, 2, 1, 1]
    assert model.classifier[0].in_features == 64 * 4 * 4
    assert [type(layer).__name__ for layer in model.classifier] == ["Linear", "ReLU", "Dropout", "Linear"]


@pytest.mark.parametrize("network", [SimpleConvNet, DeepConvNet])
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 28, 10), (3, 32, 7), (2, 17, 3)])
def test_any_channels_sizes_and_classes(network, channels, size, classes):
    model = network(in_channels=channels, image_size=size, num_classes=classes)
    assert model(torch.zeros(2, channels, size, size)).shape == (2, classes)


def test_the_layers_can_be_exchanged():
    class Conv(nn.Conv2d):
        pass

    class Pool(nn.AvgPool2d):
        pass

    model = SimpleConvNet(conv=Conv, pool=Pool)
    assert type(model.conv) is Conv
    assert type(model.pool) is Pool


@pytest.mark.parametrize("network", [SimpleConvNet, DeepConvNet])
def test_the_start_is_hes_and_follows_its_generator(network):
    one, two = (network(generator=torch.Generator().manual_seed(3)) for _ in range(2))
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
        if name.endswith("bias"):
            assert a.abs().max() == 0
        elif a.numel() > 2000:
            assert a.std().item() == pytest.approx((2 / a[0].numel()) ** 0.5, rel=0.1)


@pytest.mark.parametrize("network", [SimpleConvNet, DeepConvNet])
def test_it_fits_a_few_images(network):
    generator = torch.Generator().manual_seed(0)
    model = network(generator=generator)
    x, y = torch.randn(20, 1, 28, 28, generator=generator), torch.arange(20) % 10
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    model.eval()  # without dropout: it must be able to learn these by heart
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert (model(x).argmax(1) == y).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SimpleConvNet(image_size=5), "image_size is 5; a 5×5 convolution .* at least 6 pixels"),
        (lambda: SimpleConvNet(filters=0), "filters is 0"),
        (lambda: DeepConvNet(image_size=3), "image_size is 3; three poolings of 2 need at least 4"),
        (lambda: DeepConvNet(channels=(16, 32)), r"channels are \(16, 32\); give three"),
        (lambda: DeepConvNet(channels=(16, 0, 64)), r"channels\[1\] is 0"),
        (lambda: SimpleConvNet()(torch.zeros(2, 3, 28, 28)), r"\(2, 3, 28, 28\); .* \(N, 1, H, W\)"),
        (lambda: DeepConvNet()(torch.zeros(2, 1, 32, 32)), "32×32; this network was built for image_size=28"),
        (lambda: DeepConvNet()(torch.zeros(28, 28)), r"\(28, 28\); this network takes images"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
