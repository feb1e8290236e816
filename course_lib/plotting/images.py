"""Pictures of pixels: filters, feature maps, the images that a network got wrong; and words for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from course_lib.data import Images
from course_lib.plotting.style import WIDTH, as_array, verbatim

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def filters(weight: Tensor, *, columns: int = 10, titles: Sequence[str] = (), title: str = "") -> Figure:
    """The filters of a convolution, (O, C, kh, kw): one picture a filter and input channel.

    Blue is below zero, white is zero, red above, on one scale for all. Filters of three channels are shown
    as colours instead, each scaled to its own range. Raises ``ValueError`` for another shape.
    """
    weights = as_array(weight)
    if weights.ndim != 4:
        raise ValueError(f"weight has shape {weights.shape}; it must be (filters, channels, height, width)")
    if weights.shape[1] == 3:
        low = weights.min((1, 2, 3), keepdims=True)
        span = np.maximum(weights.max((1, 2, 3), keepdims=True) - low, 1e-12)
        return _grid(((weights - low) / span).transpose(0, 2, 3, 1), columns, titles, title)
    limit = float(np.abs(weights).max()) or 1.0
    flat = weights.reshape(-1, *weights.shape[2:])
    return _grid(flat, columns, titles, title, cmap="RdBu_r", limits=(-limit, limit))


def feature_maps(
    maps: Tensor,
    *,
    columns: int = 10,
    titles: Sequence[str] = (),
    title: str = "",
    limits: tuple[float, float] | None = None,
) -> Figure:
    """What the channels of a layer say about one image, (C, H, W) or (1, C, H, W): one picture a channel.

    limits: the values of black and white; default the smallest and largest value of all. Raises
    ``ValueError`` for another shape.
    """
    values = as_array(maps)
    if values.ndim == 4 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != 3:
        raise ValueError(
            f"maps has shape {values.shape}; the feature maps of one image are (channels, height, width)"
        )
    limits = limits or (float(values.min()), float(values.max()))
    return _grid(values, columns, titles, title, cmap="gray", limits=limits)


def misclassified(
    images: Images, logits: Tensor, *, most: int = 20, columns: int = 10, title: str = ""
) -> Figure:
    """The images that a network got wrong, the surest of its mistakes first, titled "truth → answer".

    Args:
        images: N of them.
        logits: (N, classes), what the network said.

    Raises:
        ValueError: logits of another shape, or nothing wrong to show.
    """
    if tuple(logits.shape) != (len(images), len(images.classes)):
        raise ValueError(
            f"logits has shape {tuple(logits.shape)}; for these images it must be "
            f"{(len(images), len(images.classes))}, a row each and a column a class"
        )
    chance, said = logits.detach().softmax(dim=1).max(dim=1)
    wrong = (said.to(images.y.device) != images.y).nonzero().flatten()
    if not len(wrong):
        raise ValueError(f"all {len(images)} images are classified correctly: there is nothing to show")
    wrong = wrong[chance.to(wrong.device)[wrong].argsort(descending=True, stable=True)][:most]
    pixels = as_array(images.x[wrong]).transpose(0, 2, 3, 1) / 255
    pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    titles = [
        verbatim(f"{images.classes[truth]} → {images.classes[answer]}")
        for truth, answer in zip(images.y[wrong].tolist(), said[wrong.to(said.device)].tolist(), strict=True)
    ]
    return _grid(pixels, columns, titles, title, cmap="gray_r", limits=(0, 1))


def alt_text(figure: Figure) -> str:
    """A figure in one sentence, made from what it shows.

    For pictures: how many, how large, their titles. A diagram and a confusion matrix bring their own words
    along, as the figure's label. Raises ``ValueError`` for a figure of neither sort.
    """
    if figure.get_label():
        return figure.get_label()
    shown = [(ax, ax.images[0].get_array()) for ax in figure.axes if ax.images]
    if not shown:
        raise ValueError(
            "figure has no pictures; alt_text describes figures of filters, feature maps and images"
        )
    sizes = list(dict.fromkeys(f"{a.shape[0]}×{a.shape[1]}" for _, a in shown))
    values = np.concatenate([np.ma.getdata(a).ravel() for _, a in shown])
    count = f"{len(shown)} picture{'' if len(shown) == 1 else 's'}"
    text = f"{count} of {' and '.join(sizes)} pixels, values from {values.min():.2g} to {values.max():.2g}"
    above = figure.get_suptitle()
    titles = [ax.get_title() or ax.get_title("left") for ax, _ in shown]
    titles = [title.replace(r"\$", "$") for title in titles if title]
    return (f"{above}: " if above else "") + text + (": " + "; ".join(titles) if titles else "") + "."


def _grid(
    pictures: np.ndarray,
    columns: int,
    titles: Sequence[str],
    title: str,
    cmap: str | None = None,
    limits: tuple[float, float] = (0, 1),
) -> Figure:
    """Pictures (n, H, W) or (n, H, W, 3) in rows of ``columns``."""
    from matplotlib import pyplot as plt

    if columns < 1:
        raise ValueError(f"columns is {columns!r}; it must be a whole number of at least 1")
    if titles and len(titles) != len(pictures):
        raise ValueError(f"{len(titles)} titles for {len(pictures)} pictures; give one each, or none")
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    side = min(WIDTH / columns, 2.2)
    height = side * pictures.shape[1] / pictures.shape[2] + (0.26 if titles else 0.04)
    figure, axes = plt.subplots(
        rows, columns, figsize=(side * columns, height * rows + (0.3 if title else 0)), squeeze=False
    )
    for k, ax in enumerate(axes.flat):
        ax.axis("off")
        if k >= len(pictures):
            continue
        ax.imshow(pictures[k], cmap=cmap, vmin=limits[0], vmax=limits[1], interpolation="nearest")
        if titles:
            ax.set_title(titles[k], fontsize=7.5, fontweight="normal", loc="center", pad=2)
    if title:
        figure.suptitle(title, fontsize=10.5, fontweight="bold")
    return figure
