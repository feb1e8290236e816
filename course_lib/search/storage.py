"""The file of a search: taken up where it is this search's own, left as it is where it is anything else."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

SQLITE = b"SQLite format 3\0"


def what_it_is(path: Path) -> str:
    """What stands at ``path``, for an error message."""
    if path.is_dir():
        return "a folder"
    with path.open("rb") as file:
        start = file.read(200)
    if start.startswith(SQLITE):
        return "an SQLite database"
    text = start.decode("utf-8", errors="ignore")  # the 200 bytes may end within a letter
    lines = text.split("\n")
    if not all(line.rstrip("\r").replace("\t", " ").isprintable() for line in lines):
        return f"a binary file of {path.stat().st_size:,} bytes"
    return f"a text that begins with {next(filter(str.strip, lines), '')[:60]!r}"


def refusal(path: Path, why: str) -> ValueError:
    """The error for a file that is not this search's own."""
    return ValueError(f"the storage {path} {why}. It stays as it is; give another file")


def lock(storage: Path, number: int | None = None) -> FileLock:
    """The lock of a storage, or of its trial ``number``: a file beside it, which is empty.

    Raises ``ValueError`` where that file holds something, for taking the lock would empty it: a storage
    called ``uv`` has the lock ``uv.lock``.
    """
    path = Path(f"{storage}.lock" if number is None else f"{storage}.{number}.lock")
    if path.is_dir() or (path.exists() and path.stat().st_size):
        raise ValueError(
            f"the storage {storage} needs {path} as its lock, which is {what_it_is(path)}. It stays as "
            "it is; give another storage"
        )
    return FileLock(path)


def check_database(path: Path, own: str) -> None:
    """That an Optuna study may be opened at ``path``: nothing is there, or this very search, ``own``.

    The file is only read. Raises ``ValueError`` otherwise.
    """
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return
    another = refusal(path, f"is not of this search: it is {what_it_is(path)}")
    if path.is_dir() or path.open("rb").read(len(SQLITE)) != SQLITE:
        raise another
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)) as database:
        try:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
            if not tables:  # killed before the first was made
                return
            if "study_user_attributes" not in tables:
                raise another
            studies = [name for (name,) in database.execute("SELECT study_name FROM studies")]
            stored = database.execute("SELECT value_json FROM study_user_attributes WHERE key = 'search'")
            found = [json.loads(value) for (value,) in stored]
            begun = database.execute("SELECT count(*) FROM trials").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise refusal(path, f"is an SQLite database that cannot be read ({error})") from error
    if (studies and studies != ["search"]) or (begun and not found):
        raise refusal(path, f"is an Optuna database with studies of its own: {', '.join(studies[:3])}")
    if found and found != [own]:
        raise refusal(path, f"is of another search: {found[0]}; this one is {own}")


def plain(value: Any) -> Any:
    """A value as JSON gives it back: a tuple as a list; what JSON does not know by its type alone.

    (Not by its repr, which for a function holds an address and for a large array leaves most of it out.)
    """
    if isinstance(value, np.generic):
        value = value.item()
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError):
        return type(value).__name__


def described(options: Sequence[Any]) -> str:
    """The options of a choice in a text that the next process writes too."""
    texts = [repr(one) if plain(one) != type(one).__name__ else type(one).__name__ for one in options]
    return f"Choice(options=({', '.join(texts)}{',' * (len(texts) == 1)}))"


def append(path: Path, line: str) -> None:
    """One line at the end of the file, on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
