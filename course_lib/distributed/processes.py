"""Several processes that work on one thing: a group of them, opened and always closed again.

``torchrun`` starts the processes and tells each who it is; :func:`joined` reads that. :func:`run` starts a
few itself, on this machine, for a notebook or a test.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import wait
from typing import Any

import torch
import torch.distributed as dist

TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun tells each process
PATIENCE = 30.0  # seconds that a process waits for another before it gives up


class ProcessDied(RuntimeError):
    """One of several processes ended before its work was done; ``rank`` says which."""

    def __init__(self, rank: int, reason: str) -> None:
        self.rank = rank
        super().__init__(f"process {rank} died, so the others were stopped: {reason}")


def rank() -> int:
    """Which of the processes this one is, from 0; 0 where there is no group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are; 1 where there is no group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def told(environment: Mapping[str, str] | None = None) -> tuple[int, int] | None:
    """Rank and number of processes as ``torchrun`` tells them; None where it started nothing.

    Raises:
        ValueError: some of its variables are there and others are not, or are no numbers, or the rank is
            not below the number of processes.
    """
    environment = os.environ if environment is None else environment
    there = [name for name in TOLD if environment.get(name)]
    if not there or there == ["MASTER_ADDR"] or there == ["MASTER_PORT"]:
        return None
    absent = [name for name in TOLD if name not in there]
    if absent:
        raise ValueError(
            f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} set, but {', '.join(absent)} "
            f"{'is' if len(absent) == 1 else 'are'} not: start with "
            "`torchrun --nproc-per-node=2 script.py`, which sets all of them, or unset what is left over"
        )
    try:
        which, of = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    except ValueError:
        which, of = -1, 0
    if not 0 <= which < of:
        raise ValueError(
            f"RANK={environment['RANK']!r} must be a whole number from 0 to WORLD_SIZE − 1, and "
            f"WORLD_SIZE={environment['WORLD_SIZE']!r} a whole number of at least 1"
        )
    return which, of


@contextmanager
def joined(backend: str | None = None, patience: float = PATIENCE) -> Iterator[tuple[int, int]]:
    """Rank and number of processes; the group that ``torchrun`` describes is open inside, closed afterwards.

    Started without ``torchrun`` it opens nothing and gives (0, 1), so that one script serves both.

    Args:
        backend: ``"gloo"`` (processors) or ``"nccl"`` (GPUs); None takes what fits the machine.
        patience: seconds after which a process that waits in vain for another ends with an error.

    Raises:
        ValueError: the variables of ``torchrun`` are incomplete; see :func:`told`.
        RuntimeError: a group is open already, which was never closed.
    """
    described = told()
    if described is None:
        yield 0, 1
        return
    _refuse_open_group()
    backend = backend or ("nccl" if torch.cuda.is_available() else "gloo")
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", described[0])))
    dist.init_process_group(backend, timeout=timedelta(seconds=patience))
    try:
        yield described
    finally:
        dist.destroy_process_group()


def run(
    work: Callable[..., Any], processes: int, *arguments: Any, patience: float = PATIENCE, threads: int = 1
) -> list[Any]:
    """``work(*arguments)`` in ``processes`` new processes, a gloo group; what each returned, by rank.

    For this machine: notebooks, tests, a first look. A script then needs ``if __name__ == "__main__":``
    around what it does, as always with ``multiprocessing``.

    Args:
        work: a function, also one written in a notebook; it and its arguments travel by ``cloudpickle``, and
            what it returns must be something that pickles.
        processes: how many.
        patience: seconds that one waits for another inside a collective.
        threads: of each process.

    Raises:
        ProcessDied: one of them raised an error, or was killed; the others are stopped, within seconds.
        ValueError: not a positive number of processes.
    """
    try:
        import cloudpickle
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("distributed.run needs the package: pip install cloudpickle") from error
    if not isinstance(processes, int) or isinstance(processes, bool) or processes < 1:
        raise ValueError(f"processes={processes!r} must be a whole number of at least 1")
    context = multiprocessing.get_context("spawn")
    payload = cloudpickle.dumps((work, arguments))
    with tempfile.TemporaryDirectory() as folder:
        pipes, children = [], []
        for which in range(processes):
            here, there = context.Pipe(duplex=False)
            settings = (f"{folder}/meeting", which, processes, patience, threads)
            child = context.Process(target=_child, args=(payload, settings, there), daemon=True)
            child.start()
            there.close()  # so that a dead child's pipe ends
            pipes.append(here)
            children.append(child)
        try:
            return _collected(pipes, children)
        finally:
            for child in children:
                child.kill()
                child.join()


def _collected(pipes: list[Any], children: list[Any]) -> list[Any]:
    """What the processes return; the first failure ends the waiting."""
    found: dict[int, Any] = {}
    failed: dict[int, tuple[float, str]] = {}
    while len(found) < len(pipes) and not failed:
        for pipe in wait([pipe for which, pipe in enumerate(pipes) if which not in found]):
            _hear(pipes.index(pipe), pipe, children, found, failed)
    if not failed:
        return [found[which] for which in range(len(pipes))]
    # Where one dies the others fail for want of it, and may be heard first: name the one that began it.
    time.sleep(0.5)
    for which, pipe in enumerate(pipes):
        if which not in found and which not in failed and pipe.poll():
            _hear(which, pipe, children, found, failed)
    first = min(failed, key=failed.__getitem__)
    raise ProcessDied(first, failed[first][1])


def _hear(which: int, pipe: Any, children: list[Any], found: dict, failed: dict) -> None:
    """Put what process ``which`` says among what was found, or when and how it failed; killed was at 0."""
    try:
        done, value = pickle.loads(pipe.recv_bytes())  # from our own child, never from a file
    except EOFError:
        children[which].join(timeout=5)
        done, value = False, (0.0, f"killed, exit code {children[which].exitcode}")
    (found if done else failed)[which] = value


def _child(payload: bytes, settings: tuple[str, int, int, float, int], said: Any) -> None:
    import cloudpickle

    threading.Thread(target=_leave_with_parent, daemon=True).start()
    meeting, which, of, patience, threads = settings
    torch.set_num_threads(threads)
    try:
        work, arguments = cloudpickle.loads(payload)  # from the parent process, never from a file
        store, limit = dist.FileStore(meeting, of), timedelta(seconds=patience)
        dist.init_process_group("gloo", store=store, rank=which, world_size=of, timeout=limit)
        value = work(*arguments)
        dist.barrier()  # nobody leaves while another still needs it
        # As bytes: torch would send a tensor as a file that ends with this process.
        said.send_bytes(pickle.dumps((True, value)))
    except BaseException:
        # Said before the group is closed: closing it is what makes the others fail.
        said.send_bytes(pickle.dumps((False, (time.monotonic(), traceback.format_exc()))))
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _leave_with_parent() -> None:
    """A parent that is killed cannot end its children; so they watch it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _refuse_open_group() -> None:
    if dist.is_initialized():
        raise RuntimeError(
            "a process group is open already, and was never closed: call "
            "torch.distributed.destroy_process_group(), or open groups with `with distributed.joined():`"
        )
