"""A network cut into stages, one a device: who works when, and who waits.

Source: Y. Huang et al., "GPipe", 2019 (all forward passes, then all backward passes); D. Narayanan et al.,
"PipeDream", 2019 (one forward, one backward: 1F1B).
"""

from __future__ import annotations

from dataclasses import dataclass

SCHEDULES = ("gpipe", "1f1b")


@dataclass(frozen=True)
class Work:
    """One micro-batch in one stage, ``pass_`` ``"forward"`` or ``"backward"``, from ``start`` to ``end``."""

    stage: int
    micro_batch: int
    pass_: str
    start: float
    end: float


@dataclass(frozen=True)
class Timetable:
    """All work of one step, and what follows from it.

    Attributes:
        work: in the order in which it starts.
        end: when the last is done, in units of one forward pass of a micro-batch through a stage.
        bubble: the share of the devices' time in which they wait, 0 to 1.
        held: the most micro-batches whose activations a stage holds at one time, a number a stage.
    """

    work: tuple[Work, ...]
    end: float
    bubble: float
    held: tuple[int, ...]


def bubble(stages: int, micro_batches: int) -> float:
    """(S − 1)/(M + S − 1): the share of time that is spent waiting, with either schedule."""
    _check(stages, micro_batches, "gpipe")
    return (stages - 1) / (micro_batches + stages - 1)


def timetable(stages: int, micro_batches: int, schedule: str = "1f1b", backward: float = 2.0) -> Timetable:
    """When each stage works on each micro-batch.

    Both schedules wait equally long. What 1F1B spares is memory: a stage lets a micro-batch's activations go
    as soon as it can, and holds at most S of them instead of M.

    Args:
        stages: S, each on a device of its own, and each as long as the next.
        micro_batches: M, of one step.
        schedule: ``"gpipe"`` or ``"1f1b"``.
        backward: how many times as long as a forward pass a backward pass takes.

    Raises:
        ValueError: a number below 1, an unknown schedule.
    """
    _check(stages, micro_batches, schedule)
    if not backward > 0:
        raise ValueError(f"backward={backward!r} must be above 0: how many forward passes one takes")
    queues = [_order(stage, stages, micro_batches, schedule) for stage in range(stages)]
    done: dict[tuple[int, int, str], float] = {}
    free, work = [0.0] * stages, []
    while any(queues):
        for stage, queue in enumerate(queues):
            if queue and (ready := _ready(stage, *queue[0], stages, done)) is not None:
                micro_batch, pass_ = queue.pop(0)
                start = max(free[stage], ready)
                end = start + (1.0 if pass_ == "forward" else backward)
                free[stage] = done[stage, micro_batch, pass_] = end
                work.append(Work(stage, micro_batch, pass_, start, end))
    end = max(free)
    busy = stages * micro_batches * (1 + backward)
    work.sort(key=lambda each: (each.start, each.stage))
    held = tuple(_held([each for each in work if each.stage == stage]) for stage in range(stages))
    return Timetable(tuple(work), end, 1 - busy / (stages * end), held)


def _order(stage: int, stages: int, micro_batches: int, schedule: str) -> list[tuple[int, str]]:
    """What a stage does, first to last."""
    first = micro_batches if schedule == "gpipe" else min(micro_batches, stages - stage)
    order = [(k, "forward") for k in range(first)]
    for k in range(micro_batches):
        order.append((k, "backward"))
        if first + k < micro_batches:
            order.append((first + k, "forward"))
    return order


def _ready(
    stage: int, micro_batch: int, pass_: str, stages: int, done: dict[tuple[int, int, str], float]
) -> float | None:
    """When what this work needs is there; None where it is not known yet."""
    if pass_ == "forward":
        return 0.0 if stage == 0 else done.get((stage - 1, micro_batch, "forward"))
    if stage == stages - 1:
        return done.get((stage, micro_batch, "forward"))
    return done.get((stage + 1, micro_batch, "backward"))


def _held(work: list[Work]) -> int:
    most = now = 0
    for each in work:
        now += 1 if each.pass_ == "forward" else -1
        most = max(most, now)
    return most


def _check(stages: int, micro_batches: int, schedule: str) -> None:
    for name, value in (("stages", stages), ("micro_batches", micro_batches)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}={value!r} must be a whole number of at least 1")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule={schedule!r} is unknown; choose one of {', '.join(SCHEDULES)}")
