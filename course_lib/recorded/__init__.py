"""What takes too long to measure while one reads: it was measured once, and travels with the library.

``python -m benchmarks.full NAME`` writes ``NAME.json`` into this folder, and the tables beside it into the
book. So an explorer has its numbers wherever a notebook runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def load(name: str) -> dict[str, Any]:
    """The results of ``python -m benchmarks.full name``; what they hold stands there.

    Raises ``ValueError`` for a name of which nothing was recorded.
    """
    file = path(name)
    if not file.is_file():
        known = ", ".join(sorted(each.stem for each in FOLDER.glob("*.json")))
        raise ValueError(f"name is {name!r}; recorded are: {known}")
    return json.loads(file.read_text("utf-8"))


def path(name: str) -> Path:
    """The file of ``name``, whether it is there or not."""
    return FOLDER / f"{name}.json"
