"""The built book in Chromium and Firefox: opened from its folder, offline, every request recorded."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "_build" / "html"
BROWSERS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "firefox": ("firefox-esr", "firefox"),
}
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
# What a page is written in: never what happens to be installed. Debian's packages of these are in .ci/run.
FONTS = {"dejavu": "DejaVu Sans", "liberation": "Liberation Sans", "cjk": "WenQuanYi Micro Hei"}
ELSEWHERE = re.compile(r"^(?!file:|data:|blob:)")


def lacking(reason: str) -> NoReturn:
    """Skip, with the reason; in CI, where everything must be there, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave Firefox out where a test says why: BiDi has no word for it, or it would take too long."""

    def lacks(item: pytest.Item) -> bool:
        callspec = getattr(item, "callspec", None)
        return (
            bool(callspec)
            and "firefox" in callspec.id
            and item.get_closest_marker("chromium_only") is not None
        )

    left_out = [item for item in items if lacks(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@dataclass
class Visit:
    """A page that was opened, and what it asked for and complained about since."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> Visit:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.on("console", self._note)
        return self

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("warning", "error"):
            self.complaints.append(f"{message.type}: {message.text}")


OpenPage = Callable[..., Visit]


def fontconfig(fonts: str, folder: Path) -> Path:
    """A configuration that knows one of FONTS and nothing else, for the variable FONTCONFIG_FILE."""
    if shutil.which("fc-list") is None:
        lacking("there is no fc-list: install fontconfig")
    found = subprocess.run(["fc-list", FONTS[fonts], "file"], capture_output=True, text=True, check=True)
    folders = {str(Path(line.rstrip(": ")).parent) for line in found.stdout.splitlines()}
    if not folders:
        lacking(f"the font {FONTS[fonts]} is not installed: .ci/run names the package")
    file = folder / f"{fonts}.conf"
    entries = "".join(f"<dir>{each}</dir>" for each in sorted(folders))
    file.write_text(f"<fontconfig>{entries}<cachedir>{folder / 'cache'}</cachedir></fontconfig>")
    return file


@pytest.fixture(scope="session")
def book() -> Path:
    """The folder of the built book."""
    if not (BOOK / "index.html").exists():
        lacking("the book is not built: run `make book`")
    return BOOK


@contextmanager
def started(fonts: str, folder: Path, name: str = "chromium") -> Iterator[Browser]:
    """The system's Chromium or Firefox, which finds one family of fonts."""
    executable = next(filter(None, map(shutil.which, BROWSERS[name])), None)
    if executable is None:
        lacking(f"there is no {name}: install it, for example with `apt-get install {BROWSERS[name][0]}`")
    options = {
        "executable_path": executable,
        "env": {**os.environ, "FONTCONFIG_FILE": str(fontconfig(fonts, folder)), "HOME": str(folder)},
    }
    with sync_playwright() as playwright:
        if name == "chromium":
            browser = playwright.chromium.launch(args=OPTIONS, **options)
        else:  # as it is, by WebDriver BiDi: Playwright's own build of it is not needed
            browser = playwright.firefox.launch(channel="moz-firefox", **options)
        yield browser
        browser.close()


# Not for the session: while Playwright runs, its event loop stands in the way of the tests of Jupyter.
@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The system's Chromium with the fonts that come with it and are wide: what has room in them has room."""
    with started("dejavu", tmp_path_factory.mktemp("fonts")) as browser:
        yield browser


@pytest.fixture(scope="module", params=BROWSERS)
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Each of the browsers, with the same fonts."""
    with started("dejavu", tmp_path_factory.mktemp("fonts"), request.param) as browser:
        yield browser


@pytest.fixture(
    scope="module", params=[("chromium", fonts) for fonts in FONTS] + [("firefox", "dejavu")], ids="-".join
)
def lettered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium with each of FONTS, and Firefox."""
    name, fonts = request.param
    with started(fonts, tmp_path_factory.mktemp("fonts"), name) as browser:
        yield browser


@pytest.fixture(scope="module")
def open_page(browser: Browser, book: Path) -> Iterator[OpenPage]:
    """Open a page of the book: ``open_page("book/intro", width=360, dark=True, scripts=False)``.

    ``name`` may carry a query or an anchor, or be a path to any other HTML file. The network is blocked.
    """
    contexts: dict[tuple, BrowserContext] = {}
    pages: list[Page] = []

    def context(width: int, height: int, dark: bool, scripts: bool) -> BrowserContext:
        key = (width, height, dark, scripts)
        if key not in contexts:
            contexts[key] = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                java_script_enabled=scripts,
            )
            contexts[key].route(ELSEWHERE, lambda route: route.abort())
        return contexts[key]

    def open_one(
        name: str | Path, *, width: int = 1280, height: int = 900, dark: bool = False, scripts: bool = True
    ) -> Visit:
        while pages:  # one at a time: a page that is left open goes on computing
            pages.pop().close()
        page = context(width, height, dark, scripts).new_page()
        page.set_default_timeout(10_000)
        pages.append(page)
        visit = Visit(page).watch()
        if isinstance(name, Path):
            page.goto(name.as_uri())
        else:
            path, rest = re.fullmatch(r"([^?#]*)(.*)", name).groups()
            page.goto((book / f"{path}.html").as_uri() + rest)
        return visit

    yield open_one
    for each in contexts.values():
        each.close()
