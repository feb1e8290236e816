"""Environments other than the one that the tests run in."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ("course_lib", "pyproject.toml", "README.md", "LICENSE")


class Environment:
    """A virtual environment in ``folder``, apart from everything that is installed elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"

    def create(self, *, with_pip: bool) -> Environment:
        """Make it anew."""
        venv.create(self.folder, clear=True, with_pip=with_pip)
        return self

    @property
    def site_packages(self) -> Path:
        return Path(sysconfig.get_path("purelib", "venv", {"base": str(self.folder)}))

    def pip(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run this environment's pip from outside, so that it need not have one."""
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    def packages(self) -> dict[str, str]:
        """Name and version of everything that is installed."""
        listed = json.loads(self.pip("list", "--format=json", "--disable-pip-version-check").stdout)
        return {one["name"]: one["version"] for one in listed}

    def run(self, code: str, folder: Path) -> str:
        """The output of ``code``, run in ``folder`` without PYTHONPATH; fails if it does."""
        done = subprocess.run([self.python, "-I", "-c", code], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def link(self, *distributions: str) -> None:
        """Put links here to packages of the running environment that are too large to install twice."""
        for name in distributions:
            files = importlib.metadata.files(name) or ()
            for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
                target = Path(sysconfig.get_path("purelib")) / top
                link = self.site_packages / top
                if target.exists() and not link.exists():
                    link.symlink_to(target, target_is_directory=target.is_dir())


@pytest.fixture(scope="session")
def environment() -> type[Environment]:
    """Makes environments: ``environment(folder).create(with_pip=False)``."""
    return Environment


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the package is built from, as it is now."""
    folder = tmp_path_factory.mktemp("package")
    for name in PACKAGE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="session")
def wheel(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of course_lib, alone in its folder."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    done = subprocess.run([*command, "-w", folder, package], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built
