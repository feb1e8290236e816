"""What fully sharded data parallel training sends, counted: each collective, and the numbers in it.

A network's parameters, gradients and optimizer state are cut into n shards, one a process. Before a block
runs, its parameters are gathered; after its backward pass, its gradients are summed and cut up again.

Source: S. Rajbhandari et al., "ZeRO: memory optimizations toward training trillion parameter models", 2020,
in the form of ``torch.distributed.fsdp.fully_shard``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils._python_dispatch import TorchDispatchMode

from course_lib.distributed._private import fake_group
from course_lib.models.mobilenetv2 import InvertedResidual
from course_lib.models.resnet import BasicBlock, Bottleneck

BLOCKS = (BasicBlock, Bottleneck, InvertedResidual)
KINDS = {"allgather": "all-gather", "reduce_scatter": "reduce-scatter", "allreduce": "all-reduce"}


@dataclass(frozen=True)
class Collective:
    """One call: ``kind`` is ``"all-gather"``, ``"reduce-scatter"`` or ``"all-reduce"``.

    Attributes:
        size: bytes of the whole: what each process holds after gathering, or before scattering.
    """

    kind: str
    size: int

    def sent(self, processes: int) -> float:
        """Bytes that each process sends when it is done in a ring: (n − 1)/n of the whole, for an all-reduce
        twice that."""
        rounds = 2 if self.kind == "all-reduce" else 1
        return rounds * (processes - 1) / processes * self.size


def shard(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """``fully_shard`` of each block of ``model``, and of what is left; changed in place, and returned."""
    for block in [module for module in model.modules() if isinstance(module, BLOCKS)]:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def everybody() -> DeviceMesh:
    """All processes of the group in a row, which is what ``fully_shard`` cuts for."""
    return init_device_mesh("cpu", (dist.get_world_size(),))


def collectives(
    make: Callable[[], nn.Module], input_shape: Sequence[int], processes: int | None = None
) -> list[Collective]:
    """What one training step of a sharded network sends: forward, loss, backward, in the order of the calls.

    Args:
        make: gives the network, which maps (N, …) to logits.
        input_shape: of the part of the batch that one process sees.
        processes: None counts in the group that is open; a number makes up a group of so many, in which
            nothing is sent.
    """
    with ExitStack() as stack:
        if processes is not None:
            stack.enter_context(fake_group(processes))
        elif not dist.is_initialized():
            raise ValueError("processes is None, and no process group is open: give a number to make one up")
        model = shard(make(), everybody())
        x = torch.randn(*input_shape)
        y = torch.zeros(len(x), dtype=torch.int64)
        with _Calls() as calls:
            F.cross_entropy(model(x), y).backward()
        return calls.found


def formula(block_sizes: Sequence[int], rest: int, element: int = 4) -> list[Collective]:
    """What :func:`collectives` must count, from the numbers of parameters alone; in no order.

    Each block is gathered twice, before its forward and before its backward pass, and what is outside of the
    blocks once, because it stays; each has one reduce-scatter.

    Args:
        block_sizes: how many numbers travel for each block, as :func:`padded` says.
        rest: how many for the parameters that are in no block.
        element: bytes of a number.
    """
    found = [Collective("all-gather", element * size) for size in block_sizes for _ in range(2)]
    found.append(Collective("all-gather", element * rest))
    return found + [Collective("reduce-scatter", element * size) for size in (*block_sizes, rest)]


def padded(parameters: Sequence[Tensor], processes: int) -> int:
    """How many numbers travel for these parameters: each first dimension rounded up to a multiple of n.

    So 64 filters cut for 1,024 processes travel as 1,024: fifteen of sixteen parts are zeros.
    """
    return sum(math.ceil(p.shape[0] / processes) * processes * (p.numel() // p.shape[0]) for p in parameters)


class _Calls(TorchDispatchMode):
    """Writes down the collectives that run inside, and lets them run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Collective] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function.namespace == "c10d":
            tensors = [each for each in torch.utils._pytree.tree_leaves(args) if isinstance(each, Tensor)]
            for name, kind in KINDS.items():
                if name in str(function):
                    size = max(tensor.numel() * tensor.element_size() for tensor in tensors)
                    self.found.append(Collective(kind, size))
        return function(*args, **(kwargs or {}))
