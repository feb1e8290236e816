"""Optimizers, written to be read, as ``torch.optim.Optimizer`` subclasses.

Parameter groups, ``state_dict`` and torch's schedulers work on them unchanged. Each class is its
equation: ``update`` takes one parameter w and its gradient g through one step. On a GPU, where
starting a kernel costs more than running it, a fast twin of the same equation (the functions
``_sgd`` to ``_adamw`` at the end) takes all parameters at once. The twins are used by these very
classes only: a subclass that changes ``update`` always gets its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake

Group = dict[str, Any]  # a parameter group: "params", and the settings that hold for them
State = dict[str, Any]  # what is remembered of one parameter

# What a parameter group may hold beside an optimizer's settings: a name for the reader, torch's names of the
# parameters, and what torch's schedules and averaged models note down.
NOTES = frozenset(
    [
        "params",
        "param_names",
        "name",
        "initial_lr",
        "max_lr",
        "min_lr",
        "base_momentum",
        "max_momentum",
        "swa_lr",
    ]
)


class Optimizer(torch.optim.Optimizer):
    """The loop over parameters that all optimizers share; a subclass says what to do with one.

    A subclass sets ``memory``, the names of the tensors that are kept for each parameter, zero at
    first, and overrides ``update``. ``fast``: None takes the fast twin on a GPU, True everywhere, False
    nowhere.

    Raises:
        ValueError: a setting out of its range, in ``__init__`` or in a parameter group; a setting that this
            optimizer does not have, unless it is off (``weight_decay=0``, ``nesterov=False``); a state
            dict of another optimizer; a gradient that is sparse or complex.
    """

    memory: tuple[str, ...] = ()
    fast: bool | None = None

    def update(self, w: Tensor, g: Tensor, state: State, group: Group) -> None:
        """Change the parameter ``w`` in place, given its gradient ``g``, of the same shape."""
        raise NotImplementedError(f"{type(self).__name__} has no update")

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Take one step along the gradients in ``.grad``; parameters without one stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [w for w in group["params"] if w.grad is not None]
            states = [self._state_of(w) for w in weights]
            fast = all(w.is_cuda for w in weights) if self.fast is None else self.fast
            numbers = {name: _plain(group[name]) for name in self.defaults if _holds_tensor(group[name])}
            settings = group | numbers if numbers else group
            if fast and weights and type(self) in FAST:
                FAST[type(self)](weights, [w.grad for w in weights], states, settings)
            else:
                for w, state in zip(weights, states, strict=True):
                    self.update(w, w.grad, state, settings)
        return loss

    def _state_of(self, w: Tensor) -> State:
        if w.grad.is_sparse or w.is_complex():
            raise ValueError(
                f"the gradient of a parameter of shape {tuple(w.shape)} is "
                f"{'sparse' if w.grad.is_sparse else 'complex'}; {type(self).__name__} takes dense real ones"
                f"{' (build nn.Embedding with sparse=False)' if w.grad.is_sparse else ''}"
            )
        state = self.state[w]
        if not state:
            state.update({name: torch.zeros_like(w) for name in self.memory})
        return state

    def add_param_group(self, param_group: Group) -> None:
        """Add a parameter group, as torch does, its settings checked."""
        if isinstance(param_group, Mapping):
            self._refuse_others("a parameter group", param_group)
            for name in self.defaults:
                _check(name, param_group.get(name, self.defaults[name]))
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a ``state_dict()`` of the same optimizer."""
        name = type(self).__name__
        for group in state_dict["param_groups"]:
            absent = [setting for setting in self.defaults if setting not in group]
            if absent:
                raise ValueError(f"state_dict has no {absent[0]!r}: it is not from {name}")
            self._refuse_others("state_dict", group)
        for state in state_dict["state"].values():
            absent = [kept for kept in self.memory if kept not in state]
            others = [
                kept for kept in state if kept not in (*self.memory, "step") and state[kept] is not None
            ]
            if absent or others:
                what = f"no memory {', '.join(self.memory)}" if absent else f"a memory {others[0]!r}"
                raise ValueError(f"state_dict has {what}: it is not from {name}")
        super().load_state_dict(state_dict)

    def _refuse_others(self, what: str, group: Mapping[str, Any]) -> None:
        """A setting that is not this optimizer's would be ignored, unless it asks for nothing."""
        for name, value in group.items():
            if name not in self.defaults and name not in NOTES and not _is_off(value):
                raise ValueError(
                    f"{what} has {name}={value!r}, which {type(self).__name__} does not have: its settings "
                    f"are {', '.join(self.defaults)}"
                )

    def __getstate__(self) -> dict[str, Any]:
        """For a copy: torch's own leaves out what an instance was given, ``fast`` say.

        Hooks stay out, and the ``step`` that a schedule puts over ours: it would move the original.
        """
        return {
            name: value
            for name, value in self.__dict__.items()
            if not name.startswith("_") and not callable(value)
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        own = set(state.get("defaults", self.__dict__.get("defaults", {})))
        super().__setstate__(state)
        # torch adds a setting of its own to the defaults here, which then every group would have to have.
        self.defaults = {name: value for name, value in self.defaults.items() if name in own}


class SGD(Optimizer):
    """Stochastic gradient descent: w ← w − lr · g.

    Args:
        params: tensors, named tensors or parameter groups, as in ``torch.optim``.
        lr: the learning rate, in units of weight per unit of gradient.

    Source: H. Robbins, S. Monro, "A stochastic approximation method", 1951.
    """

    def __init__(self, params: Iterable, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    def update(self, w: Tensor, g: Tensor, state: State, group: Group) -> None:
        w.add_(g, alpha=-group["lr"])


class Momentum(Optimizer):
    """SGD whose steps add up: v ← β v + g, then w ← w − lr · v.

    Under a constant gradient v grows to g / (1 − β).

    Args:
        params, lr: as in :class:`SGD`.
        momentum: β, the part of the velocity that is left after a step; 0 is SGD.

    Source: B. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964, with
    the learning rate outside the velocity, as in ``torch.optim.SGD``.
    """

    memory = ("velocity",)

    def __init__(self, params: Iterable, lr: float, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    def update(self, w: Tensor, g: Tensor, state: State, group: Group) -> None:
        v = state["velocity"]
        v.mul_(group["momentum"]).add_(g)
        w.add_(v, alpha=-group["lr"])


class Nesterov(Optimizer):
    """Momentum that looks one step ahead: v ← β v + g, then w ← w − lr · (g + β v).

    What is added is the velocity as it will be in the next step if the gradient stays the same.

    Args:
        params, lr, momentum: as in :class:`Momentum`.

    Source: Y. Nesterov, 1983, in the form of Y. Bengio, N. Boulanger-Lewandowski, R. Pascanu,
    "Advances in optimizing recurrent networks", 2013, that evaluates the gradient at w and not ahead of it.
    """

    memory = ("velocity",)

    def __init__(self, params: Iterable, lr: float, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    def update(self, w: Tensor, g: Tensor, state: State, group: Group) -> None:
        v = state["velocity"]
        v.mul_(group["momentum"]).add_(g)
        w.add_(g.add(v, alpha=group["momentum"]), alpha=-group["lr"])


class AdaGrad(Optimizer):
    """A learning rate for each weight, that only falls: h ← h + g², then w ← w − lr · g / (√h + ε).

    Args:
        params: as in :class:`SGD`.
        lr: the length of the first step, in units of weight: g / √g² is ±1.
        eps: ε, keeps the division finite. By name only: torch's third argument is another.

    Source: J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods", 2011.
    """

    memory = ("sum_of_squares",)

    def __init__(self, params: Iterable, lr: float = 0.01, *, eps: float = 1e-10) -> None:
        super().__init__(params, {"lr": lr, "eps": eps})

    def update(self, w: Tensor, g: Tensor, state: State, group: Group) -> None:
        h = state["sum_of_squares"]
        h.addcmul_(g, g)
        w.addcdiv_(g, h.sqrt().add_(group["eps"]), value=-group["lr"])


class RMSprop(Optimizer):
    """AdaGrad that forgets: h ← α h + (1 − α) g², then w ← w − lr · g / (√h + ε).

    Args:
        params: as in :class:`SGD`.
        lr: the length of a step whose gradient is as large as usual, in units of weight.
        alpha: α, how much of the mean square is kept; it looks back about 1 / (1 − α) steps.
        eps: ε, keeps the division finite.

    Source: T. Tieleman, G. Hinton, "Lecture 6.5: rmsprop", 2012.
    """

    memory = ("mean_square",)

    def __init__(self, params: Iterable, lr: float = 0.01, alpha: float = 0.99, eps: float = 1e-8) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps})

    def update(self, w: Tensor, g: Tensor, state: State, group: Group) -> None:
        h = state["mean_square"]
        h.mul_(group["alpha"]).addcmul_(g, g, value=1 - group["alpha"])
        w.addcdiv_(g, h.sqrt().add_(group["eps"]), value=-group["lr"])


class Adam(Optimizer):
    """Momentum over RMSprop, both corrected for their start at 0.

    m ← β₁ m + (1 − β₁) g and v ← β₂ v + (1 − β₂) g²; after t steps their weights add up to
    1 − β₁ᵗ and 1 − β₂ᵗ only, so m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ);
    then w ← w − lr · m̂ / (√v̂ + ε).

    Args:
        params: as in :class:`SGD`.
        lr: about the length of a step, in units of weight.
        betas: β₁ and β₂, how much of the mean gradient and of the mean square is kept.
        eps: ε, keeps the division finite.

    Source: D. Kingma, J. Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1.
    """

    memory = ("m", "v")

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    def update(self, w: Tensor, g: Tensor, state: State, group: Group) -> None:
        m, v, t = state["m"], state["v"], state.get("step", 0) + 1
        state["step"] = t
        beta1, beta2 = group["betas"]
        m.lerp_(g, 1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        lr_hat = group["lr"] / (1 - beta1**t)  # m's correction, moved to lr
        root_v_hat = v.sqrt().div_((1 - beta2**t) ** 0.5)  # not math.sqrt: β₂ may be a tensor
        w.addcdiv_(m, root_v_hat.add_(group["eps"]), value=-lr_hat)


class AdamW(Adam):
    """Adam with decoupled weight decay: first w ← (1 − lr · λ) w, then Adam's step.

    The decay does not pass through √v̂, so every weight shrinks by the same factor, however large
    its gradients are.

    Args:
        params, lr, betas, eps: as in :class:`Adam`.
        weight_decay: λ, the part of a weight that is lost in a step of learning rate 1.

    Source: I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", 2019.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        Optimizer.__init__(self, params, settings)

    def update(self, w: Tensor, g: Tensor, state: State, group: Group) -> None:
        w.mul_(1 - group["lr"] * group["weight_decay"])
        super().update(w, g, state, group)


def decayed(model: nn.Module) -> list[Tensor]:
    """The weights that weight decay is for: the trainable parameters of two and more dimensions.

    A bias, and the scale and shift of a normalisation, are vectors. They are few, they do not multiply
    what another layer has learned, and to pull a scale to 0 is to switch its unit off. (LayerNorm and
    RMSNorm may have parameters of several dimensions; they are left out as well.)
    """
    norms = [m for m in model.modules() if isinstance(m, (nn.LayerNorm, nn.RMSNorm))]
    scales = {id(p) for norm in norms for p in norm.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    return [p for p in trained if p.ndim > 1 and id(p) not in scales]


def decay_groups(model: nn.Module, weight_decay: float) -> list[Group]:
    """Parameter groups for an optimizer with ``weight_decay``: what is :func:`decayed`, and the rest with 0.

    ``AdamW(decay_groups(model, 0.1), lr=1e-3)`` decays the weights and leaves the biases alone.
    """
    _check("weight_decay", weight_decay)
    weights = decayed(model)
    those = {id(p) for p in weights}
    rest = [p for p in model.parameters() if id(p) not in those]
    groups = {"params": weights, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}
    return [group for group in groups if group["params"]]


def _plain(value: Any) -> Any:
    """A tensor of one number, which a rate may be, as that number; a pair of them likewise.

    One that is being traced has no value, and stays.
    """
    if isinstance(value, tuple | list):
        return type(value)(_plain(each) for each in value)
    known = isinstance(value, Tensor) and value.numel() == 1 and not is_fake(value)
    return value.item() if known else value


def _holds_tensor(value: Any) -> bool:
    return any(isinstance(each, Tensor) for each in (value if isinstance(value, tuple | list) else [value]))


def _is_off(value: Any) -> bool:
    """None, False and 0 are how torch's optimizers say that a setting is not used."""
    return value is None or (isinstance(_plain(value), Real) and not _plain(value))


def _check(name: str, value: Any) -> None:
    """Raises ValueError for a setting out of its range. One that is being traced has no value yet."""
    if is_fake(value):
        return
    if name == "betas":
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise ValueError(f"betas is {value!r}; give two numbers from 0 up to 1, such as (0.9, 0.999)")
        for k, beta in enumerate(value):
            _check(f"betas[{k}]", beta)
        return
    number = _plain(value)
    finite = isinstance(number, Real) and math.isfinite(number)
    if name in ("momentum", "alpha", "betas[0]", "betas[1]"):
        if not finite or not 0 <= number < 1:
            raise ValueError(f"{name} is {value!r}; it must be at least 0 and below 1 (0.9, say)")
    elif not finite or number < 0:
        example = {"lr": "0.01", "eps": "1e-8"}.get(name, "0.01")
        raise ValueError(f"{name} is {value!r}; it must be a finite number, 0 or more ({example}, say)")


# Fast twins: the same equations on lists, one call for all the tensors of a parameter group. What one
# costs on ResNet-18 beside torch's own is in benchmarks/optim.py; tests hold them to ``update``.

Tensors = list[Tensor]


def _sgd(w: Tensors, g: Tensors, states: list[State], group: Group) -> None:
    torch._foreach_add_(w, g, alpha=-group["lr"])


def _momentum(w: Tensors, g: Tensors, states: list[State], group: Group) -> None:
    v = [state["velocity"] for state in states]
    torch._foreach_mul_(v, group["momentum"])
    torch._foreach_add_(v, g)
    torch._foreach_add_(w, v, alpha=-group["lr"])


def _nesterov(w: Tensors, g: Tensors, states: list[State], group: Group) -> None:
    v = [state["velocity"] for state in states]
    torch._foreach_mul_(v, group["momentum"])
    torch._foreach_add_(v, g)
    ahead = torch._foreach_add(g, v, alpha=group["momentum"])
    torch._foreach_add_(w, ahead, alpha=-group["lr"])


def _adagrad(w: Tensors, g: Tensors, states: list[State], group: Group) -> None:
    h = [state["sum_of_squares"] for state in states]
    torch._foreach_addcmul_(h, g, g)
    _divided(w, g, h, group)


def _rmsprop(w: Tensors, g: Tensors, states: list[State], group: Group) -> None:
    h = [state["mean_square"] for state in states]
    torch._foreach_mul_(h, group["alpha"])
    torch._foreach_addcmul_(h, g, g, value=1 - group["alpha"])
    _divided(w, g, h, group)


def _divided(w: Tensors, g: Tensors, h: Tensors, group: Group) -> None:
    root = torch._foreach_sqrt(h)
    torch._foreach_add_(root, group["eps"])
    torch._foreach_addcdiv_(w, g, root, value=-group["lr"])


def _adam(w: Tensors, g: Tensors, states: list[State], group: Group) -> None:
    beta1, beta2 = group["betas"]
    m, v = [state["m"] for state in states], [state["v"] for state in states]
    for state in states:
        state["step"] = state.get("step", 0) + 1
    torch._foreach_lerp_(m, g, 1 - beta1)
    torch._foreach_mul_(v, beta2)
    torch._foreach_addcmul_(v, g, g, value=1 - beta2)
    root_v_hat = torch._foreach_sqrt(v)
    torch._foreach_div_(root_v_hat, [math.sqrt(1 - beta2 ** state["step"]) for state in states])
    torch._foreach_add_(root_v_hat, group["eps"])
    # A parameter that joined late has taken fewer steps, so each has its own correction.
    scales = [-group["lr"] / (1 - beta1 ** state["step"]) for state in states]
    torch._foreach_addcdiv_(w, m, root_v_hat, scales)


def _adamw(w: Tensors, g: Tensors, states: list[State], group: Group) -> None:
    torch._foreach_mul_(w, 1 - group["lr"] * group["weight_decay"])
    _adam(w, g, states, group)


FAST = {
    SGD: _sgd, Momentum: _momentum, Nesterov: _nesterov, AdaGrad: _adagrad, RMSprop: _rmsprop,
    Adam: _adam, AdamW: _adamw,
}  # fmt: skip
