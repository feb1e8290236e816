import numpy as np
import pytest
import torch

from course_lib import plotting
from course_lib.data import Images


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    from matplotlib import pyplot as plt

    plt.close("all")


def shown(figure):
    return [np.ma.getdata(ax.images[0].get_array()) for ax in figure.axes if ax.images]


def test_filters_share_one_scale_about_zero():
    weight = torch.randn(7, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    figure = plotting.filters(weight, columns=4)
    assert len(shown(figure)) == 14
    np.testing.assert_allclose(shown(figure)[3], weight[1, 1])
    limit = weight.abs().max().item()
    assert {ax.images[0].get_clim() for ax in figure.axes if ax.images} == {(-limit, limit)}


def test_filters_of_three_channels_are_colours():
    figure = plotting.filters(torch.randn(4, 3, 5, 7, requires_grad=True))
    assert [a.shape for a in shown(figure)] == [(5, 7, 3)] * 4
    assert all(a.min() == 0 and a.max() == 1 for a in shown(figure))
    plotting.filters(torch.zeros(2, 3, 3, 3))


def test_feature_maps_show_each_channel():
    maps = torch.arange(24.0).view(1, 2, 3, 4)
    figure = plotting.feature_maps(maps, titles=["a", "b"])
    np.testing.assert_array_equal(shown(figure)[1], maps[0, 1])
    assert [ax.get_title() for ax in figure.axes] == ["a", "b"]
    assert figure.axes[0].images[0].get_clim() == (0, 23)


def digits():
    x = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 3, 3).contiguous()
    return Images(x, torch.tensor([0, 1, 2, 0]), ("zero", "one", "two"), (0.5,), (0.5,))


def test_misclassified_shows_the_surest_mistakes_first():
    logits = torch.tensor([[1.0, 2, 0], [0, 5, 0], [9, 0, 0], [0, 0, 3]])
    figure = plotting.misclassified(digits(), logits)
    assert [ax.get_title() for ax in figure.axes if ax.images] == ["two → zero", "zero → two", "zero → one"]
    assert [round(a[0, 0] * 255) for a in shown(figure)] == [2, 3, 0]
    assert len(shown(plotting.misclassified(digits(), logits, most=1))) == 1


def test_alt_text_is_made_from_what_is_shown():
    logits = torch.tensor([[1.0, 2, 0], [0, 5, 0], [9, 0, 0], [0, 0, 3]])
    figure = plotting.misclassified(digits(), logits, title="Mistakes")
    assert plotting.alt_text(figure) == (
        "Mistakes: 3 pictures of 3×3 pixels, values from 0 to 0.012: two → zero; zero → two; zero → one."
    )
    one = plotting.feature_maps(torch.tensor([[[-1.0, 2.5]]]))
    assert plotting.alt_text(one) == "1 picture of 1×2 pixels, values from -1 to 2.5."


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plotting.filters(torch.zeros(3, 3)), r"\(3, 3\)"),
        (lambda: plotting.feature_maps(torch.zeros(2, 3, 4, 4)), r"\(2, 3, 4, 4\)"),
        (lambda: plotting.feature_maps(torch.zeros(2, 4, 4), titles=["a"]), "1 titles for 2"),
        (lambda: plotting.feature_maps(torch.zeros(2, 4, 4), columns=0), "columns is 0"),
        (lambda: plotting.misclassified(digits(), torch.zeros(4, 2)), r"\(4, 2\).*\(4, 3\)"),
        (lambda: plotting.misclassified(digits(), torch.eye(3)[[0, 1, 2, 0]]), "nothing to show"),
        (lambda: plotting.alt_text(plotting.curves({"a": [1, 2]})), "no pictures"),
    ],
)
def test_errors_name_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
