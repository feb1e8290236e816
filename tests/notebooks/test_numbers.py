"""Numbers in the prose come from somewhere, and the list of those that do not can only become shorter."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.numbers import held, main, numbers_in, prose, sources, told, without_source

HERE = Path(__file__).parent
BOOK = HERE.parents[1] / "book"
LEFT = json.loads((HERE / "numbers_without_source.json").read_text("utf-8"))


@pytest.mark.parametrize("name", LEFT)
def test_no_new_number_without_a_source(name: str):
    found = {one.key: one.sentence for one in without_source(BOOK / name)}
    new = [f"{key} in: {found[key][:120]}" for key in found if key not in LEFT[name]]
    assert not new, "\n".join(
        [f"{name}: print these in a cell of their section, cite them, or correct them:", *new]
    )
    gone = [key for key in LEFT[name] if key not in found]
    assert not gone, (
        f"{name}: these have a source now, so strike them off numbers_without_source.json: {gone}"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from 1,000 to 12,500.5", ["1000", "12500.5"]),
        ("$13{,}863$ and $2\\,000$", ["13863", "2000"]),
        ("$10^{-6}$, 10⁻³ and $2 \\cdot 10^{-8}$", ["1e-6", "1e-3", "2e-8"]),
        ("η is 3e-4, not −0.5; v2.1.0 and fc1 are names", ["3e-4", "0.5"]),
    ],
)
def test_numbers_are_read_as_they_are_written(text, expected):
    assert numbers_in(text) == expected


def test_per_cent_is_seen():
    assert told("7 %, $93\\,\\%$, 5 points and 5 digits") == [
        ("7", True),
        ("93", True),
        ("5", True),
        ("5", False),
    ]


def chapter(prose_text: str, section: str = "## B\n\n"):
    """Section A computes 0.0692 with a setting of 128 and one of 3; the prose stands in ``section``."""
    code = new_code_cell("steps, layers = 128, 3")
    code.outputs = [new_output("stream", name="stdout", text="left ≈ 0.0692\n")]
    cells = [new_markdown_cell("# T\n\n## A"), code, new_markdown_cell(section + prose_text)]
    return new_notebook(cells=cells)


@pytest.fixture
def missing(tmp_path):
    """The numbers without a source in such a chapter."""

    def find(*text: str) -> list[str]:
        nbformat.write(chapter(*text), tmp_path / "01-x.ipynb")
        return [one.text for one in without_source(tmp_path / "01-x.ipynb")]

    return find


def test_an_output_may_be_rounded_and_told_in_per_cent_in_its_section(missing):
    assert missing("It leaves 0.07, or 7 %, of 0.0692.", "") == []
    assert missing("It leaves 0.08, or 8 %, or 6.93 %.", "") == ["0.08", "8", "6.93"]
    assert missing("It leaves 7 %.") == ["7"]


def test_a_summary_is_told_from_everywhere(missing):
    assert missing("It leaves 7 % after 128 steps.", "## Summary\n\n") == []


def test_a_setting_with_many_digits_holds_everywhere_and_one_digit_in_its_section(missing):
    assert missing("After 128 steps and 3 layers.", "") == []
    assert missing("After 128 steps and 3 layers.") == ["3"]
    assert missing("After 127 steps.") == ["127"]


def test_cited_numbers_equations_roles_and_exercises_are_left_alone(missing):
    assert missing("They find 42 {cite:p}`someone2017`. And 43.") == ["43"]
    assert missing("$$\nx = 42\n$$ (eq-x-42)\n\nSee {eq}`eq-x-42` and {doc}`07-deep`, so 42.") == []
    assert missing("```{exercise} Count\n:label: ex-4\n\nTake 99.\n```\n") == []


def test_captions_and_alternative_texts_count(tmp_path):
    notebook = chapter("")
    notebook.cells[1].metadata = {
        "mystnb": {"figure": {"caption": "After 128 of 512."}, "image": {"alt": "It ends at 0.5."}}
    }
    nbformat.write(notebook, tmp_path / "01-x.ipynb")
    assert [one.key for one in without_source(tmp_path / "01-x.ipynb")] == [
        f"{notebook.cells[1].id}: 512",
        f"{notebook.cells[1].id}: 0.5",
    ]


def test_the_report_names_cell_number_and_sentence(tmp_path, capsys):
    nbformat.write(chapter("It costs 42 of them."), tmp_path / "01-x.ipynb")
    main([str(tmp_path / "01-x.ipynb")])
    shown = capsys.readouterr().out
    assert "01-x.ipynb: 1 numbers without a source" in shown
    assert ": 42 in: It costs 42 of them." in shown


def changed(text: str) -> str:
    """The number with its last digit one higher."""
    digits, exponent = text.lower().partition("e")[::2]
    places = len(digits.partition(".")[2])
    return f"{float(digits) + 10.0**-places:.{places}f}" + (f"e{exponent}" if exponent else "")


def test_most_changed_numbers_of_several_digits_are_noticed():
    noticed = []
    for name in LEFT:
        notebook = nbformat.read(BOOK / name, as_version=4)
        known = sources(notebook, BOOK)
        for _, section, whole in prose(notebook):
            for text, percent in told(whole):
                if len(text.replace(".", "").strip("0")) > 1:
                    noticed.append(not held(changed(text), section, known, percent))
    assert len(noticed) > 100
    share = sum(noticed) / len(noticed)
    assert share > 0.6, f"{share:.0%} of {len(noticed)}"
