"""The built book as a reader meets it in Chromium and Firefox: offline, by mouse and by keyboard."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
OpenPage = Callable[..., Any]  # conftest.py says what it takes; it returns a Visit

PHONE, DESK = 360, 1280
FRONT = "book/intro"
NO_TEXT = {"genindex", "py-modindex", "search", "index", "404"}  # made by the builder, not written

# A picture of what an explorer draws: its shapes, its texts and its pixels.
DRAWING = """figure => [...figure.querySelectorAll("svg, canvas, p, output")]
    .map(part => part.toDataURL ? part.toDataURL() : part.outerHTML).join("")"""


def names(book: Path) -> list[str]:
    """Every page, as ``book/intro``, but for the redirect to the front page and the list of wheels."""
    pages = (path.relative_to(book).with_suffix("").as_posix() for path in book.rglob("*.html"))
    return sorted(name for name in pages if not name.startswith(("_", ".", "wheels/")) and name != "index")


def written(book: Path) -> list[str]:
    """The pages that somebody wrote."""
    return [name for name in names(book) if name not in NO_TEXT]


def holding(book: Path, mark: str) -> list[str]:
    """The written pages whose HTML holds ``mark``; at least one."""
    found = [name for name in written(book) if mark in (book / f"{name}.html").read_text("utf-8")]
    assert found, f"no page holds {mark!r}"
    return found


# ---------------------------------------------------------------- every page, opened once


@dataclass
class Seen:
    """What one page did when it was opened on a desk and then narrowed to a phone."""

    requests: list[str]
    complaints: list[str]
    widths: dict[int, int]
    formulas: int
    unset: list[str]
    squeezed: list[str]


# Pictures whose shape on the page is not their own, to a hundredth or, as heights are whole, a pixel.
SQUEEZED = """[...document.querySelectorAll(".bd-article img")]
    .filter((i) => i.clientHeight && i.naturalHeight)
    .filter((i) => Math.abs(i.clientHeight - (i.clientWidth * i.naturalHeight) / i.naturalWidth)
        > Math.max(1, 0.01 * i.clientHeight))
    .map((i) => i.alt)"""


@pytest.fixture(scope="module")
def seen(book: Path, open_page: OpenPage) -> dict[str, Seen]:
    result = {}
    for name in names(book):
        if name == "404":  # its links are absolute: it is served, never opened
            continue
        visit = open_page(name, width=DESK)
        set_formulas(visit.page)
        widths = {}
        for width in (DESK, PHONE):
            visit.page.set_viewport_size({"width": width, "height": 800})
            widths[width] = visit.page.evaluate("document.documentElement.scrollWidth")
        result[name] = Seen(
            visit.requests,
            visit.complaints,
            widths,
            visit.page.locator("mjx-container").count(),
            visit.page.locator(".math:not(:has(mjx-container)), mjx-merror").all_text_contents(),
            visit.page.evaluate(SQUEEZED),
        )
    return result


def set_formulas(page: Page) -> None:
    """Wait until MathJax has set the page's formulas, if it has any."""
    page.evaluate("window.MathJax?.startup?.promise?.then(() => true)")


def test_no_page_asks_for_anything_outside_the_book(seen: dict[str, Seen], book: Path) -> None:
    root = book.as_uri() + "/"
    outside = {
        (name, url)
        for name, page in seen.items()
        for url in page.requests
        if not url.startswith((root, "data:", f"blob:{root}", "blob:null"))
    }
    assert not outside


def test_console_is_clean(seen: dict[str, Seen]) -> None:
    assert {name: page.complaints for name, page in seen.items() if page.complaints} == {}


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_no_page_scrolls_sideways(seen: dict[str, Seen], width: int) -> None:
    assert {name: page.widths[width] for name, page in seen.items() if page.widths[width] > width} == {}


def test_figures_keep_their_shape_on_a_phone(seen: dict[str, Seen]) -> None:
    assert {name: page.squeezed for name, page in seen.items() if page.squeezed} == {}


@pytest.mark.chromium_only("requests of files")
def test_formulas_are_set_by_the_mathjax_beside_the_pages(seen: dict[str, Seen], book: Path) -> None:
    assert {name: page.unset for name, page in seen.items() if page.unset} == {}
    with_formulas = {name: page for name, page in seen.items() if page.formulas}
    assert "book/notation" in with_formulas
    local = (book / "_static" / "mathjax").as_uri()
    for name, page in with_formulas.items():
        assert any(url.startswith(local) for url in page.requests), name


# ------------------------------------------------------------------- links and previews


@pytest.fixture(scope="module")
def soups(book: Path) -> dict[str, BeautifulSoup]:
    return {
        name: BeautifulSoup((book / f"{name}.html").read_text("utf-8"), "html.parser") for name in names(book)
    }


def test_every_internal_link_and_anchor_resolves(book: Path, soups: dict[str, BeautifulSoup]) -> None:
    anchors = {
        (book / f"{name}.html").resolve(): {
            tag.get("id") or tag.get("name") for tag in soup.select("[id], a[name]")
        }
        for name, soup in soups.items()
    }
    broken = []
    for name, soup in soups.items():
        if name == "404":
            continue
        for tag in soup.select("[href], [src]"):
            url = urlsplit(tag.get("href") or tag.get("src"))
            if url.scheme or url.netloc:
                continue
            here = book / f"{name}.html"
            target = (here.parent / unquote(url.path)).resolve() if url.path else here.resolve()
            anchor = unquote(url.fragment)
            missing = not target.is_file()
            lost = anchor and target in anchors and anchor not in anchors[target] and tag.name == "a"
            if missing or lost:
                broken.append(f"{name}: {url.geturl()}")
    assert not broken


def test_links_are_previewed_with_title_description_and_picture(
    book: Path, soups: dict[str, BeautifulSoup]
) -> None:
    for name in written(book):
        properties = {tag["property"]: tag["content"] for tag in soups[name].select('meta[property^="og:"]')}
        assert properties.get("og:title"), name
        assert len(properties.get("og:description", "")) > 20, name
        assert properties["og:url"].endswith(f"{name}.html"), name
        site = properties["og:url"].removesuffix(f"{name}.html")
        picture = book / properties["og:image"].removeprefix(site)
        with picture.open("rb") as file:
            assert struct.unpack(">II", file.read(24)[16:]) == (1200, 630), name


def test_colab_buttons_open_the_notebooks_of_the_repository(
    book: Path, soups: dict[str, BeautifulSoup]
) -> None:
    repository = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["repository"]
    place = f"{urlsplit(repository['url']).path}/blob/{repository['branch']}/"
    for name in holding(book, "course-explorer"):
        links = [tag["href"] for tag in soups[name].select('a[href*="colab.research"]')]
        assert links, name
        assert all(urlsplit(link).path == f"/github{place}{name}.ipynb" for link in links)
        assert (ROOT / f"{name}.ipynb").is_file()


@pytest.mark.chromium_only("requests that are answered by the test")
def test_page_not_found_works_at_any_depth(browser: Browser, book: Path) -> None:
    host = "http://book.example"
    text = (book / "404.html").read_text("utf-8")
    prefix = re.search(r'href="(/[^"]*?)_static/', text)[1]
    lost: list[str] = []

    def serve(route) -> None:
        path = urlsplit(route.request.url).path
        file = book / unquote(path.removeprefix(prefix))
        if path.startswith(prefix) and file.is_file():
            route.fulfill(path=file)
        else:
            lost.append(path)
            route.fulfill(status=404, path=book / "404.html")

    context = browser.new_context()
    context.route("**/*", serve)
    page = context.new_page()
    missing = f"{prefix}no/such/page.html"
    page.goto(host + missing)
    assert lost == [missing]  # style sheets, scripts and pictures were all found
    page.locator("article a").first.click()
    page.wait_for_load_state()
    assert "Making Deep Networks Train" in page.locator("article h1").inner_text()
    assert lost == [missing]
    context.close()


# ------------------------------------------------------------------------ for every reader


def main_pages(book: Path) -> list[str]:
    """One page of each kind, and every page with an explorer."""
    return ["book/how-to-read", "book/notation", "book/bibliography", "book/api/training", "search",
            *holding(book, "course-explorer")]  # fmt: skip


@pytest.mark.chromium_only("the dark theme of the system")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious(book: Path, open_page: OpenPage, dark: bool) -> None:
    axe = Axe()
    found = []
    for name in main_pages(book):
        page = open_page(name, dark=dark).page
        set_formulas(page)
        assert page.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")
        page.add_style_tag(content="* { transition: none !important }")
        for violation in axe.run(page).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                nodes = [node["html"][:120] for node in violation["nodes"][:3]]
                found.append((name, violation["id"], nodes))
    assert not found


@pytest.mark.chromium_only("the dark theme of the system")
def test_the_book_has_its_own_type_and_paper(open_page: OpenPage) -> None:
    page = open_page(FRONT).page
    assert page.evaluate("document.fonts.ready.then(() => document.fonts.check('600 1em \"Course Serif\"'))")
    assert page.evaluate("[...document.fonts].filter(face => face.status == 'loaded').length") >= 2
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    dark = open_page(FRONT, dark=True).page
    assert dark.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"


def test_theme_button_overrules_the_system(open_page: OpenPage) -> None:
    page = open_page(FRONT).page
    theme = "document.documentElement.dataset.theme"
    button = page.locator(".theme-switch-button:visible").first
    themes = set()
    for _ in range(3):  # system, light, dark
        button.click()
        themes.add(page.evaluate(theme))
    page.evaluate("localStorage.clear()")
    assert themes == {"light", "dark"}


def test_first_tab_stop_skips_to_the_text(open_page: OpenPage) -> None:
    page = open_page("book/how-to-read").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main-content"
    page.keyboard.press("Enter")
    page.wait_for_url("**#main-content")


def test_search_finds_from_a_folder(open_page: OpenPage) -> None:
    visit = open_page(FRONT)
    page = visit.page
    page.keyboard.press("Control+k")
    page.keyboard.type("checkpoint")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=checkpoint*")
    hits = page.locator("#search-results li a")
    hits.first.wait_for()
    assert any("training" in link.get_attribute("href") for link in hits.all())
    hits.first.click()
    page.wait_for_load_state()
    assert "/book/" in page.url
    assert visit.complaints == []


# ----------------------------------------------------------------------------- explorers


def controls(figure: Locator) -> Iterator[tuple[str, Locator]]:
    """Each control of an explorer and its kind; a group of radios is one control, its chosen one."""
    for kind, selector in [
        ("range", "input[type=range]"),
        ("select", ".ce-control select"),  # not the speed of what is played, which changes no drawing
        ("radio", "input[type=radio]:checked"),
    ]:
        for element in figure.locator(selector).all():
            yield kind, element


def move_by_keyboard(kind: str, element: Locator) -> None:
    element.focus()
    value = element.input_value()
    at_end = kind == "range" and float(value) >= float(element.get_attribute("max"))
    element.press("ArrowLeft" if at_end else "ArrowDown" if kind == "select" else "ArrowRight")


def move_by_mouse(kind: str, element: Locator, figure: Locator) -> None:
    if kind == "range":
        box = element.bounding_box()
        low, high = (float(element.get_attribute(end)) for end in ("min", "max"))
        now = (float(element.input_value()) - low) / (high - low)
        share = 0.15 if now > 0.5 else 0.85
        element.click(position={"x": box["width"] * share, "y": box["height"] / 2})
    elif kind == "select":
        now = element.input_value()
        values = element.evaluate("node => [...node.options].map((option) => option.value)")
        element.select_option(next(value for value in values if value != now))
    else:
        group = element.get_attribute("name")
        figure.locator(f'input[type=radio][name="{group}"]:not(:checked)').first.click(force=True)


@pytest.mark.parametrize(
    "way",
    [
        "keyboard",
        pytest.param("mouse", marks=pytest.mark.chromium_only("speed: the keyboard stands for both")),
    ],
)
def test_every_control_of_every_explorer_changes_its_drawing(
    book: Path, open_page: OpenPage, way: str
) -> None:
    for name in holding(book, "course-explorer"):
        visit = open_page(name)
        for figure in visit.page.locator("figure.course-explorer").all():
            figure.scroll_into_view_if_needed()
            figure.locator("input, select").first.wait_for(state="attached")
            found = list(controls(figure))
            assert found, f"{name}: an explorer without controls"
            for kind, element in found:
                before, handle = figure.evaluate(DRAWING), figure.element_handle()
                if way == "keyboard":
                    move_by_keyboard(kind, element)
                else:
                    move_by_mouse(kind, element, figure)
                visit.page.wait_for_function(
                    f"([figure, before]) => ({DRAWING})(figure) !== before",
                    arg=[handle, before],
                )
        assert visit.complaints == [], name


def test_front_page_explorer_fits_the_first_screen_and_tells_its_fate(open_page: OpenPage) -> None:
    page = open_page(FRONT).page
    figure = page.locator("figure.course-explorer").first
    slider = figure.locator("input[type=range]")
    slider.wait_for()
    box = figure.bounding_box()
    assert box["y"] + min(box["height"], 560) < 900
    assert "faded" in figure.inner_text()
    slider.focus()
    slider.press("End")
    figure.get_by_text("stuck at −1 or 1").first.wait_for()


@pytest.mark.chromium_only("scripts off")
def test_without_scripts_a_picture_stands_in(book: Path, open_page: OpenPage) -> None:
    for name in holding(book, "course-explorer"):
        page = open_page(name, scripts=False).page
        for picture in page.locator("figure.course-explorer").all():
            image = picture.locator("img").first
            assert image.is_visible(), name
            assert len(image.get_attribute("alt")) > 20, name
            assert image.bounding_box()["width"] > 200, name


# ------------------------------------------------------------------- questions and paper


def answer(form: Locator, data: dict, right: bool) -> None:
    if "choices" in data:
        wrong = next(choice for choice in data["choices"] if choice != data["answer"])
        form.get_by_label(data["answer"] if right else wrong, exact=True).check()
    else:
        form.locator("input[type=text]").fill(str(data["answer"] if right else 3 * data["answer"] + 1))
    form.get_by_role("button").click()


@pytest.mark.chromium_only("speed: a question is five round trips")
def test_questions_take_right_answers_and_explain_wrong_ones(book: Path, open_page: OpenPage) -> None:
    for name in holding(book, 'class="course-ask"'):
        page = open_page(name).page
        for form in page.locator("form.course-ask").all():
            data = json.loads(form.locator(".course-ask-data").inner_text())
            for right in (False, True):
                answer(form, data, right)
                verdict = form.locator("[role=status]").inner_text()
                assert form.get_attribute("data-verdict") == ("right" if right else "wrong"), (name, data)
                assert len(verdict) > len("✗ Not yet. "), (name, data)


def on_paper(visit: Any) -> Page:
    visit.page.emulate_media(media="print")
    return visit.page


@pytest.mark.chromium_only("print")
def test_paper_has_the_text_and_not_the_furniture(book: Path, open_page: OpenPage) -> None:
    for name in holding(book, "course-explorer"):
        page = on_paper(open_page(name))
        assert page.locator("h1:visible").count() == 1
        for furniture in (".bd-sidebar-primary", ".bd-header-article", ".prev-next-footer", "figure input"):
            assert page.locator(furniture).locator("visible=true").count() == 0, (name, furniture)
        assert page.pdf(format="A4")[:5] == b"%PDF-"


@pytest.mark.chromium_only("print")
def test_solutions_are_folded_on_screen_and_open_on_paper(book: Path, open_page: OpenPage) -> None:
    for name in holding(book, 'class="solution dropdown'):
        visit = open_page(name)
        bodies = visit.page.locator(".solution section")
        assert bodies.count() > 0, name
        visit.page.wait_for_function("document.querySelector('.solution.toggle-hidden')")
        assert bodies.locator("visible=true").count() == 0, name
        first = visit.page.locator(".solution .admonition-title").first
        first.click()
        bodies.first.wait_for(state="visible")
        on_paper(visit)
        assert bodies.locator("visible=true").count() == bodies.count(), name
