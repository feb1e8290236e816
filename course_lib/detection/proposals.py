"""Where an object might be: every window of a grid, or regions that an image falls into by itself.

Source: P. Felzenszwalb, D. Huttenlocher, "Efficient graph-based image segmentation", IJCV 2004 (the first
regions); J. Uijlings et al., "Selective search for object recognition", IJCV 2013 (merging the most
similar neighbours).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def grid_windows(height: int, width: int, sides: Sequence[int], stride: int) -> Tensor:
    """Every square window that lies in an image: (N, 4), by side, then row, then column.

    sides: of the squares, in pixels.  stride: from one window to the next.
    Raises ``ValueError`` for a stride below 1 and a side that does not fit.
    """
    if not isinstance(stride, int) or stride < 1:
        raise ValueError(f"stride is {stride!r}; it must be a whole number of pixels, at least 1")
    found = []
    for side in sides:
        if not 1 <= side <= min(height, width):
            raise ValueError(
                f"sides has {side!r}; it must be from 1 to {min(height, width)}, inside the image"
            )
        tops, lefts = torch.arange(0, height - side + 1, stride), torch.arange(0, width - side + 1, stride)
        y, x = torch.meshgrid(tops, lefts, indexing="ij")
        found.append(torch.stack([x, y, x + side, y + side], -1).flatten(0, 1))
    return torch.cat(found).float() if found else torch.zeros(0, 4)


def region_proposals(image: Tensor, *, colours: int = 8, smallest: int = 8, most: int = 100) -> Tensor:
    """Boxes around regions of one colour, and around what comes of merging them: (N, 4), the image last.

    image: (C, H, W), any numbers.  colours: levels a channel is cut into before neighbours of one colour
    are joined.  smallest: regions of fewer pixels are joined to the neighbour most like them first.
    most: boxes, the latest of the merges; the first ones are as many specks as there is noise.

    Two neighbouring regions are the more alike, the nearer their mean colours and the fewer pixels they hold
    together; the most alike pair becomes one region, again and again, until the image is one. Every region
    on the way gives a box. A box that two regions share is given once.

    Raises ``ValueError`` for an image that is not (C, H, W) or not finite, and for numbers below 1.
    """
    if image.ndim != 3 or image.numel() == 0:
        raise ValueError(f"image has shape {tuple(image.shape)}; it must be (C, H, W), and not empty")
    if not image.isfinite().all():
        raise ValueError("image has a value that is not finite; every pixel must be a number")
    for name, value in (("colours", colours), ("smallest", smallest), ("most", most)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
    pixels = image.detach().float().cpu().numpy()
    low, high = pixels.min(), pixels.max()
    levels = np.floor((pixels - low) / max(high - low, 1e-12) * (colours - 1e-6)).astype(np.int64)
    regions = _Regions(_components(levels), pixels)
    while (small := regions.smallest(smallest)) is not None:
        regions.merge(*small)
    boxes = [regions.box[r] for r in sorted(regions.pixels)]
    while (pair := regions.most_alike()) is not None:
        boxes.append(regions.box[regions.merge(*pair)])
    return torch.tensor(list(dict.fromkeys(boxes))[-most:], dtype=torch.float32).reshape(-1, 4)


class _Regions:
    """Regions by number: pixels, sum of colours, box, neighbours."""

    def __init__(self, labels: np.ndarray, pixels: np.ndarray) -> None:
        count = labels.max() + 1
        self.total = labels.size
        flat = labels.ravel()
        self.pixels = dict(enumerate(np.bincount(flat, minlength=count).tolist()))
        sums = np.stack([np.bincount(flat, channel.ravel(), count) for channel in pixels], 1)
        self.colour = dict(enumerate(sums))
        rows, columns = np.indices(labels.shape)
        ends = []
        for where in (columns.ravel(), rows.ravel()):
            first, last = np.full(count, labels.size), np.zeros(count, dtype=np.int64)
            np.minimum.at(first, flat, where)
            np.maximum.at(last, flat, where)
            ends.append((first, last + 1))
        (left, right), (top, bottom) = ends
        self.box = {k: (int(left[k]), int(top[k]), int(right[k]), int(bottom[k])) for k in range(count)}
        self.beside: dict[int, set[int]] = {k: set() for k in range(count)}
        for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
            edge = a != b
            for i, j in set(zip(a[edge].tolist(), b[edge].tolist(), strict=True)):
                self.beside[i].add(j)
                self.beside[j].add(i)
        self.next = int(count)
        self.range = float(np.ptp(pixels)) or 1.0

    def difference(self, a: int, b: int) -> float:
        """Distance of the mean colours, in the image's range, plus the share of the image that both fill."""
        means = self.colour[a] / self.pixels[a] - self.colour[b] / self.pixels[b]
        return float(np.abs(means).mean()) / self.range + (self.pixels[a] + self.pixels[b]) / self.total

    def smallest(self, least: int) -> tuple[int, int] | None:
        """The smallest region below ``least`` pixels, with the neighbour most like it."""
        small = min(self.pixels, key=lambda k: (self.pixels[k], k))
        if self.pixels[small] >= least or not self.beside[small]:
            return None
        return small, min(sorted(self.beside[small]), key=lambda other: self.difference(small, other))

    def most_alike(self) -> tuple[int, int] | None:
        pairs = [(a, b) for a in self.beside for b in self.beside[a] if a < b]
        return min(pairs, key=lambda pair: (self.difference(*pair), pair)) if pairs else None

    def merge(self, a: int, b: int) -> int:
        """One region of two; its number."""
        new, self.next = self.next, self.next + 1
        self.pixels[new] = self.pixels.pop(a) + self.pixels.pop(b)
        self.colour[new] = self.colour.pop(a) + self.colour.pop(b)
        p, q = self.box.pop(a), self.box.pop(b)
        self.box[new] = (min(p[0], q[0]), min(p[1], q[1]), max(p[2], q[2]), max(p[3], q[3]))
        self.beside[new] = (self.beside.pop(a) | self.beside.pop(b)) - {a, b}
        for other in self.beside[new]:
            self.beside[other] = self.beside[other] - {a, b} | {new}
        return new


def _components(levels: np.ndarray) -> np.ndarray:
    """Number the connected areas of equal ``levels`` (C, H, W): (H, W), in the order of first pixels.

    Every pixel starts with its own number and takes the smallest of its equal neighbours' until none changes.
    """
    height, width = levels.shape[1:]
    labels = np.arange(height * width).reshape(height, width)
    down, across = (levels[:, 1:] == levels[:, :-1]).all(0), (levels[:, :, 1:] == levels[:, :, :-1]).all(0)
    while True:
        before = labels.copy()
        low = np.minimum(labels[1:], labels[:-1])
        labels[1:] = np.where(down, low, labels[1:])
        labels[:-1] = np.where(down, np.minimum(low, labels[:-1]), labels[:-1])
        low = np.minimum(labels[:, 1:], labels[:, :-1])
        labels[:, 1:] = np.where(across, low, labels[:, 1:])
        labels[:, :-1] = np.where(across, np.minimum(low, labels[:, :-1]), labels[:, :-1])
        labels = np.minimum(labels, labels.ravel()[labels])  # jump: the number is itself a pixel's place
        if np.array_equal(labels, before):
            return np.unique(labels, return_inverse=True)[1].reshape(height, width)
