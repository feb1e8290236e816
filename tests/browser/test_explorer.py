"""The explorer in Chromium and Firefox: from a file, by mouse, touch and keyboard, light, dark and print."""

from __future__ import annotations

import json
import math

import pytest
import torch

from course_lib.explorer import (
    Control,
    Figure,
    bars,
    explore,
    heatmap,
    histogram,
    image,
    landscape,
    lines,
    scatter,
    static,
)

SHELL = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Test</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1"></head>'
    '<body style="margin: 0"><main><h1>Test</h1>{}</main></body></html>'
)

pytestmark = pytest.mark.browser


def histograms(weight_scale, activation):
    values = torch.randn(10, 500, generator=torch.Generator().manual_seed(len(activation)))
    values = torch.tanh(values * weight_scale)
    panels = [
        histogram(v, title=f"layer {k}", xlabel="activation", note=f"std {v.std():.3g}")
        for k, v in enumerate(values)
    ]
    return Figure(panels, columns=5, summary=f"The standard deviation is {values.std():.3g}.")


def everything(rate, optimizer, gaps):
    step = torch.arange(30.0)
    loss = torch.exp(-rate * step)
    if gaps:
        loss[10:14] = math.nan
    noise = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    return Figure(
        [
            lines({"training": loss, "validation": loss + 0.1}, title="Loss", xlabel="step", ylabel="loss"),
            lines({"norm": loss + 1e-6}, title="Norm", xlabel="step", yscale="log"),
            bars({"SGD": rate, "Adam": -0.2}, title="Gain", xlabel="gain"),
            image(noise[0], title="Digit"),
            image(noise, title="Colours"),
            heatmap(noise[0] - 0.5, title="Weights", colours="diverging", xlabel="input", ylabel="output"),
            histogram(
                torch.cat([step * 1e-9, torch.zeros(10)]), log=True, title="Gradient", xlabel="gradient"
            ),
        ],
        summary=f"Rate {rate}, {optimizer}.",
    )


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A page with two explorers, as a file."""
    first = explore(
        histograms,
        weight_scale=Control([0.01, 0.1, 1.0, 10.0], start=0.1),
        activation=["sigmoid", "tanh"],
        title="Five layers",
        caption="Activations of five layers.",
    )
    second = explore(
        everything, rate=[0.05, 0.1, 0.5], optimizer=["a", "b", "c", "d", "e"], gaps=[False, True]
    )
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    path.write_text(SHELL.format(first._html + second._html), encoding="utf-8")
    return path


@pytest.fixture
def visit(browser, book):
    """Opens the page; in the end: nothing was requested but the file, and the console is clean."""
    requests, complaints, contexts = [], [], []

    def open_page(path=book, **options):
        if browser.browser_type.name == "firefox":  # there a phone is its width
            options = {
                name: value for name, value in options.items() if name not in ("has_touch", "is_mobile")
            }
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    # Firefox does not report what it reads from a file.
    assert {url for url in requests if not url.startswith("data:")} <= {book.as_uri()}
    assert complaints == []


def first(page):
    return page.locator(".course-explorer").first


def second(page):
    return page.locator("figure.course-explorer").nth(1)


def drawn(locator):
    return locator.locator(".ce-panel svg path").evaluate_all(
        "paths => paths.map((path) => path.getAttribute('d'))"
    )


def test_sliders_move_and_the_drawing_and_the_numbers_change(visit):
    page = visit()
    slider, output = first(page).get_by_label("weight scale"), first(page).locator("output")
    assert output.inner_text() == "0.1"
    before, summary = drawn(first(page)), first(page).locator(".ce-summary").inner_text()
    slider.evaluate(
        "(input) => { input.value = 3; input.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    assert output.inner_text() == "10"
    assert slider.get_attribute("aria-valuetext") == "10"
    assert drawn(first(page)) != before
    assert first(page).locator(".ce-summary").inner_text() != summary
    first(page).get_by_label("tanh").check(force=True)
    assert "std" in first(page).locator(".ce-note").first.inner_text()


def paths(steps, start):
    line = torch.linspace(start, 0, 11)
    bowl = torch.linspace(-2, 2, 21).square() + torch.linspace(-1, 1, 11).square().unsqueeze(1)
    return Figure(
        [
            landscape(
                bowl, {"straight": (line, line / 4), "level": (line, 0 * line)}, upto=steps,
                levels=[0.1, 0.5, 1], xlim=(-2, 2), ylim=(-1, 1), title="Bowl", xlabel="x", ylabel="y",
            )
        ]
    )  # fmt: skip


def test_paths_over_a_landscape_grow_are_clipped_and_can_be_read(browser, tmp_path):
    shown = explore(paths, steps=[0, 3, 10], start=Control([-3.0, -2.0], start=-2.0))
    file = tmp_path / "paths.html"
    file.write_text(SHELL.format(shown._html), encoding="utf-8")
    page = browser.new_page(viewport={"width": 800, "height": 900})
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(file.as_uri())
    segments = "document.querySelector('.ce-path.ce-s1').getAttribute('d').split('M').length - 1"
    assert page.locator(".ce-contour").count() == 3
    assert page.locator(".ce-level").count() >= 1
    assert page.evaluate(segments) == 0, "the start alone"
    slider = page.get_by_label("steps")
    slider.press("ArrowRight")
    assert page.evaluate(segments) == 3
    slider.press("ArrowRight")
    assert page.evaluate(segments) == 10
    dashes = [page.locator(f".ce-path.ce-s{k}").first.get_attribute("stroke-dasharray") for k in (1, 2)]
    assert dashes[0] != dashes[1], "the paths differ without colour"
    panel = page.locator(".ce-panel")
    panel.press("ArrowRight")
    assert page.locator(".ce-tip").inner_text() == "straight, start\nx −2, y −0.5"
    panel.press("End")
    assert page.locator(".ce-tip").inner_text() == "level, step 10\nx 0, y 0"
    # From x = −3 four points lie outside the box: what is drawn of the path begins at the box's edge.
    page.get_by_label("start").press("ArrowLeft")
    first = page.evaluate("document.querySelector('.ce-path.ce-s1').getAttribute('d').match(/M([\\d.]+)/)[1]")
    assert float(first) == pytest.approx(38, abs=0.2)
    assert page.evaluate(segments) == 7
    page.close()
    assert complaints == []


def points(trials):
    rates, decays = torch.logspace(-6, -2, 9)[:trials], torch.logspace(-4, -8, 9)[:trials]
    accuracy = torch.linspace(0.1, 0.9, 9)[:trials].clone()
    accuracy[1] = math.nan
    grid = torch.arange(4.0)
    return Figure(
        [
            scatter(
                {"trials": (rates, decays)}, values=accuracy, limits=(0.1, 0.9), zlabel="accuracy",
                xscale="log", yscale="log", xlim=(1e-7, 1e-1), ylim=(1e-9, 1e-3),
                box=(1e-5, 1e-3, 1e-7, 1e-5), title="Trials", xlabel="rate", ylabel="decay",
            ),
            scatter({"grid": (grid, grid), "random": (grid, grid.flip(0))}, title="Two kinds"),
            image(torch.eye(8), marks=[(2, 3, 3, 3, 2)], title="Image"),
            heatmap([[0.5, -1.25, -0.001], [3.0, math.nan, 0.75]], written=True, title="Kernel"),
            heatmap(torch.zeros(40, 40), written=True, title="Too many"),
        ]
    )  # fmt: skip


def test_points_marks_and_written_numbers(browser, tmp_path):
    file = tmp_path / "points.html"
    file.write_text(SHELL.format(explore(points, trials=[3, 9])._html), encoding="utf-8")
    page = browser.new_page(viewport={"width": 900, "height": 900})
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(file.as_uri())
    dots = "[...document.querySelectorAll('.ce-point')].map((p) => p.getAttribute('d').split('M').length - 1)"
    radii = (
        "[...document.querySelectorAll('.ce-point')].flatMap((p) => [...p.getAttribute('d').matchAll("
        "/a([\\d.]+) /g)].map((m) => Number(m[1])))"
    )
    assert sum(page.evaluate(dots)) == 2
    page.get_by_role("slider", name="trials").press("ArrowRight")
    assert sum(page.evaluate(dots)) == 8
    grown = page.evaluate(radii)[::2]  # a circle is two arcs
    assert grown == sorted(grown), "the value is the size too, so that it is read without colour"
    assert grown[0] < grown[-1]
    assert page.locator(".ce-lost").get_attribute("d").count("M") == 1, "a lost trial is a cross"
    assert page.locator(".ce-box").get_attribute("d").count("z") == 1
    panels = page.locator(".ce-panel")
    panels.first.press("ArrowRight")
    panels.first.press("End")
    assert page.locator(".ce-tip").inner_text() == "rate 0.01, decay 10⁻⁸\naccuracy 0.9"
    assert panels.nth(1).locator(".ce-key").all_inner_texts() == ["grid", "random"]
    pixels = panels.nth(2).locator("canvas").bounding_box()
    mark = panels.nth(2).locator(".ce-frame").bounding_box()
    middle = mark["x"] + mark["width"] / 2 - pixels["x"], mark["y"] + mark["height"] / 2 - pixels["y"]
    assert middle == pytest.approx((pixels["width"] * 4.5 / 8, pixels["height"] * 3.5 / 8), abs=1)
    written = panels.nth(3).locator(".ce-on-light, .ce-on-dark").all_text_contents()
    assert written == ["0.50", "−1.25", "0.00", "3.00", "", "0.75"]
    assert panels.nth(4).locator(".ce-on-light, .ce-on-dark").count() == 0, "no number where it has no room"
    page.close()
    assert complaints == []


def test_the_slider_follows_the_mouse(visit):
    page = visit()
    box = first(page).get_by_label("weight scale").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert first(page).locator("output").inner_text() == "10"


def test_two_explorers_in_a_page_move_apart(visit):
    page = visit()
    before = drawn(second(page))
    first(page).get_by_label("weight scale").press("ArrowRight")
    assert drawn(second(page)) == before
    second(page).get_by_label("rate").press("ArrowRight")
    second(page).get_by_label("optimizer").select_option("d")
    assert second(page).locator(".ce-summary").inner_text() == "Rate 0.1, d."


def test_keyboard_alone(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "range"
    for key, value in [
        ("ArrowRight", "1"),
        ("PageUp", "10"),
        ("Home", "0.01"),
        ("ArrowLeft", "0.01"),
        ("ArrowUp", "0.1"),
    ]:
        page.keyboard.press(key)
        assert first(page).locator("output").inner_text() == value, key
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert first(page).get_by_label("tanh").is_checked()
    page.keyboard.press("Tab")
    panel = first(page).locator(".ce-panel").first
    assert panel.evaluate("(node) => node === document.activeElement")
    tip = first(page).locator(".ce-tip")
    page.keyboard.press("ArrowRight")
    one = tip.inner_text()
    page.keyboard.press("ArrowRight")
    assert "% of values" in one
    assert tip.inner_text() != one
    page.keyboard.press("ArrowLeft")
    assert tip.inner_text() == one
    page.wait_for_function("document.querySelector('.ce-status').textContent.includes('% of values')")
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_reset_goes_back_to_the_start(visit):
    page = visit()
    reset = first(page).get_by_role("button", name="Reset")
    assert reset.is_hidden()
    before = drawn(first(page))
    first(page).get_by_label("weight scale").press("ArrowRight")
    reset.click()
    assert drawn(first(page)) == before
    assert first(page).locator("output").inner_text() == "0.1"


def test_every_kind_of_panel_reads_its_value_under_the_pointer(visit):
    page = visit()
    tip, panels = second(page).locator(".ce-tip"), second(page).locator(".ce-panel")
    expected = ["training: ", "norm: ", "Adam: −0.2", "row ", "column ", "output ", "% of values"]
    assert panels.count() == len(expected)
    for k, text in enumerate(expected):
        plot = panels.nth(k).locator(".ce-plot")
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        page.mouse.move(box["x"] + 0.45 * min(box["width"], 200), box["y"] + 0.55 * box["height"])
        assert tip.is_visible()
        assert text in tip.inner_text(), tip.inner_text()
    page.mouse.move(2, 2)
    assert tip.is_hidden()


def test_the_tooltip_tells_the_number_of_the_bar(visit):
    page = visit()
    panel = second(page).locator(".ce-panel").nth(2)
    panel.focus()
    panel.press("ArrowRight")
    assert second(page).locator(".ce-tip").inner_text() == "SGD: 0.05"
    second(page).get_by_label("rate").evaluate(
        "(input) => { input.value = 2; input.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    assert second(page).locator(".ce-tip").inner_text() == "SGD: 0.5", "an open tooltip follows the frame"


def test_what_is_not_finite_is_a_gap_and_is_said(visit):
    page = visit()
    line = second(page).locator(".ce-panel").first.locator(".ce-plot path.ce-line").first
    assert line.get_attribute("d").count("M") == 1
    second(page).get_by_label("on").check(force=True)
    assert line.get_attribute("d").count("M") == 2
    assert "8 not finite" in second(page).locator(".ce-note").first.inner_text()
    status = second(page).locator(".ce-status")
    page.wait_for_timeout(400)
    assert status.inner_text() == (
        "rate 0.05, optimizer a, gaps on. Rate 0.05, a. 12 values are not finite and are drawn as gaps."
    )


def test_series_differ_without_colour(visit):
    panel = second(visit()).locator(".ce-panel").first
    dashes = panel.locator("path.ce-line").evaluate_all(
        "lines => lines.map((line) => line.getAttribute('stroke-dasharray'))"
    )
    assert len(dashes) == len(set(dashes)) * 2, "the drawing and its legend use the same dashes"
    dots = panel.locator(".ce-plot path.ce-dot").evaluate_all(
        "dots => dots.map((dot) => dot.getAttribute('d').slice(-30))"
    )
    assert len(set(dots)) == 2


def test_both_themes_follow_the_page(visit):
    page = visit()
    colours = []
    for theme in ("light", "dark"):
        page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
        body, text = first(page).locator(".ce-body"), first(page).locator(".ce-plot text").first
        colours.append(
            [
                body.evaluate("(node) => getComputedStyle(node).backgroundColor"),
                text.evaluate("(node) => getComputedStyle(node).fill"),
                first(page).locator("path.ce-fill").first.evaluate("(node) => getComputedStyle(node).fill"),
            ]
        )
    assert colours[0][0] == "rgb(255, 255, 255)"
    assert all(a != b for a, b in zip(*colours, strict=True))


def test_phone_width_reflows_without_scrolling_sideways(visit):
    page = visit(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    boxes = [first(page).locator(".ce-panel").nth(k).bounding_box() for k in range(10)]
    assert all(box["width"] >= 140 for box in boxes)
    # Two rows of five became two columns of five: layer k stands beside its pair.
    assert boxes[0]["y"] == pytest.approx(boxes[5]["y"], abs=1)
    assert boxes[0]["x"] < boxes[5]["x"]
    sizes = page.locator(".course-explorer :is(text, .ce-note, .ce-ends, label, output)").evaluate_all(
        "nodes => nodes.map((node) => parseFloat(getComputedStyle(node).fontSize))"
    )
    assert min(sizes) >= 11


def test_rows_of_five_stay_rows_in_a_books_column(visit):
    page = visit(viewport={"width": 700, "height": 900})
    tops = [first(page).locator(".ce-panel").nth(k).bounding_box()["y"] for k in range(10)]
    assert tops[:5] == pytest.approx([tops[0]] * 5, abs=1)
    assert tops[5] > tops[4] + 50


@pytest.mark.chromium_only("touch")
def test_touch_leaves_the_value_standing_until_the_next_touch(visit):
    page = visit(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    plot = first(page).locator(".ce-plot").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.touchscreen.tap(box["x"] + 70, box["y"] + 30)
    assert first(page).locator(".ce-tip").is_visible()
    page.touchscreen.tap(box["x"] + 70, box["y"] - 40)
    assert first(page).locator(".ce-tip").is_hidden()


@pytest.mark.chromium_only("scripts off")
def test_without_scripts_the_picture_stays(visit):
    page = visit(java_script_enabled=False)
    still = page.locator(".ce-still").first
    assert still.locator("img").is_visible()
    assert "Five layers at weight_scale=0.1" in still.locator("img").get_attribute("alt")
    assert "A still picture" in still.inner_text()
    assert page.locator("input").count() == 0


def test_with_scripts_the_picture_goes(visit):
    page = visit()
    assert page.locator(".ce-still").count() == 0
    assert first(page).locator("figcaption").inner_text() == "Activations of five layers."


@pytest.mark.chromium_only("print")
def test_print_shows_the_drawing_and_the_values_in_light_colours(visit):
    page = visit()
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    first(page).get_by_label("weight scale").press("ArrowRight")
    page.emulate_media(media="print")
    assert first(page).locator(".ce-values").inner_text() == "weight scale: 1 · activation: sigmoid"
    assert first(page).locator(".ce-values").is_visible()
    assert first(page).locator("input").first.is_hidden()
    assert first(page).locator(".ce-reset").is_hidden()
    assert first(page).locator(".ce-plot svg").first.is_visible()
    background = first(page).locator(".ce-body").evaluate("(node) => getComputedStyle(node).backgroundColor")
    assert background == "rgb(255, 255, 255)"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(visit, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page = visit()
    page.evaluate(
        """(theme) => {
            document.documentElement.dataset.theme = theme;
            document.body.style.background = theme === "dark" ? "#14171b" : "#ffffff";
            document.querySelector("h1").style.color = theme === "dark" ? "#ffffff" : "#000000";
        }""",
        theme,
    )
    first(page).get_by_label("weight scale").press("ArrowRight")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_broken_payload_leaves_the_picture(browser, tmp_path):
    html = explore(histograms, weight_scale=[1.0], activation=["tanh"])._html
    path = tmp_path / "broken.html"
    path.write_text(SHELL.format(html.replace('"template":', '"broken":')), encoding="utf-8")
    page = browser.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(path.as_uri())
    assert page.locator(".ce-still img").is_visible()
    assert page.locator(".ce-body").count() == 0
    assert len(complaints) == 1
    page.close()


# ---- with a kernel ----

LIVE = """
const state = {{_spec: {spec}, _caption: "", scale: 1}}, heard = {{}};
window.sent = [];
window.model = {{
  get: (name) => state[name],
  set: (name, value) => {{
    if (state[name] === value) return;
    state[name] = value;
    (heard["change:" + name] || []).forEach((f) => f());
  }},
  on: (event, f) => (heard[event] ||= []).push(f),
  off: (event, f) => {{ heard[event] = heard[event].filter((g) => g !== f); }},
  save_changes: () => {{}},
  send: (message) => window.sent.push(message),
}};
window.hear = (message) => (heard["msg:custom"] || []).forEach((f) => f(message));
window.listeners = () => Object.values(heard).flat().length;
window.leave = render({{model: window.model, el: document.getElementById("live")}});
"""


def scaled(scale):
    return Figure([bars({"a": scale}, title="bar")], summary=f"At {scale}.")


@pytest.fixture
def live(browser, tmp_path):
    spec = explore(scaled, scale=[1.0, 10.0, 100.0])._spec
    script = static.script() + LIVE.format(spec=json.dumps(spec))
    path = tmp_path / "live.html"
    style = f"<style>{static.style()}</style>"
    path.write_text(
        SHELL.format(f'{style}<div id="live"></div><script type="module">{script}</script>'), encoding="utf-8"
    )
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_function("!!window.leave")
    yield page
    page.close()


def move(page, position):
    page.get_by_label("scale").evaluate(
        "(input, to) => { input.value = to; input.dispatchEvent(new Event('input', {bubbles: true})); }",
        position,
    )


def reply(page, asked, **answer):
    page.evaluate("(message) => window.hear(message)", {"kind": "frame", "id": asked["id"], **answer})


def summary(page):
    return page.locator(".ce-summary").inner_text()


def test_live_the_nearest_frame_is_shown_until_the_fresh_one_comes(live):
    move(live, 0.75)
    assert live.locator("output").inner_text() == "5.62"
    assert summary(live) == "At 10.0."
    [asked] = live.evaluate("window.sent")
    assert (asked["kind"], asked["values"]) == ("compute", {"scale": 5.623})
    reply(live, asked, frame=scaled(5.623).to_dict())
    assert summary(live) == "At 5.623."


def test_live_one_request_in_flight_and_the_latest_wins(live):
    for position in (0.25, 0.5, 0.75, 1.5):
        move(live, position)
    [asked] = live.evaluate("window.sent")
    reply(live, asked, frame=scaled(asked["values"]["scale"]).to_dict())
    assert summary(live) == "At 10.0.", "an answer that is no longer wanted is not shown"
    latest = live.evaluate("window.sent")[1:]
    assert [message["values"]["scale"] for message in latest] == [31.62]
    reply(live, latest[0], frame=scaled(31.62).to_dict())
    assert summary(live) == "At 31.62."


def test_live_on_the_grid_nothing_is_asked(live):
    move(live, 2)
    assert summary(live) == "At 100.0."
    assert live.evaluate("window.sent") == []


def test_live_an_error_is_shown_and_goes_with_the_next_step(live):
    move(live, 0.5)
    [asked] = live.evaluate("window.sent")
    reply(live, asked, error="fn failed at scale=3.162: ValueError: no")
    assert "fn failed at scale=3.162: ValueError: no" in live.locator(".ce-trouble").inner_text()
    assert summary(live) in ("At 1.0.", "At 10.0.")
    move(live, 1)
    assert live.locator(".ce-trouble").is_hidden()


def test_live_a_value_set_elsewhere_moves_the_slider(live):
    live.evaluate("window.model.set('scale', 100)")
    assert live.locator("output").inner_text() == "100"
    assert live.get_by_label("scale").input_value() == "2"
    assert summary(live) == "At 100.0."


def test_live_leaving_takes_every_listener_along(live):
    assert live.evaluate("window.listeners()") > 0
    live.evaluate("window.leave()")
    assert live.evaluate("window.listeners()") == 0
