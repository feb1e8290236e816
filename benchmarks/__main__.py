"""``python -m benchmarks`` measures everything and writes results.md; with names, only those, and prints.

A module of this folder takes part by having ``run() -> list[dict]``, one dict a row: ``name``, ``median``,
``unit``, ``n``, ``spread`` (between the quartiles) and ``limit`` (``"≤ 16"``, ``"≥ 3"`` or None).
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import re
import sys
import traceback
from datetime import date
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.md"
VERSIONS = ("torch", "torchvision", "numpy", "matplotlib", "anywidget", "jupyter-book", "nbval")


def machine() -> str:
    """Cores, memory, processor, GPU, system and versions, as a line each."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (model := re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())):
        processor = model[1]
    from course_lib.device import describe

    parts = [f"{os.cpu_count()} cores of {processor}"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB of memory")
    parts.append(describe())
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    return (
        f"- Machine: {', '.join(parts)}; {platform.system()} {platform.machine()}\n"
        f"- Versions: Python {platform.python_version()}, {versions}\n"
        f"- Measured on {date.today().isoformat()}"
    )


def holds(value: float, limit: str | None) -> str:
    """``yes`` or ``no``, or nothing where there is no limit.

    Raises:
        ValueError: if ``limit`` is not of the form ``≤ 16`` or ``≥ 3``.
    """
    if limit is None:
        return ""
    match = re.match(r"\s*([≤≥])\s*([\d.,]+)", limit)
    if match is None:
        raise ValueError(f"limit {limit!r} is not of the form '≤ 16' or '≥ 3'")
    bound = float(match[2].replace(",", ""))
    return "yes" if (value <= bound if match[1] == "≤" else value >= bound) else "no"


def short(value: float) -> str:
    """Three digits, or the whole number."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(rows: list[dict]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | median | unit | spread | n | limit | holds |", "|---|--:|---|--:|--:|---|---|"]
    for row in rows:
        measured = short(row["median"]), row["unit"], short(row["spread"]), row["n"]
        cells = [row["name"], *measured, row["limit"] or ""]
        lines.append(f"| {' | '.join(map(str, cells))} | {holds(row['median'], row['limit'])} |")
    return "\n".join(lines)


def main() -> int:
    """The command line; returns 1 if a benchmark failed or a limit does not hold."""
    every = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"of {', '.join(every)}; all of them if none"
    )
    names = parser.parse_args().names
    if unknown := set(names) - set(every):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    rows, failed = [], []
    for name in names or every:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            rows += importlib.import_module(f"benchmarks.{name}").run()
        except Exception:
            traceback.print_exc()
            failed.append(name)
    text = table(rows)
    print(text)
    if failed:
        print(f"failed, so {RESULTS.name} was left as it was: {', '.join(failed)}", file=sys.stderr)
    elif not names:
        RESULTS.write_text(f"# Measured\n\n`make bench` wrote this.\n\n{machine()}\n\n{text}\n", "utf-8")
    return int(bool(failed) or any(holds(row["median"], row["limit"]) == "no" for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
