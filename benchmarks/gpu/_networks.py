"""The networks that are timed, and one training step of any of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.gpu._clock import tf32
from course_lib.device import autocast
from course_lib.models.convnets import SimpleConvNet
from course_lib.models.mobilenetv2 import MobileNetV2
from course_lib.models.resnet import ResNet

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Network:
    """How to make one, what images it takes, (C, H, W), and of how many classes."""

    make: Callable[[], nn.Module]
    image: tuple[int, int, int]
    classes: int


NETWORKS = {
    "SimpleConvNet": Network(SimpleConvNet, (1, 28, 28), 10),
    "ResNet-18": Network(lambda: ResNet(18), (3, 224, 224), 1000),
    "MobileNetV2": Network(MobileNetV2, (3, 224, 224), 1000),
    "ResNet-50": Network(lambda: ResNet(50), (3, 224, 224), 1000),
}


def precisions(device: torch.device) -> tuple[str, ...]:
    """The ones that the device has: TF32 and fp16 need CUDA."""
    return PRECISIONS if device.type == "cuda" else ("fp32", "bf16")


@contextmanager
def arithmetic(device: torch.device, precision: str):
    """float32 in full, or with TF32, or autocast to 16 bits, for what runs inside."""
    with ExitStack() as stack:
        stack.enter_context(tf32(precision == "tf32"))
        stack.enter_context(cast(device, precision))
        yield


def cast(device: torch.device, precision: str) -> AbstractContextManager:
    """What ``training.fit`` enters for the forward pass; TF32 is float32 to it."""
    return autocast(device, "fp32" if precision == "tf32" else precision)


def batch(
    network: Network, size: int, device: torch.device, layout: str = "channels_last"
) -> tuple[Tensor, Tensor]:
    """Random images and labels on the device, never zeros: a GPU multiplies zeros faster."""
    generator = torch.Generator(device).manual_seed(0)
    x = torch.randn(size, *network.image, device=device, generator=generator)
    y = torch.randint(network.classes, (size,), device=device, generator=generator)
    return x.contiguous(memory_format=LAYOUTS[layout]), y


def training_step(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    precision: str = "fp32",
    *,
    optimizer: torch.optim.Optimizer | None = None,
) -> Callable[[], None]:
    """One step as ``training.fit`` takes it: forward, loss, backward, momentum; scaled in fp16.

    Call it inside :func:`_clock.tf32`, which says what float32 means.
    """
    model.train()
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    scaler = torch.amp.GradScaler(x.device.type, enabled=precision == "fp16")
    forward = cast(x.device, precision)

    def step() -> None:
        with forward:
            loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return step
