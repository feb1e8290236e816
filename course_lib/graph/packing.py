"""How constants travel: as text, in 32, 16 or 8 bits a number.

Base64 needs four letters for three bytes, so a float32 is 5.3 letters, a float16 2.7, an 8-bit integer 1.3.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

PACKINGS = ("float32", "float16", "int8", "auto")
FEW = 64  # numbers; so few are not worth rounding
LARGEST_HALF = 65504.0
CLOSE = 0.01  # "auto" takes 8 bits where the root mean square error is at most this part of the weights'


@dataclass(frozen=True)
class Packed:
    """A tensor as it travels: ``data`` in the type ``packing``, times ``scale``, one for each first index."""

    dtype: str
    shape: tuple[int, ...]
    packing: str  # a NumPy type, or "fill" for one number everywhere
    data: np.ndarray
    scale: np.ndarray | None = None


def pack(tensor: Tensor, packing: str = "float32") -> tuple[Packed, Tensor]:
    """``tensor`` as it travels, and as it arrives.

    Args:
        packing: ``"float32"`` keeps floats as they are; ``"float16"`` rounds them to 11 bits; ``"int8"``
            rounds tensors of two dimensions and more to 255 steps, 127 of them up to the largest number of
            each output channel (first index), and others to float16; ``"auto"`` does that only where the
            error stays below 1 % of the weights. Few numbers, integers and what float16 cannot hold are kept.

    Raises ``ValueError`` for an unknown packing.
    """
    if packing not in PACKINGS:
        raise ValueError(f"packing is {packing!r}; it must be one of {', '.join(PACKINGS)}")
    tensor = tensor.detach().cpu().contiguous()
    dtype, shape = str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)
    values = tensor.numpy()
    if values.size > 1 and _same_everywhere(values):
        return Packed(dtype, shape, "fill", values.reshape(-1)[:1].astype(_plain(values))), tensor
    lossy = tensor.is_floating_point() and values.size >= FEW and packing != "float32"
    if not lossy or not np.isfinite(values).all():
        return Packed(dtype, shape, _plain(values), values.astype(_plain(values))), tensor
    if packing != "float16" and tensor.dim() > 1:
        packed, arrived = _eighths(tensor, dtype)
        if packing == "int8" or _error(arrived, tensor) <= CLOSE:
            return packed, arrived
    if np.abs(values).max() > LARGEST_HALF:
        return Packed(dtype, shape, _plain(values), values.astype(_plain(values))), tensor
    half = values.astype(np.float16)
    return Packed(dtype, shape, "float16", half), torch.from_numpy(half.astype(values.dtype)).view(shape)


def encode(packed: Packed) -> dict[str, Any]:
    """The JSON of a packed tensor."""
    found: dict[str, Any] = {
        "dtype": packed.dtype, "shape": list(packed.shape), "packing": packed.packing,
        "data": _text(packed.data),
    }  # fmt: skip
    if packed.packing == "fill":
        found["of"] = str(packed.data.dtype)
    if packed.scale is not None:
        found["scale"] = _text(packed.scale)
    return found


def _text(array: np.ndarray) -> str:
    little = array.astype(array.dtype.newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode()


def _plain(values: np.ndarray) -> str:
    """The type that keeps every number. 64-bit integers travel in 32 bits, or as floats beyond that."""
    if values.dtype == np.bool_:
        return "uint8"
    if values.dtype == np.int64:
        fits = values.size == 0 or (abs(int(values.min())) < 2**31 and abs(int(values.max())) < 2**31)
        return "int32" if fits else "float64"
    return str(values.dtype)


def _same_everywhere(values: np.ndarray) -> bool:
    rows = values.reshape(-1).view(np.uint8).reshape(values.size, -1)
    return bool((rows == rows[0]).all())


def _eighths(tensor: Tensor, dtype: str) -> tuple[Packed, Tensor]:
    """Symmetric 8-bit integers with a scale for each output channel."""
    rows = tensor.flatten(1)
    scale = (rows.abs().amax(1) / 127).float()
    scale[scale == 0] = 1
    steps = (rows / scale[:, None]).round().clamp(-127, 127)
    arrived = (steps.float() * scale[:, None]).to(tensor.dtype).view(tensor.shape)
    data = steps.to(torch.int8).numpy()
    return Packed(dtype, tuple(tensor.shape), "int8", data, scale.numpy()), arrived


def _error(arrived: Tensor, tensor: Tensor) -> float:
    """Root mean square of the difference, as a part of that of the numbers themselves."""
    return float((arrived - tensor).square().mean().sqrt() / tensor.square().mean().sqrt())
