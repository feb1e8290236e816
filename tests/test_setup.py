"""`make` installs once, says what it lacks, and the workflow does what a person would."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# A python that notes what it is asked, makes a .venv that does the same, and installs nothing.
STUB = """#!/bin/sh
case "$*" in
  *version_info*) exit {old} ;;
  --version) echo Python 3.9.1 ;;
  *"-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"-m pip"*install*) echo "$*" >> pip.log; exit {broken} ;;
esac
"""


@pytest.fixture
def make(tmp_path: Path):
    """Run make in a folder with the project's Makefile, and a python that only pretends."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)

    def run(*targets: str, old: int = 0, broken: int = 0) -> tuple[subprocess.CompletedProcess, int]:
        stub = tmp_path / "stub-python"
        stub.write_text(STUB.format(old=old, broken=broken))
        stub.chmod(0o755)
        if (tmp_path / ".venv").exists():
            shutil.copy(stub, tmp_path / ".venv" / "bin" / "python")
        environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
        command = ["make", *targets, f"PYTHON={stub}"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        log = tmp_path / "pip.log"
        return done, len(log.read_text().splitlines()) if log.exists() else 0

    return run


INSTALLED = ".venv/.installed"


def test_make_installs_once(make, tmp_path: Path):
    done, installs = make(INSTALLED)
    assert done.returncode == 0, done.stderr
    assert installs > 0
    assert make(INSTALLED)[1] == installs
    for name in ("requirements.lock", "pyproject.toml"):
        os.utime(tmp_path / name, (2e9, 2e9))
        again = make(INSTALLED)[1]
        assert again > installs, f"a new {name} must be installed"
        installs = again
        os.utime(tmp_path / name, (1e9, 1e9))
        os.utime(tmp_path / INSTALLED)
    assert "-r requirements.lock" in (tmp_path / "pip.log").read_text()


def test_installation_that_broke_off_is_taken_up_again(make, tmp_path: Path):
    done, installs = make(INSTALLED, broken=1)
    assert done.returncode != 0
    assert not (tmp_path / INSTALLED).exists()
    done, again = make(INSTALLED)
    assert done.returncode == 0
    assert again > installs


def test_old_python_is_named(make):
    done, installs = make(INSTALLED, old=1)
    assert done.returncode != 0
    assert installs == 0
    assert "The book needs Python 3.11 or newer" in done.stderr
    assert "Python 3.9.1" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_help_lists_the_commands(make):
    done, _ = make("help")
    listed = {line.split()[0] for line in done.stdout.splitlines()}
    assert {"book", "test", "execute", "serve", "repository", "bench", "lock", "clean"} <= listed


def test_lock_is_exact_and_holds_all_that_is_asked_for():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert lines[0].startswith("# The exact versions that `make` installs")
    locked: dict[str, list[Requirement]] = {}
    for line in lines[1:]:
        requirement = Requirement(line)
        assert re.fullmatch(r"==[\w.!+-]+", str(requirement.specifier)), line
        locked.setdefault(requirement.name, []).append(requirement)
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"].values()
    for wanted in map(Requirement, itertools.chain(project["dependencies"], *extras)):
        found = [one for one in locked.get(wanted.name, []) if one.marker is None or one.marker.evaluate()]
        assert found, f"{wanted.name} is not in requirements.lock: run `make lock`"
        (pin,) = found[0].specifier
        assert wanted.specifier.contains(pin.version), f"{found[0]} is not {wanted}: run `make lock`"


def test_requirements_name_everything():
    extras = ",".join(sorted(PYPROJECT["project"]["optional-dependencies"]))
    assert f"-e .[{extras}]" in (ROOT / "requirements.txt").read_text().splitlines()


def test_workflow_sets_the_repository_then_tests_then_publishes():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text())
    triggers = workflow[True]  # YAML 1.1 reads the key `on` as true
    assert {"push", "pull_request", "schedule", "workflow_dispatch"} == set(triggers)
    test, publish = workflow["jobs"]["test"], workflow["jobs"]["publish"]
    assert test["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    commands = [step["run"] for step in test["steps"] if "run" in step]
    assert commands == [
        'make repository URL="${{ github.server_url }}/${{ github.repository }}"',
        ".ci/run",
    ]
    uploads = [step for step in test["steps"] if "upload-pages-artifact" in step.get("uses", "")]
    assert [step["with"]["path"] for step in uploads] == ["_build/html"]
    assert publish["needs"] == "test"
    assert any("deploy-pages" in step["uses"] for step in publish["steps"])


def test_a_weekly_run_tries_the_bounds_and_says_when_it_fails():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text())["jobs"]
    tried = {row["name"]: row["run"] for row in jobs["versions"]["strategy"]["matrix"]["include"]}
    assert tried["lowest"] == "make lowest"
    assert "--pre torch" in tried["newest"]
    assert jobs["report"]["needs"] == ["test", "versions"]
    assert jobs["report"]["permissions"] == {"issues": "write"}
    assert "gh issue create" in jobs["report"]["steps"][0]["run"]


def test_ci_calls_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith(" make test")
    assert subprocess.run(["bash", "-n", script]).returncode == 0
