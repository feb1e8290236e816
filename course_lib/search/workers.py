"""The same search by Optuna: trials stopped early, several processes on one storage.

Source: T. Akiba et al., "Optuna: a next-generation hyperparameter optimization framework", KDD 2019.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import multiprocessing
import os
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from course_lib.search.space import Choice, Integer, LogUniform, Range, Space, check_space, places
from course_lib.search.storage import check_database, described, lock
from course_lib.search.trials import (
    Objective,
    Pruned,
    Trial,
    Trials,
    attempt,
    check_count,
    check_number,
    progress_bar,
)

STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}  # Optuna's → ours


def optuna_search(
    objective: Objective,
    space: Space,
    trials: int,
    *,
    storage: str | os.PathLike,
    workers: int = 1,
    sampler: str = "tpe",
    prune: bool = True,
    seed: int = 0,
    progress: bool | None = None,
) -> Trials:
    """Try ``trials`` sets of hyperparameters in ``workers`` processes on one ``storage``, an SQLite file.

    Args:
        trials: how many there shall be in the storage at the end, those of earlier calls included. A search
            that was interrupted, by Ctrl-C or by a machine that went away, is continued by the same call:
            what has ended is not run again, and a trial that was cut short is run anew with its
            hyperparameters. Two calls at the same time share the work.
        workers: with 1 the trials run in this process; else in so many new ones (a script then needs
            ``if __name__ == "__main__":`` around what it does, as always with ``multiprocessing``).
        sampler: ``"random"`` draws what :func:`random_search` draws, trial by trial; ``"tpe"`` learns from
            the trials before it.
        prune: stop a trial whose best report so far is below the median of the trials before it, from the
            second report on and after five trials.
        seed: with the random sampler, and with one worker, the same seed gives the same trials, interrupted
            or not. With several workers, what TPE learns from depends on which trial ends first.

    The objective is sent to the workers with cloudpickle, so that one written in a notebook will do.

    Raises:
        ValueError: as :func:`random_search`; fewer than one worker; an unknown sampler; a file beside the
            storage where its lock should be.
        ModuleNotFoundError: without Optuna; the message says what to install.
        RuntimeError: the objective raised in a worker process (the message is the worker's), or the workers
            were killed and none of them ended a trial.
    """
    check_space(space)
    check_count("trials", trials)
    check_count("workers", workers)
    if sampler not in ("tpe", "random"):
        raise ValueError(f"sampler is {sampler!r}; it must be 'tpe' or 'random'")
    job = _Job(Path(storage), dict(space), trials, sampler, prune, seed)
    study = job.open()
    interrupted = False
    with progress_bar(progress, trials, len(job.ended(study))) as bar:
        try:
            while len(job.ended(study)) < trials:  # a second round takes what killed workers left
                if workers == 1:
                    job.work(objective, after=bar.update)
                else:
                    _run_workers(job, objective, workers, bar)
                time.sleep(0.05)  # the last trials may be another call's
        except KeyboardInterrupt:
            interrupted = True
    return job.found(study, interrupted)


@dataclass(frozen=True)
class _Job:
    """One Optuna study in an SQLite file, as each of its workers opens it.

    A trial has an index, 0 to ``trials`` − 1. A worker takes an index that is nobody's, under a lock, so
    there are exactly as many as asked for; while it runs the trial, it holds a lock of the trial's own.
    The system frees that lock when the process dies, whatever it died of, and so a trial that Optuna calls
    running and whose lock is free has been cut short: its index is nobody's again.
    """

    path: Path
    space: dict[str, Range]
    trials: int
    sampler: str
    prune: bool
    seed: int

    def open(self) -> Any:
        """The study, made where it is not there. Raises ValueError for one of another search."""
        optuna = _optuna()
        own = {
            name: described(one.options) if isinstance(one, Choice) else repr(one)
            for name, one in self.space.items()
        }
        own = json.dumps({"space": own, "sampler": self.sampler, "seed": self.seed})
        check_database(self.path, own)  # before there is even a lock beside it
        self.path.parent.mkdir(parents=True, exist_ok=True)
        sqlite = {"creator": lambda: _connect(self.path)}
        with self.lock():
            check_database(self.path, own)  # another process may have made one meanwhile
            study = optuna.create_study(
                study_name="search",
                storage=optuna.storages.RDBStorage(f"sqlite:///{self.path}", engine_kwargs=sqlite),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
                direction="maximize",
                load_if_exists=True,
            )
            if not study.user_attrs:
                study.set_user_attr("search", own)
        return study

    def lock(self) -> FileLock:
        """Held while a trial is taken, and while one is given back."""
        return lock(self.path)

    def work(self, objective: Objective, after: Callable[[], Any] = lambda: None) -> None:
        """Run trials until each is ended or somebody's."""
        study = self.open()
        while (taken := self._take(study)) is not None:
            trial, held = taken
            with self._given_back(held):
                parameters = {name: _suggest(trial, name, one) for name, one in self.space.items()}
                state, score, _ = attempt(objective, parameters, self._reporter(trial))
                if state == "failed":
                    trial.set_user_attr("failed", True)  # what tells it from one that was cut short
                with self.lock():
                    value = score if state == "finished" else None
                    name = next(name for name, ours in STATES.items() if ours == state)
                    study.tell(trial, value, state=_optuna().trial.TrialState[name])
            after()

    def _take(self, study: Any) -> tuple[Any, FileLock] | None:
        """The next trial, running and locked; None where there is none left."""
        states = _optuna().trial.TrialState
        with self.lock():
            for cut in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
                if self._is_free(cut):
                    study.tell(cut.number, state=states.FAIL)
            taken, cut_short, index = set(), {}, None
            for stored in study.get_trials(deepcopy=False):
                if stored.state == states.WAITING:  # its worker was killed before it could ask for it, below
                    index = stored.user_attrs["index"]
                elif _is_cut_short(stored):
                    cut_short[stored.user_attrs["index"]] = stored.params
                else:
                    taken.add(stored.user_attrs["index"])
            if index is None:
                index = next((k for k in range(self.trials) if k not in taken), None)
                if index is None:
                    return None
                given = cut_short.get(index, {})
                if len(given) < len(self.space):
                    given = self._drawn(index) if self.sampler == "random" else {}
                study.enqueue_trial(given, user_attrs={"index": index})
            study.sampler = self._sampler(index)
            trial = study.ask()
            held = self._trial_lock(index)
            held.acquire()
            return trial, held

    def _sampler(self, index: int) -> Any:
        """Seeded anew for each trial: a search that is taken up again then goes on as it would have."""
        samplers, seed = _optuna().samplers, (self.seed * 1_000_003 + index) % 2**32
        return samplers.TPESampler(seed=seed) if self.sampler == "tpe" else samplers.RandomSampler(seed)

    def _trial_lock(self, index: int) -> FileLock:
        return lock(self.path, index)

    def _is_free(self, trial: Any) -> bool:
        lock = self._trial_lock(trial.user_attrs["index"])
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        lock.release()
        return True

    @contextmanager
    def _given_back(self, held: FileLock) -> Iterator[None]:
        try:
            yield
        finally:
            with self.lock():
                held.release()
                Path(held.lock_file).unlink(missing_ok=True)

    def ended(self, study: Any) -> list[Any]:
        """Optuna's records of the trials that have ended, in the order of their indices."""
        stored = study.get_trials(deepcopy=False)
        ended = [t for t in stored if t.state.is_finished() and not _is_cut_short(t)]
        ended.sort(key=lambda trial: trial.user_attrs["index"])
        return [trial for trial in ended if trial.user_attrs["index"] < self.trials]

    def found(self, study: Any, interrupted: bool) -> Trials:
        """The table of the trials that have ended."""
        trials = []
        for stored in self.ended(study):
            parameters = {
                name: one.options[stored.params[name]] if isinstance(one, Choice) else stored.params[name]
                for name, one in self.space.items()
            }
            curve = tuple(stored.intermediate_values[k] for k in sorted(stored.intermediate_values))
            state = STATES[stored.state.name]
            score = stored.value if state == "finished" else math.nan
            seconds = stored.duration.total_seconds()
            trials.append(Trial(stored.user_attrs["index"], parameters, score, state, curve, seconds))
        return Trials(tuple(trials), interrupted)

    def _drawn(self, index: int) -> dict[str, Any]:
        """What random search draws, as Optuna keeps it: of a choice the place; options may be anything."""
        return places(self.space, self.seed, index)

    def _reporter(self, trial: Any) -> Callable[[float], None]:
        steps = itertools.count()

        def report(value: float) -> None:
            step, value = next(steps), check_number("report was given", value)
            if math.isfinite(value):
                trial.report(value, step)
            if self.prune and trial.should_prune():
                raise Pruned

        return report


def _run_workers(job: _Job, objective: Objective, workers: int, bar: Any) -> None:
    """One round: start the processes, and wait until each has ended."""
    import cloudpickle  # comes with the packages of the extra `search`

    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in mid-air
    payload, said = cloudpickle.dumps((job, objective)), context.SimpleQueue()
    processes = [context.Process(target=_worker, args=(payload, said), daemon=True) for _ in range(workers)]
    study = job.open()
    before = len(job.ended(study))
    try:
        for process in processes:
            process.start()
        while said.empty() and any(process.is_alive() for process in processes):
            time.sleep(0.05)
            bar.update(len(job.ended(study)) - bar.n)
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
            if process.pid is not None:
                process.join()
    if not said.empty():
        raise RuntimeError(f"a worker of the search failed:\n{said.get()}")
    ends = [process.exitcode for process in processes]
    if any(ends) and len(job.ended(study)) == before:
        raise RuntimeError(
            f"the workers of the search were killed (exit codes {', '.join(map(str, ends))}), and none "
            "of them ended a trial. Too little memory is a likely cause; the same call goes on from here"
        )


def _worker(payload: bytes, said: Any) -> None:
    import cloudpickle

    threading.Thread(target=_leave_with_parent, daemon=True).start()
    torch.set_num_threads(1)  # the processes share the cores; more threads would only get in each other's way
    try:
        job, objective = cloudpickle.loads(payload)  # from the parent process, never from a file
        job.work(objective)
    except KeyboardInterrupt:
        pass  # the parent hears it too, and says so
    except Exception:
        said.put(traceback.format_exc())


def _leave_with_parent() -> None:
    """A parent that is killed cannot end its workers; so they watch it."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _connect(path: Path) -> sqlite3.Connection:
    """SQLite writes a change whole or not at all, whenever a process is killed.

    (An Optuna journal may be left with half a line, which no later run reads past.) The write-ahead log
    spares most of the waiting for the disk; a worker waits a minute for its turn to write.
    """
    connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
    return connection


def _optuna() -> Any:
    if importlib.util.find_spec("optuna") is None or importlib.util.find_spec("cloudpickle") is None:
        raise ModuleNotFoundError(
            "optuna_search needs the packages optuna and cloudpickle: pip install optuna cloudpickle",
            name="optuna",
        )
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _suggest(trial: Any, name: str, one: Range) -> Any:
    if isinstance(one, Choice):
        return one.options[trial.suggest_categorical(name, list(range(len(one.options))))]
    if isinstance(one, Integer):
        return trial.suggest_int(name, one.low, one.high)
    return trial.suggest_float(name, one.low, one.high, log=isinstance(one, LogUniform))


def _is_cut_short(trial: Any) -> bool:
    """Whether a trial's worker was killed: it counts as failed, and its worker did not say so."""
    return trial.state.name == "FAIL" and "failed" not in trial.user_attrs
