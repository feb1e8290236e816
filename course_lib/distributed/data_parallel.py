"""Data parallel training: every process has the network and a part of each batch; gradients are averaged.

torch's ``DistributedDataParallel`` averages the gradients of the processes, each the gradient of a mean over
its own part. That is the gradient of the mean over the whole batch only where the parts are equally large:
:meth:`Share.weight` is what makes it so for the last, smaller batch of an epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from course_lib.data import Images
from course_lib.distributed.processes import rank, world_size


@dataclass(frozen=True)
class Share:
    """The part of every batch that is this process's; with one process, all of it.

    All processes draw the same batches, by the same seed, and each takes its part: so every image is seen
    once an epoch, and the steps are those that one process takes with the whole batches.

    Args:
        images: how many there are.
        batch_size: of the batches of all processes together.

    Raises:
        ValueError: a batch size that the number of processes does not divide, or a last batch in which there
            is not an image for each.
    """

    images: int
    batch_size: int

    def __post_init__(self) -> None:
        n, last = world_size(), self.images % self.batch_size
        if self.batch_size % n:
            raise ValueError(
                f"batch_size={self.batch_size} is not divisible by {n} processes: "
                f"take {_near(self.batch_size, n)}"
            )
        if 0 < last < n:
            raise ValueError(
                f"the last of {self.images:,} images in batches of {self.batch_size} is a batch of {last}, "
                f"too few for {n} processes: take another batch_size"
            )

    def of(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Of a batch (B, …), (B,) the images that are this process's, as many as any other's, or one more."""
        n, me = world_size(), rank()
        return x.tensor_split(n)[me], y.tensor_split(n)[me]

    def weight(self, part: int, whole: int) -> float:
        """What to multiply the mean loss of a part with, before gradients are averaged: n · part/whole."""
        return world_size() * part / whole


def parallel(model: nn.Module, images: Images | None = None) -> nn.Module:
    """``model`` as each process calls it in training, so that gradients are averaged; alone, itself.

    All start from the weights of process 0. Buffers, such as BatchNorm's running statistics, are those of
    process 0 in every step: the others' batches leave no trace in them (see :class:`SyncBatchNorm`).

    Args:
        images: what is trained on; given, it is compared too.

    Raises:
        ValueError: the processes have different networks, or different images; in every process.
    """
    if world_size() == 1:
        return model
    _refuse_difference(model, images)
    return DistributedDataParallel(model)


def mean(value: Tensor) -> Tensor:
    """The mean of a number over all processes, which each gets."""
    if world_size() > 1:
        value = value.detach().clone()
        dist.all_reduce(value)
        value /= world_size()
    return value


@torch.no_grad()
def same_buffers(model: nn.Module) -> None:
    """Give every process the buffers of process 0: what is measured then is the same everywhere."""
    for buffer in model.buffers() if world_size() > 1 else ():
        dist.broadcast(buffer, 0)


def _refuse_difference(model: nn.Module, images: Images | None) -> None:
    own = {
        "network": [(name, tuple(p.shape), str(p.dtype)) for name, p in model.named_parameters()],
        "images": None if images is None else (tuple(images.x.shape), int(images.y.sum())),
    }
    everybody: list[dict[str, Any]] = [{}] * world_size()
    dist.all_gather_object(everybody, own)
    for what in own:
        other = [k for k, each in enumerate(everybody) if each[what] != everybody[0][what]]
        if other:
            raise ValueError(
                f"process {other[0]} has {'another' if what == 'network' else 'other'} {what} than process "
                f"0: {_difference(everybody[0][what], everybody[other[0]][what], what)}; every process "
                "must build the same"
            )


def _difference(first: Any, second: Any, what: str) -> str:
    if what == "images":
        return (
            f"{second[0][0]:,} of {second[0][1:]} against {first[0][0]:,} of {first[0][1:]}, or other labels"
        )
    for (name, shape, dtype), (_, others_shape, others_dtype) in zip(second, first, strict=False):
        if (shape, dtype) != (others_shape, others_dtype):
            same = shape == others_shape
            return f"{name} {dtype if same else shape} against {others_dtype if same else others_shape}"
    return f"{len(second)} parameters against {len(first)}, or other names"


def _near(batch_size: int, n: int) -> str:
    below = batch_size // n * n
    return f"{below} or {below + n}" if below else str(n)
