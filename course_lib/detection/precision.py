"""Average precision: how good a list of found boxes is, whatever score one would cut it at.

Source: M. Everingham et al., "The Pascal visual object classes (VOC) challenge", IJCV 2010, section 4.2 (the
precision made monotonic); T.-Y. Lin et al., "Microsoft COCO", ECCV 2014 (its 101 recalls).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.detection.boxes import check_boxes, overlap

INTERPOLATIONS = ("all", "101")


@dataclass(frozen=True)
class Curve:
    """What is right among the best 1, 2, 3, … found boxes of one class.

    Attributes:
        precision: right ones among those found so far, (N,), in the order of falling score.
        recall: right ones among all there are, (N,).
        scores: (N,), falling.
        objects: how many there are.
    """

    precision: Tensor
    recall: Tensor
    scores: Tensor
    objects: int


def precision_recall(
    boxes: Sequence[Tensor], scores: Sequence[Tensor], truth: Sequence[Tensor], threshold: float = 0.5
) -> Curve:
    """Precision and recall of one class over a set of images.

    boxes, scores: what was found, for each image (K_n, 4) and (K_n,).  truth: the objects, (M_n, 4).
    threshold: a box is right if its IoU with an object is at least this.

    In the order of falling score each box takes, in its image, the object that it overlaps most among
    those that nobody has taken; if that overlap is below the threshold, or nothing is left, the box is
    wrong. So a second box on one object is an error. (COCO's rule. Pascal's looks at the object that is
    overlapped most alone, and calls a box wrong if that one is taken.)

    Raises ``ValueError`` for boxes that are none, different numbers of images or scores, a threshold
    outside 0 to 1.
    """
    if not len(boxes) == len(scores) == len(truth):
        raise ValueError(
            f"{len(boxes)} images have boxes, {len(scores)} scores and {len(truth)} objects; "
            "give one tensor of each an image (no objects: torch.zeros(0, 4))"
        )
    if not truth:
        raise ValueError("truth holds no image; give one tensor of objects an image")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold!r}; it must be an IoU above 0, at most 1")
    right, marks = [], []
    for n, (found, score, objects) in enumerate(zip(boxes, scores, truth, strict=True)):
        check_boxes(f"boxes[{n}]", found)
        check_boxes(f"truth[{n}]", objects)
        if score.shape != found.shape[:1] or not score.isfinite().all():
            raise ValueError(
                f"scores[{n}] has shape {tuple(score.shape)}; it must be one finite number a box, "
                f"({len(found)},)"
            )
        order = score.argsort(descending=True, stable=True)
        right.append(_taken(overlap(found[order].double(), objects.double()).nan_to_num(0.0), threshold))
        marks.append(score[order].double().cpu())
    hit, score = torch.cat(right), torch.cat(marks)
    order = score.argsort(descending=True, stable=True)
    hits = hit[order].double().cumsum(0)
    objects = sum(len(of_image) for of_image in truth)
    found_so_far = torch.arange(1, len(hits) + 1, dtype=torch.float64)
    return Curve(hits / found_so_far, hits / max(objects, 1), score[order], objects)


def average_precision(curve: Curve, interpolation: str = "all") -> float:
    """The area under precision by recall, 0 to 1, each precision raised to the best at any higher recall.

    interpolation: ``"all"`` integrates over every recall (Pascal VOC from 2010), ``"101"`` averages the
    precision at recalls 0, 0.01, …, 1 (COCO).

    NaN for a class without an object: nothing could have been found. Raises ``ValueError`` for another
    interpolation.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation is {interpolation!r}; it must be one of {', '.join(INTERPOLATIONS)}")
    if curve.objects == 0:
        return float("nan")
    best = curve.precision.flip(0).cummax(0).values.flip(0)
    if interpolation == "all":
        steps = torch.diff(curve.recall, prepend=curve.recall.new_zeros(1))
        return float((steps * best).sum())
    at = torch.searchsorted(curve.recall, torch.linspace(0, 1, 101, dtype=torch.float64))
    return float(torch.cat([best, best.new_zeros(1)])[at].mean())


def mean_average_precision(
    boxes: Sequence[Tensor],
    scores: Sequence[Tensor],
    labels: Sequence[Tensor],
    truth: Sequence[Tensor],
    truth_labels: Sequence[Tensor],
    *,
    classes: int,
    threshold: float = 0.5,
    interpolation: str = "all",
) -> tuple[float, Tensor]:
    """Average precision of each class, (classes,), NaN where it has no object, and the mean of the others.

    labels, truth_labels: the class of each found box and of each object, int64, 0 to ``classes`` − 1.
    Raises ``ValueError`` for labels that do not fit, and where no class has an object.
    """
    for name, of_boxes, given in (("labels", boxes, labels), ("truth_labels", truth, truth_labels)):
        for n, (box, label) in enumerate(zip(of_boxes, given, strict=True)):
            if label.shape != box.shape[:1] or (len(label) and not 0 <= label.min() <= label.max() < classes):
                raise ValueError(
                    f"{name}[{n}] is {tuple(label.shape)}; it must be one class a box, ({len(box)},), "
                    f"from 0 to {classes - 1}"
                )
    each = []
    for k in range(classes):
        mine = [label == k for label in labels]
        found = [box[m] for box, m in zip(boxes, mine, strict=True)]
        marks = [score[m] for score, m in zip(scores, mine, strict=True)]
        objects = [box[label == k] for box, label in zip(truth, truth_labels, strict=True)]
        each.append(average_precision(precision_recall(found, marks, objects, threshold), interpolation))
    by_class = torch.tensor(each, dtype=torch.float64)
    if by_class.isnan().all():
        raise ValueError("truth has no object of any class; there is nothing to find")
    return float(by_class.nanmean()), by_class


def _taken(overlaps: Tensor, threshold: float) -> Tensor:
    """Which of the boxes (K,), best first, get an object: overlaps (K, M)."""
    overlaps = overlaps.cpu().clone()
    right = torch.zeros(len(overlaps), dtype=torch.bool)
    if overlaps.shape[1] == 0:
        return right
    for k, row in enumerate(overlaps):
        best, which = row.max(0)
        if best >= threshold:
            right[k] = True
            overlaps[:, which] = -1  # taken: nobody else gets it
    return right
