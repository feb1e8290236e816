"""The answer box in Chromium: numbers as readers type them, and what it says to them."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from course_lib.teaching import answers, ask

SCRIPT = resources.files("course_lib.teaching").joinpath("question.js").read_text("utf-8")
TYPED = json.loads(Path(__file__).parents[1].joinpath("numbers_typed.json").read_text("utf-8"))


@pytest.fixture
def box(chromium, tmp_path, monkeypatch):
    """Ask a question in a page; what comes back types an answer and returns the verdict and the words."""
    pages = []

    def put(*arguments, **options):
        shown = {}
        monkeypatch.setattr(answers, "show", lambda plain, **rich: shown.update(rich))
        ask(*arguments, **options)
        file = tmp_path / "question.html"
        file.write_text(f"<!doctype html><meta charset=utf-8><body>{shown['html']}", "utf-8")
        page = chromium.new_page()
        pages.append(page)
        page.goto(file.as_uri())
        form = page.locator("form.course-ask")

        def answer(text):
            if "choices" in options:
                form.get_by_label(text, exact=True).check()
            else:
                form.locator("input[type=text]").fill(text)
            form.get_by_role("button").click()
            return form.get_attribute("data-verdict"), form.locator("[role=status]").inner_text()

        return answer

    yield put
    for page in pages:
        page.close()


def test_the_page_reads_numbers_as_the_library_does(chromium, tmp_path):
    """The table that read_number is held to, in tests/test_teaching.py."""
    page = chromium.new_page()
    (tmp_path / "empty.html").write_text("<!doctype html>")
    page.goto((tmp_path / "empty.html").as_uri())
    read = page.evaluate(
        """async ([script, typed]) => {
            const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
            const { readNumber } = await import(address);
            return typed.map((text) => { const n = readNumber(text); return Number.isNaN(n) ? null : n; });
        }""",
        [SCRIPT, [text for text, _ in TYPED]],
    )
    page.close()
    assert len(read) == len(TYPED)
    for (text, value), got in zip(TYPED, read, strict=True):
        assert got == (value if value is None else pytest.approx(value, rel=1e-12)), text


def test_a_count_is_exact_and_the_nearest_mistake_is_explained(box):
    answer = box(
        "How many?", 128, mistakes={256: "running", 257: "state", 0.5: "half"}, explanation="γ and β."
    )
    assert answer("128") == ("right", "✓ Right. γ and β.")
    assert answer("2^7")[0] == "right"
    assert answer("130") == ("wrong", "✗ Not yet. That is too large.")
    assert answer("257") == ("wrong", "✗ Not yet. state")
    assert answer("256")[1].endswith("running")
    assert answer("0,505")[1].endswith("half")
    assert answer("many")[0] == "unanswered"
    near = box("How far?", 1.5, mistakes={2.5: "far", 2.52: "farther"})
    assert near("2.519")[1].endswith("farther")
    assert near("2.501")[1].endswith("far")


def test_a_number_as_the_book_prints_it_is_right(box):
    answer = box("How many?", 13863)
    assert answer("13,863")[0] == "right"
    assert answer("13 863")[0] == "right"
    assert answer("13.863")[0] == "wrong"
    assert answer("3,257")[1] == "✗ Not yet. You typed 3,257, which is 3257 here. That is too small."
    assert box("How much?", 0.04)("0,04")[0] == "right"
    assert box("How much?", 0.45)("45 %")[0] == "right"
    assert box("How many per cent?", 45)("45 %")[0] == "right"
    assert box("How much?", -0.04)("−4×10⁻²")[0] == "right"


def test_a_verdict_is_said_once(box):
    choices = {"a": "Right. Half of it.", "b": "Yes. So it is.", "c": "No: less.", "d": "Not all of it."}
    assert box("Which?", "a", choices=choices)("a") == ("right", "✓ Right. Half of it.")
    assert box("Which?", "b", choices=choices)("b") == ("right", "✓ Yes. So it is.")
    assert box("Which?", "b", choices=choices)("c") == ("wrong", "✗ No: less.")
    assert box("Which?", "b", choices=choices)("d") == ("wrong", "✗ Not yet. Not all of it.")
