"""The networks that people start from: a table that ships with the library, each line with its source.

Parameter counts are those of torchvision's own classes where it has the network; a test builds each and
counts. Accuracies are not comparable to the last digit: they come from different recipes and sources, and
the column ``accuracy_of`` says which.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Pretrained:
    """One network that can be had with weights.

    Attributes:
        name: as its paper has it.
        date: year and month of its first publication, ``"2015-12"``.
        family: ``"convolution"`` or ``"transformer"``.
        idea: in a few words.
        parameters: how many; None where the source does not give the exact number.
        torchvision: the name of its builder there, or nothing.
        part: ``"all"``, or ``"backbone"`` where the count leaves out the head.
        taught_by: ``"labels"`` or ``"no labels"``, what its first training used.
        accuracy: top-1 on ImageNet's 1,000 classes, in per cent, one view.
        accuracy_of: where that number comes from.
        source: the key of the paper in the book's bibliography.
        url: of the paper.
    """

    name: str
    date: str
    family: str
    idea: str
    parameters: int | None
    torchvision: str
    part: str
    taught_by: str
    accuracy: float
    accuracy_of: str
    source: str
    url: str

    @property
    def year(self) -> float:
        """The date as a number of years, for a time line; 2015.96 for December 2015."""
        year, month = self.date.split("-")
        return int(year) + (int(month) - 0.5) / 12


@cache
def field() -> tuple[Pretrained, ...]:
    """The networks of the table, oldest first."""
    text = resources.files("course_lib.transfer").joinpath("pretrained.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return tuple(
        Pretrained(
            **row | {
                "parameters": int(row["parameters"]) if row["parameters"] else None,
                "accuracy": float(row["accuracy"]),
            }
        )
        for row in rows
    )  # fmt: skip
