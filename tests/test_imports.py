"""Importing course_lib is cheap and quiet, and its dependencies point one way."""

from __future__ import annotations

import json
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import course_lib

ROOT = Path(__file__).parents[1]
# The live half of the explorer is a subclass of anywidget's; `explore` imports it when it is called.
LAZY = {"course_lib.explorer.widget"}
MODULES = ["course_lib", *(found.name for found in pkgutil.walk_packages(course_lib.__path__, "course_lib."))]

# Run in a fresh interpreter, in which nothing can connect: after each import, what has come along.
PROBE = """
import importlib, json, socket, sys
def refuse(*arguments, **options):
    raise OSError("an import went to the network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
found = {}
for module in sys.argv[1:]:
    importlib.import_module(module)
    torch = sys.modules.get("torch")
    unwanted = {"IPython", "ipywidgets", "anywidget", "ipykernel"} & set(sys.modules)
    found[module] = sorted(unwanted | ({"a GPU"} if torch and torch.cuda.is_initialized() else set()))
json.dump(found, sys.stdout)
"""


def unwanted(*modules: str, folder: Path = ROOT) -> dict[str, list[str]]:
    """For each module, what was there after its import that should not be."""
    command = [sys.executable, "-c", PROBE, *modules]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_import_needs_no_notebook_no_network_and_no_gpu():
    eager = [module for module in MODULES if module not in LAZY]
    assert {module: found for module, found in unwanted(*eager).items() if found} == {}


def test_probe_sees_a_notebook(tmp_path: Path):
    (tmp_path / "guilty.py").write_text("import IPython")
    assert "IPython" in unwanted("guilty", folder=tmp_path)["guilty"]


@pytest.mark.parametrize("call", ["create_connection(HOST)", "socket().connect(HOST)"])
def test_probe_sees_a_connection(tmp_path: Path, call: str):
    (tmp_path / "guilty.py").write_text(f"import socket\nHOST = ('127.0.0.1', 9)\nsocket.{call}")
    with pytest.raises(AssertionError, match="an import went to the network"):
        unwanted("guilty", folder=tmp_path)


def lint_imports(folder: Path) -> subprocess.CompletedProcess:
    command = "from importlinter.cli import lint_imports_command as main; main()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache"], cwd=folder, capture_output=True, text=True
    )


def test_dependencies_point_one_way():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


def test_every_room_has_its_layer():
    """A module that no layer names would be free to import anything."""
    layers = re.search(r"(?s)\nlayers = \[(.*?)\]", (ROOT / "pyproject.toml").read_text())[1]
    named = set(re.findall(r"\w+", layers))
    rooms = {found.name for found in pkgutil.iter_modules(course_lib.__path__)}
    assert rooms <= named, f"name {rooms - named} among the layers in pyproject.toml"


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("data/images", "from course_lib import training"),
        ("models/mlp", "from course_lib.training import fit"),
    ],
)
def test_dependency_the_other_way_is_found(tmp_path: Path, room: str, line: str):
    shutil.copytree(ROOT / "course_lib", tmp_path / "course_lib")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    guilty = tmp_path / "course_lib" / f"{room}.py"
    guilty.write_text(f"{guilty.read_text()}\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode != 0
    assert "1 broken" in done.stdout
