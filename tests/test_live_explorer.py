"""Explorers that compute in their page, without a browser: templates, tracing, what is refused, play."""

from __future__ import annotations

import json
import re

import pytest
import torch

from course_lib.explorer import (
    Control,
    Figure,
    Noise,
    Point,
    bars,
    cases,
    explore,
    heatmap,
    histogram,
    image,
    landscape,
    lines,
    live,
    play,
    scatter,
    template,
    text,
)
from course_lib.graph import Untraceable

BOWL = torch.linspace(-2, 2, 41).square() + torch.linspace(-1, 1, 21).square().unsqueeze(1)


def every_kind(rate, scale, steps, shape):
    """A figure with each kind of panel, computed with tensors all the way."""
    x = torch.linspace(0, 6, 40, dtype=torch.float64)
    y = {"sin": torch.sin, "cos": torch.cos}[shape](x * rate) * scale
    noise = torch.sin(torch.arange(64.0) * 12.9898 * rate)
    height = y.abs().max()
    end = text("ends at {end:.3g}", end=y[-1])
    what = cases(height > 1, "above 1", text("only {p:.1%}", p=height))
    return Figure(
        [
            lines({"y": y, "half": y / 2}, x=x, title="wave", upto=steps),
            lines({"log": y}, x=x, title="log", yscale="log"),
            histogram(noise, title="values", bins=10),
            histogram(noise * scale, title="sizes", bins=10, log=True, range=(-3, 1)),
            bars({"a": height, "b": -rate}, title="bars"),
            scatter({"p": (x, y)}, values=y, title="points"),
            image(noise.reshape(8, 8), title="image"),
            heatmap(noise.reshape(8, 8), title="heat", colours="diverging"),
            landscape(
                BOWL, {"p": (y, y / 2)}, levels=[0.5, 1], xlim=(-2, 2), ylim=(-1, 1), upto=steps, note=end
            ),
        ],
        summary=text("After {steps} steps at {rate:.2g}: {what}.", steps=steps, rate=rate, what=what),
    )  # fmt: skip


CONTROLS = {
    "rate": Control([0.5, 1.0, 2.0], start=1.0),
    "scale": Control([0.1, 1.0, 10.0]),
    "steps": Control([0, 5, 39]),
    "shape": Control(["sin", "cos"]),
}


# ---- sentences ----


def test_with_numbers_a_sentence_is_said_at_once():
    loss = torch.tensor(0.12345)
    assert text("loss {loss:.2g} after {n} steps", loss=loss, n=3) == "loss 0.12 after 3 steps"
    assert text("{loss}", loss=loss) == "0.1235"
    assert cases(loss > 1, "high", "low") == cases(torch.tensor(False), "high", "low") == "low"
    assert cases(True, "yes") + cases(False, "no") == "yes"


def test_without_numbers_it_is_a_template_that_gives_the_same_sentence():
    with template.record():
        made = "so " + text("{a:.1f} {b}", a=torch.tensor(2.25), b=cases(torch.tensor(True), "x", "y")) + "."
    assert made.filled() == "so 2.2 x."
    leaves = []
    written = template.parts(made, lambda tensor: leaves.append(tensor) or len(leaves) - 1)
    assert json.loads(json.dumps(written)) == {"text": ["so ", [0, ".1f"], " ", [1, ["x"], ["y"]], "."]}
    assert template.from_parts(written, lambda place: leaves[place]).filled() == made.filled()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: text("{a}", b=1), r"has a gap {a}; gaps are names of values, here b"),
        (lambda: text("{0}", a=1), r"has a gap {0}"),
        (lambda: text("a", a=1), "'a' has no place in 'a'"),
        (lambda: text("{a:>9}", a=1), "a has format '>9'; the page knows"),
        (lambda: text("{a:d}", a=torch.tensor(1.5)), "'d' is for whole numbers"),
        (lambda: text("{a}", a=torch.zeros(2)), r"shape \(2,\); give one number"),
        (lambda: cases(torch.zeros(2), "a"), r"shape \(2,\)"),
    ],
)
def test_a_sentence_that_cannot_be_said_tells_why(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_f_string_around_a_template_is_refused():
    with template.record(), pytest.raises(ValueError, match="an f-string cannot hold"):
        f"{text('{a}', a=torch.tensor(1.0))}"


# ---- explore(live=True) ----


@pytest.fixture(scope="module")
def explorer():
    return explore(every_kind, live=True, title="All", **CONTROLS)


def test_the_graph_gives_the_frames_of_the_function_on_the_grid():
    traced = live.trace_all(every_kind, CONTROLS)
    for one, shape in zip(traced, ["sin", "cos"], strict=True):
        for rate, scale, steps in [(0.5, 0.1, 0), (2.0, 10.0, 39), (0.777, 3.3, 17)]:
            inputs = {"rate": rate, "scale": scale, "steps": steps}
            inputs = {name: live.as_tensor(CONTROLS[name], v) for name, v in inputs.items()}
            frame, expected = one.frame(**inputs), every_kind(rate, scale, steps, shape).to_dict()
            assert frame["summary"] == expected["summary"]
            for panel, other in zip(frame["panels"], expected["panels"], strict=True):
                assert panel.keys() == other.keys()
                assert panel["note"] == other["note"]
                assert panel.get("y") == other.get("y")


def test_a_live_explorer_carries_graphs_and_one_frame(explorer):
    spec = explorer._spec
    assert spec["frames"]["count"] == 1
    assert spec["live"]["templates"]["count"] == len(spec["live"]["which"]) == 2
    assert explorer._html.count("courseEngine ??=") == 1
    assert "data-computes" in explorer._html
    assert len(explorer._html) < 200_000


def test_others_carry_no_engine():
    plain = explore(lambda k: Figure([bars({"a": k})]), k=[1, 2])
    assert "courseEngine ??=" not in plain._html
    assert " data-computes" not in plain._html.split("</script>")[0]


def test_constants_that_choices_share_travel_once():
    weights = torch.randn(40, 40, generator=torch.Generator().manual_seed(0))

    def product(k, way):
        return Figure([bars({"a": (weights * k).sum() if way == "a" else (weights * k).mean()})])

    assert len(explore(product, live=True, k=[1.0, 2.0], way=["a", "b"])._spec["live"]["constants"]) == 1


def test_what_cannot_be_traced_names_the_line():
    def branches(k):
        return Figure([bars({"a": k if k > 1.5 else -k})])

    with pytest.raises(Untraceable, match=r"branches, line \d+.*torch.where"):
        explore(branches, live=True, k=[1.0, 2.0])


def test_a_value_that_the_trace_would_freeze_is_found():
    calls = []

    def counts(k):
        calls.append(k)
        return Figure([bars({"a": k * len(calls)})])

    with pytest.raises(ValueError, match="the traced fn gives other numbers than fn itself"):
        explore(counts, live=True, k=[1.0, 2.0])


def test_words_that_change_with_a_number_are_found():
    words = iter("abcdefgh")
    with pytest.raises(ValueError, match="gives other words or panels"):
        explore(lambda k: Figure([bars({"a": k}, note=next(words))]), live=True, k=[1.0, 2.0])


def test_a_landscape_that_a_control_changes_is_refused():
    def moving(k):
        return Figure([landscape(BOWL * k, levels=[1], xlim=(-2, 2), ylim=(-1, 1))])

    with pytest.raises(ValueError, match="matrix is computed inside of the function that is traced"):
        explore(moving, live=True, k=[1.0, 2.0])


def test_too_heavy_a_network_is_refused():
    weights = torch.randn(400, 400, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"853 KB of it constants; at most 300 KB"):
        explore(lambda k: Figure([bars({"a": (weights * k).sum()})]), live=True, k=[1.0, 2.0])


def test_a_point_is_a_tensor_and_a_trait():
    def where(place):
        return Figure([scatter({"p": (place[:1], place[1:])})], summary=text("{r:.2f}", r=place.norm()))

    shown = explore(where, live=True, place=Point((3, 4), (0, 5), (0, 5)))
    assert shown.place == (3.0, 4.0)
    assert shown.compute(place=[0, 1])["summary"] == "1.00"
    with pytest.raises(Exception, match=r"lies outside of x from 0 to 5"):
        shown.place = (9, 9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Point((9, 0), (0, 1), (0, 1)), r"\(9.0, 0.0\) lies outside"),
        (lambda: Point((0, 0), (1, 1), (0, 1)), "xlim is"),
        (lambda: Point((0, 0, 0), (0, 1), (0, 1)), "2 finite numbers"),
        (lambda: Point((0, 0), (0, 1), (0, 1), panel=-1), "panel is -1"),
        (lambda: Noise((0,)), "shape is"),
        (lambda: Noise((2,), seed=-1), "the seed is -1"),
        (lambda: explore(every_kind, place=Point((0, 0), (0, 1), (0, 1))), "is a Point, for which the page"),
    ],
)
def test_bad_tensor_controls(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_noise_is_drawn_from_its_seed():
    def cloud(noise):
        return Figure([scatter({"p": (noise[0], noise[1])})])

    shown = explore(cloud, live=True, noise=Noise((2, 5), seed=3))
    assert shown.noise == 3
    assert shown.compute(noise=4) == shown.compute(noise=4) != shown.compute()


# ---- play ----


def roll(state, lr, beta):
    w = state["w"].detach().requires_grad_()
    (g,) = torch.autograd.grad((w**2 * torch.tensor([0.05, 1.0])).sum(), w)
    v = beta * state["v"] + g
    return {"w": state["w"] - lr * v, "v": v, "t": state["t"] + 1}


def seen(state, past):
    path = {"ball": (past["w"][:, 0], past["w"][:, 1])}
    return Figure(
        [landscape(BOWL, path, levels=[1], xlim=(-2, 2), ylim=(-1, 1), upto=state["t"])],
        summary=text("x {x:.4g} after {t}", x=state["w"][0], t=state["t"]),
    )


def begin(start):
    return {"w": start, "v": torch.zeros(2, dtype=torch.float64), "t": 0}


PLAYED = {"steps": 30, "keep": ["w"], "shown": 5, "beta": [0.0, 0.9], "lr": Control([0.1, 0.5], start=0.1)}
START = Point((-1.5, 0.8), (-2, 2), (-1, 1))


def test_play_shows_the_state_after_so_many_steps():
    shown = play(roll, begin, seen, start=START, **PLAYED)
    optimizer_free = torch.tensor([-1.5, 0.8], dtype=torch.float64)
    for _ in range(5):
        optimizer_free = optimizer_free - 0.1 * optimizer_free * torch.tensor([0.1, 2.0])
    frame = shown.compute(beta=0.0)
    assert frame["summary"] == f"x {optimizer_free[0]:.4g} after 5"
    assert frame["panels"][0]["upto"] == 5
    assert len(frame["panels"][0]["paths"][0]["x"]) == 31
    played = shown._spec["play"]
    assert (played["restarts"], played["keep"], played["steps"]) == (["start"], ["w"], 30)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"shown": 31}, "shown is 31; it must be a whole number from 0 to steps, 30"),
        ({"keep": ["z"]}, "keep has 'z'; the state has w, v, t"),
        ({"step": lambda state: {"w": state["w"]}}, "step gives w of the state w, v, t"),
        ({"step": lambda state: {**state, "w": state["w"][:1]}}, r"step makes 'w' \(1,\)"),
        ({"step": lambda state: 3}, "step gives a int; it must give a dict"),
        ({"state": {}}, "state is {}"),
        ({"pick": {"cube": True}}, "pick has 'cube'; the panels have ball"),
        ({"pick": {"ball": False}}, "pick shows nothing at first"),
    ],
)
def test_what_cannot_be_played_says_why(changes, message):
    settings = {**PLAYED, **{k: v for k, v in changes.items() if k not in ("step", "state")}}
    with pytest.raises(ValueError, match=message):
        play(changes.get("step", roll), changes.get("state", begin), seen, start=START, **settings)


def test_a_step_that_remembers_outside_of_its_state_is_found():
    taken = []

    def forgetful(state, lr, beta):
        taken.append(1)
        return {**state, "w": state["w"] + len(taken)}

    with pytest.raises(ValueError, match="the traced functions give another 'w'"):
        play(forgetful, begin, seen, start=START, **PLAYED)


def test_the_script_has_every_part_once():
    from course_lib.explorer import static

    assert not re.search(r"(?m)^\s*//", static.script())
    for name in ("class Player", "class Computer", "class Handle", "function finished", "function formatted"):
        assert static.script().count(name) == 1
