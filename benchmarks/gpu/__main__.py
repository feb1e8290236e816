"""``python -m benchmarks.gpu`` measures what chapter 12 says of one GPU, within ``--seconds``.

It writes ``speed.md`` into ``book/results`` and ``speed.json`` into ``course_lib/recorded``, or both into
``--out``, after each section, so that a run that is cut short leaves what it had.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import (
    _tables,
    compiling,
    fastest,
    feeding,
    grid,
    launches,
    memory,
    roofline,
    switches,
)
from benchmarks.gpu._clock import Deadline, free
from benchmarks.gpu._settings import FULL, SMOKE, Settings
from course_lib import data, recorded
from course_lib.data import Images
from course_lib.device import describe, resolve

BOOK = Path(__file__).parents[2] / "book" / "results"

# Where each section ends, as a share of all seconds. What one leaves over goes to the next.
SHARES = {
    "roofline": 0.05,
    "launches": 0.08,
    "memory": 0.12,
    "feeding": 0.17,
    "switches": 0.27,
    "grid": 0.42,
    "fastest": 0.90,
    "compiling": 1.0,
}

Measure = Callable[[torch.device, Settings, Deadline], Any]


def main() -> int:
    """The command line; returns 1 where a section failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--seconds", type=float, default=230, help="for everything together (default 230)")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that all of it runs")
    parser.add_argument("--out", type=Path, help="a folder for both files")
    parser.add_argument("sections", nargs="*", metavar="section", help=f"of {', '.join(SHARES)}")
    chosen = parser.parse_args()
    if unknown := set(chosen.sections) - set(SHARES):
        parser.error(f"there is no section {', '.join(sorted(unknown))}; there are {', '.join(SHARES)}")
    settings = SMOKE if chosen.smoke else FULL
    before = earlier(chosen.out, settings) if chosen.sections else {}
    record = measured(
        settings,
        chosen.sections or list(SHARES),
        chosen.seconds,
        lambda record: write(before | record, chosen.out),
    )
    record = before | record
    print(_tables.text(record))
    return int(any("error" in found for found in record.values() if isinstance(found, dict)))


def measured(
    settings: Settings, sections: list[str], seconds: float, keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """The record: a dict a section, and how it was made; ``keep`` gets it after every section."""
    device, began = resolve(), time.perf_counter()
    ends = shares(sections)
    record: dict[str, Any] = {"protocol": protocol(device, settings), "smoke": settings is SMOKE}
    train, test = images(settings)
    measures: dict[str, Measure] = {
        "roofline": roofline.run,
        "launches": launches.run,
        "memory": memory.run,
        "feeding": lambda *most: feeding.run(*most, train),
        "switches": switches.run,
        "grid": lambda *most: {"cells": grid.run(*most)},
        "fastest": lambda *most: fastest.run(*most, train, test),
        "compiling": compiling.run,
    }
    for name in (name for name in SHARES if name in sections):
        deadline = Deadline(ends[name] * seconds - (time.perf_counter() - began))
        start = time.perf_counter()
        try:
            record[name] = measures[name](device, settings, deadline)
        except Exception as error:
            traceback.print_exc()
            record[name] = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        free(device)
        print(f"{name}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
        keep(record)
    return record


def shares(sections: list[str]) -> dict[str, float]:
    """Where each of the chosen sections ends, as a share of all seconds: what ``SHARES`` says, stretched."""
    sizes, before = {}, 0.0
    for name, end in SHARES.items():
        sizes[name] = end - before if name in sections else 0.0
        before = end
    whole = sum(sizes.values())
    ends = itertools.accumulate(size / whole for size in sizes.values())
    return {name: end for name, end in zip(SHARES, ends, strict=True) if name in sections}


def earlier(out: Path | None, settings: Settings) -> dict[str, Any]:
    """The record that is there, to be kept where a section is not measured again; {} for tiny sizes."""
    path = (out / "speed.json") if out else recorded.path("speed")
    if settings is SMOKE or not path.is_file():
        return {}
    return json.loads(path.read_text("utf-8"))


def images(settings: Settings) -> tuple[Images, Images]:
    """Fashion-MNIST, train and test; tiny runs take the digits that are always there, where it is not."""
    if settings is SMOKE and "COURSE_DATA" not in os.environ:
        return data.mnist()
    return data.fashion_mnist()


def protocol(device: torch.device, settings: Settings) -> str:
    """Where the numbers are from, in a sentence."""
    sizes = (
        "Tiny sizes, to see that all of it runs: these numbers mean nothing. " if settings is SMOKE else ""
    )
    cuda = (
        f", CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        if device.type == "cuda"
        else ""
    )
    return (
        f"{sizes}{describe(device)}, {os.cpu_count()} processor cores; Python {platform.python_version()}, "
        f"torch {torch.__version__}{cuda}; {date.today().isoformat()}. Times are medians of n blocks of "
        "steps, quartiles in brackets, after a warm-up, read from the device's own events; images of "
        f"224×224 but for SimpleConvNet's 28×28, batches of {settings.batch} where no other number stands."
    )


def write(record: dict[str, Any], out: Path | None) -> None:
    """Both files, whole or not at all: each is written beside its place and then moved there."""
    table = (out or BOOK) / "speed.md"
    numbers = (out / "speed.json") if out else recorded.path("speed")
    for path, content in (
        (numbers, json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"),
        (table, _tables.text(record)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(content, "utf-8")
        part.replace(path)


if __name__ == "__main__":
    raise SystemExit(main())
