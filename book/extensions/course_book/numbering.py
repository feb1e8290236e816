"""Chapters keep the number in their file's name, whichever other chapters are there.

``book/02-initialization.ipynb`` is chapter 2 before there is a chapter 1, so equation (2.7),
figure 2.3 and exercise 2.1 keep their numbers as the book grows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles

CHAPTER = re.compile(r"(?:^|/)(\d\d)-[^/]*$")

count_sections = TocTreeCollectorWithStyles.assign_section_numbers


def chapter_number(docname: str) -> int | None:
    """2 for ``book/02-initialization``, None for a page that is no chapter."""
    match = CHAPTER.search(docname)
    return int(match[1]) if match else None


def numbered_nodes(env: BuildEnvironment, docname: str) -> Iterator[nodes.Element]:
    """The nodes that carry section numbers: the chapter's title and its entries in the contents."""
    yield env.titles[docname]
    yield from env.tocs[docname].findall(nodes.reference)


def assign_section_numbers(collector: TocTreeCollectorWithStyles, env: BuildEnvironment) -> list[str]:
    """Count sections as Sphinx does, then put the chapter's own number first."""
    changed = count_sections(collector, env)
    for docname, sections in env.toc_secnumbers.items():
        chapter = chapter_number(docname)
        if chapter is None:
            continue
        env.toc_secnumbers[docname] = {
            anchor: (chapter, *number[1:]) for anchor, number in sections.items() if number
        }
        for node in numbered_nodes(env, docname):
            if node.get("secnumber"):
                node["secnumber"] = [chapter, *node["secnumber"][1:]]
    return changed


def setup(app: Sphinx) -> None:
    # Figures and equations are numbered from the sections, inside the same event: no hook lies between.
    TocTreeCollectorWithStyles.assign_section_numbers = assign_section_numbers
