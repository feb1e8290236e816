"""``python -m benchmarks.full NAME`` runs one full experiment and writes ``book/results/NAME.md``."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

FOLDER = Path(__file__).parent
RESULTS = FOLDER.parents[1] / "book" / "results"


def main() -> None:
    every = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full", description=__doc__)
    parser.add_argument("name", choices=every)
    name = parser.parse_args().name
    text = importlib.import_module(f"benchmarks.full.{name}").run()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
