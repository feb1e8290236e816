"""What torch keeps to itself and this room needs, found in one place, so that one test says what has gone.

A fake process group answers as a thousand processes would, and sends nothing; fake tensors have a shape and
no numbers; the memory trackers count what they would hold. torch may move any of them in any release: then
:class:`Gone` is raised, and what was counted before is in ``recorded.load("sharding")``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

NAMES = {
    "FakeStore": "torch.testing._internal.distributed.fake_pg",  # importing it registers the backend "fake"
    "FakeTensorMode": "torch._subclasses.fake_tensor",
    "MemTracker": "torch.distributed._tools.mem_tracker",
    "FSDPMemTracker": "torch.distributed._tools.fsdp2_mem_tracker",
}


class Gone(ImportError):
    """This release of torch does not have, where it was, what is needed to count."""


def find(name: str) -> Any:
    """The class ``name`` of ``NAMES``."""
    try:
        return getattr(importlib.import_module(NAMES[name]), name)
    except (ImportError, AttributeError) as error:
        raise Gone(f"torch has no {name} in {NAMES[name]} any more") from error


@contextmanager
def fake_group(processes: int) -> Iterator[None]:
    """This process as number 0 of so many, of which the others do not exist.

    Raises ``RuntimeError`` where a real group is open.
    """
    if dist.is_initialized():
        raise RuntimeError("a process group is open: close it before one is made up")
    dist.init_process_group("fake", store=find("FakeStore")(), rank=0, world_size=processes)
    try:
        yield
    finally:
        dist.destroy_process_group()
