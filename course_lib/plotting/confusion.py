"""Which class a network takes for which: a table of counts, shaded, with every number written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from course_lib import palette
from course_lib.data import Images
from course_lib.plotting.style import as_array, verbatim

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_counts(images: Images, logits: Tensor) -> Tensor:
    """How many images of class i (row) were taken for class j (column), ``int64`` (classes, classes).

    Args:
        images: N of them.
        logits: (N, classes), what the network said. The largest of a row is its answer.

    Raises ``ValueError`` for logits of another shape, or with a NaN, which is no answer.
    """
    classes = len(images.classes)
    if tuple(logits.shape) != (len(images), classes):
        raise ValueError(
            f"logits has shape {tuple(logits.shape)}; for these images it must be {(len(images), classes)}, "
            "a row each and a column a class"
        )
    if broken := int(logits.isnan().any(1).sum()):
        raise ValueError(
            f"logits has NaN in {broken} of its {len(images)} rows: what is not a number is no answer, and "
            "would be counted as one"
        )
    pairs = images.y * classes + logits.detach().argmax(1).to(images.y.device)
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes)


def confusion_matrix(images: Images, logits: Tensor, *, title: str = "") -> Figure:
    """Draw :func:`confusion_counts`: mistakes shaded by their number, right answers framed and left white.

    So the eye falls on the mistakes, of which there are few, and each count can be read without its shade.
    :func:`alt_text` of the figure names the commonest mistakes. Raises ``ValueError`` as
    :func:`confusion_counts` does.
    """
    from matplotlib import pyplot as plt
    from matplotlib.patches import Rectangle

    counts = confusion_counts(images, logits)
    table = as_array(counts)
    n = len(table)
    wrong = table.copy()
    wrong[range(n), range(n)] = 0
    side = min(7.2, 1.4 + 0.42 * n)
    figure, ax = plt.subplots(figsize=(side, side * 0.92))
    top = max(wrong.max(), 1)
    ax.imshow(wrong, cmap="Oranges", vmin=0, vmax=1.6 * top)  # never so dark that ink cannot be read
    for i in range(n):
        ax.add_patch(Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, ec=palette.LIGHT["accent"], lw=1.4))
        for j in range(n):
            if i == j or table[i, j]:
                ax.text(
                    j, i, f"{table[i, j]:.0f}", ha="center", va="center", fontsize=8.5,
                    color=palette.LIGHT["accent" if i == j else "ink"],
                    fontweight="normal" if i == j else "bold",
                )  # fmt: skip
    names = [verbatim(name) for name in images.classes]
    ax.set_xticks(range(n), names, rotation=0 if n <= 10 and _short(images.classes) else 90)
    ax.set_yticks(range(n), names)
    ax.set(xlabel="taken for", ylabel="is", title=title)
    ax.grid(False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    figure.set_label(_in_words(counts, images.classes, title))
    return figure


def _short(classes: tuple[str, ...]) -> bool:
    return max(map(len, classes)) <= 3


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def _in_words(counts: Tensor, classes: tuple[str, ...], title: str) -> str:
    total, right = int(counts.sum()), int(counts.diagonal().sum())
    wrong = counts - counts.diagonal().diag()
    order = wrong.flatten().argsort(descending=True, stable=True)[:3].tolist()
    n = len(classes)
    named = [
        f"{classes[k // n]} taken for {classes[k % n]} ({_times(int(wrong.flatten()[k]))})"
        for k in order
        if wrong.flatten()[k]
    ]
    text = f"Table of {n} classes by {n} answers: {right} of {total} images right"
    return (f"{title}: " if title else "") + text + (f"; most often {', '.join(named)}." if named else ".")
