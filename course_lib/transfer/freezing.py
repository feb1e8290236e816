"""Freeze part of a network: its weights get no gradient, and its BatchNorms keep what they remember.

The second half is the one that is forgotten. ``requires_grad = False`` stops the weights, but in training
mode a BatchNorm still normalises with the statistics of the new batches, and writes them over the running
averages of the old task: the frozen features change with every step. So a frozen module stays in
evaluation mode, also when ``model.train()`` is called, as ``fit`` does. Frozen dropout rests as well.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from torch import nn

from course_lib.transfer.structure import head, stages


class Counts(NamedTuple):
    """How many numbers a network learns, and how many it holds fast."""

    trainable: int
    frozen: int


def count(model: nn.Module) -> Counts:
    """The trainable and the frozen parameters of ``model``."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return Counts(sum(n for n, learns in sizes if learns), sum(n for n, learns in sizes if not learns))


def freeze(model: nn.Module, *names: str) -> None:
    """Freeze the modules of these names: ``freeze(model, "layer1")``, ``freeze(model, *stages(model)[:5])``.

    Without names, everything but the head. What is frozen gets no gradient and stays in evaluation mode.

    Raises:
        ValueError: a name that does not exist (the stages that do are named), or no trainable parameter
            would be left; the model is unchanged.
    """
    modules = [model.get_submodule(name) for name in _checked(model, names)]
    frozen = {id(parameter) for module in modules for parameter in module.parameters()}
    if not names:
        kept = {id(parameter) for parameter in head(model)[1].parameters()}
        frozen = {id(parameter) for parameter in model.parameters()} - kept
        modules = _all_but_head(model)
    if all(id(p) in frozen or not p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"freezing {', '.join(names) or 'everything but the head'} would leave no trainable parameter; "
            f"leave out one of the stages {', '.join(stages(model))}, or call replace_head first"
        )
    for parameter in model.parameters():
        if id(parameter) in frozen:
            parameter.requires_grad_(False)
            parameter.grad = None  # an old gradient would move it once more
    for module in modules:
        for part in module.modules() if names else (module,):
            part.train = partial(_stay_in_evaluation, part)
            part.training = False


def unfreeze(model: nn.Module, *names: str) -> None:
    """Let the modules of these names learn again, in the mode that the model is in; all without names.

    Raises:
        ValueError: a name that does not exist.
    """
    if not names:
        model.requires_grad_(True)
    for module in [model.get_submodule(name) for name in _checked(model, names)] or [model]:
        module.requires_grad_(True)
        for part in module.modules():
            if part.__dict__.pop("train", None) is not None:  # the class's own train() shows again
                part.training = model.training


def _stay_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:
    """What ``train`` does on a frozen module: itself it stays; a part that was unfrozen follows."""
    module.training = False
    for child in module.children():
        child.train(mode)
    return module


def _all_but_head(model: nn.Module) -> list[nn.Module]:
    """Every module but the model itself, its head and what the head lies in: those follow ``train()``."""
    name, _ = head(model)
    around = {name} | {name[:k] for k, letter in enumerate(name) if letter == "."} | {""}
    siblings = name.rpartition(".")[0]
    return [
        module
        for each, module in model.named_modules()
        # Dropout beside the head, as in a classifier of dropout and linear layer, belongs to the head.
        if each not in around
        and not (siblings and each.startswith(f"{siblings}.") and next(module.parameters(), None) is None)
    ]


def _checked(model: nn.Module, names: tuple[str, ...]) -> tuple[str, ...]:
    known = {name for name, _ in model.named_modules() if name}
    for name in names:
        if name not in known:
            raise ValueError(
                f"{type(model).__name__} has no stage {name!r}; its stages are {', '.join(stages(model))}"
            )
    return names
