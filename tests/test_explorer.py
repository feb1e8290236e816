"""The explorer without a browser: panels, controls, packing, the widget, the HTML, and every bad input."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure as Canvas

from course_lib.explorer import (
    Control,
    Figure,
    bars,
    explore,
    frames,
    heatmap,
    histogram,
    image,
    landscape,
    lines,
    scatter,
    static,
)


def wave(scale, shape="sin"):
    """A small figure that depends on both controls."""
    x = torch.arange(20.0)
    y = {"sin": torch.sin, "cos": torch.cos}[shape](x * scale)
    return Figure(
        [lines({"y": y}, title="wave", xlabel="x"), histogram(y, title="values", bins=10)],
        summary=f"The wave at {scale:.3g}.",
    )


@pytest.fixture(scope="module")
def explorer():
    return explore(wave, scale=[0.1, 1.0, 10.0], shape=["sin", "cos"], title="A wave", caption="It <waves>.")


# ---- panels ----


def test_histogram_is_the_fraction_of_values_in_each_bin():
    values = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    panel = histogram(values, bins=12, range=(-3, 3))
    expected = np.histogram(values.numpy(), bins=12, range=(-3, 3))[0] / 10_000
    np.testing.assert_allclose(panel["heights"], expected, rtol=5e-3)
    assert panel["range"] == [-3.0, 3.0]
    assert re.search(r"0\.\d+ % beyond", panel["note"])


def test_histogram_finds_its_own_range_and_counts_everything():
    panel = histogram([1e-9, 2e-9, 3e-9, 4e-9], bins=3)
    assert panel["range"] == [1e-9, 4e-9]
    assert sum(panel["heights"]) == pytest.approx(1)
    assert panel["note"] == ""


def test_histogram_of_equal_values_has_width():
    for value in (0.0, 5.0, -1e-9):
        panel = histogram(torch.full((7,), value))
        low, high = panel["range"]
        assert low < value < high
        assert sum(panel["heights"]) == 1


def test_log_histogram_names_exact_zeros():
    panel = histogram([0.0, 1e-9, -1e-8, 1.0], log=True, bins=9)
    assert panel["range"] == [-9, 0]
    assert sum(panel["heights"]) == pytest.approx(0.75)
    assert panel["note"] == "25 % zero"
    assert sum(histogram([0.0, 0.0], log=True)["heights"]) == 0


def test_what_is_not_finite_is_counted_and_named_never_drawn():
    broken = [1.0, math.nan, 2.0, math.inf]
    panel = histogram(broken, note="std 1")
    assert (panel["missing"], panel["note"]) == (2, "std 1 · 2 not finite")
    assert panel["range"] == [1, 2]
    assert histogram([math.nan])["missing"] == 1
    line = lines({"y": broken})
    assert (line["y"], line["missing"]) == ([[1, None, 2, None]], 2)
    assert bars({"a": math.nan, "b": 1})["values"] == [None, 1]
    grey = image(torch.tensor([[0.0, math.nan], [1.0, 0.5]]))
    assert (grey["gaps"], grey["missing"]) == ([1], 1)
    assert heatmap(torch.tensor([[1.0, -math.inf]]))["values"] == [1, None]


def test_a_log_axis_leaves_out_what_is_not_positive_and_says_so():
    panel = lines({"y": [1.0, 0.0, -2.0, 4.0]}, yscale="log")
    assert panel["y"] == [[1, None, None, 4]]
    assert (panel["note"], panel["missing"]) == ("2 not positive", 0)


def test_numbers_keep_four_significant_digits():
    panel = lines({"y": [1.23456789, 1.23456789e-12, 98765.4]})
    assert panel["y"] == [[1.235, 1.235e-12, 98770.0]]


@pytest.mark.parametrize(
    ("pixels", "shape", "limits"),
    [
        (torch.zeros(4, 5, dtype=torch.uint8), (4, 5, 1), [0, 255]),
        (torch.zeros(1, 4, 5), (4, 5, 1), [0, 1]),
        (torch.zeros(3, 4, 5), (4, 5, 3), [0, 1]),
        (torch.zeros(4, 5, 3), (4, 5, 3), [0, 1]),
        (torch.linspace(-2, 2, 20).reshape(4, 5), (4, 5, 1), [-2, 2]),
    ],
)
def test_image_shapes_and_limits(pixels, shape, limits):
    panel = image(pixels)
    assert (panel["rows"], panel["columns"], panel["channels"]) == shape
    assert panel["limits"] == limits


def test_image_keeps_its_pixels():
    import base64

    colours = torch.randint(0, 256, (3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    stored = np.frombuffer(base64.b64decode(image(colours)["pixels"]), np.uint8)
    np.testing.assert_array_equal(stored.reshape(4, 5, 3), colours.permute(1, 2, 0).numpy())


def test_scatter_keeps_points_values_and_lost_trials():
    rates, decays = [1e-4, 1e-3, 1e-2], [1e-8, 1e-6, 1e-4]
    panel = scatter(
        {"trials": (rates, decays)}, values=[0.2, math.nan, 0.9], xscale="log", yscale="log", note="3 trials",
        box=(1e-4, 1e-3, 1e-8, 1e-6),
    )  # fmt: skip
    assert (panel["x"], panel["y"]) == ([rates], [decays])
    assert (panel["values"], panel["limits"]) == ([0.2, None, 0.9], [0.2, 0.9])
    assert (panel["missing"], panel["note"]) == (1, "3 trials · 1 not finite")
    assert panel["box"] == [1e-4, 1e-3, 1e-8, 1e-6]
    two = scatter({"grid": ([1], [2]), "random": ([3, 4], [5, 6])})
    assert (two["labels"], two["x"], two["values"]) == (["grid", "random"], [[1], [3, 4]], None)


def test_marks_are_rows_columns_heights_and_widths():
    assert image(torch.zeros(4, 5), marks=[(0, 1, 3, 3), (3, 4, 1, 1, 6)])["marks"] == [
        [0, 1, 3, 3, 1],
        [3, 4, 1, 1, 6],
    ]
    panel = heatmap(torch.zeros(4, 5), marks=[(1, 0, 2, 2)], written=True)
    assert (panel["marks"], panel["written"]) == ([[1, 0, 2, 2, 1]], True)


def test_diverging_colours_are_symmetric_about_zero():
    assert heatmap([[-1.0, 3.0]], colours="diverging")["limits"] == [-3, 3]
    assert heatmap([[-1.0, 3.0]])["limits"] == [-1, 3]


@pytest.mark.parametrize(
    ("panel", "message"),
    [
        (lambda: histogram([]), "values is empty"),
        (lambda: scatter({}), "series is {}"),
        (lambda: scatter({str(k): ([1], [1]) for k in range(7)}), "7 series"),
        (lambda: scatter({"a": ([1, 2], [1])}), "'a' has 2 xs and 1 ys"),
        (
            lambda: scatter({"a": ([0], [1])}, xscale="log"),
            "x of 'a' has 0; every x must be finite and above",
        ),
        (lambda: scatter({"a": ([1], [math.inf])}), "y of 'a' has inf; every y must be finite"),
        (lambda: scatter({"a": ([1], [1])}, values=[1, 2]), "2 values for 1 series of 1 points"),
        (lambda: scatter({"a": ([1], [1]), "b": ([1], [1])}, values=[1]), "1 values for 2 series"),
        (lambda: scatter({"a": ([1], [1])}, colours="red"), "colours is 'red'"),
        (lambda: scatter({"a": ([1], [1])}, yscale="sqrt"), "yscale is 'sqrt'"),
        (lambda: scatter({"a": ([1], [1])}, box=(1, 0, 0, 1)), "box"),
        (lambda: image(torch.zeros(4, 5), marks=[(2, 0, 3, 1)]), "inside 4×5"),
        (lambda: image(torch.zeros(4, 5), marks=[(0, 0, 3)]), r"mark \(0, 0, 3\) must be \(row"),
        (lambda: heatmap(torch.zeros(4, 5), marks=[(0, 0, 1, 1, 7)]), "a colour, 1 to 6"),
        (lambda: histogram([1.0], bins=0), "bins is 0"),
        (lambda: histogram([1.0], range=(2, 1)), r"range is \(2, 1\); low must be below high"),
        (lambda: histogram([1.0], series=7), "series is 7"),
        (lambda: histogram(["a"]), "must be numbers"),
        (lambda: histogram(torch.tensor([1j])), "complex"),
        (lambda: lines({}), "give a dict"),
        (lambda: lines({str(k): [1.0] for k in range(7)}), "7 series"),
        (lambda: lines({"a": [1.0], "b": [1.0, 2.0]}), "'b' has 2 values and 'a' 1"),
        (lambda: lines({"a": [1.0]}, x=[1.0, 2.0]), "'x' has 2 values"),
        (lambda: lines({"a": [1.0]}, yscale="symlog"), "yscale is 'symlog'"),
        (lambda: lines({"a": [1.0]}, x=[0.0], xscale="log"), "above 0"),
        (lambda: lines({"a": [1.0]}, ylim=(0, 1), yscale="log"), "log axis starts above 0"),
        (lambda: lines({"a": []}), "is empty"),
        (lambda: bars({}), "0 labels"),
        (lambda: bars(["a", "b"], [1.0]), "2 labels and 1 values"),
        (lambda: bars(["a"]), "labels and values"),
        (lambda: image(torch.zeros(2, 2, 2)), r"shape \(2, 2, 2\)"),
        (lambda: image(torch.zeros(2, 2), limits=(1, 1)), "limits is"),
        (lambda: heatmap(torch.zeros(3)), r"shape \(3,\)"),
        (lambda: heatmap(torch.zeros(2, 2), colours="jet"), "colours is 'jet'"),
        (lambda: heatmap(torch.zeros(2, 2), rows=["a"]), "1 names for 2 rows"),
        (lambda: Figure([]), "panels is empty"),
        (lambda: Figure(histogram([1.0])), "give a list of panels"),
        (lambda: Figure([{"kind": "pie"}]), "panel 1"),
        (lambda: Figure([histogram([1.0])], columns=0), "columns is 0"),
    ],
)
def test_bad_panels_say_what_would_be_right(panel, message):
    with pytest.raises(ValueError, match=message):
        panel()


# ---- controls ----


@pytest.mark.parametrize(
    ("values", "between"),
    [([0.1, 1.0], True), ([1, 3, 5], True), ([2, 3, 4], False), (["a", "b"], False), ([False, True], False)],
)
def test_a_slider_stops_between_its_values_where_there_is_something_between(values, between):
    assert Control(values).between is between
    assert Control(values).to_dict("x")["between"] is between
    assert Control(values, between=False).between is False


def test_a_slider_of_what_was_measured_keeps_to_its_values():
    explorer = explore(wave, scale=Control([0.1, 1.0, 10.0], between=False), shape=["sin"])
    explorer.scale = 7.0
    assert explorer.scale == 10.0


def test_fn_receives_pythons_own_types():
    seen = []

    def record(**values):
        seen.append(values)
        return Figure([bars({"a": 1.0})])

    explore(
        record,
        f=np.geomspace(0.1, 10, 3),
        i=np.array([1, 2]),
        t=torch.tensor([0.5]),
        s=np.array(["a"]),
        b=[False, True],
    )
    types = {name: {type(values[name]) for values in seen} for name in "fitsb"}
    assert types == {"f": {float}, "i": {int}, "t": {float}, "s": {str}, "b": {bool}}
    assert len(seen) == 12, "each combination is computed once"


def test_spacing_is_found_from_the_grid():
    assert Control(np.geomspace(1e-3, 10, 41)).log
    assert Control([1, 3, 10, 30, 100]).log
    assert not Control(np.linspace(0.1, 1, 10)).log
    assert not Control([0, 1, 10]).log
    assert Control([3, 1, 2]).values == (1, 2, 3)
    assert Control([1, 2.0]).values == (1.0, 2.0)
    assert Control([1, 2]).integer
    assert not Control([1.0, 2.0]).integer


def test_kinds_of_control():
    kind = lambda values: Control(values).to_dict("c")["kind"]  # noqa: E731
    assert kind([1, 2, 3]) == "range"
    assert kind(["a", "b"]) == "radio"
    assert kind(["a"]) == kind(list("abcde")) == "select"
    assert Control([False, True]).to_dict("c")["labels"] == ["off", "on"]


def test_start_is_the_nearest_value_of_the_grid():
    assert Control(np.geomspace(1e-3, 10, 41), start=1).start == pytest.approx(1)
    assert Control(["a", "b"], start="b").to_dict("c")["start"] == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "control 'c': it has no values"),
        (iter([]), "it has no values"),
        ("relu", "give a sequence"),
        (3, "give a sequence"),
        (np.array(3.0), "give a sequence"),
        ([1, "a"], r"mix types \(int, str\)"),
        ([True, 1], r"mix types|twice"),
        ([[1], [2]], "is a list; values must be numbers, strings or booleans"),
        ([{}, {}], "is a dict"),
        ([None, None], "is a NoneType"),
        ([1.0, math.nan], "value nan is not finite"),
        ([1, 1.0], "twice"),
        (["a", "a"], "value 'a' is there twice"),
    ],
)
def test_bad_controls_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        explore(wave, c=values)


def test_a_start_that_is_not_there():
    with pytest.raises(ValueError, match="start is 'c'; it must be one of its values, 'a', 'b'"):
        Control(["a", "b"], start="c")
    with pytest.raises(ValueError, match="start is 5"):
        Control([1, 2, 3], start=5)


@pytest.mark.parametrize("name", ["layout", "comm", "keys", "observe", "send", "compute", "_hidden"])
def test_a_control_cannot_take_a_name_that_the_widget_needs(name):
    with pytest.raises(ValueError, match=f"control '{name}' has a name that ipywidgets uses"):
        explore(lambda **_: Figure([bars({"a": 1.0})]), **{name: [1, 2]})


def test_no_controls_and_no_function():
    with pytest.raises(ValueError, match="no controls"):
        explore(wave)
    with pytest.raises(ValueError, match="fn is 3"):
        explore(3, scale=[1])


# ---- frames ----


def test_an_error_in_fn_names_the_values_and_keeps_the_cause():
    def fails(weight_scale, activation):
        if weight_scale > 1:
            raise ZeroDivisionError("no")
        return Figure([bars({"a": 1.0})])

    message = r"fn failed at weight_scale=10, activation='relu': ZeroDivisionError: no"
    with pytest.raises(RuntimeError, match=message) as caught:
        explore(fails, weight_scale=[0.1, 10.0], activation=["relu"])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_fn_must_return_a_figure():
    with pytest.raises(ValueError, match=r"fn returned a dict at scale=1; it must return a Figure"):
        explore(lambda scale: histogram([1.0]), scale=[1])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ([bars({"a": 1.0}, title="x"), bars({"a": 1.0})], "2 panels at k=2, but 1 at k=1"),
        ([histogram([1.0], title="x")], "panel 1 is histogram 'x' at k=2, but bars 'x' at k=1"),
        ([bars({"a": 1.0}, title="y")], "panel 1 is bars 'y' at k=2, but bars 'x' at k=1"),
    ],
)
def test_panels_must_agree_over_all_frames(other, message):
    with pytest.raises(ValueError, match=message):
        explore(lambda k: Figure(other if k == 2 else [bars({"a": 1.0}, title="x")]), k=[1, 2, 3])


def test_too_large_an_explorer_is_refused_before_it_is_computed():
    calls = []

    def large(seed, size):
        calls.append(seed)
        noise = torch.rand(64, 64, generator=torch.Generator().manual_seed(seed))
        return Figure([image(noise * size)])

    with pytest.raises(
        ValueError, match=r"800 frames \(400 seed × 2 size\) make about [\d,]+ KB.*at most 300 KB"
    ):
        explore(large, seed=range(400), size=[0.5, 1.0])
    assert len(calls) == 3, "the start and the far end of each control are enough to know"


def test_what_depends_on_one_control_is_weighed_and_stored_once():
    def pictures(seed, other):
        noise = torch.rand(32, 32, generator=torch.Generator().manual_seed(seed))
        return Figure([image(noise), bars({"a": other})])

    assert len(explore(pictures, seed=range(20), other=list(range(100)))._html) < 150_000


def test_a_wrong_estimate_is_caught_at_the_end():
    def surprising(seed):
        noise = torch.rand(128, 128, generator=torch.Generator().manual_seed(seed))
        return Figure([image(noise if 0 < seed < 99 else torch.zeros(128, 128))])

    with pytest.raises(ValueError, match=r"100 frames \(100 seed\) make [\d,]+ KB"):
        explore(surprising, seed=range(100))


def test_encoding_is_lossless():
    controls = {"scale": Control(np.linspace(0.1, 3, 7)), "shape": Control(["sin", "cos"])}
    computed = frames.compute(wave, controls)
    through_json = json.loads(json.dumps(frames.encode(computed)))
    assert frames.decode(through_json) == computed


def test_encoding_of_frames_that_share_little_is_lossless():
    odd = [
        {
            "panels": [{"y": [1.0] * n, "note": "n" * n, "lim": None if n % 2 else [0, n], "s": {"a": n}}],
            "k": 1e20**n,
        }
        for n in range(12)
    ]
    assert frames.decode(json.loads(json.dumps(frames.encode(odd)))) == odd


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(st.one_of(st.none(), finite), min_size=1))
def test_packing_is_exact_or_declined(numbers):
    rounded = [None if v is None else float(f"{v:.3e}") for v in numbers]
    packed = frames.pack(rounded)
    if packed is not None:
        assert frames.unpack(packed) == rounded


@given(st.lists(st.integers(-9999, 9999), min_size=1))
def test_numbers_of_four_digits_are_always_packed(numbers):
    packed = frames.pack([v / 1000 for v in numbers])
    assert packed is not None
    assert frames.unpack(packed) == [v / 1000 for v in numbers]


def histograms(weight_scale, activation):
    """What the initialization chapter shows, with made-up values: ten histograms of 30 bins."""
    generator = torch.Generator().manual_seed(round(1000 * weight_scale) + len(activation))
    values = torch.randn(10, 2000, generator=generator) * weight_scale
    return Figure(
        [
            histogram(v, title=f"panel {k}", xlabel="activation", note=f"std {v.std():.3g}")
            for k, v in enumerate(values)
        ],
        columns=5,
        summary=f"Standard deviation {values.std():.3g}.",
    )


def test_the_initialization_chapters_explorer_is_small():
    shown = explore(
        histograms, weight_scale=np.geomspace(1e-3, 10, 41), activation=["sigmoid", "tanh", "relu"]
    )
    assert len(shown._html.encode()) <= 230_000


# ---- HTML ----


def test_html_is_one_figure_with_picture_frames_and_script(explorer):
    html = explorer._html
    assert html.startswith('<figure class="course-explorer"')
    assert html.endswith("</figure>")
    assert html.count("</script>") == 2
    assert 'src="data:image/png;base64,' in html
    assert "<figcaption>It &lt;waves&gt;.</figcaption>" in html
    assert not re.search(r'(?:src|href)="(?!data:)', html)
    data = re.search(r'<script type="application/json" class="course-frames">(.*?)</script>', html, re.DOTALL)
    spec = json.loads(data[1])
    assert len(frames.decode(spec["frames"])) == 6
    assert [control["name"] for control in spec["controls"]] == ["scale", "shape"]


def test_html_is_the_same_every_time(explorer):
    again = explore(wave, scale=[0.1, 1.0, 10.0], shape=["sin", "cos"], title="A wave", caption="It <waves>.")
    assert again._html == explorer._html


def test_nothing_in_the_data_can_end_the_script():
    shown = explore(lambda k: Figure([bars({"</script><!--": k}, note="</script>")]), k=[1, 2], title="<b>&")
    assert shown._html.count("</script>") == 2
    assert "<!--" not in shown._html
    assert "&lt;b&gt;&amp;" in shown._html


def test_every_kind_of_panel_has_a_small_picture():
    from course_lib.explorer import picture

    noise = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0))
    figure = Figure(
        [
            histogram([0.1, 1.0], log=True),
            lines({"a": [1.0, math.nan], "b": [1.0, 2.0]}),
            bars({"a": 1.0}),
            image(noise),
            heatmap(noise[0], colours="diverging"),
            landscape(noise[0], {"a": ([0, 2], [0, 1])}, levels=[0.5], xlim=(-1, 1), ylim=(0, 1), upto=1),
        ]
    )
    png = picture.png(figure.to_dict())
    assert png.startswith(b"\x89PNG")
    assert len(png) <= picture.LIMIT


BOWL = torch.linspace(-2, 2, 41).square() + torch.linspace(-1, 1, 21).square().unsqueeze(1)
BOX = {"xlim": (-2, 2), "ylim": (-1, 1), "levels": [0.25, 1.0]}


def test_contour_lines_lie_where_the_function_has_their_level():
    panel = landscape(BOWL, **BOX)
    assert [contour["level"] for contour in panel["contours"]] == [0.25, 1.0]
    for contour in panel["contours"]:
        points = [(x, y) for x, y in zip(contour["x"], contour["y"], strict=True) if x is not None]
        assert len(points) > 20
        assert all(x**2 + y**2 == pytest.approx(contour["level"], rel=0.02) for x, y in points)


def test_the_first_row_of_a_landscape_is_its_lower_edge():
    plane = torch.linspace(0, 1, 5).unsqueeze(1).expand(5, 4)
    contour = landscape(plane, xlim=(0, 1), ylim=(10, 20), levels=[0.2])["contours"][0]
    assert [y for y in contour["y"] if y is not None] == pytest.approx([12] * 4, abs=1e-3)


def test_paths_keep_every_point_and_count_the_gaps():
    panel = landscape(BOWL, {"a": ([-2.0, 9.0, math.nan], [1.0, 2.0, 0.0])}, upto=1, **BOX)
    assert panel["paths"] == [{"label": "a", "x": [-2, 9, None], "y": [1, 2, 0]}]
    assert (panel["upto"], panel["missing"], panel["note"]) == (1, 0, ""), "what is not drawn is no gap"
    whole = landscape(BOWL, {"a": ([-2.0, 9.0, math.nan], [1.0, 2.0, 0.0])}, **BOX)
    assert (whole["missing"], whole["note"]) == (1, "1 not finite")


def test_steps_of_one_path_share_it():
    path = torch.linspace(-2, 2, 300), torch.linspace(-1, 1, 300)

    def size(steps):
        shown = explore(lambda k: Figure([landscape(BOWL, {"a": path}, upto=k, **BOX)]), k=range(steps))
        return len(shown._html)

    assert size(40) - size(2) < 2000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrix": torch.zeros(3)}, r"shape \(3,\)"),
        ({"levels": []}, "levels is"),
        ({"levels": [math.nan]}, "levels is"),
        ({"xlim": (1, 1)}, "xlim is"),
        ({"upto": -1}, "upto is -1"),
        ({"paths": {"a": ([0, 1], [0])}}, "path 'a' has 2 xs and 1 ys"),
        ({"paths": {str(k): ([0], [0]) for k in range(7)}}, "7 paths; at most 6"),
    ],
)
def test_a_landscape_that_cannot_be_drawn_says_why(changes, message):
    with pytest.raises(ValueError, match=message):
        landscape(**{"matrix": BOWL, **BOX, **changes})


def test_alt_text_is_the_authors_or_says_what_is_shown(explorer):
    assert 'alt="A wave at scale=0.1, shape=&#x27;sin&#x27;: lines wave, histogram values."' in explorer._html
    assert 'alt="Mine"' in explore(wave, scale=[1.0], alt="Mine")._html


def test_script_is_shortened_without_harm():
    assert "// ----" not in static.script()
    assert "export default { render };" in static.script()


# ---- the widget ----


def test_repr_and_mime_bundle_are_stable(explorer):
    data, _ = explorer._repr_mimebundle_()
    assert repr(explorer) == data["text/plain"] == "Explorer(scale: 3 values, shape: 2 values)"
    assert data["text/html"] == explorer._html
    assert "application/vnd.jupyter.widget-view+json" in data


def test_ipywidgets_7_is_kept_from_showing_itself_without_the_html(explorer):
    # In Colab its _ipython_display_ would take precedence over the mime bundle.
    assert explorer._ipython_display_ is None


def test_controls_are_traits_that_can_be_observed_and_set(explorer):
    seen = []
    explorer.observe(lambda change: seen.append(change["new"]), "scale")
    explorer.scale = 3.5
    explorer.scale = 99
    assert seen == [3.5, 10.0], "beyond the end it stops at the end"
    explorer.shape = "cos"
    with pytest.raises(Exception, match="tan"):
        explorer.shape = "tan"
    with pytest.raises(Exception, match="finite number"):
        explorer.scale = math.nan
    assert explorer.values == {"scale": 10.0, "shape": "cos"}
    explorer.unobserve_all("scale")


def test_traits_are_synced_and_linked():
    import ipywidgets

    shown = explore(wave, scale=[0.1, 1.0, 10.0])
    slider = ipywidgets.FloatSlider(min=0.1, max=10)
    ipywidgets.link((shown, "scale"), (slider, "value"))
    slider.value = 2.5
    assert shown.scale == 2.5
    assert ipywidgets.jslink((shown, "scale"), (slider, "value")).source[1] == "scale"
    assert shown.get_state("scale") == {"scale": 2.5}


def test_two_explorers_do_not_share_their_controls(explorer):
    other = explore(wave, scale=[1.0, 2.0])
    assert not other.has_trait("shape")
    assert explorer.has_trait("shape")


def ask(widget, values):
    """What the page sends; returns what it hears."""
    answers = []
    widget.send = lambda content, buffers=None: answers.append(content)
    widget._handle_custom_msg({"kind": "compute", "id": 7, "values": values}, [])
    del widget.send
    return answers


def test_a_value_between_the_grid_is_computed(explorer):
    [answer] = ask(explorer, {"scale": 0.37, "shape": "cos"})
    assert answer == {"kind": "frame", "id": 7, "frame": wave(0.37, "cos").to_dict()}


def test_integer_controls_compute_integers():
    seen = []

    def fn(depth):
        seen.append(depth)
        return Figure([bars({"a": depth})])

    ask(explore(fn, depth=[1, 10]), {"depth": 4.0})
    assert seen[-1] == 4
    assert isinstance(seen[-1], int)


def test_a_live_error_is_answered_with_the_values_named():
    def fails(scale):
        if scale not in (1.0, 2.0):
            raise ArithmeticError("off the grid")
        return Figure([bars({"a": scale})])

    [answer] = ask(explore(fails, scale=[1.0, 2.0]), {"scale": 1.5})
    assert answer == {
        "kind": "frame",
        "id": 7,
        "error": "fn failed at scale=1.5: ArithmeticError: off the grid",
    }


def test_a_live_frame_with_other_panels_is_an_error():
    shown = explore(lambda k: Figure([bars({"a": k}, title="x" if k in (1.0, 2.0) else "y")]), k=[1.0, 2.0])
    [answer] = ask(shown, {"k": 1.5})
    assert "panel 1 is bars 'y' at k=1.5, but bars 'x' at k=1" in answer["error"]


def test_other_messages_are_left_alone(explorer):
    answers = []
    explorer.send = lambda content, buffers=None: answers.append(content)
    for message in ({}, {"kind": "other"}, "text", None):
        explorer._handle_custom_msg(message, [])
    del explorer.send
    assert answers == []


def test_compute_names_an_unknown_control(explorer):
    with pytest.raises(ValueError, match="no control 'size'; there are scale, shape"):
        explorer.compute(size=3)


def test_importing_the_explorer_brings_no_notebook_software():
    code = (
        "import sys; import course_lib.explorer; "
        "print(sorted({'IPython', 'ipywidgets', 'anywidget', 'traitlets', 'ipykernel'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_progress_bar_only_when_it_takes_long_and_is_wanted(monkeypatch, capsys):
    scales = list(np.linspace(1, 2, 5))
    explore(wave, scale=scales)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(frames, "PATIENCE", 0.0)
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    explore(wave, scale=scales)
    assert "frames" in capsys.readouterr().err
    monkeypatch.setenv("COURSE_PROGRESS", "0")
    explore(wave, scale=scales)
    assert capsys.readouterr().err == ""


NAMES = ["$5", "$\\frac{$", "a$b$c", "猫", "고양이", "ねこ"]


def named(k):
    values = [k, 2.0, 3.0, 4.0, 5.0, 6.0]
    return Figure(
        [
            bars(NAMES, values, title="$cost$ 猫"),
            lines(dict.fromkeys(NAMES, values), title="$x^{", xlabel="$", yscale="log"),
            heatmap(torch.ones(6, 6), rows=NAMES, columns=NAMES),
            histogram(torch.rand(50) + 0.1, log=True),
        ]
    )


def test_names_are_drawn_letter_by_letter_and_without_a_word_about_fonts():
    """A dollar begins no formula; a letter that no font here has is a box in the still, and no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "$5" in explore(named, k=[1.0, 2.0])._html


def test_the_stills_own_powers_of_ten_stay_formulas():
    from course_lib.explorer import picture

    assert picture._plain({"labels": ["$5"], "x": [1.0, None], "more": [{"title": "$"}]}) == {
        "labels": [r"\$5"], "x": [1.0, None], "more": [{"title": r"\$"}],
    }  # fmt: skip
    ax = Canvas().subplots()
    picture._histogram(ax, {"range": (-2, 2), "heights": [1, 2], "series": 1, "log": True})
    assert ax.xaxis.get_major_formatter()(2, 0) == "$10^{2}$"
