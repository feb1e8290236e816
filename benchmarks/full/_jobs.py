"""Experiments that are many small runs: measured side by side, kept one by one, until the time is up.

Such an experiment is a module with ``jobs(smoke)``, the keyword arguments of each run by name, the most
wanted first; ``measure(at, **arguments)``, which returns what JSON can hold; and ``table(found)``, Markdown.
What was measured is kept in ``course_lib/recorded``, because the chapters show it; a run that is there is
not measured again.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch

from course_lib import device, recorded


class Record:
    """``{"where": …, "runs": {name: result}}``, in ``course_lib/recorded/NAME.json``."""

    def __init__(self, name: str, smoke: bool) -> None:
        # A trial has too few steps to mean anything: its results are not for the library.
        self.file = Path(tempfile.gettempdir(), f"smoke_{name}.json") if smoke else recorded.path(name)
        stored = json.loads(self.file.read_text("utf-8")) if self.file.exists() else {}
        self.where, self.runs = stored.get("where", ""), stored.get("runs", {})

    def save(self) -> None:
        lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(self.runs.items()))
        text = f'{{"where": {json.dumps(self.where, ensure_ascii=False)},\n"runs": {{\n{lines}\n}}}}\n'
        new = self.file.with_suffix(".new")
        new.write_text(text, "utf-8")
        os.replace(new, self.file)


def described(at: torch.device) -> str:
    """The hardware and the versions that numbers were measured with."""
    return f"{device.describe(at)}, Python {platform.python_version()}, torch {torch.__version__}"


def run_all(names: list[str], at: str, processes: int, minutes: float, smoke: bool = False) -> None:
    """Measure what the experiments ``names`` still lack, in turn, on ``processes`` processes.

    After ``minutes`` no further run begins, and those that have begun are waited for.
    """
    where = described(torch.device(at))
    records = {name: Record(name, smoke) for name in names}
    lists = [
        [(name, key, arguments) for key, arguments in _module(name).jobs(smoke).items()
         if key not in records[name].runs]
        for name in names
    ]  # fmt: skip
    waiting = _interleaved(lists)
    until, running = time.monotonic() + 60 * minutes, {}
    spawn = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_settle) as pool:
        while waiting or running:
            while waiting and len(running) < processes:
                if time.monotonic() > until:
                    waiting.clear()
                    break
                name, key, arguments = waiting.pop(0)
                running[pool.submit(_measure, name, at, arguments)] = name, key
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name, key = running.pop(future)
                if (error := future.exception()) is not None:  # the others go on
                    print(f"{name} {key}: {error!r}", file=sys.stderr, flush=True)
                    continue
                result, seconds = future.result()
                records[name].runs[key] = result
                if where not in records[name].where:
                    records[name].where = " and ".join(filter(None, (records[name].where, where)))
                records[name].save()
                print(f"{name} {key} {seconds:.1f} s", str(result)[-60:], file=sys.stderr, flush=True)
    for name, record in records.items():
        lacking = len(_module(name).jobs(smoke).keys() - record.runs.keys())
        print(f"{name}: {len(record.runs)} runs kept, {lacking} lacking", file=sys.stderr, flush=True)


def complete(name: str) -> bool:
    """Whether every run of the experiment has been measured."""
    return _module(name).jobs(False).keys() <= Record(name, smoke=False).runs.keys()


def _interleaved(lists: list[list]) -> list:
    """One list in which each comes to its end at about the same place."""
    placed = [((k + 0.5) / len(each), item) for each in lists for k, item in enumerate(each)]
    return [item for _, item in sorted(placed, key=lambda pair: pair[0])]


def _module(name: str) -> Any:
    return importlib.import_module(f"benchmarks.full.{name}")


def _settle() -> None:
    torch.set_num_threads(1)


def _measure(name: str, at: str, arguments: dict[str, Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    return _module(name).measure(torch.device(at), **arguments), time.perf_counter() - began
