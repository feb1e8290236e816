"""Measurements that take hours are kept one by one: a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "book" / "results"


class Kept:
    """The values that were measured so far, in ``book/results/NAME.json`` beside the table made of them."""

    def __init__(self, name: str) -> None:
        self.file = RESULTS / f"{name}.json"
        self.values: dict[str, Any] = json.loads(self.file.read_text("utf-8")) if self.file.exists() else {}

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """What was kept under ``name``, or else what ``measure`` returns, which is kept then."""
        if name not in self.values:
            self.values[name] = measure()
            self.file.parent.mkdir(exist_ok=True)
            self.file.write_text(json.dumps(self.values, indent=1) + "\n", "utf-8")
            print(name, self.values[name], file=sys.stderr, flush=True)
        return self.values[name]
