"""Non-maximum suppression: of many boxes on one object, the one with the highest score."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.detection.boxes import check_boxes, overlap

BLOCK = 512  # boxes that are compared with each other at once: 2 MB of overlaps in float64


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """The places of the boxes that stay, highest score first, int64. As ``torchvision.ops.nms``.

    boxes: (N, 4).  scores: (N,); of equal ones the earlier box comes first.
    threshold: a box goes if a kept box with a higher score overlaps it with an IoU *above* this.

    The rule says "kept if no kept box before it overlaps it", which sounds like one box after the other.
    But a first box is always kept, and once all kept boxes before a box are known, so is its own fate. So
    begin with everything kept and apply the rule to all at once until nothing changes: each round settles at
    least one box more, and in practice a handful of rounds settle a block of hundreds.

    Raises ``ValueError`` for boxes that are none, scores of another length or not finite, and a threshold
    outside 0 to 1.
    """
    check_boxes("boxes", boxes)
    if scores.shape != boxes.shape[:1] or not scores.isfinite().all():
        raise ValueError(
            f"scores has shape {tuple(scores.shape)}; it must be one finite number a box, ({len(boxes)},)"
        )
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold!r}; an IoU lies between 0 and 1")
    order = scores.argsort(descending=True, stable=True)
    kept = order[:0]
    for block in order.split(BLOCK):
        if len(kept):
            beaten = (overlap(boxes[block], boxes[kept]) > threshold).any(1)
            block = block[~beaten]
        earlier = (overlap(boxes[block], boxes[block]) > threshold).triu(
            1
        )  # [i, j]: i comes first and covers j
        kept = torch.cat([kept, block[_settled(earlier)]])
    return kept


def batched_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """:func:`nms` within each class: boxes of different ``labels`` (N,) never suppress each other.

    Returns places, highest score first. Raises ``ValueError`` as :func:`nms`, and for labels of another
    length.
    """
    if labels.shape != boxes.shape[:1]:
        raise ValueError(f"labels has shape {tuple(labels.shape)}; it must be one a box, ({len(boxes)},)")
    kept = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for label in labels.unique():
        of_class = (labels == label).nonzero().flatten()
        kept[of_class[nms(boxes[of_class], scores[of_class], threshold)]] = True
    places = kept.nonzero().flatten()
    return places[scores[places].argsort(descending=True, stable=True)]


def _settled(earlier: Tensor) -> Tensor:
    """Which boxes stay, (B,), where ``earlier[i, j]`` says that i suppresses j if i itself stays."""
    keep = torch.ones(len(earlier), dtype=torch.bool, device=earlier.device)
    while True:
        again = ~(earlier & keep[:, None]).any(0)
        if torch.equal(again, keep):
            return keep
        keep = again
