"""How much memory a training step takes, before it runs: weights, gradients, optimizer state, activations.

Modelled: the state is counted from the parameters; the activations from what autograd would save, on
tensors without numbers. The fullest moment is either the end of the forward pass, when all activations are
held and no gradient is, or the optimizer's step, when it is the other way round.

Source: S. Rajbhandari et al., "ZeRO: memory optimizations toward training trillion parameter models", 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.device import autocast
from course_lib.distributed._private import fake_group, find
from course_lib.distributed.sharding import BLOCKS, everybody, shard

# Numbers that an optimizer keeps for each parameter.
OPTIMIZERS = {"sgd": 0, "momentum": 1, "adam": 2}
STAGES = (0, 1, 2, 3)


@dataclass(frozen=True)
class Activations:
    """Bytes that autograd saves in one forward pass, parameters not among them.

    Attributes:
        whole: all of it, the images included.
        outside: of that, what is saved outside of the network's blocks.
        blocks: what each block saves; inputs: what enters each.
    """

    whole: int
    outside: int
    blocks: tuple[int, ...]
    inputs: tuple[int, ...]

    @property
    def checkpointed(self) -> int:
        """With every block computed again in the backward pass: what enters each, and the largest at work."""
        return self.outside + sum(self.inputs) + max(self.blocks, default=0)


@dataclass(frozen=True)
class Memory:
    """Bytes in each process.

    Attributes:
        weights, gradients, optimizer: the process's part of each; buffers: all of them.
        activations: at the end of the forward pass.
        gathered: parameters of blocks that are whole for the moment, with stage 3.
    """

    weights: float
    gradients: float
    optimizer: float
    buffers: float
    activations: float
    gathered: float = 0.0

    @property
    def peak(self) -> float:
        """At the fullest moment."""
        always = self.weights + self.optimizer + self.buffers
        return always + max(self.activations + self.gathered, self.gradients)


def activations(
    make: Callable[[], nn.Module], input_shape: Sequence[int], precision: str = "fp32"
) -> Activations:
    """What one forward pass in training mode saves for a batch of ``input_shape``; nothing is computed.

    Args:
        make: gives the network; it is called on tensors without numbers.
        precision: ``"fp32"`` or ``"bf16"``, of autocast; the copies of weights that it makes count too.
    """
    saved: dict[int, tuple[Tensor, int | None]] = {}
    inside: list[int] = []
    inputs: list[int] = []

    with find("FakeTensorMode")():
        model = make().train()
        own = {_storage(tensor) for tensor in [*model.parameters(), *model.buffers()]}
        chosen = [module for module in model.modules() if isinstance(module, BLOCKS)]

        def pack(tensor: Tensor) -> Tensor:
            if _storage(tensor) not in own:  # held, so that no other tensor takes its address
                saved.setdefault(_storage(tensor), (tensor, inside[-1] if inside else None))
            return tensor

        def enter(k: int) -> Callable[..., None]:
            def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
                inside.append(k)
                inputs.append(given[0].untyped_storage().nbytes())

            return hook

        def leave(*_: object) -> None:
            inside.pop()

        for k, block in enumerate(chosen):
            block.register_forward_pre_hook(enter(k))
            block.register_forward_hook(leave)
        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with hooks, autocast("cpu", precision):
            model(torch.empty(*input_shape))
        sizes = [(tensor.untyped_storage().nbytes(), k) for tensor, k in saved.values()]
    blocks = [sum(size for size, where in sizes if where == k) for k in range(len(chosen))]
    whole = sum(size for size, _ in sizes)
    return Activations(whole, whole - sum(blocks), tuple(blocks), tuple(inputs))


def needed(
    make: Callable[[], nn.Module],
    held: Activations,
    *,
    optimizer: str = "momentum",
    stage: int = 0,
    processes: int = 1,
    checkpointing: bool = False,
) -> Memory:
    """The calculator: bytes in each of so many processes.

    Args:
        make: gives the network, whose parameters are float32, with autocast too.
        held: what :func:`activations` counted for a process's part of the batch.
        optimizer: ``"sgd"``, ``"momentum"`` or ``"adam"``.
        stage: of ZeRO: 0 every process has all; 1 the optimizer's state is cut in ``processes`` shards; 2 the
            gradients too; 3 the weights too, which are gathered block by block.
        checkpointing: every block computed again in the backward pass.

    Raises:
        ValueError: an optimizer or a stage that does not exist, fewer than one process.
    """
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer={optimizer!r} is unknown; choose one of {', '.join(OPTIMIZERS)}")
    if stage not in STAGES:
        raise ValueError(f"stage={stage!r} must be one of ZeRO's, {', '.join(map(str, STAGES))}")
    if not isinstance(processes, int) or isinstance(processes, bool) or processes < 1:
        raise ValueError(f"processes={processes!r} must be a whole number of at least 1")
    with torch.device("meta"):
        model = make()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    blocks = [module for module in model.modules() if isinstance(module, BLOCKS)]
    sizes = [sum(p.numel() * p.element_size() for p in block.parameters()) for block in blocks]
    gathered = 0.0
    if stage == 3 and processes > 1:
        # Gathered at the end of the forward pass: what is in no block, and the last two blocks, the one at
        # work and the one that is fetched meanwhile.
        gathered = weights - sum(sizes) + sum(sizes[-2:])
    return Memory(
        weights=weights / (processes if stage >= 3 else 1),
        gradients=weights / (processes if stage >= 2 else 1),
        optimizer=OPTIMIZERS[optimizer] * weights / (processes if stage >= 1 else 1),
        buffers=sum(b.numel() * b.element_size() for b in model.buffers()),
        activations=held.checkpointed if checkpointing else held.whole,
        gathered=gathered,
    )


def counted(
    make: Callable[[], nn.Module],
    input_shape: Sequence[int],
    *,
    optimizer: str = "momentum",
    processes: int = 1,
    classes: int = 1000,
) -> int:
    """The peak of a second training step in bytes, counted by torch's own tracker on fake tensors.

    With more processes than one the network is sharded (stage 3) in a group that is made up.

    Raises:
        Gone: this release of torch has no such tracker.
    """
    with ExitStack() as stack:
        mesh = None
        if processes > 1:
            stack.enter_context(fake_group(processes))
            mesh = everybody()  # before: it reads numbers
        stack.enter_context(find("FakeTensorMode")())
        model = make().train()
        if mesh is not None:
            shard(model, mesh)
        rule = _rule(optimizer, model)
        x, y = torch.randn(*input_shape), torch.randint(classes, (input_shape[0],))
        if mesh is not None:
            tracker = find("FSDPMemTracker")(model, rule)
            tracker.track_inputs((x, y))
        else:
            tracker = find("MemTracker")()
            tracker.track_external(model, rule, x, y)
        with tracker:
            for k in range(2):  # the optimizer's state is there from the second step on
                if k:
                    tracker.reset_mod_stats()
                F.cross_entropy(model(x), y).backward()
                rule.step()
                rule.zero_grad()
        return tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]


def _rule(optimizer: str, model: nn.Module) -> torch.optim.Optimizer:
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer is {optimizer!r}; it must be one of {', '.join(OPTIMIZERS)}")
    if optimizer == "adam":
        return torch.optim.Adam(model.parameters())
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9 if optimizer == "momentum" else 0)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
