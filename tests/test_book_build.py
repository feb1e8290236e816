"""What the book's build adds to Jupyter Book, and the README's example."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "extensions"))

pytest.importorskip("sphinx", reason="Jupyter Book is not installed")
from course_book import accessible, address, docstrings, explorers, numbering, style  # noqa: E402


@pytest.mark.parametrize(
    ("url", "published"),
    [
        ("https://github.com/course-book/course-book", "https://course-book.github.io/course-book/"),
        ("https://github.com/Owner/Some.Name.git", "https://owner.github.io/Some.Name/"),
        ("https://github.com/Owner/owner.github.io", "https://owner.github.io/"),
    ],
)
def test_published_address_follows_from_the_repository(url: str, published: str) -> None:
    assert address.pages_address(url) == published


@pytest.mark.parametrize("url", ["", "https://github.com", "https://github.com/owner", "a/b/c"])
def test_unfit_repository_is_named(url: str) -> None:
    with pytest.raises(ValueError, match=r"repository url in _config\.yml is .*owner/name"):
        address.pages_address(url)


@pytest.mark.parametrize(
    ("page", "number"),
    [("book/02-initialization", 2), ("12-speed-and-scale", 12), ("book/intro", None), ("book/2-x", None)],
)
def test_chapters_are_numbered_by_their_files(page: str, number: int | None) -> None:
    assert numbering.chapter_number(page) == number


def test_docstrings_become_safe_markup() -> None:
    lines = [
        "The share of |value| in (out, *kernel), as ``a * |b|`` and :func:`f` say.",
        "",
        "values: what is counted,",
        "    with **settings.",
        "bins, limits: how.",
        "",
        "Text: this is no argument",
        "",
        "Example::",
        "",
        "    a * b | c",
    ]
    assert docstrings.rewrite(lines) == [
        r"The share of \|value\| in (out, \*kernel), as ``a * |b|`` and :func:`f` say.",
        "",
        "Args:",
        "    values: what is counted,",
        r"        with \*\*settings.",
        "    bins, limits: how.",
        "",
        "Text: this is no argument",
        "",
        "Example::",
        "",
        "    a * b | c",
        "",
    ]


def test_reference_roles_are_left_out_and_nothing_else() -> None:
    html = (
        '<div role="list" class="citation-list">'
        '<div class="citation" id="id1" role="doc-biblioentry"><p role="note">'
    )
    mended = accessible.REFERENCE_ROLES.sub(lambda match: match[1] or match[2], html)
    assert mended == '<div class="citation-list"><div class="citation" id="id1"><p role="note">'


def test_typeface_is_cut_to_a_light_file_that_keeps_what_the_book_writes(tmp_path: Path) -> None:
    source = style.font_file("SourceSerifPro-Regular")
    assert source is not None, f"{style.FONT_PACKAGE} is not installed"
    target = tmp_path / "face.woff"
    style.cut_face(source, target)
    assert target.stat().st_size < 70_000
    from fontTools.ttLib import TTFont

    characters = TTFont(target).getBestCmap()
    assert set(map(ord, "Aéπσ√≈×“–−½")) <= set(characters)


def test_readme_example_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_PROGRESS", "0")
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    example = re.search(r"(?s)```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"))[1]
    exec(example, {})
    accuracy = float(re.search(r"accuracy=([\d.]+)", capsys.readouterr().out)[1])
    assert accuracy > 0.85


def test_readme_names_commands_and_files_that_exist() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for command in set(re.findall(r"\bmake ([a-z]+)\b", readme)):
        assert re.search(rf"(?m)^{command}:", makefile), f"make {command}"
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (ROOT / link).exists(), link


def test_a_page_has_one_copy_of_the_explorers_script() -> None:
    explorer = (
        '<figure class="course-explorer"><style>s</style><p>{}</p><script class="course-frames">[{}]</script>'
        '<script type="module">m</script></figure>'
    )
    page = '<script type="module">m</script>' + "text".join(explorer.format(k, k) for k in range(3))
    kept = explorers.keep_first(page)
    assert kept.count("<style>s</style>") == 1
    assert kept.count('<script type="module">m</script>') == 2, "another script of the page is not touched"
    assert re.findall(r"<p>(\d)</p>", kept) == re.findall(r"\[(\d)\]", kept) == ["0", "1", "2"]
    other = page.replace(">s<", ">older<", 1)
    assert explorers.keep_first(other).count("<style>") == 2, "a copy that differs stays"
