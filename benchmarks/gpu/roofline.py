"""The roofline of the device: how fast it moves bytes, how fast it multiplies, and where layers stand.

A layer that does I multiply-adds ×2 for each byte it must move cannot run faster than I times the bandwidth,
nor faster than the peak product. What is measured is the two roofs and the layers' times; operations and
bytes are counted, the bytes at their least: input and weights read once, output written once.

Source: S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model", 2009.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu._clock import Deadline, free, times
from benchmarks.gpu._networks import arithmetic, precisions
from benchmarks.gpu._settings import Settings

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Name → layer, and the shape of one image as it reaches it. The batch is that of the settings.
LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "SimpleConvNet: 5×5 convolution, 1 → 30": (nn.Conv2d(1, 30, 5), (1, 28, 28)),
    "ResNet: 7×7 convolution, 3 → 64, stride 2": (
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        (3, 224, 224),
    ),
    "ResNet: 3×3 convolution, 64 → 64": (nn.Conv2d(64, 64, 3, padding=1, bias=False), (64, 56, 56)),
    "ResNet: 3×3 convolution, 512 → 512": (nn.Conv2d(512, 512, 3, padding=1, bias=False), (512, 7, 7)),
    "ResNet-50: 1×1 convolution, 64 → 256": (nn.Conv2d(64, 256, 1, bias=False), (64, 56, 56)),
    "MobileNetV2: 3×3 depthwise, 144": (
        nn.Conv2d(144, 144, 3, padding=1, groups=144, bias=False),
        (144, 56, 56),
    ),
    "MobileNetV2: 1×1 convolution, 24 → 144": (nn.Conv2d(24, 144, 1, bias=False), (24, 56, 56)),
    "ResNet-50: linear, 2048 → 1000": (nn.Linear(2048, 1000), (2048,)),
    "BatchNorm, 64 channels, in training": (nn.BatchNorm2d(64), (64, 56, 56)),
    "ReLU, 64 channels": (nn.ReLU(), (64, 56, 56)),
}


def run(device: torch.device, settings: Settings, deadline: Deadline) -> dict[str, Any]:
    """``bandwidth`` in GB/s, ``peak`` in TFLOP/s by precision, and ``layers``, one dict a point."""
    free(device)
    found: dict[str, Any] = {"bandwidth": bandwidth(device, settings), "peak": {}, "layers": []}
    for precision in precisions(device):
        found["peak"][precision] = peak(device, precision, settings)
    for precision in ("bf16", "fp32"):
        for name in LAYERS:
            if deadline.allows(1):
                found["layers"].append(point(name, device, precision, settings))
    return found


def bandwidth(device: torch.device, settings: Settings) -> dict[str, float]:
    """A large copy on the device, bytes read and bytes written both counted, in GB/s."""
    a = torch.rand(settings.copied // 4, device=device)
    b = torch.empty_like(a)
    return _rate(2 * settings.copied / 1e9, times(lambda: b.copy_(a), device, n=settings.repeats))


def peak(device: torch.device, precision: str, settings: Settings) -> dict[str, float]:
    """A large square matrix product of random numbers, two operations a multiply-add, in TFLOP/s."""
    side = settings.product
    a, b = (torch.randn(side, side, device=device, dtype=DTYPES[precision]) for _ in range(2))
    with arithmetic(device, "tf32" if precision == "tf32" else "fp32"):
        return _rate(2 * side**3 / 1e12, times(lambda: a @ b, device, n=settings.repeats))


def point(name: str, device: torch.device, precision: str, settings: Settings) -> dict[str, Any]:
    """One layer's forward pass: its operations and least bytes, counted, and its time, measured."""
    layer, shape = LAYERS[name]
    dtype = DTYPES[precision]
    layer = layer.to(device, dtype=dtype).train()
    x = torch.randn(settings.batch, *shape, device=device).to(dtype)
    if x.ndim == 4:
        layer, x = (
            layer.to(memory_format=torch.channels_last),
            x.contiguous(memory_format=torch.channels_last),
        )
    with torch.no_grad(), arithmetic(device, "fp32"):
        operations, bytes_moved = counted(layer, x)
        found = times(lambda: layer(x), device, n=settings.repeats, limit=0.5)
    seconds = found["median"] / 1e3
    return {
        "name": name,
        "precision": precision,
        "operations": operations,
        "bytes": bytes_moved,
        "intensity": float(f"{operations / bytes_moved:.4g}"),
        "milliseconds": found,
        "teraflops": float(f"{operations / seconds / 1e12:.4g}"),
        "gigabytes_per_second": float(f"{bytes_moved / seconds / 1e9:.4g}"),
    }


def counted(layer: nn.Module, x: Tensor) -> tuple[int, int]:
    """Floating-point operations, and bytes of input, parameters and output together.

    torch's counter knows products only; for the rest an operation is counted for each number put out, and
    for BatchNorm five: two for the sums, one each to centre, to divide and to scale.
    """
    with FlopCounterMode(display=False) as counter:
        y = layer(x)
    operations = counter.get_total_flops() or y.numel() * (5 if isinstance(layer, nn.BatchNorm2d) else 1)
    tensors = [x, y, *layer.parameters()]
    return operations, sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _rate(amount: float, milliseconds: dict[str, float]) -> dict[str, float]:
    """An amount over a time, in amounts a second; the quartiles change places."""
    names = {"median": "median", "low": "high", "high": "low"}
    rates = {name: float(f"{1e3 * amount / milliseconds[other]:.4g}") for name, other in names.items()}
    return rates | {"n": milliseconds["n"]}
