"""Optimizers, written to be read, as ``torch.optim.Optimizer`` subclasses.

Parameter groups, ``state_dict`` and torch's schedulers work on them unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor


class SGD(torch.optim.Optimizer):
    """Stochastic gradient descent: W ← W − lr · ∂L/∂W.

    Args:
        params: tensors, named tensors or parameter groups, as in ``torch.optim``.
        lr: the learning rate, in units of weight per unit of gradient.

    Raises:
        ValueError: a learning rate that is negative or not finite.

    Source: H. Robbins, S. Monro, "A stochastic approximation method", 1951.
    """

    def __init__(self, params: Iterable, lr: float) -> None:
        if not math.isfinite(lr) or lr < 0:
            raise ValueError(f"lr is {lr!r}; a learning rate is a finite number, 0 or more (0.01, say)")
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Take one step down the gradients in ``.grad``; parameters without one stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-group["lr"])
        return loss
