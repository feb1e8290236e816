"""How much of the image one unit sees: by the layers' sizes, and by what really reaches it.

Source: W. Luo, Y. Li, R. Urtasun, R. Zemel, "Understanding the effective receptive field in deep
convolutional neural networks", NeurIPS 2016.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Field(NamedTuple):
    """What one unit behind a layer sees.

    name: the layer's.  size: the side, in pixels of the image, of the square that it sees.  jump: how many
    pixels lie between the squares of two neighbours.
    """

    name: str
    size: int
    jump: int


def receptive_field(model: nn.Module | Iterable[nn.Module]) -> list[Field]:
    """The receptive field behind each convolution and pooling of a chain of layers.

    A layer of kernel k, stride s and dilation d adds (k − 1) d jumps to the size and multiplies the jump by
    s. The layers are taken in the order in which they are registered, so this is for networks that are a
    chain: ``model.features`` of AlexNet or VGG, not a ResNet, whose units see every size from 1 upwards at
    once (:func:`influence` measures those).

    Raises ``ValueError`` for a kernel, stride or dilation that is not the same in both directions.
    """
    if isinstance(model, nn.Module):
        named = model.named_modules()
    else:
        named = ((str(k), layer) for k, layer in enumerate(model))
    size, jump, fields = 1, 1, []
    for name, layer in named:
        if not all(hasattr(layer, attribute) for attribute in ("kernel_size", "stride")):
            continue
        kernel = _one(layer, name, "kernel_size")
        stride = _one(layer, name, "stride")
        dilation = _one(layer, name, "dilation") if hasattr(layer, "dilation") else 1
        size += (kernel - 1) * dilation * jump
        jump *= stride
        fields.append(Field(name, size, jump))
    return fields


def influence(model: nn.Module, x: Tensor) -> Tensor:
    """How strongly each pixel moves the unit in the middle: (H, W), the largest 1.

    The mean over the batch and the channels, in and out, of the size of ∂y/∂x, where y is the middle unit of
    each channel of ``model(x)``: (N, C, H', W'), or (N, C) for a whole network. Parameters' ``.grad`` are
    left as they were.

    Raises ``ValueError`` for an x that is not (N, C, H, W), and an output that is neither.
    """
    if x.dim() != 4:
        raise ValueError(f"x has shape {tuple(x.shape)}; it must be a batch of images, (N, C, H, W)")
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = model(x)
        if y.dim() == 4:
            y = y[:, :, y.shape[2] // 2, y.shape[3] // 2]
        if y.dim() != 2:
            raise ValueError(f"model gives shape {tuple(y.shape)}; it must be (N, C, H, W) or (N, C)")
        total = torch.zeros_like(x[0, 0])
        for channel in y.sum(0).unbind():  # examples do not mix in evaluation mode, so one pass serves all
            (gradient,) = torch.autograd.grad(channel, x, retain_graph=True)
            total += gradient.abs().mean((0, 1))
    return total / total.max().clamp(min=torch.finfo(total.dtype).tiny)


def _one(layer: nn.Module, name: str, attribute: str) -> int:
    value = getattr(layer, attribute)
    sides = set(value) if isinstance(value, tuple) else {value}
    if len(sides) > 1:
        raise ValueError(f"{name}.{attribute} is {value}; it must be the same in both directions")
    return sides.pop()
