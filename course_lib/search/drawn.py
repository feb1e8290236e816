"""Random search, and the grid that it replaced: one trial after another, in this process.

Source: J. Bergstra, Y. Bengio, "Random search for hyper-parameter optimization", JMLR 2012.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from course_lib.search.space import Space, check_space, sample
from course_lib.search.trials import Objective, Trial, Trials, attempt, check_count, progress_bar


def random_search(
    objective: Objective,
    space: Space,
    trials: int,
    *,
    seed: int = 0,
    storage: str | os.PathLike | None = None,
    progress: bool | None = None,
) -> Trials:
    """Try ``trials`` sets of hyperparameters drawn from ``space``; see the module for the objective.

    Args:
        seed: trial k is the same for the same seed, whatever ran before it.
        storage: a file to which each trial is written as it ends. A search that finds it there goes on
            behind what is in it, and so loses nothing but the trial that it was in.
        progress: a bar; ``None`` shows one unless ``$COURSE_PROGRESS`` is 0.

    A loss or score that is not finite makes a failed trial, which is kept and never chosen; any other
    exception is the objective's own and comes through. Ctrl-C ends the search with what was done.

    Raises:
        ValueError: an empty space, fewer than one trial, a storage that is of another search.
    """
    check_space(space)
    check_count("trials", trials)
    points = [sample(space, seed, number) for number in range(trials)]
    return _run(objective, points, storage, progress)


def grid_search(
    objective: Objective,
    axes: Mapping[str, Sequence[Any]],
    *,
    storage: str | os.PathLike | None = None,
    progress: bool | None = None,
) -> Trials:
    """Try every combination of the values on ``axes``, ``{"lr": [1e-3, 1e-2], …}``; the last changes fastest.

    Arguments and errors as for :func:`random_search`.
    """
    if not axes or not all(len(list(values)) for values in axes.values()):
        raise ValueError(f"axes are {dict(axes)!r}; give at least one name, and at least one value for each")
    points = [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    return _run(objective, points, storage, progress)


def _run(
    objective: Objective,
    points: list[dict[str, Any]],
    storage: str | os.PathLike | None,
    progress: bool | None,
) -> Trials:
    """Try each of ``points`` in turn, but for those in the storage."""
    path = None if storage is None else Path(storage)
    known = _stored(path, points)
    done = dict(known)
    interrupted = False
    with progress_bar(progress, len(points), len(known)) as bar:
        try:
            for number, parameters in enumerate(points):
                if number in done:
                    continue
                curve: list[float] = []
                state, score, seconds = attempt(objective, dict(parameters), curve.append)
                curve = [float(value) for value in curve]
                done[number] = Trial(number, parameters, score, state, tuple(curve), seconds)
                _store(path, done[number])
                bar.update()
        except KeyboardInterrupt:
            interrupted = True
    return Trials(tuple(done[number] for number in sorted(done)), interrupted)


def _stored(path: Path | None, points: list[dict[str, Any]]) -> dict[int, Trial]:
    """The trials in the file. A last line that was cut short is a trial that did not end."""
    if path is None or not path.exists():
        return {}
    found = {}
    *lines, rest = path.read_bytes().split(b"\n")
    if rest:
        os.truncate(path, path.stat().st_size - len(rest))  # or the next line would stand behind the half
    for line in lines:
        try:
            values = json.loads(line)
            number, curve = values["number"], tuple(values["curve"])
            there = number < len(points)  # an earlier call may have asked for more
            if there and values["parameters"] != _plain(points[number]):
                raise ValueError(
                    f"the storage {path} is of another search: its trial {number} has "
                    f"{values['parameters']}, this one {points[number]}. Give another file"
                )
            if there:
                found[number] = Trial(**{**values, "curve": curve, "parameters": points[number]})
        except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError) as error:
            raise ValueError(f"the storage {path} holds a line that is no trial: {line[:80]!r}") from error
    return found


def _store(path: Path | None, trial: Trial) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(trial), default=repr) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _plain(parameters: dict[str, Any]) -> Any:
    """As they come back from the file: a tuple as a list, what JSON does not know as its name."""
    return json.loads(json.dumps(parameters, default=repr))
