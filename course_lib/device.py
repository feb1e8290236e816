"""Where tensors live: the device, its seeds, its precision and the memory format it likes.

Everything in the library takes ``device`` and nothing names CUDA: a chapter runs unchanged on two
CPU cores, on a GPU and on Apple's chips.
"""

from __future__ import annotations

import os
import random
from contextlib import AbstractContextManager, nullcontext
from numbers import Integral

import numpy as np
import torch
from torch import nn

PRECISIONS = ("fp32", "bf16", "fp16")


def available() -> list[str]:
    """The names of the devices of this machine: ``["cpu", "cuda", "cuda:0", …, "mps"]``."""
    names = ["cpu"]
    if torch.cuda.is_available():
        names += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        names.append("mps")
    return names


def resolve(device: str | torch.device | None = None) -> torch.device:
    """The device that ``device`` names, with its index, as a tensor on it reports it.

    ``None`` means the environment variable ``COURSE_DEVICE`` where it is set, else the best that
    is there: CUDA, then Apple's MPS, then the CPU.

    Raises:
        ValueError: no such device on this machine; the message names the ones there are.
    """
    present = available()
    source = "device"
    if device is None and (device := os.environ.get("COURSE_DEVICE") or None):
        source = "COURSE_DEVICE"
    if device is None:
        device = next(name for name in ("cuda", "mps", "cpu") if name in present)
    try:
        wanted = torch.device(device)
        known = str(wanted) in present or (wanted.type in present and wanted.index == 0)
    except (RuntimeError, TypeError):
        known = False
    if not known:
        raise ValueError(
            f"{source}={str(device)!r} is not a device of this machine; it has {', '.join(present)}"
        )
    # "cuda" is whichever GPU is current: ask a tensor, so that the answer compares equal with it.
    return torch.empty(0, device=wanted).device


def describe(device: str | torch.device | None = None) -> str:
    """The device in words, for a table of results: ``"CPU, 2 threads"`` or ``"NVIDIA H200"``."""
    device = resolve(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU"
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads != 1 else ''}"


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators, the last on every device.

    Raises:
        ValueError: ``seed`` is not an integer from 0 to 2³² − 1, the range that NumPy takes.
    """
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed!r} must be an integer from 0 to {2**32 - 1}")
    random.seed(int(seed))
    np.random.seed(seed)  # noqa: NPY002 - the legacy generator is the one that other packages draw from
    torch.manual_seed(int(seed))


def autocast(device: str | torch.device | None, precision: str = "fp32") -> AbstractContextManager:
    """A context in which the forward pass runs in ``precision``; it can be entered again and again.

    Args:
        device: where the model is.
        precision: ``"fp32"`` changes nothing; ``"bf16"`` and ``"fp16"`` let torch choose the operations
            that are safe in 16 bits. fp16 needs a loss scaler (``training.fit`` has one) and CUDA.

    Raises:
        ValueError: an unknown precision, or fp16 on a device other than CUDA.
    """
    device = resolve(device)
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    if precision == "fp32":
        return nullcontext()
    if precision == "fp16" and device.type != "cuda":
        raise ValueError(f"precision='fp16' needs a CUDA device, got {str(device)!r}; 'bf16' runs everywhere")
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)


def depthwise_in_float32(model: nn.Module) -> nn.Module:
    """Let autocast pass over the depthwise convolutions of ``model``; changed in place, and returned.

    On CPUs the gradient of the input of a depthwise convolution with stride 2 has no fast code in bf16 and
    takes a hundred times as long. The weights and, in float32, the results stay what they are.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d and module.groups > 1:
            module.__class__ = _Float32Conv2d
    return model


class _Float32Conv2d(nn.Conv2d):
    """A convolution that computes in float32 whatever is around it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def memory_format(model: nn.Module) -> torch.memory_format:
    """The layout that ``model`` runs fastest in.

    ``channels_last`` when it has a 4-D weight (out, in, height, width), so a 2-D convolution: MobileNetV2
    trains two to three times as fast on a CPU for that alone. ``contiguous_format`` otherwise.
    """
    convolutional = any(parameter.ndim == 4 for parameter in model.parameters())
    return torch.channels_last if convolutional else torch.contiguous_format


def in_float64(values: torch.Tensor) -> torch.Tensor:
    """``values`` in float64, where they are; on the CPU where their device has no float64, as Apple's."""
    try:
        return values.double()
    except (TypeError, RuntimeError):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values  # which NumPy has not
        return torch.from_numpy(values.numpy().astype(np.float64))


def synchronize(device: str | torch.device | None = None) -> None:
    """Wait until the device has done all that it was given: read a clock only after this."""
    device = resolve(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def check_finite(name: str, values: torch.Tensor) -> None:
    """Raises ``ValueError`` that names the argument and the first place of a NaN or an infinity in it."""
    odd = ~values.detach().isfinite()
    if odd.any():
        place = tuple(odd.nonzero()[0].tolist())
        raise ValueError(
            f"{name} has {int(odd.sum()):,} values that are not finite, {values[place].item()} at index "
            f"{place}; leave out the images that they are in, or mend what made them"
        )
