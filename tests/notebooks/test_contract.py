"""Every notebook of the book keeps the contract, and every rule finds a notebook that does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from tools.bootstrap import read_url
from tools.canonical import WIDGET_VIEW
from tools.contract import RULES, Notebook, problems

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_keeps(path: Path, name: str):
    notebook = Notebook.read(path, read_url(ROOT / "_config.yml"))
    found = list(RULES[name](notebook))
    assert not found, "\n".join([f"{path.name}: {RULES[name].__doc__}", *found])


def test_example_keeps_the_contract(chapter):
    assert problems(chapter()) == []


def source(number: int, text: str) -> Callable:
    """Set the source of code cell ``number``, counted from 1."""

    def change(code, nb):
        code[number - 1].source = text

    return change


def append(number: int, **output) -> Callable:
    """Add an output to code cell ``number``."""

    def change(code, nb):
        code[number - 1].outputs.append(new_output(**output))

    return change


def stream(number: int, text: str, name: str = "stdout") -> Callable:
    return append(number, output_type="stream", name=name, text=text)


def tag(number: int, *tags: str) -> Callable:
    def change(code, nb):
        code[number - 1].metadata["tags"] = list(tags)

    return change


def counts(*values: int | None) -> Callable:
    def change(code, nb):
        for cell, value in zip(code, values, strict=False):
            cell.execution_count = value

    return change


def replace(old: str, new: str) -> Callable:
    """Replace text in the markdown, and in the explorer's HTML."""

    def change(code, nb):
        for cell in nb.cells:
            if cell.cell_type == "markdown":
                cell.source = re.sub(old, new, cell.source)
            for output in cell.get("outputs", []):
                if "text/html" in output.get("data", {}):
                    output.data["text/html"] = re.sub(old, new, output.data["text/html"])

    return change


def metadata(number: int, value: dict) -> Callable:
    def change(code, nb):
        code[number - 1].metadata["mystnb"] = value

    return change


def insert(place: int, cell: nbformat.NotebookNode) -> Callable:
    """Put a cell in, and number the executions anew."""

    def change(code, nb):
        nb.cells.insert(place, cell)
        for number, one in enumerate((one for one in nb.cells if one.cell_type == "code"), 1):
            one.execution_count = number

    return change


def no_outputs(number: int) -> Callable:
    def change(code, nb):
        code[number - 1].outputs = []

    return change


ADDITIONAL = "\n\n".join(f"```{{exercise}} x{n}\n:label: x{n}\n?\n```" for n in range(4))

# A rule, what breaks it, and what its message must say.
BREACHES = [
    ("bootstrap_comes_first", source(1, "import course_lib"), "tools.notebooks canonical"),
    ("bootstrap_comes_first", insert(0, new_code_cell("x = 1")), "cell 1 is not the bootstrap"),
    ("bootstrap_comes_first", stream(1, "installing"), "prints nothing"),
    ("bootstrap_comes_first", tag(1), "hide-cell"),
    ("setup_comes_second", source(2, "import torch"), "call `setup()`"),
    ("setup_comes_second", stream(2, "cuda"), "has an output"),
    ("executed_in_order", counts(1, 2, None), "cell 3 was never executed"),
    ("executed_in_order", counts(1, 2, 4, 3), "not 1, 2, 3"),
    ("executed_in_order", counts(7, 8, 9, 10, 11, 12, 13, 14), "make execute"),
    ("executed_in_order", source(5, "  "), "cell 5 is empty"),
    (
        "executed_in_order",
        append(4, output_type="execute_result", data={"text/plain": "1"}, execution_count=9),
        "another execution",
    ),
    (
        "outputs_are_compared",
        source(5, "# NBVAL_IGNORE_OUTPUT\ntraining.fit()"),
        "print measured numbers behind ≈",
    ),
    ("outputs_are_compared", source(5, "#NBVAL_SKIP\ntraining.fit()"), "NBVAL_SKIP"),
    ("outputs_are_compared", tag(5, "nbval-ignore-output"), "delete it"),
    ("outputs_are_compared", tag(5, "raises-exception"), "raises-exception"),
    (
        "no_errors_or_warnings",
        append(6, output_type="error", ename="AssertionError", evalue="no", traceback=[]),
        "the error AssertionError: 'no'",
    ),
    ("no_errors_or_warnings", stream(6, "oh", "stderr"), "wrote to stderr"),
    ("no_errors_or_warnings", stream(6, "x.py:1: UserWarning: hm\n"), "shows a UserWarning"),
    ("plain_python", source(5, "!pip install torch"), "not plain Python ('!pip install torch')"),
    ("plain_python", source(5, "training.fit()\n%pip install torch"), "not plain Python"),
    ("plain_python", source(5, "files = !ls"), "not plain Python"),
    ("plain_python", source(5, "get_ipython().system('ls')"), "not plain Python"),
    ("plain_python", source(5, "%%bash\nls"), "not plain Python"),
    ("plain_python", source(5, "for"), "does not parse"),
    ("no_absolute_paths", source(5, 'open("/home/ann/x.csv")'), "/home/ann"),
    ("no_absolute_paths", source(5, r'open("C:\\data")'), "absolute path"),
    ("no_absolute_paths", stream(6, "saved in /tmp/abc\n"), "print none"),
    ("no_absolute_paths", replace("It breaks", "See /content/drive"), "use a relative one"),
    ("no_absolute_paths", replace("It breaks", "See file:///x"), "file:///x"),
    (
        "answers_are_not_beside_the_question",
        source(5, "double = None  # def double(x): ...\n\ncheck(double, lambda x: 2 * x, inputs=[(1,)])"),
        "shows the check below the answer's line",
    ),
    (
        "answers_are_not_beside_the_question",
        source(5, "double = None  # def double(x): ..."),
        "shows what the answer is compared with",
    ),
    (
        "sizes",
        replace(r"\[1, 2\]", "[" + ", ".join(["1.234"] * 50_000) + "]"),
        "more than 300 KB: fewer control values",
    ),
    ("sizes", stream(6, "x" * 2_000_001), "more than 2 MB"),
    ("explorer_opens", no_outputs(3), "has no explorer"),
    (
        "explorer_opens",
        insert(3, new_code_cell("1", outputs=[new_output("stream", name="stdout", text="1")])),
        "open with the explorer",
    ),
    ("figures_are_described", metadata(4, {"image": {"alt": "A line"}}), "without a caption"),
    (
        "figures_are_described",
        metadata(4, {"figure": {"caption": "A line"}, "image": {"alt": " "}}),
        "without alt text",
    ),
    ("figures_are_described", replace("What the scale does.", ""), "explorer without a caption"),
    ("figures_are_described", replace('alt="[^"]*"', 'alt=""'), "explorer without alt text"),
    ("claims_are_checked", source(6, "print(1)"), "claim(text, condition)"),
    ("headings_in_order", replace("# A chapter", "A chapter"), "exactly one `# title`"),
    ("headings_in_order", replace("## Summary", "# Summary"), "exactly one `# title`"),
    (
        "headings_in_order",
        replace("### Further", "#### Further"),
        "'Further' has level 4 below one of level 2",
    ),
    (
        "exercises_have_solutions",
        replace(r"(?s)```\{exercise\} two.*?```\n", ""),
        "has 2 exercises, not 3 to 6",
    ),
    ("exercises_have_solutions", insert(4, new_markdown_cell(ADDITIONAL)), "has 7 exercises"),
    (
        "exercises_have_solutions",
        replace(r"\{solution\} ex-two", "{solution} ex-else"),
        "'ex-two' has no solution",
    ),
    ("exercises_have_solutions", replace(":class: dropdown\n", ""), "is not folded"),
    ("exercises_have_solutions", replace(":label: ex-one\n", ""), "no `:label:`"),
    ("exercises_have_solutions", source(8, 'ask("two?", ...)'), "checks 2 of 3 exercises"),
    ("sections_are_there", replace("## Break it", "## Else"), "break it"),
    ("sections_are_there", replace("## Summary", "## Else"), "a summary"),
    ("sections_are_there", replace("## Where to read on", "## Else"), "where to read on"),
    ("sections_are_there", replace(r"\{cite:t\}`glorot2010`", "Glorot"), "without a {cite}"),
    ("equations_are_numbered", replace(r"\$\$ \(eq-idea\)", "$$"), "the equation 'x = y' has no number"),
    ("equations_are_numbered", replace("It breaks", "```{math}\nx\n```"), "no `:label:`"),
    ("full_setting", source(2, "device = setup()"), "no settings cell with `FULL = False`"),
    ("full_setting", source(2, "FULL = True\ndevice = setup()"), "sets it once, to False"),
]


@pytest.mark.parametrize(
    ("name", "change", "message"), BREACHES, ids=[f"{name}-{n}" for n, (name, _, _) in enumerate(BREACHES)]
)
def test_breach_is_found(chapter, name: str, change: Callable, message: str):
    notebook = chapter(change)
    found = list(RULES[name](notebook))
    assert found, f"{name} let it pass"
    assert any(message in problem for problem in found), found
    assert any(f"{notebook.name}: {found[0]}" == problem for problem in problems(notebook))


def raw(nb: nbformat.NotebookNode, name: str) -> str:
    """As nbformat writes it, which is not the canonical form."""
    return nbformat.writes(nb) + "\n"


def test_stored_widgets_are_found(chapter):
    def change(code, nb):
        code[2].outputs[0].data[WIDGET_VIEW] = {"model_id": "gone"}
        nb.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}

    found = list(RULES["no_widget_state"](chapter(change, stored=raw)))
    assert len(found) == 2
    assert all("make execute" in problem for problem in found)


def test_other_form_is_found(chapter):
    (found,) = RULES["canonical_form"](chapter(stored=raw))
    assert "tools.notebooks canonical" in found


def test_double_id_is_found(chapter):
    def change(code, nb):
        code[4].id = code[5].id

    with pytest.warns(Warning, match="Non-unique cell id"):
        notebook = chapter(change)
    assert list(RULES["canonical_form"](notebook))


def test_every_rule_has_a_breach():
    tested = {name for name, _, _ in BREACHES} | {"no_widget_state", "canonical_form"}
    assert tested == set(RULES)


@pytest.mark.parametrize(
    "change",
    [
        no_outputs(3),
        source(6, "print(1)"),
        replace("## Summary", "## Else"),
        replace(r"\$\$ \(eq-idea\)", "$$"),
    ],
)
def test_only_chapters_need_a_chapters_parts(chapter, change):
    assert problems(chapter(change))
    assert problems(chapter(change, name="intro.ipynb")) == []


def test_paths_that_are_not_of_a_machine_pass(chapter):
    text = "See https://example.org/home/ann, ../shared/tmp/x, a/b and 1/2; n/a, and/or `~/data`."
    assert problems(chapter(replace("It breaks", text))) == []
