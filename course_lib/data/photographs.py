"""Photographs that ship inside scikit-image: real pixels without a network."""

from __future__ import annotations

import torch
from torch import Tensor

COLOUR = ("astronaut", "cat", "coffee", "rocket")
GREY = ("camera", "coins", "brick", "grass", "gravel", "clock")


def photos() -> dict[str, Tensor]:
    """Photographs by name, ``uint8``: (3, H, W) in colour, (1, H, W) in grey; some 300 to 640 pixels a side.

    All free to use: ``cat`` (Stéfan van der Walt), ``coffee`` (Rachel Michetti), ``camera`` (Lav Varshney),
    ``grass`` (linolafett), ``brick`` and ``gravel`` (cc0textures.com) under CC0; ``clock`` (Stéfan van der
    Walt), ``astronaut`` (NASA) and ``rocket`` (SpaceX) in the public domain; ``coins`` (Brooklyn Museum) with
    no known restrictions.

    Source: scikit-image's ``data`` module, whose documentation says where each comes from.
    """
    from skimage import data  # takes most of a second, and few need it

    found = {}
    for name in COLOUR + GREY:
        pixels = torch.tensor(getattr(data, name)())  # (H, W, 3) or (H, W)
        found[name] = pixels.permute(2, 0, 1).contiguous() if pixels.dim() == 3 else pixels[None]
    return found
