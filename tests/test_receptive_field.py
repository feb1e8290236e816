"""What one unit sees: by the layers' sizes, and measured by gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from course_lib import measure
from course_lib.models.alexnet import AlexNet
from course_lib.models.resnet import ResNet
from course_lib.models.vgg import VGG


def test_published_receptive_fields():
    """AlexNet's 195 and VGG-16's 212 pixels: Araujo et al., Distill 2019."""
    with torch.device("meta"):
        networks = AlexNet(), VGG(16)
    fields = [measure.receptive_field(network.features)[-1] for network in networks]
    assert [(field.size, field.jump) for field in fields] == [(195, 32), (212, 32)]


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)],
        [nn.Conv2d(1, 1, 5, stride=2), nn.AvgPool2d(2), nn.Conv2d(1, 1, 3, dilation=2)],
        [nn.Conv2d(1, 1, 1), nn.AvgPool2d(3, stride=1), nn.Conv2d(1, 1, 4, stride=3), nn.Conv2d(1, 1, 2)],
    ],
)
def test_computed_is_measured(layers):
    model = nn.Sequential(*layers)
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    size = measure.receptive_field(model)[-1].size
    seen = measure.influence(model, torch.zeros(1, 1, 61, 61)) > 0
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    assert len(rows) == len(columns)
    assert rows[-1] - rows[0] + 1 == columns[-1] - columns[0] + 1 == size
    assert measure.receptive_field(layers)[-1].size == size


def test_influence_of_a_whole_network_covers_the_image_and_leaves_no_gradient():
    torch.manual_seed(0)
    model = ResNet(18, width=4, num_classes=3).eval()
    seen = measure.influence(model, torch.randn(2, 3, 33, 33))
    assert seen.shape == (33, 33)
    assert seen.max() == 1
    assert (seen > 0).float().mean() > 0.99
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"0.kernel_size is \(3, 5\); it must be the same in both"):
        measure.receptive_field([nn.Conv2d(1, 1, (3, 5))])
    with pytest.raises(ValueError, match=r"x has shape \(2, 4\)"):
        measure.influence(nn.Linear(4, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"model gives shape \(1, 3, 8\)"):
        measure.influence(nn.Flatten(2), torch.zeros(1, 3, 2, 4))
