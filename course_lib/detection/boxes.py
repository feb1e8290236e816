"""Boxes: their areas, and how much two of them overlap."""

from __future__ import annotations

import torch
from torch import Tensor


def check_boxes(name: str, boxes: Tensor) -> None:
    """``boxes`` must be (N, 4), finite, x1 ≤ x2, y1 ≤ y2; ``ValueError`` shows the first that is not."""
    if not isinstance(boxes, Tensor) or boxes.ndim != 2 or boxes.shape[1] != 4:
        shape = tuple(boxes.shape) if isinstance(boxes, Tensor) else type(boxes).__name__
        raise ValueError(
            f"{name} is {shape}; it must be a tensor (N, 4) of x1, y1, x2, y2 (none: torch.zeros(0, 4))"
        )
    if not boxes.is_floating_point():
        raise ValueError(f"{name} is {boxes.dtype}; edges lie between pixels, so it must be a float type")
    for bad, rule in (
        (~boxes.isfinite().all(1), "every edge must be a finite number"),
        ((boxes[:, 2:] < boxes[:, :2]).any(1), "x1 ≤ x2 and y1 ≤ y2 must hold"),
    ):
        if bad.any():
            first = int(bad.nonzero()[0])
            edges = ", ".join(f"{v:g}" for v in boxes[first].tolist())
            raise ValueError(f"{name}[{first}] is ({edges}); {rule}")


def area(boxes: Tensor) -> Tensor:
    """(N, 4) → (N,), in square pixels."""
    check_boxes("boxes", boxes)
    return _area(boxes)


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """The area that two boxes share: (N, 4) and (M, 4) → (N, M); 0 where they do not touch."""
    check_boxes("a", a)
    check_boxes("b", b)
    return _intersection(a, b)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair: (N, 4), (M, 4) → (N, M), 0 to 1. ``torchvision.ops.box_iou``.

    Two boxes without area, at one place, share nothing of nothing; torchvision gives NaN for them, this
    gives 0.
    """
    check_boxes("a", a)
    check_boxes("b", b)
    return overlap(a, b).nan_to_num(0.0)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """:func:`iou` for boxes that have been checked, NaN for two without area, which is above no threshold."""
    shared = _intersection(a, b)
    return shared / (_area(a)[:, None] + _area(b) - shared)


def clip(boxes: Tensor, height: float, width: float) -> Tensor:
    """What of each box lies inside an image of ``height`` × ``width`` pixels: (N, 4) → (N, 4).

    A box that lies outside altogether becomes one without area, on the edge.
    """
    check_boxes("boxes", boxes)
    return torch.stack(
        [edge.clamp(0, end) for edge, end in zip(boxes.T, 2 * (width, height), strict=True)], 1
    )


def boxes_of_masks(masks: Tensor) -> Tensor:
    """The smallest box around each mask: bool (N, H, W) → (N, 4); it encloses the outermost pixels.

    Pixel (row, column) covers column to column + 1 and row to row + 1. Raises ``ValueError`` for an empty
    mask.
    """
    if masks.ndim != 3 or masks.dtype != torch.bool:
        raise ValueError(f"masks is {masks.dtype} {tuple(masks.shape)}; it must be bool (N, H, W)")
    edges = []
    for axis in (1, 2):  # what is left when rows are seen from the side: columns; then rows
        seen = masks.any(axis)
        if not seen.any(1).all():
            raise ValueError(f"masks[{int((~seen.any(1)).nonzero()[0])}] has no pixel; no box is around it")
        first = seen.int().argmax(1)
        last = seen.shape[1] - seen.flip(1).int().argmax(1)
        edges.append((first, last))
    (left, right), (top, bottom) = edges
    return torch.stack([left, top, right, bottom], 1).float()


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    # One axis after the other: a tensor (N, M, 2) of both would be slower to walk through.
    width, height = (
        (torch.minimum(a[:, None, k + 2], b[:, k + 2]) - torch.maximum(a[:, None, k], b[:, k])).clamp_min_(0)
        for k in (0, 1)
    )
    return width * height
