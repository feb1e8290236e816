"""Batch Normalization.

Source: S. Ioffe, C. Szegedy, "Batch normalization", ICML 2015, algorithms 1 and 2.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.layers.tracing import apply, constant, one_node
from course_lib.layers.windows import check_floating


class BatchNormFunction(torch.autograd.Function):
    """y = γ x̂ + β with x̂ = (x − mean) / √(var + ε), mean and variance those of each channel of the batch."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(N, C) or (N, C, H, W) → y, of x's shape and type, and the batch's mean (C,) and variance (C,).

        The variance is the biased one, the mean of the squared deviations.
        """
        rest = _all_but_channel(x)
        wide = x.to(_statistics_type(x))
        mean = wide.mean(rest, keepdim=True)  # (1, C) or (1, C, 1, 1)
        centred = wide - mean
        var = centred.square().mean(rest, keepdim=True)
        inverse_std = (var + eps).rsqrt()
        # β + (x − mean) · (γ / σ): one pass over the batch where γ x̂ + β would take three
        y = torch.addcmul(_per_channel(bias, x), centred, _per_channel(weight, x) * inverse_std)

        ctx.save_for_backward(x, weight, mean, inverse_std)
        ctx.eps = eps
        mean, var = mean.flatten(), var.flatten()
        ctx.mark_non_differentiable(mean, var)
        return y.to(x.dtype), mean, var

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        """∂L/∂y → ∂L/∂x, ∂L/∂γ, ∂L/∂β.

        ∂L/∂x = γ/σ · (g − mean(g) − x̂ · mean(g x̂)): the incoming gradient without its mean and without
        its component along x̂, because a shift and a stretch of x are what the layer does not see.
        """
        x, weight, mean, inverse_std = ctx.saved_tensors
        rest, n = _all_but_channel(x), x.numel() // x.shape[1]  # n values a channel
        wide, grad = x.to(mean.dtype), grad.to(mean.dtype)
        if torch.is_grad_enabled():  # this will be differentiated once more: mean and σ come from x, too
            mean = wide.mean(rest, keepdim=True)
            inverse_std = ((wide - mean).square().mean(rest, keepdim=True) + ctx.eps).rsqrt()
        x_hat = (wide - mean) * inverse_std
        grad_bias = grad.sum(rest, keepdim=True)
        grad_weight = (grad * x_hat).sum(rest, keepdim=True)
        grad_x = torch.addcmul(grad - grad_bias / n, x_hat, grad_weight / n, value=-1)
        grad_x = grad_x * (_per_channel(weight, x) * inverse_std)
        grad_weight, grad_bias = grad_weight.flatten(), grad_bias.flatten()
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), None


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch Normalization of (N, C) and (N, C, H, W): ``nn.BatchNorm1d`` and ``nn.BatchNorm2d`` in one.

    In training each channel is normalised by its mean and variance over the batch (and, for images, over
    all pixels: they share one mean), and a running average of both is kept. In evaluation mode the running
    averages take their place, so that what one example gives does not depend on its neighbours.

    Args:
        num_features: C.
        eps: added to the variance, so that a channel that never changes is not divided by zero.
        momentum: the share of each new batch in the running averages; ``None`` weights all batches alike.

    Parameters ``weight`` (γ) and ``bias`` (β), buffers ``running_mean``, ``running_var`` (unbiased, as torch
    keeps it) and ``num_batches_tracked``: the names of ``nn.BatchNorm``. Without running averages
    (``running_mean`` is None) the batch's own statistics serve in evaluation mode, too.

    The base class is torch's: its tools know a BatchNorm by it (``update_bn``, ``convert_sync_batchnorm``),
    and it reads the states of older files. It keeps parameters and buffers; what is computed is here.

    Raises:
        ValueError: an argument out of range, an input of other dimensions or another number of channels;
            in training, fewer than two values a channel.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        if not isinstance(num_features, int) or isinstance(num_features, bool) or num_features < 1:
            raise ValueError(f"num_features is {num_features!r}; it must be a whole number of at least 1")
        if not _is_number(eps) or eps < 0:
            raise ValueError(f"eps is {eps!r}; it must be a finite number, 0 or more")
        if momentum is not None and not (_is_number(momentum) and 0 <= momentum <= 1):
            raise ValueError(f"momentum is {momentum!r}; it must be in [0, 1], or None for a plain average")
        super().__init__(num_features, eps, momentum)

    @one_node
    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        if not self.training and self.running_mean is not None:
            return self._from_running_statistics(x)
        y, mean, var = apply(BatchNormFunction, x, self.weight, self.bias, self.eps)
        if self.training and self.running_mean is not None:
            self._remember(mean.detach(), var.detach(), n=x.numel() // x.shape[1])
        return y

    def _from_running_statistics(self, x: Tensor) -> Tensor:
        """The same formula with constants for mean and variance: one multiplication, one addition."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()  # (C,)
        shift = self.bias - self.running_mean * scale  # (C,)
        return (x * _per_channel(scale, x) + _per_channel(shift, x)).to(x.dtype)

    def _remember(self, mean: Tensor, var: Tensor, n: int) -> None:
        """Move the running averages towards the statistics of a batch with ``n`` values a channel."""
        self.num_batches_tracked += 1
        share = self.momentum
        if share is None:
            share = 1 / self.num_batches_tracked.to(self.running_mean.dtype)
        unbiased = var * (n / (n - 1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)  # r ← r + share · (mean − r)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)

    def _check(self, x: Tensor) -> None:
        check_floating(x)
        shape = tuple(map(constant, x.shape))
        if x.dim() not in (2, 4):
            raise ValueError(f"x has shape {shape}; BatchNorm takes (N, C) or (N, C, H, W)")
        if shape[1] != self.num_features:
            raise ValueError(
                f"x has shape {shape}, so {shape[1]} channels; this layer was built for "
                f"num_features={self.num_features}"
            )
        values = math.prod(shape) // shape[1]
        if (self.training or self.running_mean is None) and values < 2:
            raise ValueError(
                f"x has shape {shape}, so {values} value{'' if values == 1 else 's'} a channel; in training, "
                "BatchNorm needs at least 2, for one value has no variance. Use a larger batch (the last one "
                "of an epoch may be a rest of 1), or eval() where the network is only used"
            )

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


def _all_but_channel(x: Tensor) -> list[int]:
    """The dimensions that a channel's statistics are taken over: all but dimension 1."""
    return [0, 2, 3][: x.dim() - 1]


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """(C,) as (1, C) or (1, C, 1, 1), to meet ``x`` channel by channel."""
    return values.view(1, -1, *[1] * (x.dim() - 2))


def _statistics_type(x: Tensor) -> torch.dtype:
    """float32 at least: a sum over a batch in 16 bits would lose what it adds."""
    return torch.promote_types(x.dtype, torch.float32)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
