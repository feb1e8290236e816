"""Where the weights of a network begin.

Every initialiser fills its tensor in place, returns it, and draws from ``generator`` if one is
given, so that the same seed gives the same weights as the function of the same name in
``torch.nn.init``.

Sources: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
networks", AISTATS 2010, eqs. 12 and 16. K. He et al., "Delving deep into rectifiers", ICCV 2015,
eqs. 10 and 14.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

# What an activation does to a signal's root mean square, undone: E[relu(z)²] = E[z²] / 2 for a
# symmetric z, so √2. For tanh, torch's conventional 5/3; sigmoid and linear keep 1.
GAINS: dict[str, float] = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2)}


def fan_in_and_fan_out(weight: Tensor) -> tuple[int, int]:
    """How many numbers feed one output of ``weight``, and how many outputs one number feeds.

    ``weight`` is (out, in) for a linear layer, (out, in / groups, *kernel) for a convolution.
    Raises ``ValueError`` for a tensor of fewer than two dimensions.
    """
    if weight.dim() < 2:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}; fan-in and fan-out need at least two dimensions, "
            "(out, in): biases and BatchNorm parameters have none"
        )
    receptive_field = math.prod(weight.shape[2:])
    return weight.shape[1] * receptive_field, weight.shape[0] * receptive_field


def gain(activation: str) -> float:
    """The factor by which weights are enlarged to make up for ``activation``."""
    if activation not in GAINS:
        raise ValueError(f"activation is {activation!r}; the ones with a gain are {', '.join(GAINS)}")
    return GAINS[activation]


@torch.no_grad()
def constant_(weight: Tensor, value: float) -> Tensor:
    """Every weight the same: what not to do, and how the symmetry experiment begins."""
    return weight.fill_(value)


@torch.no_grad()
def normal_(weight: Tensor, *, std: float, generator: torch.Generator | None = None) -> Tensor:
    """Independent draws from N(0, std²). By name alone: torch's second argument is the mean."""
    _check_std(std)
    return weight.normal_(0.0, std, generator=generator)


@torch.no_grad()
def xavier_normal_(weight: Tensor, gain: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """N(0, std²) with std = gain · √(2 / (fan_in + fan_out)): Glorot and Bengio, eq. 12.

    Where fan_in = fan_out = n, this is the 1/√n of many textbooks.
    """
    fan_in, fan_out = fan_in_and_fan_out(weight)
    return normal_(weight, std=gain * math.sqrt(2 / (fan_in + fan_out)), generator=generator)


@torch.no_grad()
def xavier_uniform_(weight: Tensor, gain: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """U(−a, a) with the standard deviation of :func:`xavier_normal_`: Glorot and Bengio, eq. 16."""
    fan_in, fan_out = fan_in_and_fan_out(weight)
    bound = math.sqrt(3.0) * gain * math.sqrt(2 / (fan_in + fan_out))
    return weight.uniform_(-bound, bound, generator=generator)


@torch.no_grad()
def kaiming_normal_(
    weight: Tensor, activation: str = "relu", generator: torch.Generator | None = None
) -> Tensor:
    """N(0, std²) with std = gain(activation) / √fan_in: He et al., eq. 10 for ReLU, √(2 / fan_in)."""
    fan_in, _ = fan_in_and_fan_out(weight)
    return normal_(weight, std=gain(activation) / math.sqrt(fan_in), generator=generator)


@torch.no_grad()
def kaiming_uniform_(
    weight: Tensor, activation: str = "relu", generator: torch.Generator | None = None
) -> Tensor:
    """U(−a, a) with the standard deviation of :func:`kaiming_normal_`."""
    fan_in, _ = fan_in_and_fan_out(weight)
    bound = math.sqrt(3.0) * gain(activation) / math.sqrt(fan_in)
    return weight.uniform_(-bound, bound, generator=generator)


SCHEMES: dict[str, Callable[..., Tensor]] = {
    "xavier": xavier_normal_,
    "kaiming": kaiming_normal_,
    "he": kaiming_normal_,
}


def initialize(model: nn.Module, scheme: str | float, generator: torch.Generator | None = None) -> nn.Module:
    """Draw the weights of every linear and convolutional layer of ``model`` afresh; biases become 0.

    Such a layer is known by a ``weight`` of two dimensions or more, so that the book's own layers count too.

    ``scheme`` is ``"xavier"``, ``"kaiming"`` (or ``"he"``, the same), or a number: the standard
    deviation of every weight. Layers are visited in the order of ``model.modules()``. Returns the
    model. Raises ``ValueError`` for any other scheme.
    """
    if isinstance(scheme, str):
        if scheme not in SCHEMES:
            raise ValueError(
                f"scheme is {scheme!r}; it must be one of {', '.join(SCHEMES)}, or a number: "
                "the standard deviation of the weights"
            )
        fill = SCHEMES[scheme]
    else:
        _check_std(scheme)

        def fill(weight: Tensor, generator: torch.Generator | None) -> Tensor:
            return normal_(weight, std=scheme, generator=generator)

    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.dim() > 1:  # BatchNorm's γ has one dimension
            fill(weight, generator=generator)
            if getattr(module, "bias", None) is not None:
                constant_(module.bias, 0.0)
    return model


def _check_std(std: float) -> None:
    if isinstance(std, bool) or not isinstance(std, int | float) or not math.isfinite(std) or std < 0:
        raise ValueError(f"std is {std!r}; a standard deviation is a finite number, 0 or more")
