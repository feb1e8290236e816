"""What a notebook of the book must be. Each rule yields its problems, each saying what to do.

A rule is a generator over a `Notebook`; `RULES` holds them all by name. Which of them only chapters must
keep, the rules themselves say.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import nbformat

from course_lib.explorer.frames import LIMIT
from course_lib.explorer.static import own_bytes
from tools.bootstrap import source as bootstrap_source
from tools.canonical import WIDGET_VIEW, canonical, is_chapter

PAGE_BYTES = 2_000_000
EXECUTE = "run `make execute`"

Rule = Callable[["Notebook"], Iterator[str]]
RULES: dict[str, Rule] = {}


def rule(function: Rule) -> Rule:
    """Add ``function`` to `RULES`."""
    RULES[function.__name__] = function
    return function


@dataclass(frozen=True)
class Cell:
    """A code cell: its number among the code cells from 1, as readers count, and what it holds."""

    number: int
    node: nbformat.NotebookNode

    @property
    def source(self) -> str:
        return self.node.source

    @cached_property
    def tree(self) -> ast.Module | None:
        """The cell's syntax tree, or None where it is not plain Python."""
        try:
            return ast.parse(self.source)
        except SyntaxError:
            return None

    def calls(self) -> list[str]:
        """The names of the functions that the cell calls, without what stands before the dot."""
        if self.tree is None:
            return []
        functions = [node.func for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        return [getattr(function, "attr", getattr(function, "id", "")) for function in functions]

    def texts(self) -> Iterator[str]:
        """Every text in the outputs, explorers' payloads and pictures left out."""
        for output in self.node.outputs:
            yield output.get("text", "")
            yield from output.get("traceback", [])
            for mime, value in output.get("data", {}).items():
                if mime.startswith("text/") and isinstance(value, str):
                    yield re.sub(r"(?s)<script.*?</script>|data:[\w/+-]+;base64,[\w+/=]+", "", value)

    def explorers(self) -> list[str]:
        """The HTML of each explorer in the outputs."""
        pages = [output.get("data", {}).get("text/html", "") for output in self.node.outputs]
        return [page for page in pages if 'class="course-explorer"' in page]


@dataclass(frozen=True)
class Notebook:
    """A notebook as it is stored: the file's name, its text, and the book's repository URL."""

    name: str
    text: str
    repository: str
    nb: nbformat.NotebookNode = field(repr=False)

    @classmethod
    def read(cls, path: Path, repository: str) -> Notebook:
        """Read the notebook at ``path``. Raises ``ValueError`` as :func:`parse`."""
        return cls(path.name, path.read_bytes().decode("utf-8", "replace"), repository, parse(path))

    @property
    def is_chapter(self) -> bool:
        return is_chapter(self.name)

    @cached_property
    def code(self) -> list[Cell]:
        cells = [cell for cell in self.nb.cells if cell.cell_type == "code"]
        return [Cell(number, cell) for number, cell in enumerate(cells, 1)]

    @cached_property
    def markdown(self) -> str:
        """The text of all markdown cells."""
        return "\n\n".join(cell.source for cell in self.nb.cells if cell.cell_type == "markdown")

    @cached_property
    def headings(self) -> list[tuple[int, str]]:
        """Level and text of every heading; a ``#`` inside a fenced block is none."""
        prose = re.sub(r"(?ms)^(`{3,}|~{3,})[^\n]*\n.*?^\1`*[ \t]*$", "", self.markdown)
        found = re.findall(r"(?m)^(#{1,6})[ \t]+(.+?)[ \t#]*$", prose)
        return [(len(marks), text) for marks, text in found]

    def section(self, title: str) -> str | None:
        """The text below the first heading that matches ``title``, up to the next of its level or above."""
        match = re.search(rf"(?mi)^(#{{1,6}})[ \t]+.*(?:{title}).*$", self.markdown)
        if match is None:
            return None
        rest = self.markdown[match.end() :]
        return re.split(rf"(?m)^#{{1,{len(match[1])}}}[ \t]", rest, maxsplit=1)[0]


def parse(path: Path) -> nbformat.NotebookNode:
    """The notebook at ``path``; a byte-order mark before it is passed over (and not written again).

    Raises ``ValueError`` that names the file and the line: merge markers, other letters than UTF-8, no JSON,
    no notebook.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        marker = re.search(r"(?m)^(?:<{7}|={7}|>{7})(?: .*)?$", text)
        if marker:
            line = text.count("\n", 0, marker.start()) + 1
            raise ValueError(f"line {line} is a merge marker, {marker[0][:40]!r}: settle the merge first")
        json.loads(text)  # nbformat's own error shows the whole file
        return nbformat.reads(text, as_version=4)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name}: not UTF-8 at byte {error.start}: save it as UTF-8") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path.name}: {error or 'not a notebook'}") from error
    except nbformat.ValidationError as error:
        raise ValueError(f"{path.name}: not a notebook: {error.message[:200]}") from error


def problems(notebook: Notebook) -> list[str]:
    """Every breach of the contract in ``notebook``, one line each."""
    return [f"{notebook.name}: {problem}" for check in RULES.values() for problem in check(notebook)]


@rule
def bootstrap_comes_first(notebook: Notebook) -> Iterator[str]:
    """Cell 1 is the bootstrap, the same in all notebooks."""
    remedy = "run `python -m tools.notebooks canonical`"
    if not notebook.code or notebook.code[0].source != bootstrap_source(notebook.repository):
        yield f"code cell 1 is not the bootstrap for {notebook.repository}: {remedy}"
        return
    first = notebook.code[0].node
    if first.outputs:
        yield "code cell 1, the bootstrap, has an output: it prints nothing where course_lib is importable"
    if "hide-cell" not in first.metadata.get("tags", []):
        yield f"code cell 1, the bootstrap, lacks the tag hide-cell: {remedy}"


@rule
def setup_comes_second(notebook: Notebook) -> Iterator[str]:
    """Cell 2 imports and calls ``setup()``, and prints nothing."""
    if len(notebook.code) < 2 or "setup" not in notebook.code[1].calls():
        yield "code cell 2 must import what the chapter needs and call `setup()` from course_lib.teaching"
    elif notebook.code[1].node.outputs:
        yield "code cell 2 has an output: end it with `device = setup()`, which prints nothing"


@rule
def executed_in_order(notebook: Notebook) -> Iterator[str]:
    """Every code cell has been executed, in order, once."""
    counts = [cell.node.execution_count for cell in notebook.code]
    for cell in notebook.code:
        if not cell.source.strip():
            yield f"code cell {cell.number} is empty: delete it"
        elif cell.node.execution_count is None:
            yield f"code cell {cell.number} was never executed, so nbval would not compare it: {EXECUTE}"
    if None not in counts and counts != list(range(1, len(counts) + 1)):
        yield f"the code cells were executed in the order {counts}, not 1, 2, 3 …: {EXECUTE}"
    for cell in notebook.code:
        for output in cell.node.outputs:
            count = output.get("execution_count", cell.node.execution_count)
            if count != cell.node.execution_count:
                yield f"code cell {cell.number} keeps the output of another execution: {EXECUTE}"


@rule
def answers_are_not_beside_the_question(notebook: Notebook) -> Iterator[str]:
    """What an answer is compared with stands in a folded cell, below the one that takes the answer."""
    for cell in notebook.code:
        first, _, rest = cell.source.partition("\n")
        if re.match(r"\w+ = None  # (def|class) ", first) and rest.strip():
            yield f"code cell {cell.number} shows the check below the answer's line: put it in a folded cell"
    for stub, check in itertools.pairwise(notebook.code):
        if re.match(r"\w+ = None  # (def|class) ", stub.source):
            folded = check.node.metadata.get("jupyter", {}).get("source_hidden")
            if not folded or "hide-input" not in check.node.metadata.get("tags", []):
                yield (
                    f"code cell {check.number} shows what the answer is compared with: tag it `hide-input` "
                    "and set `jupyter.source_hidden` in its metadata"
                )


@rule
def outputs_are_compared(notebook: Notebook) -> Iterator[str]:
    """No cell is taken out of nbval's comparison."""
    for cell in notebook.code:
        marks = re.findall(r"(?im)^\s*#\s*((?:NBVAL|PYTEST_VALIDATE)_\w+)\s*$", cell.source)
        tags = cell.node.metadata.get("tags", [])
        marks += [tag for tag in tags if tag.startswith("nbval-") or tag == "raises-exception"]
        for mark in marks:
            yield (
                f"code cell {cell.number} carries {mark}, which hides its output from nbval: "
                "delete it, and print measured numbers behind ≈"
            )


@rule
def no_errors_or_warnings(notebook: Notebook) -> Iterator[str]:
    """No error, no stderr, no warning in the outputs."""
    for cell in notebook.code:
        where = f"code cell {cell.number}"
        for output in cell.node.outputs:
            if output.output_type == "error":
                yield f"{where} stores the error {output.ename}: {output.evalue!r}; mend it, then {EXECUTE}"
            elif output.get("name") == "stderr":
                line = output.text.strip().splitlines()[0] if output.text.strip() else ""
                yield f"{where} wrote to stderr ({line[:80]!r}): remove what writes there, then {EXECUTE}"
        for text in cell.texts():
            for warning in sorted(set(re.findall(r"\b\w*Warning(?=:)", text))):
                yield f"{where} shows a {warning}: remove its cause, then {EXECUTE}"


@rule
def plain_python(notebook: Notebook) -> Iterator[str]:
    """No ``!`` and no magic: nothing but the bootstrap installs or runs a command."""
    for cell in notebook.code:
        for line in cell.source.splitlines():
            if re.match(r"\s*(?:!|%)", line) or re.search(r"=\s*!|get_ipython\(\)", line):
                yield f"code cell {cell.number} is not plain Python ({line.strip()!r}): say it in Python"
                break
        else:
            if cell.tree is None:
                yield f"code cell {cell.number} does not parse as Python: mend it, then {EXECUTE}"


_ABSOLUTE = re.compile(
    r"(?<![\w.:/~-])/(?:bin|content|etc|home|kaggle|mnt|opt|private|root|srv|tmp|usr|Users|var|Volumes|work|workspace)"
    r"/[\w.@+-]+|(?<!\w)[A-Za-z]:\\\\?[\w.-]+|\bfile:/+[\w.-]+"
)


@rule
def no_absolute_paths(notebook: Notebook) -> Iterator[str]:
    """No path of one machine, in the text, the code or the outputs."""
    for number, cell in enumerate(notebook.nb.cells, 1):
        for path in _ABSOLUTE.findall(cell.source):
            yield f"cell {number} names the absolute path {path}: use a relative one"
    for cell in notebook.code:
        for path in sorted({path for text in cell.texts() for path in _ABSOLUTE.findall(text)}):
            yield f"code cell {cell.number} shows the absolute path {path}: print none, then {EXECUTE}"


@rule
def canonical_form(notebook: Notebook) -> Iterator[str]:
    """The file is stored in the one form that `make execute` writes."""
    if notebook.text != canonical(notebook.nb, notebook.name):
        yield "is not in the canonical form: run `python -m tools.notebooks canonical`"


@rule
def no_widget_state(notebook: Notebook) -> Iterator[str]:
    """No widget view and no widget state: they point to a kernel that is gone."""
    if "widgets" in notebook.nb.metadata:
        yield f"stores widget state: {EXECUTE}"
    for cell in notebook.code:
        if any(WIDGET_VIEW in output.get("data", {}) for output in cell.node.outputs):
            yield f"code cell {cell.number} stores a widget view: {EXECUTE}"


@rule
def sizes(notebook: Notebook) -> Iterator[str]:
    """What an explorer brings beside its script stays below 300 KB, the page below 2 MB."""
    for cell in notebook.code:
        for html in cell.explorers():
            size = own_bytes(html)
            if size > LIMIT:
                yield (
                    f"code cell {cell.number}: the explorer takes {size / 1000:,.0f} KB, more than "
                    f"{LIMIT // 1000} KB: fewer control values, panels or points"
                )
    size = len(notebook.text.encode())
    if size > PAGE_BYTES:
        yield (
            f"the page takes {size / 1e6:.1f} MB, more than {PAGE_BYTES / 1e6:.0f} MB: "
            "fewer or smaller figures and explorers"
        )


@rule
def explorer_opens(notebook: Notebook) -> Iterator[str]:
    """A chapter has an explorer, and its first output is one."""
    if not notebook.is_chapter:
        return
    first = next((cell for cell in notebook.code if cell.node.outputs), None)
    if not any(cell.explorers() for cell in notebook.code):
        yield "has no explorer: open the chapter with `explore(...)`"
    elif not first.explorers():
        yield f"code cell {first.number} shows something before the first explorer: open with the explorer"


@rule
def figures_are_described(notebook: Notebook) -> Iterator[str]:
    """Every figure has a caption and alt text."""
    remedy = "in the cell's metadata, set mystnb to"
    for cell in notebook.code:
        where = f"code cell {cell.number}"
        mimes = {mime for output in cell.node.outputs for mime in output.get("data", {})}
        if mimes & {"image/png", "image/jpeg", "image/svg+xml"}:
            options = cell.node.metadata.get("mystnb", {})
            if not str(options.get("figure", {}).get("caption", "")).strip():
                yield f'{where} draws a figure without a caption: {remedy} {{"figure": {{"caption": "…"}}}}'
            if not str(options.get("image", {}).get("alt", "")).strip():
                yield f'{where} draws a figure without alt text: {remedy} {{"image": {{"alt": "…"}}}}'
        for html in cell.explorers():
            if not re.search(r"(?s)<figcaption\b[^>]*>\s*[^<\s]", html):
                yield f"{where} has an explorer without a caption: `explore(..., caption=…)`"
            if not re.search(r"""\b(?:alt|aria-label)=(?:"[^"]*\w[^"]*"|'[^']*\w[^']*')""", html):
                yield f"{where} has an explorer without alt text: `explore(..., alt=…)`"


@rule
def claims_are_checked(notebook: Notebook) -> Iterator[str]:
    """A chapter checks at least one claim, and each stored claim held."""
    if notebook.is_chapter and not any("claim" in cell.calls() for cell in notebook.code):
        yield "makes no claim: state what the chapter found with `claim(text, condition)`"


@rule
def headings_in_order(notebook: Notebook) -> Iterator[str]:
    """One title, first; no heading skips a level."""
    levels = [level for level, _ in notebook.headings]
    if not levels or levels[0] != 1 or levels.count(1) != 1:
        yield "must have exactly one `# title`, before every other heading"
    for (above, _), (below, text) in zip(notebook.headings, notebook.headings[1:], strict=False):
        if below > above + 1:
            yield f"the heading {text!r} has level {below} below one of level {above}: use {above + 1}"


_EXERCISE = re.compile(
    r"(?ms)^(?:`{3,}|:{3,})\{(?P<kind>exercise|solution)(?:-start)?\}[ \t]*(?P<argument>[^\n]*)\n"
    r"(?P<options>(?:[ \t]*:[^\n]*\n)*)"
)


@rule
def exercises_have_solutions(notebook: Notebook) -> Iterator[str]:
    """A chapter has three to six exercises, each with a folded solution, and answers that are checked."""
    if not notebook.is_chapter:
        return
    found = list(_EXERCISE.finditer(notebook.markdown))
    exercises = [one for one in found if one["kind"] == "exercise"]
    solutions = {one["argument"].strip(): one["options"] for one in found if one["kind"] == "solution"}
    if not 3 <= len(exercises) <= 6:
        yield f"has {len(exercises)} exercises, not 3 to 6"
    for one in exercises:
        label = re.search(r":label:[ \t]*(\S+)", one["options"])
        title = one["argument"].strip() or "without a title"
        if label is None:
            yield f"the exercise {title!r} has no `:label:`, so no solution can refer to it"
        elif label[1] not in solutions:
            yield f"the exercise {label[1]!r} has no solution: add a {{solution}} directive that names it"
        elif "dropdown" not in solutions[label[1]]:
            yield f"the solution of {label[1]!r} is not folded: add `:class: dropdown`"
    checks = sum(name in {"ask", "check"} for cell in notebook.code for name in cell.calls())
    if checks < len(exercises):
        yield f"checks {checks} of {len(exercises)} exercises: give each a `check(...)` or an `ask(...)`"


_PARTS = {
    "break it": "a section with `break it` in its heading: what goes wrong, seen",
    "summary": "a summary",
    "read on|further reading": "a section that says where to read on",
}


@rule
def sections_are_there(notebook: Notebook) -> Iterator[str]:
    """A chapter breaks what it built, sums up, and says where to read on, with citations."""
    if not notebook.is_chapter:
        return
    for title, meaning in _PARTS.items():
        if notebook.section(title) is None:
            yield f"lacks {meaning}"
    reading = notebook.section("read on|further reading")
    if reading is not None and "{cite" not in reading:
        yield "says where to read on without a {cite} reference into references.bib"


@rule
def equations_are_numbered(notebook: Notebook) -> Iterator[str]:
    """Every displayed equation of a chapter has a label, so that it is numbered."""
    if not notebook.is_chapter:
        return
    for body, after in re.findall(r"(?ms)^\$\$(.+?)\$\$([^\n]*)$", notebook.markdown):
        if not re.match(r"\s*\([\w:-]+\)", after):
            start = " ".join(body.split())[:60]
            yield f"the equation {start!r} has no number: close it with `$$ (eq-name)`"
    for options in re.findall(r"(?m)^[`:]{3,}\{math\}[^\n]*\n((?:[ \t]*:[^\n]*\n)*)", notebook.markdown):
        if ":label:" not in options:
            yield "a {math} directive has no `:label:`, so its equation has no number"


@rule
def full_setting(notebook: Notebook) -> Iterator[str]:
    """A chapter that trains has a settings cell with ``FULL = False``, and is stored with that default."""
    if not notebook.is_chapter or not any("fit" in cell.calls() for cell in notebook.code):
        return
    values = [
        node.value.value
        for cell in notebook.code
        if cell.tree is not None
        for node in ast.walk(cell.tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id == "FULL"
    ]
    if not values:
        yield "trains, but has no settings cell with `FULL = False` for readers with a GPU to change"
    elif values != [False]:
        yield f"sets FULL to {values}: the stored notebook sets it once, to False"
