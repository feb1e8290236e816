"""The ring all-reduce, from scratch: everybody ends with the sum, nobody sends more than twice the message.

The n processes stand in a ring and cut their tensors into n chunks alike. In n − 1 steps each sends a chunk
to the right and adds the one from the left to its own (reduce-scatter): now each holds one chunk of the sum.
In n − 1 more steps the finished chunks go round (all-gather). A process sends 2(n − 1) chunks: 2(n − 1)/n of
the message, hardly more for a thousand processes than for four.

Source: P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from course_lib.distributed.processes import rank, world_size


@dataclass(frozen=True)
class Step:
    """What one process did in one step.

    Attributes:
        phase: ``"reduce"``: what came is added; ``"gather"``: what came is kept.
        sent: which chunk went to the right, from 0.
        received: which came from the left.
        sent_bytes: how much went.
        after: the process's whole tensor after the step, flat; empty unless it was asked for.
    """

    phase: str
    sent: int
    received: int
    sent_bytes: int
    after: list[float]


@torch.no_grad()
def ring_all_reduce(x: Tensor, *, watch: bool = False) -> list[Step]:
    """Replace ``x`` by the sum of all processes' ``x``, as ``dist.all_reduce`` does; returns the steps.

    With two processes the result is that of ``dist.all_reduce`` to the bit; with more, numbers are added in
    another order, so that the last digits may differ.

    Args:
        x: of the same shape and type in every process, on the CPU, contiguous; changed in place.
        watch: keep the tensor after each step, for a picture of it.

    Raises:
        ValueError: a tensor that is not contiguous.
    """
    if not x.is_contiguous():
        raise ValueError(f"x of shape {tuple(x.shape)} is not contiguous: call .contiguous() and keep that")
    n, me = world_size(), rank()
    chunks = list(x.view(-1).tensor_split(n))  # views: what changes in a chunk changes in x
    steps = []
    for k in range(n - 1):
        steps.append(_step("reduce", chunks, sent=(me - k) % n, received=(me - k - 1) % n))
        steps[-1].after.extend(x.flatten().tolist() if watch else [])
    for k in range(n - 1):
        steps.append(_step("gather", chunks, sent=(me + 1 - k) % n, received=(me - k) % n))
        steps[-1].after.extend(x.flatten().tolist() if watch else [])
    return steps


def _step(phase: str, chunks: list[Tensor], sent: int, received: int) -> Step:
    """Send to the right and receive from the left at once: one after the other, all would wait for all."""
    n, me = world_size(), rank()
    incoming = torch.empty_like(chunks[received])
    sending = dist.isend(chunks[sent], (me + 1) % n)
    dist.recv(incoming, (me - 1) % n)
    sending.wait()
    if phase == "reduce":
        chunks[received] += incoming
    else:
        chunks[received].copy_(incoming)
    return Step(phase, sent, received, chunks[sent].numel() * chunks[sent].element_size(), [])


def ring_bytes(message: int, processes: int) -> float:
    """Bytes that each process sends to all-reduce a ``message`` of so many: 2(n − 1)/n of it."""
    return 2 * (processes - 1) / processes * message
