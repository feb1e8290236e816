"""Batch Normalization over the batch of all processes.

Each process sees its part of the batch, so :class:`course_lib.layers.BatchNorm` would normalise by the part's
mean and variance: eight processes with four images each train another network than one with thirty-two. Here
the processes add up what the statistics are made of, forward and backward.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from course_lib.distributed.processes import world_size
from course_lib.layers import BatchNorm


class SyncBatchNormFunction(torch.autograd.Function):
    """``BatchNormFunction`` with every mean taken over all processes; three sums of C numbers travel."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, C) or (N, C, H, W) → y, the whole batch's mean (C,), biased variance (C,), values a channel."""
        rest = [dim for dim in range(x.dim()) if dim != 1]
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        n = torch.tensor([x.numel() / x.shape[1]], dtype=wide.dtype, device=x.device)
        n, total = _summed(n, wide.sum(rest))
        mean = total / n
        centred = wide - _per_channel(mean, x)
        # The mean comes first, in a round of its own: E[x²] − E[x]² would lose the digits that a variance
        # much smaller than the mean needs.
        (squares,) = _summed(centred.square().sum(rest))
        var = squares / n
        inverse_std = _per_channel((var + eps).rsqrt(), x)
        x_hat = centred * inverse_std
        ctx.save_for_backward(x_hat, inverse_std, weight, n)
        y = _per_channel(weight, x) * x_hat + _per_channel(bias, x)
        ctx.mark_non_differentiable(mean, var, n)
        return y.to(x.dtype), mean, var, n

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        """∂L/∂x by the means over all processes; ∂L/∂γ, ∂L/∂β of this process's part, as data parallel
        training expects them: it adds them up with all other gradients."""
        if torch.is_grad_enabled():
            raise RuntimeError(
                "a second derivative (create_graph=True) through SyncBatchNorm is not written here; "
                "course_lib.layers.BatchNorm has one"
            )
        x_hat, inverse_std, weight, n = ctx.saved_tensors
        rest = [dim for dim in range(x_hat.dim()) if dim != 1]
        wide = grad.to(x_hat.dtype)
        grad_bias, grad_weight = wide.sum(rest), (wide * x_hat).sum(rest)
        whole, along = _summed(grad_bias, grad_weight)
        grad_x = wide - _per_channel(whole / n, grad) - x_hat * _per_channel(along / n, grad)
        grad_x = _per_channel(weight, grad) * inverse_std * grad_x
        return grad_x.to(grad.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), None


class SyncBatchNorm(BatchNorm):
    """:class:`course_lib.layers.BatchNorm` over the batch of all processes; alone it is the same layer.

    Every process of the group must run the layer in every step, with a part of the batch that is not empty.
    Arguments, parameters and buffers are those of ``BatchNorm``.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(x)
        self._check(x)
        y, mean, var, n = SyncBatchNormFunction.apply(x, self.weight, self.bias, self.eps)
        self._remember(mean, var, n)
        return y


def synchronized(model: nn.Module) -> nn.Module:
    """``model``, each of its ``BatchNorm`` a ``SyncBatchNorm`` with the same parameters; changed in place."""
    for module in model.modules():
        if type(module) is BatchNorm:
            module.__class__ = SyncBatchNorm
    return model


def _summed(*parts: Tensor) -> list[Tensor]:
    """Each tensor's sum over all processes; they travel as one message, which costs one α."""
    message = torch.cat([part.flatten() for part in parts])
    dist.all_reduce(message)
    return list(message.split([part.numel() for part in parts]))


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """(C,) as (1, C) or (1, C, 1, 1), to meet ``x`` channel by channel."""
    return values.view(1, -1, *[1] * (x.dim() - 2))
