"""The one form in which a notebook is stored, so that a diff shows what changed and nothing else."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
from collections.abc import Iterator

import nbformat
from PIL import Image

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
CELL_METADATA = ("jupyter", "mystnb", "tags")  # jupyter: a cell that Jupyter shows folded
_CHAPTER = re.compile(r"\d\d-[a-z0-9-]+\.ipynb")
# What a PNG must not carry: its drawing library's version, a date. They change when the picture does not.
_TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt", b"tIME", b"eXIf"}


def is_chapter(name: str) -> bool:
    """Whether a notebook's file name is a chapter's: ``02-initialization.ipynb``."""
    return _CHAPTER.fullmatch(name) is not None


def metadata(name: str) -> dict:
    """The metadata of the notebook called ``name``. A chapter opens on a GPU in Colab."""
    colab = {"accelerator": "GPU", "colab": {"gpuType": "T4", "provenance": []}} if is_chapter(name) else {}
    return colab | {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        # What nbconvert writes a script with; the version of Python, which differs, stays out of it.
        "language_info": {
            "file_extension": ".py",
            "mimetype": "text/x-python",
            "name": "python",
            "nbconvert_exporter": "python",
            "pygments_lexer": "ipython3",
        },
    }


def canonical(notebook: nbformat.NotebookNode, name: str) -> str:
    """The text that is stored for ``notebook``, whose file is called ``name``.

    Timings, widget views and widget states, editors' own metadata, and the pictures' text and dates are
    left out; streams are joined, and everything is spelt in one way. The argument is not changed.
    """
    cells = []
    for number, cell in enumerate(notebook.cells):
        kept = {key: cell.metadata[key] for key in CELL_METADATA if cell.metadata.get(key)}
        out = {
            "cell_type": cell.cell_type,
            "id": cell.get("id") or f"cell-{number}",
            "metadata": kept,
            "source": _lines(cell.source.rstrip("\n")),
        }
        if cell.cell_type == "code":
            out["execution_count"] = cell.execution_count
            out["outputs"] = _outputs(cell.outputs)
        cells.append(out)
    whole = {"cells": cells, "metadata": metadata(name), "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _outputs(outputs: list[nbformat.NotebookNode]) -> list[dict]:
    kept_outputs = []
    streams: dict[str, dict] = {}
    for output in outputs:
        kind = output.output_type
        if kind == "stream":
            if output.name not in streams:
                streams[output.name] = {"name": output.name, "output_type": kind, "text": []}
                kept_outputs.append(streams[output.name])
            stream = streams[output.name]
            stream["text"] = _lines("".join(stream["text"]) + output.text)
        elif kind == "error":
            kept_outputs.append({key: output[key] for key in ("ename", "evalue", "output_type", "traceback")})
        else:
            data = {mime: _value(mime, value) for mime, value in output.data.items() if mime != WIDGET_VIEW}
            if not data:
                continue
            kept = {mime: value for mime, value in output.metadata.items() if mime in data and value}
            one = {"data": data, "metadata": kept, "output_type": kind}
            if kind == "execute_result":
                one["execution_count"] = output.execution_count
            kept_outputs.append(one)
    return kept_outputs


def _value(mime: str, value: object) -> object:
    if mime == "image/png":
        return plain_png(value)
    if isinstance(value, str) and (mime.startswith("text/") or mime == "image/svg+xml"):
        return _lines(value)
    return value


def plain_png(encoded: str) -> str:
    """A base64 PNG without text and dates; one that has none already comes back as it is, byte for byte."""
    raw = base64.b64decode(encoded)
    if not _TEXT_CHUNKS & set(_chunks(raw)):
        return "".join(encoded.split())
    image = Image.open(io.BytesIO(raw))
    image.load()
    if image.mode == "RGBA" and image.getextrema()[3] == (255, 255):
        image = image.convert("RGB")  # an alpha channel that says nothing costs a tenth of the file
    out = io.BytesIO()
    clean = Image.frombytes(image.mode, image.size, image.tobytes())
    if image.mode == "P":
        clean.putpalette(image.getpalette())
    clean.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode("ascii")


def _chunks(png: bytes) -> Iterator[bytes]:
    """The names of a PNG's chunks, in order."""
    at = 8
    while at + 8 <= len(png):
        length, name = struct.unpack(">I4s", png[at : at + 8])
        yield name
        at += length + 12
