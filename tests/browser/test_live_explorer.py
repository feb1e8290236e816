"""Explorers that compute in their page, in Chromium: held to torch, played, dragged, broken."""

from __future__ import annotations

import math
import random
import struct

import pytest
import torch

from course_lib.explorer import Figure, Noise, bars, explore, live, play, static, template
from tests.test_live_explorer import CONTROLS, PLAYED, START, begin, every_kind, roll, seen

pytestmark = pytest.mark.browser

SHELL = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Test</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1"></head>'
    '<body style="margin: 0"><main><h1>Test</h1>{}</main></body></html>'
)
# The module's own names, for tests that look inside.
INSIDE = (
    "<script type='module'>{engine}</script><script type='module'>{script}\n"
    "Object.assign(window, {{Computer, Player, formatted, run, inputsOf, combination}});</script>"
)


@pytest.fixture(scope="module")
def explorer():
    return explore(every_kind, live=True, title="All", **CONTROLS)


@pytest.fixture(scope="module")
def player():
    return play(roll, begin, seen, start=START, replay=True, title="A ball", **PLAYED)


@pytest.fixture
def visit(chromium, tmp_path):
    """Opens HTML as a file; in the end nothing else was requested and the console is clean."""
    requests, complaints, contexts = [], [], []

    def open_page(html, **options):
        path = tmp_path / f"{len(contexts)}.html"
        path.write_text(SHELL.format(html), encoding="utf-8")
        contexts.append(chromium.new_context(**{"viewport": {"width": 900, "height": 900}, **options}))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        return page

    open_page.complaints = complaints
    yield open_page
    for context in contexts:
        context.close()
    assert all(url.startswith(("file:", "data:")) for url in requests)
    assert len([url for url in requests if url.startswith("file:")]) == len(contexts)
    assert complaints == []


def inside(visit):
    return visit(INSIDE.format(engine=static.engine(), script=static.script()))


def summary(page):
    return page.locator(".ce-summary").inner_text()


def slide(page, name, position):
    page.get_by_label(name, exact=True).evaluate(
        "(input, to) => { input.value = to; input.dispatchEvent(new Event('input', {bubbles: true})); }",
        position,
    )


# ---- held to torch ----


def test_numbers_are_written_as_python_writes_them(visit):
    chosen = random.Random(1)
    numbers = [
        0.0,
        -0.0,
        0.5,
        2.5,
        0.125,
        1e22,
        1e23,
        9.995,
        0.9995,
        999999.5,
        1e100,
        1e-300,
        5e-324,
        math.inf,
    ]
    numbers += [chosen.gauss(0, 1) * 10 ** chosen.uniform(-9, 9) for _ in range(60)]
    numbers += [chosen.randint(-9999, 9999) / 2 ** chosen.randint(0, 6) for _ in range(60)]
    formats = [".2g", ".4g", ".0f", ".2f", ".1e", ".0e", ",.1f", "+.2f", ".1%", ",.0f", "g", "f"]
    asked = [[struct.pack(">d", v).hex(), spec] for v in numbers for spec in formats]
    given = inside(visit).evaluate(
        """(asked) => asked.map(([hex, spec]) => {
            const bytes = new DataView(new ArrayBuffer(8));
            for (let k = 0; k < 8; k++) bytes.setUint8(k, parseInt(hex.slice(2 * k, 2 * k + 2), 16));
            return formatted(bytes.getFloat64(0), spec);
        })""",
        asked,
    )
    assert given == [format(v, spec) for v in numbers for spec in formats]


def test_200_random_settings_are_torchs(visit, explorer):
    chosen = random.Random(2)
    settings = [
        {
            "rate": chosen.uniform(0.5, 2),
            "scale": 10 ** chosen.uniform(-1, 1),
            "steps": chosen.randint(0, 39),
            "shape": chosen.choice(["sin", "cos"]),
        }
        for _ in range(200)
    ]
    given = inside(visit).evaluate(
        """([spec, settings]) => {
            const computer = new Computer(spec);
            return settings.map((values) => {
                const graph = computer.graphs.get(computer.which[combination(spec.controls, values)]);
                return run(graph, inputsOf(spec.controls, values)).map((leaf) => Array.from(leaf.data));
            });
        }""",
        [explorer._spec, settings],
    )
    for values, leaves in zip(settings, given, strict=True):
        inputs = {
            name: v if name == "shape" else live.as_tensor(CONTROLS[name], v) for name, v in values.items()
        }
        with template.record():
            _, expected = live._taken_apart(every_kind(**inputs).to_dict())
        for ours, theirs in zip(leaves, expected, strict=True):
            theirs = theirs.double().flatten()
            torch.testing.assert_close(torch.tensor(ours, dtype=torch.float64), theirs, rtol=1e-4, atol=1e-6)


def alike(ours, theirs):
    """The page's panel and Python's, which rounds to three or four digits."""
    if isinstance(theirs, dict):
        assert set(theirs) <= set(ours)
        for key, value in theirs.items():
            if key != "pixels":
                alike(ours[key], value)
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            alike(one, other)
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=6e-3, abs=2e-6)
    else:
        assert ours == theirs


def test_frames_of_the_page_are_pythons_on_the_grid(visit, explorer):
    settings = [
        {"rate": rate, "scale": scale, "steps": steps, "shape": shape}
        for rate in (0.5, 2.0) for scale in (0.1, 10.0) for steps in (0, 39) for shape in ("sin", "cos")
    ]  # fmt: skip
    given = inside(visit).evaluate(
        """([spec, settings]) => {
            const computer = new Computer(spec);
            return settings.map((values) => {
                const frame = computer.frame(values);
                for (const p of frame.panels) if (p.pixels) p.pixels = btoa(String.fromCharCode(...p.pixels));
                return frame;
            });
        }""",
        [explorer._spec, settings],
    )
    import base64

    for values, frame in zip(settings, given, strict=True):
        expected = every_kind(**values).to_dict()
        assert frame["summary"] == expected["summary"]
        for panel, other in zip(frame["panels"], expected["panels"], strict=True):
            alike(panel, other)
        ours, theirs = (base64.b64decode(f["panels"][6]["pixels"]) for f in (frame, expected))
        assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= 1


def test_what_is_not_finite_is_counted_in_the_page_too(visit):
    def odd(k):
        from course_lib.explorer import heatmap, histogram, image, lines

        x = torch.tensor([1.0, 2.0, 3.0, 0.5]) / (k - 1) * torch.tensor([1.0, 0.0, 1.0, 1.0])
        return Figure(
            [
                lines({"y": x}), bars({"a": x[0], "b": k}), heatmap(x.reshape(2, 2)), image(x.reshape(2, 2)),
                histogram(x, bins=3), histogram(x, bins=3, log=True),
            ]
        )  # fmt: skip

    spec = explore(odd, live=True, k=[0.5, 2.0, 3.0])._spec
    given = inside(visit).evaluate(
        """(spec) => [1, 3].map((k) => new Computer(spec).frame({k}).panels).map(
            (panels) => panels.map((p) => [p.missing, p.note]))""",
        spec,
    )
    for k, panels in zip((1.0, 3.0), given, strict=True):
        with template.record():
            raw = odd(torch.tensor(k, dtype=torch.float64)).to_dict()
        expected = live.finished(*live._taken_apart(raw))
        assert panels == [[p["missing"], p["note"]] for p in expected["panels"]]


def test_fifty_steps_of_play_are_torchs(visit):
    played = play(roll, begin, seen, start=START, **{**PLAYED, "steps": 50})
    values = {"start": [-1.2, 0.3], "lr": 0.237, "beta": 0.9}
    w, v, t = inside(visit).evaluate(
        """([spec, values]) => {
            const player = new Player(spec);
            player.reset(values);
            player.advance(values, 50, Infinity);
            return ["w", "v", "t"].map((name) => Array.from(player.state[name].data));
        }""",
        [played._spec, values],
    )
    state = begin(torch.tensor(values["start"], dtype=torch.float64))
    for _ in range(50):
        state = roll(state, 0.237, 0.9)
    torch.testing.assert_close(torch.tensor(w, dtype=torch.float64), state["w"], rtol=1e-9, atol=0)
    torch.testing.assert_close(torch.tensor(v, dtype=torch.float64), state["v"], rtol=1e-9, atol=0)
    assert t == [50]


# ---- explore(live=True) in the page ----


def test_a_slider_is_continuous_and_the_figure_follows(visit, explorer):
    page = visit(explorer._html)
    assert page.locator(".ce-still").count() == 0
    slide(page, "rate", 0.37)
    slide(page, "steps", 1.5)
    shown = page.locator("output").first.inner_text()
    assert 0.5 < float(shown) < 1
    assert summary(page) == every_kind(float(shown), 0.1, 22, "sin").summary
    page.get_by_label("cos").check(force=True)
    assert summary(page) == every_kind(float(shown), 0.1, 22, "cos").summary
    page.get_by_role("button", name="Reset").click()
    assert summary(page) == every_kind(1.0, 0.1, 0, "sin").summary


def test_the_keyboard_goes_in_quarters_of_the_grid(visit, explorer):
    page = visit(explorer._html)
    slider, output = page.get_by_label("scale"), page.locator("output").nth(1)
    slider.press("ArrowRight")
    assert float(output.inner_text()) == pytest.approx(0.1 * 10**0.25, rel=1e-2)
    for _ in range(3):
        slider.press("ArrowRight")
    assert output.inner_text() == "1"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda html: html.replace('"mul",', '"mulberry",'), "mulberry"),
        (lambda html: html.replace('"packing":"float64","data":"', '"packing":"float64","data":"AAA'), ""),
        (lambda html: html.replace('"templates"', '"broken"'), ""),
    ],
)
def test_a_damaged_graph_leaves_the_picture_and_the_console_says_why(visit, explorer, damage, said):
    damaged = damage(explorer._html)
    if damaged == explorer._html:
        pytest.skip("this graph has nothing of the kind")
    page = visit(damaged)
    page.wait_for_function("document.querySelector('[data-mounted]')")
    assert page.locator(".ce-still img").is_visible()
    assert page.locator(".ce-body").count() == 0
    assert len(visit.complaints) == 1
    assert said in visit.complaints[0]
    visit.complaints.clear()


def test_without_the_engine_the_picture_stays(visit, explorer):
    cut = explorer._html.replace(static.engine(), "throw new Error('too old');")
    page = visit(cut)
    assert page.locator(".ce-still img").is_visible()
    assert visit.complaints == ["too old"]
    visit.complaints.clear()


def test_an_explorer_before_the_engine_and_one_after_both_move(visit, explorer):
    plain = explore(lambda k: Figure([bars({"a": k})], summary=f"k {k}"), k=[1, 2])
    once = explorer._html.replace(static.script(), "")  # as the book does, where the first has brought it
    page = visit(plain._html + once.replace("\nmountAll(document);", ""))
    assert page.locator(".ce-body").count() == 2


def test_a_slider_step_computes_and_draws_in_its_frame(visit, explorer):
    page = visit(explorer._html)
    slide(page, "rate", 0.1)
    before = page.locator(".ce-plot path").evaluate_all("all => all.map((p) => p.getAttribute('d'))")
    drawn = page.get_by_label("rate").evaluate(
        """(input) => {
            input.value = 0.9;
            input.dispatchEvent(new Event("input", {bubbles: true}));
            return [...document.querySelectorAll(".ce-plot path")].map((p) => p.getAttribute("d"));
        }"""
    )
    assert drawn != before, "what is shown has changed when the event has been dealt with"


# ---- play in the page ----


def ball(values, done):
    state = begin(torch.tensor(values["start"], dtype=torch.float64))
    for _ in range(done):
        state = roll(state, values["lr"], values["beta"])
    return f"x {state['w'][0]:.4g} after {done}"


def test_play_step_back_and_reset(visit, player):
    page = visit(player._html)
    at = {"start": [-1.5, 0.8], "lr": 0.1, "beta": 0.0}
    assert summary(page) == ball(at, 5)
    page.get_by_role("button", name="Step").click()
    assert summary(page) == ball(at, 6)
    page.get_by_role("button", name="Back to the start").click()
    assert summary(page) == ball(at, 0)
    assert page.locator(".ce-progress").inner_text() == "step 0 of 30"
    page.get_by_label("speed").select_option("240 a second")
    page.get_by_role("button", name="Play").press("Enter")
    page.wait_for_function("document.querySelector('.ce-progress').textContent === 'step 30 of 30'")
    assert summary(page) == ball(at, 30)
    page.wait_for_function(
        "document.querySelector('.ce-status').textContent.startsWith('Finished at step 30 of 30.')"
    )
    assert page.get_by_role("button", name="Step").is_disabled()
    slide(page, "lr", 0.5)
    page.get_by_role("button", name="Reset").click()
    assert summary(page) == ball(at, 5)


def test_pause_stops_and_says_where(visit, player):
    page = visit(player._html)
    page.get_by_label("speed").select_option("5 a second")
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Pause").click()
    shown = page.locator(".ce-progress").inner_text()
    page.wait_for_timeout(500)
    assert page.locator(".ce-progress").inner_text() == shown
    assert page.locator(".ce-status").inner_text().startswith("Paused at " + shown)


def test_a_control_that_moves_takes_the_same_steps_again(visit, player):
    page = visit(player._html)
    slide(page, "lr", 0.5)
    lr = float(page.locator("output").last.inner_text())
    page.wait_for_function("document.querySelector('.ce-progress').textContent === 'step 5 of 30'")
    assert summary(page) == ball({"start": [-1.5, 0.8], "lr": lr, "beta": 0.0}, 5)


def test_the_point_is_dragged_by_mouse_and_moved_by_keys(visit, player):
    page = visit(player._html)
    handle = page.locator(".ce-handle")
    handle.scroll_into_view_if_needed()
    box, plot = handle.bounding_box(), page.locator(".ce-plot").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(plot["x"] + 0.6 * plot["width"], plot["y"] + 0.4 * plot["height"], steps=4)
    page.mouse.up()
    sliders = page.locator(".ce-point input")
    x, y = (float(sliders.nth(k).input_value()) for k in (0, 1))
    assert x > 0
    assert summary(page) == ball({"start": [x, y], "lr": 0.1, "beta": 0.0}, 5)
    moved = handle.bounding_box()
    assert moved["x"] + moved["width"] / 2 == pytest.approx(plot["x"] + 0.6 * plot["width"], abs=2)
    sliders.nth(0).press("ArrowRight")
    assert float(sliders.nth(0).input_value()) == pytest.approx(x + 0.04, abs=1e-3)
    page.get_by_role("button", name="Reset").click()
    assert float(sliders.nth(0).input_value()) == -1.5


def test_the_point_is_dragged_by_touch(visit, player):
    page = visit(player._html, has_touch=True, is_mobile=True, viewport={"width": 360, "height": 740})
    page.locator(".ce-handle").scroll_into_view_if_needed()
    box = page.locator(".ce-handle").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = page.context.new_cdp_session(page)
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]), ("touchMove", [{"x": x + 60, "y": y}]), ("touchEnd", []),
    ):  # fmt: skip
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert float(page.locator(".ce-point input").first.input_value()) > -1.2
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_one_of_several_that_diverges_does_not_stop_the_others(visit):
    def grown(state):
        w, factor = state["w"], torch.tensor([1e200, 0.5], dtype=torch.float64)
        return {"w": w * factor, "memory": w[:1] * 1e200}

    start = {"w": torch.ones(2, dtype=torch.float64), "memory": torch.zeros(1, dtype=torch.float64)}
    shown = play(
        lambda state, k: grown(state), start, lambda state, past: size({"w": state["w"][1]}),
        steps=9, k=[1.0, 2.0], keep=["w"],
    )  # fmt: skip
    page = visit(shown._html)
    page.get_by_label("speed").select_option("240 a second")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('.ce-progress').textContent === 'step 9 of 9'")
    assert page.locator(".ce-value").text_content() == "0.00195"


def two(state):
    from course_lib.explorer import lines

    return Figure([lines({"up": state["w"], "down": -state["w"]})])


def test_the_reader_picks_what_is_shown(visit):
    start = {"w": torch.arange(3, dtype=torch.float64)}
    shown = play(
        lambda state, k: {"w": state["w"] + k},
        start,
        two,
        steps=9,
        k=[1.0, 2.0],
        pick={"up": True, "down": False},
    )
    page = visit(shown._html)
    paths = page.locator(".ce-plot path.ce-line")
    drawn = lambda: [bool(d) for d in paths.evaluate_all("all => all.map((p) => p.getAttribute('d'))")]  # noqa: E731
    assert drawn() == [True, False]
    page.get_by_label("down").check(force=True)
    page.get_by_label("up").uncheck(force=True)
    assert drawn() == [False, True]
    page.get_by_role("button", name="Step").click()
    assert drawn() == [False, True], "a step leaves it so"
    page.get_by_role("button", name="Reset").click()
    assert drawn() == [True, False]


def jitter(state, noise):
    return {"w": 0.5 * state["w"] + noise}


def where(state):
    from course_lib.explorer import scatter, text

    end = text("{x:.9f} {y:.9f}", x=state["w"][0], y=state["w"][1])
    return Figure([scatter({"p": (state["w"][:1], state["w"][1:])})], summary=end)


def test_each_step_draws_the_numbers_that_python_draws(visit):
    begin_at = {"w": torch.zeros(2, dtype=torch.float64)}
    shown = play(jitter, begin_at, where, steps=9, shown=4, noise=Noise((2,), seed=5))
    page = visit(shown._html)
    assert summary(page) == shown.compute()["summary"]
    page.get_by_role("button", name="draw again").click()
    for _ in range(4):
        page.get_by_role("button", name="Step").click()
    assert summary(page) == shown.compute(noise=6)["summary"]


def grow(state, rate):
    return {"w": state["w"] * rate * 1e60}


def size(state):
    return Figure([bars({"w": state["w"]})])


def test_what_diverges_stops_says_so_and_can_begin_anew(visit):
    shown = play(grow, {"w": torch.tensor(1.0, dtype=torch.float64)}, size, steps=100, rate=[1.0, 2.0])
    page = visit(shown._html)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('.ce-progress').textContent.includes('not finite')")
    assert page.locator(".ce-progress").inner_text() == "step 6 of 100: not finite any more"
    page.wait_for_function("document.querySelector('.ce-status').textContent.startsWith('It diverged')")
    page.get_by_role("button", name="Back to the start").click()
    assert page.locator(".ce-progress").inner_text() == "step 0 of 100"
    assert page.locator(".ce-value").text_content() == "1"


def test_it_stops_when_it_leaves_the_screen(visit, player):
    page = visit(player._html + "<div style='height: 5000px'></div>")
    page.get_by_label("speed").select_option("1 a second")
    page.get_by_role("button", name="Play").click()
    page.mouse.wheel(0, 4000)
    page.wait_for_function("document.querySelector('.ce-button-main').textContent === 'Play'")


def test_reduced_motion_goes_to_the_end_at_once(visit, player):
    page = visit(player._html, reduced_motion="reduce")
    page.get_by_role("button", name="Run to the end").click()
    page.wait_for_function("document.querySelector('.ce-progress').textContent === 'step 30 of 30'")
    assert summary(page) == ball({"start": [-1.5, 0.8], "lr": 0.1, "beta": 0.0}, 30)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(visit, player, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page = visit(player._html)
    page.evaluate(
        """(theme) => {
            document.documentElement.dataset.theme = theme;
            document.body.style.background = theme === "dark" ? "#14171b" : "#ffffff";
            document.querySelector("h1").style.color = theme === "dark" ? "#ffffff" : "#000000";
        }""",
        theme,
    )
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
