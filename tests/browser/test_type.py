"""Text has room in Chromium and Firefox, in every font and at every width: it is measured, never guessed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page

from course_lib.explorer import Figure, bars, explore, heatmap, histogram, image, landscape, lines, scatter

pytestmark = [
    pytest.mark.browser,
    # The still picture is Matplotlib's, whose one font has not all of these letters.
    pytest.mark.filterwarnings("ignore:Glyph .* missing", "ignore:constrained_layout not applied"),
]

WIDTHS = (320, 360, 480, 700, 1024, 1440)
LONG = "学習率とバッチの大きさによる検証データでの正解率の変化について"
SHELL = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Test</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1"></head>'
    '<body style="margin: 0; font-family: {family}"><main>{body}</main></body></html>'
)

# Every text that leaves what it belongs to: a number or name its panel, all else the explorer's frame.
OUTSIDE = """() => [...document.querySelectorAll(".course-explorer *")].flatMap((node) => {
    const text = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!text || node.matches("script, style, option, .ce-status, .ce-values")) return [];
    const range = document.createRange();
    range.selectNodeContents(node);
    const a = range.getBoundingClientRect();
    const b = node.closest(".ce-panel, .course-explorer").getBoundingClientRect();
    const left = b.left - a.left, right = a.right - b.right;
    return a.width && (left > 1 || right > 1) ? [`${node.textContent} ${left} ${right}`] : [];
})"""

# Every two numbers of one axis, or bars' names and values, that touch.
TOUCHING = """() => [...document.querySelectorAll(".ce-panel")].flatMap((panel) => {
    const texts = [...panel.querySelectorAll(".ce-tick:not(.ce-level), .ce-bar-name, .ce-value")];
    const boxes = texts.filter((node) => node.textContent)
        .map((node) => [node.textContent, node.getBoundingClientRect()]);
    const beside = (a, b) => a.right > b.left + 0.5 && b.right > a.left + 0.5;
    const level = (a, b) => a.bottom > b.top + 4 && b.bottom > a.top + 4;
    return boxes.flatMap(([one, a], k) => boxes.slice(k + 1)
        .filter(([, b]) => beside(a, b) && level(a, b)).map(([other]) => `${one} | ${other}`));
})"""


def drawing(scale: float, kind: str) -> Figure:
    """Each kind of panel, with numbers and names of every length and in four scripts."""
    step = torch.arange(20.0)
    loss = scale * torch.exp(-0.3 * step)
    noise = torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(0))
    bowl = torch.linspace(-2, 2, 21).square() + torch.linspace(-1, 1, 11).square().unsqueeze(1)
    wide = [LONG, "WWWW", "WWWW", "w"]
    return Figure(
        [
            lines({"Adam": loss, "Нестеров": loss / 2}, title=LONG, xlabel=LONG, ylabel=LONG, note=LONG),
            lines({LONG: loss + 1e-9, "wwwwwwwwwwwwwwwwwwwwwwwwwwwww": loss}, title="Norm", yscale="log"),
            bars(
                {"SGD": scale, "Adam": -scale, LONG: math.nan, "x": 9 * scale},
                title="Gain", xlabel=LONG, note=kind,
            ),
            bars({"first": 1e-9 * scale, "second": 12345678.0}, title="Gain", xlim=(0, 10 * scale)),
            image(noise, title=LONG, xlabel=LONG, note="W" * 60),
            heatmap(noise[0], title="Größe", rows=[LONG, "b", "c", "d", "e"], columns=wide),
            heatmap(noise[0] * 1e5, xlim=(0, 0.0001), ylim=(-0.00125, 0.00125), title="Limits", written=True),
            histogram(step * scale, title=LONG, xlabel=LONG, ylabel=LONG),
            histogram(step * 1e-9 * scale, log=True, title="Gradient", xlabel="gradient"),
            histogram(torch.full((9,), math.nan), title="None"),
            scatter({LONG: (step, loss), "b": (step, loss * 1e-7)}, yscale="log", ylabel=LONG),
            landscape(
                bowl * scale, {"direct": (step / 10, step / 20), LONG: (step / 20, step / 30)}, levels=[0.1],
                xlim=(-2e-5, 2e-5), ylim=(-1e-5, 1e-5), title="Bowl", xlabel=LONG, ylabel=LONG,
            ),
        ],
        columns=3,
        summary=f"{LONG} {scale} {'W' * 90}",
    )  # fmt: skip


@pytest.fixture(scope="module", params=["sans-serif", "serif"])
def page(request: pytest.FixtureRequest, lettered: Browser, tmp_path_factory: pytest.TempPathFactory) -> Page:
    shown = explore(
        drawing, scale=[1.234e-6, 1.0, 12345.0], kind=["one", LONG, "W" * 40], title=LONG, caption=LONG * 3
    )
    file: Path = tmp_path_factory.mktemp("type") / "page.html"
    file.write_text(SHELL.format(family=request.param, body=shown._html), encoding="utf-8")
    page = lettered.new_page()
    page.goto(file.as_uri())
    yield page
    page.close()


def resize(page: Page, width: int) -> None:
    """Another width, and the drawing that follows it."""
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.mark.parametrize("width", WIDTHS)
def test_text_stays_in_its_place(page: Page, width: int) -> None:
    resize(page, width)
    for position in range(3):
        page.get_by_label("scale").evaluate(
            "(input, to) => { input.value = to; input.dispatchEvent(new Event('input', {bubbles: true})); }",
            position,
        )
        assert page.evaluate(OUTSIDE) == []
        assert page.evaluate(TOUCHING) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_is_too_long_ends_in_an_ellipsis(page: Page) -> None:
    resize(page, 320)
    names = page.locator(".ce-bar-name").all_text_contents()
    assert "SGD" in names
    [cut] = [name for name in names if name.endswith("…")]
    assert LONG.startswith(cut[:-1])
    assert len(cut) > 2


def test_every_size_that_is_measured_is_the_size_that_is_written(page: Page) -> None:
    resize(page, 900)
    written = page.evaluate(
        """() => [".ce-tick", ".ce-axis-name", ".ce-bar-name", ".ce-value"].map((name) => {
            const style = getComputedStyle(document.querySelector(name));
            return `${style.fontWeight} ${style.fontSize}`;
        })"""
    )
    assert written == ["400 11px", "400 11px", "400 12px", "400 12px"]
