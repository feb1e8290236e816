"""Features of a region: any box, cut out of a feature map, as a grid of fixed size.

Source: K. He et al., "Mask R-CNN", ICCV 2017, section 3 (RoIAlign); R. Girshick, "Fast R-CNN", ICCV 2015.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from course_lib.detection.boxes import check_boxes
from course_lib.layers.windows import check_images, pair


def roi_align(
    features: Tensor,
    boxes: Sequence[Tensor],
    output_size: int | Sequence[int],
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 2,
) -> Tensor:
    """(N, C, H, W) and N tensors of boxes (K_n, 4) → (ΣK, C, h, w): torchvision's, aligned.

    boxes: of each image, in its own pixels.  output_size: h and w.
    spatial_scale: pixels of the feature map a pixel of the image; 1/16 behind four halvings.
    sampling_ratio: each of the h × w bins averages so many points a side, read between the pixels.

    Reading a map at a point is a weighted mean of its four neighbours, and the weight is a product of one
    for the row and one for the column. So the whole cut is two matrix products, rows · map · columnsᵀ, and
    its backward pass is the same two with the matrices transposed: nothing has to be written for it.

    Raises ``ValueError`` for features that are not 4-D, boxes that are none or not one tensor an image, and a
    sampling ratio below 1.
    """
    check_images(features)
    if len(boxes) != len(features):
        raise ValueError(f"{len(boxes)} sets of boxes for {len(features)} images; each needs its own")
    for n, of_image in enumerate(boxes):
        check_boxes(f"boxes[{n}]", of_image)
    (h, w), (height, width) = pair("output_size", output_size, 1), features.shape[2:]
    image = torch.repeat_interleave(
        torch.arange(len(boxes), device=features.device),
        torch.tensor([len(of_image) for of_image in boxes], device=features.device),
    )
    edges = (torch.cat(list(boxes)).to(features) * spatial_scale - 0.5).T  # pixel 0 has its centre at 0
    rows = roi_pool_matrix(edges[1], edges[3], h, height, sampling_ratio)  # (K, h, H)
    columns = roi_pool_matrix(edges[0], edges[2], w, width, sampling_ratio)  # (K, w, W)
    return torch.einsum("khy,kcyx,kwx->kchw", rows, features[image], columns)


def roi_pool_matrix(low: Tensor, high: Tensor, bins: int, size: int, samples: int = 2) -> Tensor:
    """What each pixel of a line counts in each bin from ``low`` to ``high``: (K,), (K,) → (K, bins, size).

    A bin is the mean of ``samples`` points, spread evenly in it; a point shares its weight between its two
    neighbours, the nearer the more. Points up to a pixel beyond the ends read the last pixel, others read 0.
    """
    if not isinstance(samples, int) or samples < 1:
        raise ValueError(f"sampling_ratio is {samples!r}; it must be a whole number of at least 1")
    share = (torch.arange(bins * samples, device=low.device, dtype=low.dtype) + 0.5) / (bins * samples)
    at = low[:, None] + share * (high - low)[:, None]  # (K, bins·samples)
    inside = (at >= -1) & (at <= size)
    pixel = torch.arange(size, device=low.device, dtype=low.dtype)
    weight = (1 - (at.clamp(0, size - 1)[..., None] - pixel).abs()).clamp_min(0) * inside[..., None]
    return weight.unflatten(1, (bins, samples)).mean(2)
