"""What chapter 10 measured once, for its explorer: the numbers travel with the library."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any


@cache
def measured() -> dict[str, Any]:
    """The results of ``python -m benchmarks.full transfer``, its protocols included.

    ``["few_labels"][task][labels][way]`` is a list over seeds of [test accuracy, CPU seconds].
    """
    text = resources.files("course_lib.transfer").joinpath("measured.json").read_text(encoding="utf-8")
    return json.loads(text)
