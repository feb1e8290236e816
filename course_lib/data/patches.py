"""Crops of real photographs as a small classification set: which photograph is this a piece of?"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib.data.images import Images

# Class → the file inside scikit-image that its crops are cut from.
SUBJECTS = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "cameraman": "camera.png",
    "cat": "chelsea.png",
    "cells": "cell.png",
    "clock": "clock_motion.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "galaxies": "hubble_deep_field.jpg",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "moon": "moon.png",
    "motorcycle": "motorcycle_left.png",
    "page": "page.png",
    "rocket": "rocket.jpg",
    "tissue": "ihc.png",
}
TRAIN, TEST = 40, 30  # crops of each class


def patches(side: int = 64, seed: int = 0) -> tuple[Images, Images]:
    """Grey square crops of 16 photographs, 1×side×side, one class a photograph: (640 to train, 480 to test).

    Crops to train on come from the left half of a photograph, crops to test on from the right half, so no
    pixel is in both. Each crop is brought to the same mean and standard deviation: how bright a photograph
    is would give many away. The photographs ship inside scikit-image: no network.

    Args:
        side: of a crop, in pixels; at most 128, so that it fits into half of every photograph.
        seed: of where the crops are cut.

    Raises:
        ValueError: a side that does not fit.
        ModuleNotFoundError: scikit-image is not installed.
    """
    if not isinstance(side, int) or isinstance(side, bool) or not 8 <= side <= 128:
        raise ValueError(f"side={side!r} must be a whole number of pixels from 8 to 128")
    generator = torch.Generator().manual_seed(seed)
    parts: tuple[list[Tensor], list[Tensor]] = [], []
    for filename in SUBJECTS.values():
        grey = _grey(filename)
        middle = grey.shape[1] // 2
        for part, half, count in zip(parts, (grey[:, :middle], grey[:, middle:]), (TRAIN, TEST), strict=True):
            part.append(_crops(half, side, count, generator))
    names, mean, std = tuple(SUBJECTS), (127 / 255,), (50 / 255,)
    labels = torch.arange(len(names))
    train, test = (
        Images(torch.cat(part), labels.repeat_interleave(count), names, mean, std)
        for part, count in zip(parts, (TRAIN, TEST), strict=True)
    )
    return train, test


def _crops(half: Tensor, side: int, count: int, generator: torch.Generator) -> Tensor:
    """``count`` crops of ``half`` (H, W), ``uint8`` (count, 1, side, side), of mean 127 and deviation 50."""
    rows = torch.randint(half.shape[0] - side + 1, (count,), generator=generator)
    columns = torch.randint(half.shape[1] - side + 1, (count,), generator=generator)
    windows = half.unfold(0, side, 1).unfold(1, side, 1)  # every crop there is, as a view
    x = windows[rows, columns]  # (count, side, side)
    x = x - x.mean(dim=(1, 2), keepdim=True)
    spread = x.std(dim=(1, 2), keepdim=True).clamp_min(4)  # night sky: not all noise is worth full contrast
    return (127 + 50 * x / spread).round_().clamp_(0, 255).to(torch.uint8).unsqueeze(1)


@cache
def _grey(filename: str) -> Tensor:
    """How bright each pixel is, 0 to 255, (H, W)."""
    from PIL import Image

    # Found without an import: scikit-image brings SciPy with it.
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "the package scikit-image carries the photographs: pip install scikit-image"
        )
    with Image.open(Path(spec.submodule_search_locations[0], "data", filename)) as picture:
        return torch.from_numpy(np.array(picture.convert("L"), dtype=np.float32))
