"""Where is it? Boxes, and what finding objects is made of: overlap, suppression, precision, regions.

A box is four numbers, (x1, y1, x2, y2): its left, upper, right and lower edge in pixels, as in
``torchvision.ops``. Boxes come as one tensor (N, 4); no boxes are ``torch.zeros(0, 4)``. Everything works
on any device, and each function is held to its twin in torchvision, or to a reference written plainly, by
tests.
"""

from course_lib.detection.boxes import area, boxes_of_masks, check_boxes, clip, intersection, iou
from course_lib.detection.coding import decode, encode, smooth_l1
from course_lib.detection.precision import Curve, average_precision, mean_average_precision, precision_recall
from course_lib.detection.proposals import grid_windows, region_proposals
from course_lib.detection.regions import roi_align, roi_pool_matrix
from course_lib.detection.suppression import batched_nms, nms

__all__ = [
    "Curve",
    "area",
    "average_precision",
    "batched_nms",
    "boxes_of_masks",
    "check_boxes",
    "clip",
    "decode",
    "encode",
    "grid_windows",
    "intersection",
    "iou",
    "mean_average_precision",
    "nms",
    "precision_recall",
    "region_proposals",
    "roi_align",
    "roi_pool_matrix",
    "smooth_l1",
]
