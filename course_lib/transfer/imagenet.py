"""torchvision's ImageNet weights, downloaded once, their checksum verified at every use."""

from __future__ import annotations

import hashlib
import os
import re
import urllib.error
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor

from course_lib.download import DownloadError, cache_folder


def download_weights(weights: Any, *, progress: bool | None = None) -> dict[str, Tensor]:
    """The state dict of one of torchvision's weights, such as ``ResNet18_Weights.IMAGENET1K_V1``.

    It is kept under ``weights`` in the cache folder. The name of torchvision's files ends in the first
    digits of their SHA-256, which is compared every time, so a file that was cut short or altered is never
    loaded; pickled code is never run.

    Args:
        weights: a member of a torchvision weights enumeration, with its ``url``.
        progress: show a bar; None: unless the environment variable ``COURSE_PROGRESS`` is ``0``.

    Raises:
        DownloadError: the file is not there, or altered, and the host did not give a good one; the message
            says what to do.
        ValueError: an address whose file name carries no checksum.
    """
    url = weights.url
    filename = Path(urlsplit(url).path).name
    found = re.search(r"-([0-9a-f]{8,})\.pth$", filename)
    if found is None:
        raise ValueError(f"weights have the address {url}; its file name must end in -CHECKSUM.pth")
    path = cache_folder() / "weights" / filename
    if not (path.is_file() and _sha256(path).startswith(found[1])):
        _download(url, path, found[1], progress)
    return torch.load(path, map_location="cpu", weights_only=True)


def _download(url: str, path: Path, checksum: str, progress: bool | None) -> None:
    """torch's own download: with a bar, verified, and under its name only when it is whole."""
    from filelock import FileLock

    shown = os.environ.get("COURSE_PROGRESS") != "0" if progress is None else progress
    altered = path.is_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(".lock")):
        if path.is_file() and _sha256(path).startswith(checksum):
            return  # another process was first
        try:
            torch.hub.download_url_to_file(url, str(path), checksum, shown)
        except (OSError, RuntimeError, urllib.error.URLError) as error:
            reason = getattr(error, "reason", error)
            also = f"\n  {path} is there, but it is cut short or altered (wrong checksum)" if altered else ""
            raise DownloadError(
                f"{path.name} could not be downloaded:\n  {urlsplit(url).netloc}: {reason}{also}\n"
                f"Put the file into {path.parent} by hand (its SHA-256 begins with {checksum}),\n"
                "or stay offline: EfficientNetLite0(pretrained=True) has real ImageNet weights and needs "
                "no network."
            ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
