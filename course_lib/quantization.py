"""Numbers on a grid: what int8 does to a network, simulated in float32 so that one can look inside.

A number of b bits is one of 2ᵇ evenly spaced values. Rounding the weights and the inputs of every
multiplication to such a grid, and computing on in float32, gives what an integer machine gives.

Sources: B. Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", CVPR 2018; R. Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference",
2018.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from course_lib.device import check_finite

MULTIPLIES = (nn.Conv2d, nn.Linear)


def step_size(low: float | Tensor, high: float | Tensor, bits: int) -> float | Tensor:
    """The distance between neighbours of a grid of 2^bits values from ``low`` to ``high``."""
    if not isinstance(bits, int) or isinstance(bits, bool) or not 2 <= bits <= 16:
        raise ValueError(f"bits is {bits!r}; it must be a whole number from 2 to 16")
    return (high - low) / (2**bits - 1)


def round_to_grid(x: Tensor, low: float, high: float, bits: int = 8) -> Tensor:
    """Each value of ``x`` to the nearest of 2^bits evenly spaced ones from ``low`` to ``high``.

    0 is always one of them (a padded border and a closed ReLU must stay exactly 0): the range is widened to
    contain it and shifted by less than a step. What lies beyond the range becomes its end.
    Raises ``ValueError`` for a range without width and for bits outside 2 … 16.
    """
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if not low < high:
        raise ValueError(f"low is {low} and high is {high}; the range must have a width")
    step = step_size(low, high, bits)
    zero = round(-low / step)  # the grid's index of 0
    index = (x / step).round().add(zero).clamp(0, 2**bits - 1)
    return (index - zero) * step


def round_weights(weight: Tensor, bits: int = 8, per_channel: bool = True) -> Tensor:
    """Each weight to the nearest of 2^bits − 1 values, symmetric about 0.

    per_channel: a grid for each output channel, (out, …), as wide as its largest weight; else one for all.
    """
    levels = 2 ** (bits - 1) - 1
    largest = weight.abs().amax(tuple(range(1, weight.dim())), keepdim=True)
    step = (largest if per_channel else largest.max()) / levels
    step = step.clamp_min(torch.finfo(weight.dtype).tiny)
    return (weight / step).round() * step


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode in which each BatchNorm that follows a convolution has become part of it.

    In evaluation BatchNorm multiplies each channel by a constant and adds another, so the convolution's
    weights and bias can do it. The outputs are the same to rounding.
    """
    folded = copy.deepcopy(model).eval()
    for module in folded.modules():
        for (name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
    return folded


@torch.no_grad()
def input_ranges(model: nn.Module, x: Tensor) -> dict[str, tuple[float, float]]:
    """The smallest and largest number that enters each convolution and linear layer on the inputs ``x``.

    Raises ``ValueError`` for inputs that are not finite, of which nothing has a range.
    """
    check_finite("x", x)
    ranges: dict[str, tuple[float, float]] = {}

    def watch(name: str) -> Callable[..., None]:
        def before(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            low, high = (end.item() for end in torch.aminmax(inputs[0]))
            before_low, before_high = ranges.get(name, (low, high))
            ranges[name] = min(low, before_low), max(high, before_high)

        return before

    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, MULTIPLIES)]
    handles = [module.register_forward_pre_hook(watch(name)) for name, module in layers]
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return ranges


def simulate(
    model: nn.Module,
    calibration: Tensor,
    *,
    bits: int = 8,
    per_channel: bool = True,
    weights: bool = True,
    inputs: bool = True,
) -> nn.Module:
    """A copy of ``model`` that multiplies numbers of so many bits, for inference.

    Args:
        model: any network; BatchNorm behind a convolution in an ``nn.Sequential`` is folded into it.
        calibration: a batch of typical inputs; its largest and smallest numbers set each layer's grid.
        bits: of weights and inputs.
        per_channel: whether each output channel's weights have their own grid.
        weights, inputs: which of the two are rounded.

    Raises ``ValueError`` for bits outside 2 … 16 and a calibration batch that is not finite.
    """
    check_finite("calibration", calibration)
    step_size(0.0, 1.0, bits)  # refuses bits that do not fit, before any work
    rounded = fold_batch_norm(model)
    ranges = input_ranges(rounded, calibration)

    def rounding(low: float, high: float) -> Callable[..., tuple[Tensor]]:
        return lambda _module, given: (round_to_grid(given[0], low, high, bits),)

    for name, module in rounded.named_modules():
        if not isinstance(module, MULTIPLIES):
            continue
        if weights:
            module.weight.data = round_weights(module.weight.data, bits, per_channel)
        if inputs and name in ranges and min(ranges[name][0], 0) < max(ranges[name][1], 0):
            module.register_forward_pre_hook(rounding(*ranges[name]))
    return rounded
