"""A network as stages and a head, and the surgery that a new task asks for."""

from __future__ import annotations

import torch
from torch import nn

Head = nn.Linear | nn.Conv2d


def stages(model: nn.Module) -> tuple[str, ...]:
    """The names of a network's stages, in the order in which they were made: from the images to the logits.

    A stage is a child module that has parameters; a ``ModuleList``, and the child called ``features`` of
    AlexNet, VGG and the MobileNets, is a row of stages rather than one.
    """
    names = []
    for name, child in model.named_children():
        if next(child.parameters(), None) is None:
            continue
        if name == "features" or isinstance(child, nn.ModuleList):
            names += [
                f"{name}.{key}"
                for key, each in child.named_children()
                if next(each.parameters(), None) is not None
            ]
        else:
            names.append(name)
    return tuple(names)


def batch_norms(model: nn.Module) -> tuple[str, ...]:
    """The names of the BatchNorms in ``model``, torch's and the book's own."""
    kind = nn.modules.batchnorm._BatchNorm
    return tuple(name for name, module in model.named_modules() if isinstance(module, kind))


def head(model: nn.Module) -> tuple[str, Head]:
    """The layer that gives the logits, with its name: the last linear or 1×1 convolutional one.

    Raises ``ValueError`` for a network that has none.
    """
    for name, module in reversed(list(model.named_modules())):
        if name and (
            isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))
        ):
            return name, module
    raise ValueError(f"model {type(model).__name__} has no linear or 1×1 convolutional layer to replace")


def replace_head(
    model: nn.Module,
    new: int | nn.Module,
    *,
    weight_std: float = 0.01,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """Put a new last layer in the place of the old one, in place; returns the new layer, trainable.

    Args:
        model: its other layers are left as they are.
        new: how many classes, or a module that takes what the old head took.
        weight_std: a number of classes gets small random weights and zero biases, so that the loss starts
            near ln(classes) and the first gradients do not shake what is already there.
        generator: where the weights are drawn from; ``None`` is torch's own.

    Raises:
        ValueError: fewer than one class, or a module for another number of features.
    """
    name, old = head(model)
    if isinstance(new, nn.Module):
        first = next((m for m in new.modules() if isinstance(m, nn.Linear | nn.Conv2d)), None)
        if first is not None and _inputs(first) != _inputs(old):
            raise ValueError(
                f"the new head takes {_inputs(first)} features, but {name} of this network is given "
                f"{_inputs(old)}: its first layer must be {_like(old)}({_inputs(old)}, …)"
            )
    elif isinstance(new, int) and not isinstance(new, bool) and new >= 1:
        classes = new
        new = (
            nn.Linear(_inputs(old), classes)
            if isinstance(old, nn.Linear)
            else nn.Conv2d(_inputs(old), classes, 1)
        )
        with torch.no_grad():
            new.weight.normal_(0, weight_std, generator=generator)
            new.bias.zero_()
    else:
        raise ValueError(f"new is {new!r}; it must be a number of classes, 1 or more, or a module")
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, new.to(old.weight.device, old.weight.dtype))
    return new


def cut_first_layer(model: nn.Module, kernel_size: int = 3, stride: int = 1) -> nn.Conv2d:
    """Cut the first convolution down to the middle of its kernels, in place; returns the new layer.

    A network made for 224×224 begins with large strided kernels (AlexNet: 11×11, every 4 pixels), which
    leave nothing of an image of 32×32. The middle ``kernel_size`` × ``kernel_size`` weights are kept.

    Raises ``ValueError`` for a network without convolutions, or kernels that are smaller already.
    """
    name, old = next(((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)), ("", None))
    if old is None:
        raise ValueError(f"model {type(model).__name__} has no convolution to cut")
    before = old.kernel_size[0]
    if not 1 <= kernel_size <= before:
        raise ValueError(
            f"kernel_size={kernel_size} must be from 1 to {before}, the size of {name}'s kernels"
        )
    new = nn.Conv2d(
        old.in_channels, old.out_channels, kernel_size, stride, kernel_size // 2,
        bias=old.bias is not None, device=old.weight.device, dtype=old.weight.dtype,
    )  # fmt: skip
    start = (before - kernel_size) // 2
    middle = slice(start, start + kernel_size)
    with torch.no_grad():
        new.weight.copy_(old.weight[:, :, middle, middle])
        if old.bias is not None:
            new.bias.copy_(old.bias)
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, new)
    return new


def _inputs(layer: Head) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def _like(layer: Head) -> str:
    return type(layer).__name__
