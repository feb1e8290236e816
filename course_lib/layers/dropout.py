"""Dropout, as first published and as it is used now.

Source: N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014,
sections 4 and 10.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.layers.tracing import apply, one_node
from course_lib.layers.windows import check_floating


class DropoutFunction(torch.autograd.Function):
    """y = m ⊙ x, where m is ``kept`` with probability 1 − p and 0 else, drawn anew for every element."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, kept: float) -> Tensor:
        """x, any shape → y of the same; the mask is remembered for the way back."""
        mask = torch.empty_like(x).bernoulli_(1 - p).mul_(kept)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """What was dropped had no part in the loss, and gets no gradient: the same mask once more."""
        (mask,) = ctx.saved_tensors
        return grad * mask, None, None


class Dropout(nn.Module):
    """In training, drop each element with probability ``p``; in evaluation mode, keep them all.

    Args:
        p: the probability of being dropped, in [0, 1).
        inverted: True, as ``nn.Dropout``: what is kept is divided by 1 − p in training, and nothing is done
            in evaluation. False, as first published: nothing is scaled in training, and everything is
            multiplied by 1 − p in evaluation. The expected output is that of evaluation either way.
            By name only: the second argument of ``nn.Dropout`` is another.

    Masks come from torch's generator of the input's device; on a CPU they are those of ``nn.Dropout``.
    Shape: any → the same. Raises ``ValueError`` for a ``p`` outside [0, 1), and in training
    for an input that is no floating-point tensor.
    """

    def __init__(self, p: float = 0.5, *, inverted: bool = True) -> None:
        super().__init__()
        if not isinstance(p, Real) or isinstance(p, bool) or not 0 <= p < 1:
            raise ValueError(f"p is {p!r}; the probability of being dropped must be in [0, 1)")
        self.p, self.inverted = p, inverted

    @one_node
    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0:
            return x
        keep = 1 - self.p
        if self.training:
            check_floating(x)
            return apply(DropoutFunction, x, self.p, 1 / keep if self.inverted else 1.0)
        return x if self.inverted else x * keep

    def extra_repr(self) -> str:
        return f"p={self.p}" + ("" if self.inverted else ", inverted=False")
