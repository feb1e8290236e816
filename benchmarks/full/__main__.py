"""``python -m benchmarks.full NAME`` runs one full experiment and writes ``book/results/NAME.md``."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from benchmarks.full import _jobs
from course_lib import device

FOLDER = Path(__file__).parent
RESULTS = FOLDER.parents[1] / "book" / "results"


def main() -> None:
    every = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full", description=__doc__)
    parser.add_argument("names", nargs="+", choices=every, metavar="NAME", help=", ".join(every))
    parser.add_argument("--device", default=str(device.resolve()), help="for experiments of many small runs")
    parser.add_argument("--processes", type=int, default=1, help="how many of these runs at a time")
    parser.add_argument("--minutes", type=float, default=600, help="after which no further run begins")
    parser.add_argument("--smoke", action="store_true", help="a trial of each such run, a few steps long")
    options = parser.parse_args()
    modules = {name: importlib.import_module(f"benchmarks.full.{name}") for name in options.names}
    many = [name for name, module in modules.items() if hasattr(module, "jobs")]
    if many:
        _jobs.run_all(many, options.device, options.processes, options.minutes, options.smoke)
    RESULTS.mkdir(exist_ok=True)
    for name, module in modules.items():
        if name in many and options.smoke:
            continue
        if name in many and not _jobs.complete(name):
            print(f"{name}: no table, for some runs are lacking")
            continue
        text = module.table(_jobs.Record(name, smoke=False)) if name in many else module.run()
        (RESULTS / f"{name}.md").write_text(text, "utf-8")
        print(text)


if __name__ == "__main__":
    main()
