"""The multilayer perceptron: linear layers with an activation between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from course_lib import init
from course_lib.layers import BatchNorm, Dropout
from course_lib.models.inputs import has_shape

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "linear": nn.Identity,
}

PLACES: dict[bool | str, str | None] = {False: None, True: "before", "before": "before", "after": "after"}


def make_activation(name: str) -> nn.Module:
    """The activation called ``name`` as a module. Raises ``ValueError`` for one that is not there."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation is {name!r}; it must be one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


class MLP(nn.Module):
    """A network in_features → hidden[0] → … → out_features; the output layer has no activation.

    Args:
        in_features: numbers in one input; inputs of any shape (N, …) are flattened to (N, in_features).
        hidden: the width of each hidden layer; empty for a linear classifier.
        out_features: how many classes, so how many logits.
        activation: ``"relu"``, ``"tanh"``, ``"sigmoid"`` or ``"linear"``, after each hidden layer.
        weight_init: what :func:`course_lib.init.initialize` takes: ``"kaiming"``, ``"xavier"`` or a
            standard deviation. Biases start at 0.
        batch_norm: ``"before"`` (or ``True``) or ``"after"`` each hidden layer's activation. Before it,
            BatchNorm subtracts any bias again, so these layers have none: its β takes their place.
        dropout: the probability of dropping a hidden activation; the logits are never dropped.
        generator: where the weights are drawn from; ``None`` is torch's global generator.

    Shape: (N, …) with … multiplying to in_features → (N, out_features).

    Raises:
        ValueError: a width below 1, an unknown activation, scheme or place for BatchNorm, a dropout
            outside [0, 1), an input of another size.
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int,
        *,
        activation: str = "relu",
        weight_init: str | float = "kaiming",
        batch_norm: bool | str = False,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        widths = [in_features, *hidden, out_features]
        _check_widths(widths)
        if batch_norm not in PLACES:
            raise ValueError(f"batch_norm is {batch_norm!r}; it must be False, True, 'before' or 'after'")
        self.batch_norm = PLACES[batch_norm]
        self.layers = nn.ModuleList(
            nn.Linear(fan_in, fan_out, bias=self.batch_norm != "before")
            for fan_in, fan_out in pairwise(widths[:-1])
        )
        self.layers.append(nn.Linear(widths[-2], out_features))
        self.activations = nn.ModuleList(make_activation(activation) for _ in hidden)
        self.norms = nn.ModuleList(BatchNorm(width) for width in hidden if self.batch_norm)
        self.dropouts = nn.ModuleList(Dropout(dropout) for _ in hidden if dropout != 0)
        init.initialize(self, weight_init, generator)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)  # (N, in_features)
        *hidden, output = self.layers
        if has_shape(x) and x.shape[1] != self.layers[0].in_features:
            raise ValueError(
                f"x has {x.shape[1]} numbers an input; this network was built for in_features="
                f"{self.layers[0].in_features}"
            )
        for k, layer in enumerate(hidden):
            x = layer(x)  # (N, width)
            if self.batch_norm == "before":
                x = self.norms[k](x)
            x = self.activations[k](x)
            if self.batch_norm == "after":
                x = self.norms[k](x)
            if self.dropouts:
                x = self.dropouts[k](x)
        return output(x)  # (N, out_features)


def layer_stack(
    width: int,
    depth: int,
    *,
    activation: str = "relu",
    weight_init: str | float = "kaiming",
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """``depth`` linear layers without bias, (N, width) → (N, width), an activation after every one.

    Not a classifier but a corridor: what happens to a signal on its way through a deep network and
    what happens to the gradient on its way back. Linear layer ``l`` is at index ``2 l``, its
    activation at ``2 l + 1``.
    """
    _check_widths([width])
    if not isinstance(depth, int) or depth < 1:
        raise ValueError(f"depth is {depth!r}; it must be a whole number of at least 1")
    stack = nn.Sequential()
    for _ in range(depth):
        stack.append(nn.Linear(width, width, bias=False))
        stack.append(make_activation(activation))
    init.initialize(stack, weight_init, generator)
    return stack


def _check_widths(widths: Sequence[int]) -> None:
    for width in widths:
        if not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise ValueError(f"widths are {list(widths)}; each must be a whole number of at least 1")
