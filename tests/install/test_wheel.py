"""The wheel in an empty environment imports, and carries its JavaScript."""

from __future__ import annotations

import sysconfig
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.install

ROOT = Path(__file__).resolve().parents[2]
KINDS = {".py", ".js", ".css", ".html", ".csv", ".json"}  # the code, and what it shows

USE = """
import importlib, importlib.resources, pkgutil
import course_lib
for module in pkgutil.walk_packages(course_lib.__path__, "course_lib."):
    importlib.import_module(module.name)
from course_lib import data
from course_lib.explorer import Figure, explore, lines
widget = explore(lambda scale: Figure([lines({"y": [scale, 2 * scale]})]), scale=[1, 2, 3])
html = widget._repr_mimebundle_()
html = html[0] if isinstance(html, tuple) else html
files = importlib.resources.files("course_lib.explorer")
for name in "explorer.js", "explorer.css", "engine.js":
    assert len(files.joinpath(name).read_text("utf-8")) > 1000, name
assert "course-frames" in html["text/html"]
assert len(data.mnist()[0]) == 4000
print(course_lib.__file__)
"""


def test_wheel_holds_the_library_and_nothing_else(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    carried = [path for kind in ("js", "css") for path in (ROOT / "course_lib").rglob(f"*.{kind}")]
    assert len(carried) > 5
    assert {path.relative_to(ROOT).as_posix() for path in carried} <= names
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"course_lib"}
    assert {Path(name).suffix for name in names if name.startswith("course_lib/")} <= KINDS


def test_requirements_are_lower_bounds(wheel: Path):
    """An upper bound or an exact version would make pip replace what Colab ships."""
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    lines = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist")
    plain = [one for one in map(Requirement, lines) if one.marker is None]
    assert len(plain) >= 5
    assert {bound.operator for one in plain for bound in one.specifier} == {">="}


def test_wheel_in_an_empty_environment(environment, wheel: Path, tmp_path: Path):
    clean = environment(tmp_path / "clean").create(with_pip=False)
    assert clean.packages() == {}
    done = clean.pip("install", "--no-deps", "--no-index", str(wheel))
    assert done.returncode == 0, done.stderr
    # What it depends on, from the running environment; a .pth file in there, as an editable install's, is not
    # followed, so course_lib can only come from the wheel.
    (clean.site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    where = Path(clean.run(USE, tmp_path).strip())
    assert where.is_relative_to(clean.site_packages)
