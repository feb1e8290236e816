import matplotlib

matplotlib.use("Agg")

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from course_lib import palette, plotting
from course_lib.data import Images


@pytest.fixture(autouse=True)
def _close_figures():
    plotting.use_style()
    yield
    plt.close("all")


def test_curves_draw_mean_and_band_with_a_dash_each():
    runs = torch.tensor([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]])
    figure = plotting.curves({"a": runs, "b": [0.0, 0.0, 1.0]}, references={"limit": 4.0})
    (ax,) = figure.axes
    first, second, _ = ax.lines
    np.testing.assert_allclose(first.get_ydata(), [2, 3, 4])
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_color() == palette.LIGHT["series-1"]
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (1, 5)
    assert [text.get_text() for text in ax.texts] == ["b", "a", "limit"]


def test_labels_at_line_ends_do_not_overlap():
    figure = plotting.curves({name: [0.0, 1.0 + k / 1000] for k, name in enumerate("abcd")})
    figure.canvas.draw()
    boxes = sorted((t.get_window_extent() for t in figure.axes[0].texts), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))


def test_smoothing_is_a_centred_moving_average():
    figure = plotting.curves({"a": [0.0, 3.0, 6.0, 9.0]}, smooth=3)
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_xydata(), [[1, 3], [2, 6]])


def test_curves_bad_input():
    with pytest.raises(ValueError, match="0 entries"):
        plotting.curves({})
    with pytest.raises(ValueError, match="7 entries"):
        plotting.curves({str(k): [1.0] for k in range(7)})
    with pytest.raises(ValueError, match="x has 2 points, series 'a' has 3"):
        plotting.curves({"a": [1, 2, 3]}, x=[0, 1])


def test_histograms_are_fractions_with_their_moments():
    figure = plotting.histograms(
        {"row": {"one": torch.tensor([0.0, 0.0, 1.0, 1.0]), "two": torch.tensor([0.5])}}
    )
    heights = figure.axes[0].patches[0].get_data().values
    assert heights.sum() == pytest.approx(1)
    assert "0.5 ± 0.5" in [text.get_text() for text in figure.axes[0].texts]


def test_histograms_leave_out_what_is_not_finite():
    plotting.histograms({"row": {"one": torch.tensor([0.0, float("nan"), float("inf"), 1.0])}})


def test_histograms_bad_input():
    with pytest.raises(ValueError, match="rows have the columns"):
        plotting.histograms({"a": {"x": [1.0]}, "b": {"y": [1.0]}})
    with pytest.raises(ValueError, match="there must be one"):
        plotting.histograms({})


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted([luminance(one), luminance(other)], reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_palette_contrast_is_enough_to_read(theme):
    for ground in ("paper", "panel"):
        for k in range(palette.SERIES):
            assert contrast(theme[f"series-{k + 1}"], theme[ground]) >= 3
        for name in ("ink", "muted", "accent", "good", "bad"):
            assert contrast(theme[name], theme[ground]) >= 4.5, name


def test_palette_themes_have_the_same_names_and_enough_marks():
    assert palette.LIGHT.keys() == palette.DARK.keys()
    assert len(set(palette.DASHES)) == len(set(palette.MARKERS)) == palette.SERIES
    sheet = palette.css(".card")
    assert sheet.count("--course-ink") == 2
    assert 'html[data-theme="dark"] .card' in sheet


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int8, torch.bool])
def test_numbers_of_every_kind_are_drawn(dtype):
    values = torch.tensor([0, 1, 1, 0]).to(dtype)
    for series in (
        values,
        [values, values],
        list(values),
        values.requires_grad_(dtype.is_floating_point),
    ):
        line = plotting.curves({"a": series}).axes[0].lines[0]
        assert line.get_ydata().tolist() == [0, 1, 1, 0]
    plotting.histograms({"a": {"b": values}})
    plotting.feature_maps(values.detach().view(1, 2, 2))
    with pytest.raises(ValueError, match="complex64; draw their real part"):
        plotting.curves({"a": torch.zeros(3, dtype=torch.complex64)})


@pytest.mark.parametrize("style", ["default", *plt.style.available])
def test_no_style_in_use_before_makes_the_books_unreadable(style):
    with matplotlib.rc_context():
        plt.style.use(style)
        plotting.use_style()
        figure = plotting.curves({"a": [1, 2]}, title="title", xlabel="x", ylabel="y")
        ax = figure.axes[0]
        ax.legend()
        figure.canvas.draw()
        texts = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()]
        texts += [*ax.texts, *ax.get_legend().get_texts()]
        for paper in (figure.get_facecolor(), ax.get_facecolor()):
            assert to_hex(paper) == palette.LIGHT["paper"]
        for text in texts:
            assert contrast(to_hex(text.get_color()), palette.LIGHT["paper"]) >= 3, (style, text)


def test_a_dollar_in_a_class_name_is_a_dollar():
    names = ("$5", "a$b_{", "$\\frac{$")
    images = Images(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.arange(3), names, (0.0,), (1.0,))
    logits = torch.eye(3).roll(1, 1)
    for figure in (plotting.confusion_matrix(images, logits), plotting.misclassified(images, logits)):
        figure.canvas.draw()
        assert all(name in plotting.alt_text(figure) for name in names)
    ticks = plotting.confusion_matrix(images, logits).axes[0].get_yticklabels()
    assert [cbook_text(tick) for tick in ticks] == [(name, False) for name in names]


def cbook_text(text):
    """What matplotlib draws, and whether as a formula."""
    shown, formula = text._preprocess_math(text.get_text())
    return shown, bool(formula)
