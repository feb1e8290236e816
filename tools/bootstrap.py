"""The first cell of every notebook, generated from the repository URL in ``_config.yml``."""

from __future__ import annotations

import re
from pathlib import Path

CELL_ID = "bootstrap"
FIRST_LINE = "# Makes course_lib importable."

_GITHUB = re.compile(
    r"https://github\.com/(?P<owner>[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38})/(?P<name>[A-Za-z0-9._-]{1,100})"
)
_REPOSITORY_LINE = re.compile(
    r"^(?P<head>repository:[^\n]*\n(?:[ \t]+[^\n]*\n|[ \t]*#[^\n]*\n|[ \t]*\n)*?[ \t]+url[ \t]*:[ \t]*)"
    r"(?P<quote>[\"']?)(?P<url>[^\s\"'#]+)(?P=quote)",
    re.MULTILINE,
)

# `--no-deps` because Colab's own torch, numpy and ipywidgets must stay as they are. The wheel on the book's
# site needs no build and no clone, so it comes first; `--find-links` keeps its version out of the notebooks.
_SOURCE = """\
{first_line} Where it is already, or in a clone, nothing is installed.
import importlib.util
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("course_lib") is None:
    if Path("../course_lib/__init__.py").is_file():
        sys.path.insert(0, str(Path("..").resolve()))
    else:
        repository = "{repository}"
        site = "{site}"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        links = f"--find-links={{site}}/wheels/index.html"
        for source in ["--no-index", links, "course-lib"], [f"git+{{repository}}"]:
            done = subprocess.run([*pip, *source], capture_output=True, text=True)
            if done.returncode == 0:
                break
        else:
            tried = f"{{site}} or {{repository}}"
            raise ImportError(f"no course_lib at {{tried}}:\\n{{done.stderr}}")
        importlib.invalidate_caches()"""


def validated(url: str) -> str:
    """The repository's URL without a trailing ``/`` or ``.git``.

    Raises:
        ValueError: if ``url`` is not ``https://github.com/OWNER/REPO``.
    """
    plain = url.strip().removesuffix("/").removesuffix(".git")
    match = _GITHUB.fullmatch(plain)
    if match is None or match["name"] in {".", ".."}:
        raise ValueError(f"repository URL {url!r} is not of the form https://github.com/OWNER/REPO")
    return plain


def site(url: str) -> str:
    """Where GitHub Pages publishes the book of the repository ``url``, without a trailing ``/``."""
    match = _GITHUB.fullmatch(validated(url))
    host = f"{match['owner'].lower()}.github.io"
    return f"https://{host}" if match["name"].lower() == host else f"https://{host}/{match['name']}"


def source(url: str) -> str:
    """The bootstrap cell's code for the repository ``url``."""
    return _SOURCE.format(first_line=FIRST_LINE, repository=validated(url), site=site(url))


def read_url(config: Path) -> str:
    """The repository URL that ``_config.yml`` holds under ``repository: url:``.

    Raises:
        ValueError: if there is none, or it is not a GitHub repository's.
    """
    match = _REPOSITORY_LINE.search(config.read_text("utf-8"))
    if match is None:
        raise ValueError(f"{config.name} has no `url:` under `repository:`")
    return validated(match["url"])


def write_url(config: Path, url: str) -> None:
    """Put ``url`` in ``_config.yml``, everything else in which stays as it is.

    Raises:
        ValueError: if ``url`` is not a GitHub repository's, or the file has no line to hold it.
    """
    new = validated(url)
    if new != read_url(config):
        text = config.read_text("utf-8")
        config.write_text(_REPOSITORY_LINE.sub(rf"\g<head>\g<quote>{new}\g<quote>", text), "utf-8")
