"""What it costs to import the library and to hold a full data set.

Each measurement runs in a process of its own, because an import is paid once in a process.

- ``import course_lib``: the package and all its modules, after ``torch``, ``torchvision`` and ``matplotlib``.
  Not the parts of ``explorer`` that bring in a widget or a picture: ``explore()`` imports those when called.
- ``data.mnist(full=True)``: resident memory after the call, less that after the imports. Measured where the
  full set is in ``$COURSE_DATA`` (or the user's cache) already; nothing is downloaded for it.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks._measuring import row
from course_lib.download import cache_folder

REPETITIONS = 5

IMPORT = """
import importlib, pkgutil, time
import torch, torchvision, matplotlib
began = time.perf_counter()
import course_lib
for module in pkgutil.walk_packages(course_lib.__path__, "course_lib."):
    if not module.name.startswith("course_lib.explorer."):
        importlib.import_module(module.name)
print(time.perf_counter() - began)
"""

MEMORY = """
import torch, torchvision, matplotlib
from course_lib import data

def resident():
    status = open("/proc/self/status").read()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024 / 1e6

before = resident()
sets = data.mnist(full=True)
print(resident() - before)
"""


def measured(script: str, n: int) -> list[float]:
    """What ``script`` prints, n times, each in its own process, after one that warms the disk's cache."""
    values = []
    for _ in range(n + 1):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        values.append(float(done.stdout))
    return values[1:]


def run() -> list[dict]:
    """Rows of the table of benchmarks; see the top of this file for what each measures."""
    rows = [
        row(
            "import course_lib and all its modules, beyond torch, torchvision, matplotlib",
            measured(IMPORT, REPETITIONS),
            "≤ 0.3",
            "s",
        )
    ]
    held = (cache_folder() / "MNIST" / "raw" / "train-images-idx3-ubyte.gz").exists()
    if held and sys.platform == "linux":
        rows.append(
            row(
                "resident memory of data.mnist(full=True)",
                measured(MEMORY, REPETITIONS),
                "≤ 120",
                "MB",
            )
        )
    return rows


if __name__ == "__main__":
    for line in run():
        print(line)
