"""A box said relative to another: what a network that corrects boxes learns to answer.

Source: R. Girshick et al., "Rich feature hierarchies for accurate object detection and semantic
segmentation", CVPR 2014, appendix C.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.detection.boxes import check_boxes

LARGEST = math.log(1000 / 16)  # the most that a side may grow, in the exponent: torchvision's limit


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """How to get from ``anchors`` to ``boxes``, both (N, 4): (dx, dy, dw, dh), (N, 4).

    dx and dy move the centre, in widths and heights of the anchor; dw and dh are logarithms of how much the
    sides grow. So a correction means the same for small and for large boxes.

    Raises ``ValueError`` for boxes that are none, different numbers of them, and sides of length 0.
    """
    check_boxes("boxes", boxes)
    check_boxes("anchors", anchors)
    if boxes.shape != anchors.shape:
        raise ValueError(f"{len(boxes)} boxes for {len(anchors)} anchors; each anchor needs its box")
    (centre, sides), (from_centre, from_sides) = _centre_and_sides(boxes), _centre_and_sides(anchors)
    for name, lengths in (("boxes", sides), ("anchors", from_sides)):
        if (lengths <= 0).any():
            first = int((lengths <= 0).any(1).nonzero()[0])
            raise ValueError(f"{name}[{first}] has a side of length 0; its logarithm is not finite")
    return torch.cat([(centre - from_centre) / from_sides, (sides / from_sides).log()], 1)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """The boxes that ``deltas`` (N, 4) make of ``anchors`` (N, 4): the inverse of :func:`encode`.

    A side grows at most 62.5-fold: an untrained network's large answers must not become infinite boxes.
    """
    check_boxes("anchors", anchors)
    if deltas.shape != anchors.shape:
        raise ValueError(f"deltas has shape {tuple(deltas.shape)}; it must be {tuple(anchors.shape)}")
    from_centre, from_sides = _centre_and_sides(anchors)
    centre = from_centre + deltas[:, :2] * from_sides
    half = from_sides * deltas[:, 2:].clamp_max(LARGEST).exp() / 2
    return torch.cat([centre - half, centre + half], 1)


def smooth_l1(error: Tensor, beta: float = 1.0) -> Tensor:
    """½e²/β where |e| < β, |e| − ½β beyond, element by element: a square near 0, a straight line far away.

    So one badly placed box does not pull harder than any other. Source: R. Girshick, "Fast R-CNN", ICCV 2015,
    equation 3 (β = 1). Raises ``ValueError`` for a β that is not above 0.
    """
    if not beta > 0:
        raise ValueError(f"beta is {beta!r}; it must be above 0")
    size = error.abs()
    return torch.where(size < beta, 0.5 * size.square() / beta, size - 0.5 * beta)


def _centre_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + sides / 2, sides
