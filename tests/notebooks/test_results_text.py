"""What a chapter says of its results table is what the table says.

The tables in ``book/results`` are measured by ``python -m benchmarks.full`` and included in the
chapters. Each check below stands under the sentence that it is for, word for word: a new table that no longer
bears the sentence fails here, and so does a sentence that was changed and not checked again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

BOOK = Path(__file__).parents[2] / "book"
Rows = dict[str, list]
Check = Callable[[str], bool]
SENTENCES: list[tuple[str, str, Check]] = []


def says(chapter: str, sentence: str) -> Callable[[Check], Check]:
    """Note a check of the text of ``results/NAME.md`` as that of a sentence of chapter ``NN-NAME``."""

    def note(check: Check) -> Check:
        SENTENCES.append((chapter, sentence, check))
        return check

    return note


@dataclass(frozen=True)
class Measured:
    """A cell such as ``97.09 ± 0.22 %``."""

    mean: float
    std: float


def _cell(text: str) -> Measured | float | str:
    if found := re.fullmatch(r"([\d.]+) ± ([\d.]+)(?: %)?", text):
        return Measured(*map(float, found.groups()))
    return float(text) if re.fullmatch(r"[\d.]+", text) else text


def tables(text: str) -> list[Rows]:
    """Every table of a Markdown text: its rows, under the text of their first cell."""
    found = []
    for block in re.findall(r"(?m)(?:^\|.*\|$\n?)+", text):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        found.append({row[0]: [_cell(cell) for cell in row[1:]] for row in rows[2:]})
    return found


def batchnorm(text: str) -> Rows:
    """The table of chapter 3, whose rows have their names in two cells."""
    return tables(re.sub(r"(?m)^\| ([^|]+?) \| (yes|no) \|", r"| \1, \2 |", text))[0]


def spread_of(rows: Rows, column: int) -> float:
    """From the lowest to the highest mean of a column."""
    means = [row[column].mean for row in rows.values()]
    return max(means) - min(means)


@says(
    "01-optimizers",
    "what is left between most of them is about as large as the spread between seeds",
)
def nearly_level(text: str) -> bool:
    """Five of the seven optimizers end within twice the largest spread between seeds."""
    ends = [row[2] for row in tables(text)[0].values()]
    means = sorted(end.mean for end in ends)
    return any(means[k + 4] - means[k] <= 2 * max(end.std for end in ends) for k in range(3))


@says(
    "01-optimizers",
    "the luck costs as much as the choice of the optimizer",
)
def luck_costs(text: str) -> bool:
    """The neighbouring rate costs AdamW more than lies between all the others."""
    rows = tables(text)[0]
    others = {name: row for name, row in rows.items() if name != "AdamW"}
    differ = rows["Adam"][0] != rows["AdamW"][0]
    return differ and rows["AdamW"][1].mean - rows["Adam"][1].mean >= spread_of(others, 1)


@says(
    "02-initialization",
    "Not a thousandth of the loss in ten epochs; and its accuracy is the share of ones among the test digits",
)
def stays_at_ln_10(text: str) -> bool:
    first, last, accuracy = tables(text)[0]["std 0.01"]
    return 0 <= 1 - last.mean / first.mean < 0.001 and accuracy.mean == 11.35  # 1,135 of the 10,000 are ones


@says(
    "02-initialization",
    "two tenths of a point of accuracy are left by then, which is about the spread between seeds",
)
def little_is_left(text: str) -> bool:
    xavier, he = (tables(text)[0][name][2] for name in ("Xavier", "He"))
    return 0.15 < he.mean - xavier.mean < 0.25 and he.mean - xavier.mean < 1.2 * max(he.std, xavier.std)


@says(
    "03-batchnorm",
    "it is worth a few tenths of a point, at a learning rate of 0.01 less than nothing",
)
def batchnorm_gains(text: str) -> bool:
    rows = batchnorm(text)
    gains = [rows[f"He, η = {lr}, yes"][1].mean - rows[f"He, η = {lr}, no"][1].mean for lr in ("0.01", "0.1")]
    return gains[0] < 0 < 0.2 < gains[1] < 0.6


@says(
    "03-batchnorm",
    "it is the difference between learning and not",
)
def batchnorm_saves(text: str) -> bool:
    rows = batchnorm(text)
    lost = [rows["He, η = 1, no"][0], rows["std 1, η = 0.1, no"][0]]
    saved = [rows[name][1].mean for name in ("He, η = 1, yes", "std 0.01, η = 0.1, yes")]
    return (
        all(one.startswith("not finite in 5 of 5") for one in lost)
        and rows["std 0.01, η = 0.1, no"][1].mean == 11.35
        and min(saved) > 97
    )


@says(
    "03-batchnorm",
    "the heavy weights: they do learn, and slowly",
)
def heavy_and_slow(text: str) -> bool:
    rows = batchnorm(text)
    return 0.3 < rows["std 1, η = 0.1, yes"][0].mean < 2 and rows["std 1, η = 0.1, yes"][1].mean > 80


def accuracy_of(text: str, number: int) -> dict[str, float]:
    """The last column of table ``number``."""
    return {name: row[-1].mean for name, row in tables(text)[number].items()}


def loss_of(text: str, number: int) -> dict[str, float]:
    """The column before the last of table ``number``."""
    return {name: row[-2].mean for name, row in tables(text)[number].items()}


@says(
    "04-regularization",
    "a little over one point of accuracy, though it halves the loss",
)
def decay_halves_the_loss(text: str) -> bool:
    right, loss = accuracy_of(text, 0), loss_of(text, 0)
    gain = right["weight decay, λ = 0.01"] - right["nothing"]
    halved = loss["weight decay, λ = 0.01"] / loss["nothing"]
    return round(right["nothing"]) == 82 and 1 < gain < 2 and 0.4 < halved < 0.6


@says(
    "04-regularization",
    "there it *is* ahead, by five points, and ahead of weight decay as well",
)
@says(
    "04-regularization",
    "what $\\lambda = 0.1$ gains falls from 4.5 points after 600 steps to 1.5 after 2,000, while "
    "dropout comes into its own",
)
def decay_and_time(text: str) -> bool:
    right = accuracy_of(text, 1)
    gains = [
        right[f"weight decay, λ = 0.1, {n} steps"] - right[f"nothing, {n} steps"] for n in ("600", "2,000")
    ]
    dropped = right["dropout 0.2, 2,000 steps"]
    return (
        [round(gain, 1) for gain in gains] == [4.5, 1.5]
        and right["dropout 0.2, 600 steps"] < right["weight decay, λ = 0.1, 600 steps"]
        and dropped > right["weight decay, λ = 0.1, 2,000 steps"]
        and 4.5 < dropped - right["nothing, 2,000 steps"] < 5.5
    )


@says(
    "04-regularization",
    "In the first table dropout raises the accuracy and does not lower the loss; decay lowers the loss; "
    "together they do both",
)
def together_they_do_both(text: str) -> bool:
    right, loss = accuracy_of(text, 0), loss_of(text, 0)
    return (
        right["dropout 0.1"] > right["nothing"] + 1
        and loss["dropout 0.1"] > loss["nothing"]
        and right["λ = 0.01 and dropout 0.1"] > right["dropout 0.1"]
        and loss["λ = 0.01 and dropout 0.1"] < 0.7 * loss["nothing"]
    )


@says(
    "04-regularization",
    "has a lower loss here and *less* accuracy, by nearly four points",
)
def batchnorm_and_few_digits(text: str) -> bool:
    right, loss = accuracy_of(text, 0), loss_of(text, 0)
    return loss["BatchNorm"] < loss["nothing"] and 3.5 < right["nothing"] - right["BatchNorm"] < 4


@says(
    "04-regularization",
    "Early stopping on 60 digits hurts most, by ten points",
)
def stopping_hurts_most(text: str) -> bool:
    right = accuracy_of(text, 0)
    lowest = min(right, key=right.__getitem__)
    return lowest.startswith("early stopping") and round(right["nothing"] - right[lowest]) == 10


@says(
    "04-regularization",
    "Only the row with 900 more digits is ahead of the two rows with shifts",
)
def shifts_are_second(text: str) -> bool:
    right = accuracy_of(text, 0)
    best = sorted(right, key=right.__getitem__, reverse=True)
    return best[:3] == ["900 more digits", "shifts and λ = 0.01", "shifts of up to 2 pixels"]


@says(
    "04-regularization",
    "With 60,000 digits all of this shrinks to a quarter of a point, and the best λ to a tenth of "
    "what it was",
)
def a_quarter_of_a_point(text: str) -> bool:
    right, loss = accuracy_of(text, 3), loss_of(text, 3)
    decays = [name for name in loss if "λ" in name]
    few = [name for name in loss_of(text, 0) if name.startswith("weight decay")]
    best = {min(names, key=of.__getitem__) for names, of in ((decays, loss), (few, loss_of(text, 0)))}
    return 0.2 < max(right.values()) - right["nothing"] < 0.3 and best == {
        "weight decay, λ = 0.001",
        "weight decay, λ = 0.01",
    }


@says(
    "04-regularization",
    "the lowest test loss is at $\\lambda = 0.01$ for the one and at $\\lambda = 1$ for the other",
)
def different_units(text: str) -> bool:
    loss = loss_of(text, 2)
    in_the_loss, decoupled = (
        {name: value for name, value in loss.items() if name.startswith(kind)}
        for kind in ("in the loss", "decoupled")
    )
    best = [min(group, key=group.__getitem__) for group in (in_the_loss, decoupled)]
    return best == ["in the loss, λ = 0.01", "decoupled, λ = 1"]


@says(
    "05-hyperparameters",
    "one to three points between the last two columns. The *grid* is the exception",
)
def winners_luck(text: str) -> bool:
    """How far the score that chose lies above the fresh digits, row by row."""
    gaps = {name: row[2].mean - row[3].mean for name, row in tables(text)[0].items()}
    grid = gaps.pop("grid, 5 × 5")
    return grid < 0 and all(0.95 < gap < 3.05 for gap in gaps.values())


@says(
    "05-hyperparameters",
    "Narrowing doubles the median and adds nothing to the winner",
)
def narrowing(text: str) -> bool:
    once, narrowed = (tables(text)[0][name] for name in ("random", "random, range narrowed"))
    return 1.9 < narrowed[1].mean / once[1].mean < 2.2 and abs(narrowed[3].mean - once[3].mean) < once[3].std


@says(
    "05-hyperparameters",
    "TPE with 25 trials has found what random search found with 100",
)
def tpe_is_quicker(text: str) -> bool:
    rows = tables(text)[0]
    return rows["TPE"][0] == 25 and abs(rows["TPE"][3].mean - rows["random"][3].mean) < rows["random"][3].std


def prose(chapter: str) -> str:
    """The Markdown cells of a chapter, every run of white space as one blank."""
    notebook = nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4)
    cells = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.sub(r"\s+", " ", "\n".join(cells))


@pytest.mark.parametrize(("chapter", "sentence", "holds"), SENTENCES)
def test_the_table_bears_the_sentence(chapter: str, sentence: str, holds: Check):
    assert sentence in prose(chapter), f"{chapter} no longer says {sentence!r}: check what it says instead"
    name = chapter.split("-", 1)[1]
    text = (BOOK / "results" / f"{name}.md").read_text("utf-8")
    assert holds(text), f"results/{name}.md no longer bears {sentence!r}: rewrite the sentence"


def test_a_table_is_read_cell_by_cell():
    text = "| a | b | c |\n|---|---|---|\n| x | 0.1 | 97.0 ± 0.5 % |\n| y | – | 3 |\n"
    assert tables(text) == [{"x": [0.1, Measured(97.0, 0.5)], "y": ["–", 3.0]}]


@pytest.mark.parametrize(("chapter", "sentence", "holds"), SENTENCES)
def test_a_scrambled_table_does_not_bear_it(chapter: str, sentence: str, holds: Check):
    name = chapter.split("-", 1)[1]
    text = (BOOK / "results" / f"{name}.md").read_text("utf-8")
    values = (f"{37 * k % 97}.0 ± 0.1" for k in range(1, 1000))
    assert not holds(re.sub(r"[\d.]+ ± [\d.]+", lambda _: next(values), text))
