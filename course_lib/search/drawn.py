"""Random search, and the grid that it replaced: one trial after another, in this process.

Source: J. Bergstra, Y. Bengio, "Random search for hyper-parameter optimization", JMLR 2012.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from course_lib.search.space import Space, check_space, chosen, places
from course_lib.search.storage import append, plain, refusal, what_it_is
from course_lib.search.trials import (
    Objective,
    Trial,
    Trials,
    attempt,
    check_count,
    check_number,
    progress_bar,
)


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
            behind what is in it, and so loses nothing but the trial that it was in. A file of anything else
            is refused and stays as it is. An option of a ``Choice`` is known by its place: what cannot be
            written as JSON, an array or a function say, may be another object in the next process.
        progress: a bar; ``None`` shows one unless ``$COURSE_PROGRESS`` is 0.

    A loss or score that is not finite makes a failed trial, which is kept and never chosen; any other
    exception is the objective's own and comes through. Ctrl-C ends the search with what was done.

    Raises:
        ValueError: an empty space, fewer than one trial, a storage that is not this search's own, an
            objective that returns or reports something else than a number.
    """
    check_space(space)
    check_count("trials", trials)
    drawn = [places(space, seed, number) for number in range(trials)]
    points = [_Point(*chosen(space, place)) for place in drawn]
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
    points = [_Point(dict(zip(axes, one, strict=True)), {}) for one in itertools.product(*axes.values())]
    return _run(objective, points, storage, progress)


@dataclass(frozen=True)
class _Point:
    """The hyperparameters of a trial, and of those that were chosen among options, the place of each."""

    parameters: dict[str, Any]
    places: dict[str, int]

    def head(self, number: int) -> str:
        """The beginning of the trial's line in a storage, up to what it gave."""
        written = {"number": number, "parameters": {name: plain(v) for name, v in self.parameters.items()}}
        return json.dumps(written | ({"places": self.places} if self.places else {}))[:-1]

    def is_in(self, values: dict[str, Any]) -> bool:
        """Whether a line of a storage is of this point. Lines of before places were written have values."""
        own = json.loads(self.head(0) + "}")
        names = ("parameters", "places") if "places" in values else ("parameters",)
        # As texts, in which NaN is equal to NaN.
        return all(json.dumps(values[name]) == json.dumps(own.get(name)) for name in names)


def _run(
    objective: Objective,
    points: list[_Point],
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
            for number, point in enumerate(points):
                if number in done:
                    continue
                curve: list[float] = []

                def report(value: float, curve: list[float] = curve) -> None:
                    curve.append(check_number("report was given", value))

                state, score, seconds = attempt(objective, dict(point.parameters), report)
                done[number] = Trial(number, point.parameters, score, state, tuple(curve), seconds)
                if path is not None:
                    gave = json.dumps({"score": score, "state": state, "curve": curve, "seconds": seconds})
                    append(path, f"{point.head(number)}, {gave[1:]}")
                bar.update()
        except KeyboardInterrupt:
            interrupted = True
    return Trials(tuple(done[number] for number in sorted(done)), interrupted)


def _stored(path: Path | None, points: list[_Point]) -> dict[int, Trial]:
    """The trials in the file, all of which is looked at before anything in it is changed.

    A last line that was cut short is a trial that did not end; it is cut off.
    """
    if path is None or not path.exists():
        return {}
    if not path.is_file():
        raise refusal(path, f"is {what_it_is(path)}, not a file")
    found = {}
    *lines, rest = path.read_bytes().split(b"\n")
    for line in lines:
        number, values = _read(path, line)
        if number >= len(points):  # an earlier call may have asked for more
            continue
        if not points[number].is_in(values):
            raise refusal(
                path,
                f"is of another search: its trial {number} has {values['parameters']}, "
                f"this one {points[number].parameters}",
            )
        gave = (values["score"], values["state"], tuple(values["curve"]), values["seconds"])
        found[number] = Trial(number, points[number].parameters, *gave)
    if rest:
        if not _is_beginning(rest, points, more=bool(lines)):
            raise refusal(path, f"ends in what is no trial, {rest[-80:]!r}: it is {what_it_is(path)}")
        os.truncate(path, path.stat().st_size - len(rest))  # or the next line would stand behind the half
    return found


def _read(path: Path, line: bytes) -> tuple[int, dict[str, Any]]:
    """One line of a storage: the trial's number, and its values by name."""
    try:
        values = json.loads(line)
        number, names = values["number"], set(values)
        if names - {"places"} != {field.name for field in fields(Trial)} or type(number) is not int:
            raise KeyError(names)
        tuple(values["curve"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise refusal(
            path, f"holds a line that is no trial, {line[:80]!r}: it is {what_it_is(path)}"
        ) from error
    return number, values


def _is_beginning(rest: bytes, points: list[_Point], more: bool) -> bool:
    """Whether ``rest`` can be the beginning of the line of one of this search's trials.

    more: whether trials of this search stand above it; then it may be of one beyond ``points``.
    """
    text = rest.decode("utf-8", errors="replace")
    heads = [point.head(number) for number, point in enumerate(points)]
    if any(text.startswith(head) or head.startswith(text) for head in heads):
        return True
    began = re.match(r'\{"number": (\d+)', text)
    if not more or began is None or int(began[1]) < len(points):
        return False
    head = began[0] + ', "parameters": {'
    return text.startswith(head) or head.startswith(text)
