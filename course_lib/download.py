"""Files of a data set: downloaded once, checked at every use.

A file counts only when its checksum is right, so nothing that was cut short, mixed up or altered is
ever used, and a download that is killed leaves nothing that a later run would trust.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit


class DownloadError(RuntimeError):
    """A file of a data set could be had from none of its hosts; the message says what to do."""


def cache_folder() -> Path:
    """Where downloads are kept: ``$COURSE_DATA``, else the user's cache folder. It need not exist.

    Raises ``FileNotFoundError`` for a user without a home folder, a container's say, and no ``COURSE_DATA``.
    """
    named = os.environ.get("COURSE_DATA")
    try:
        if named:
            return Path(named).expanduser().absolute()
        import platformdirs

        folder = platformdirs.user_cache_path("course-lib")
    except RuntimeError:  # no home folder
        folder = Path("~")
    if folder.parts[:1] == ("~",) or not folder.is_absolute():  # what "~" becomes, or does not, without one
        raise FileNotFoundError(
            errno.ENOENT,
            "there is no home folder to keep downloads in (HOME is not set); set COURSE_DATA to a folder, "
            "by its full path, or use data.mnist(), which needs none",
        )
    return folder


@dataclass(frozen=True)
class Source:
    """Where the files of a data set come from: their folder in the cache, their checksums, their hosts."""

    name: str
    folder: str  # torchvision's, below the cache folder
    files: tuple[tuple[str, str], ...]  # name and md5
    hosts: tuple[str, ...]  # addresses of folders

    def open(self, filename: str) -> BinaryIO:
        """The file, open at its beginning, its checksum verified; downloaded first where it is not there.

        The checksum is taken every time, not only after a download: MNIST takes 20 ms and CIFAR-10 0.3 s,
        and a file that a full disk or a broken copy cut short is found here, not in a strange result.
        A cache that is complete is only read, so it may be on a read-only disk.

        Raises:
            DownloadError: no host has the file.
            OSError: the cache folder cannot be written to.
        """
        path, md5 = cache_folder() / self.folder / filename, dict(self.files)[filename]
        return _open_verified(path, md5) or self._lock_and_download(path, md5)

    def _lock_and_download(self, path: Path, md5: str) -> BinaryIO:
        """Two processes at once: the second waits for the first, and then finds the file."""
        from filelock import FileLock

        part = path.with_name(path.name + ".part")  # all that a killed download leaves; nobody reads it
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(".lock")):
                if file := _open_verified(path, md5):
                    return file
                try:
                    self._download(part, path, md5)
                    os.replace(part, path)
                finally:
                    part.unlink(missing_ok=True)
            return path.open("rb")
        except OSError as error:
            raise OSError(
                error.errno,
                f"the cache folder {cache_folder()} cannot be written to ({error.strerror}); set COURSE_DATA "
                "to a folder that can, or use data.mnist(), which needs none",
            ) from error

    def _download(self, part: Path, path: Path, md5: str) -> None:
        mirror = os.environ.get("COURSE_MIRROR")
        # A mirror is a served copy of a cache folder: MNIST and Fashion-MNIST have files of the same
        # names, so an address without folders could not hold both.
        hosts = (f"{mirror.rstrip('/')}/{self.folder}",) if mirror else self.hosts
        failures = []
        for host in hosts:
            url = f"{host.rstrip('/')}/{path.name}"
            with part.open("wb") as file:
                failure = _copy_from(url, file)
            if failure is None:
                if _md5(part) == md5:
                    return
                failure = f"its {part.stat().st_size:,} bytes are cut short or another file (wrong checksum)"
            failures.append(f"  {urlsplit(url).netloc or url}: {failure}")
        if path.exists():
            failures.append(f"  {path} is there, but it is cut short or another file (wrong checksum)")
        raise DownloadError(
            "\n".join(
                [
                    f"{path.name} of {self.name} could not be downloaded:",
                    *failures,
                    "Set COURSE_MIRROR to an address that serves a copy of a cache folder,",
                    f"or put these files into {path.parent} by hand:",
                    *(f"  {name}  md5 {checksum}" for name, checksum in self.files),
                    "or stay offline: data.mnist() has 5,000 real digits and needs no network.",
                ]
            )
        )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        # usedforsecurity: without it, machines in FIPS mode refuse md5.
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _open_verified(path: Path, md5: str) -> BinaryIO | None:
    """The file at ``path``; None where it is missing or has another checksum."""
    return path.open("rb") if path.is_file() and _md5(path) == md5 else None


def _copy_from(url: str, file: BinaryIO) -> str | None:
    """Copy what ``url`` answers into ``file``; where that fails, say why.

    Not torchvision's own download: it waits for ever on a host that falls silent.
    """
    try:
        request = urllib.request.Request(_ascii(url), headers={"User-Agent": "course-lib"})
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code} {error.reason}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error))
    with answer:
        while True:
            try:
                piece = answer.read(2**20)
            except (OSError, http.client.HTTPException) as error:
                return f"broke off after {file.tell():,} bytes ({error})"
            if not piece:
                return None
            file.write(piece)  # outside the try: a full disk is not the host's fault


def _ascii(url: str) -> str:
    """An address as it goes over the wire: ``https://bücher.example/zweite kopie`` in ASCII.

    Raises ``ValueError`` for a host that cannot be one.
    """
    parts = urlsplit(url)
    try:
        host = parts.netloc.encode("idna").decode("ascii") if not parts.netloc.isascii() else parts.netloc
    except UnicodeError as error:
        raise ValueError(f"{parts.netloc!r} is no name of a host ({error})") from error
    keep = "%/:=&?~#+!$,;'@()*[]"
    return parts._replace(netloc=host, path=quote(parts.path, keep), query=quote(parts.query, keep)).geturl()
