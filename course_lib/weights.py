"""Weights in files: safetensors, or torch's own format read with ``weights_only``. Never pickle.

A pickle is a program: reading one runs it, whoever wrote it. A safetensors file holds names, shapes and
numbers, and a file that has been cut or changed does not load.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors
from torch import Tensor, nn

SUFFIXES = (".safetensors", ".pth", ".pt")
NOTES = "torch"  # the name, in a safetensors file, of the notes that torch keeps with a state dict


def save(model_or_state: nn.Module | Mapping[str, Tensor], path: str | Path) -> Path:
    """Write the weights of a model, or a state dict, to ``path``, and return the path.

    ``.safetensors`` or torch's ``.pth`` and ``.pt``. The file is there whole or not at all: it is written
    under another name, which changes hands when all bytes are on the disk. Who may read it is what the
    user's umask says, as of any new file.

    Raises:
        ValueError: another ending, or a state with something in it that is no tensor.
    """
    path = _checked(path)
    state = model_or_state.state_dict() if isinstance(model_or_state, nn.Module) else model_or_state
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name!r} is a {type(value).__name__}; a file of weights holds tensors only")
    # A copy of each in its plain layout: two names for one tensor, or a view into a larger one, cost nothing
    # in memory but cannot be written as they are.
    copied = ((name, value.detach().cpu().contiguous().clone()) for name, value in state.items())
    state, notes = OrderedDict(copied), getattr(state, "_metadata", None)
    if notes is not None:
        state._metadata = notes  # torch's own: each module's version, and what else there is to know
    if path.suffix == ".safetensors":
        content = safetensors.save(state, {NOTES: json.dumps(notes)} if notes else None)
    else:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getbuffer()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content, "file of weights")
    return path


def write_whole(path: Path, content: bytes | memoryview, what: str, *, alone: bool = False) -> None:
    """Write a file whole or not at all: the name changes hands only when all bytes are on the disk.

    The content is in memory already: what torch and safetensors say of a full disk while they write is an
    error of their own format. ``alone``: no other process writes this file, so that what a killed one left
    half-written is overwritten by the next, not left for ever. Raises ``OSError`` that names ``what``, its
    size, the path and the reason.
    """
    part = path.with_name(f"{path.name}.part" if alone else f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        reason = error.strerror or error
        kept = "; the one that was there is as it was" if path.exists() else ""
        raise OSError(
            error.errno,
            f"the {what} of {len(content) / 1e6:.1f} MB could not be written: {reason}{kept}",
            os.fspath(path),
        ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file, on the CPU.

    Raises:
        FileNotFoundError: there is none.
        ValueError: another ending, or a file that is cut short or is not what its ending says.
    """
    path = _checked(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            return _with_notes(safetensors.load_file(path), path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of other pickle protocols: they are refused below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is cut short or is not a safetensors file ({error})") from error
    except Exception as error:  # torch.load raises half a dozen types for a file that it cannot read
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is cut short, or is not a file of weights alone; nothing else in it is run ({reason})"
        ) from error
    odd = (
        [name for name, value in state.items() if not isinstance(value, Tensor)] if _is_state(state) else [""]
    )
    if odd:
        raise ValueError(
            f"{path} holds {f'{odd[0]!r}, which is no tensor' if odd[0] else f'a {type(state).__name__}'}; "
            "it must hold a state dict, names and their tensors"
        )
    return state


def _with_notes(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The state with the notes that :func:`save` wrote beside it, where there are any."""
    with safe_open(path, "pt") as file:
        notes = (file.metadata() or {}).get(NOTES)
    state = OrderedDict(state)
    if notes:
        state._metadata = OrderedDict(json.loads(notes))
    return state


def load(model: nn.Module, path_or_state: str | Path | Mapping[str, Tensor]) -> nn.Module:
    """Fill ``model`` with weights from a file or a state dict, and return it.

    An error changes nothing. Numbers go to the model's own device and type. What torch loads strictly though
    a name differs is loaded: an older file without BatchNorm's ``num_batches_tracked``, say.

    Raises:
        ValueError: weights of another network, with the first names and shapes that differ; and as
            :func:`read`.
    """
    from_file = not isinstance(path_or_state, Mapping)
    state = read(path_or_state) if from_file else path_or_state
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        model.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        model.load_state_dict(before)  # torch has filled in what did fit
        if isinstance(error, ValueError):
            raise
        where = f"the weights in {path_or_state}" if from_file else "the weights"
        other = f"{where} are of another network than this {type(model).__name__}: "
        raise ValueError(other + (_differing(before, state) or str(error))) from error
    return model


def _differing(here: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> str:
    """The first names whose shapes are not the same."""
    ours, theirs = (
        {n: tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__ for n, v in state.items()}
        for state in (here, there)
    )
    names = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    listed = "; ".join(
        f"{name}: {ours.get(name, 'absent')} here, {theirs.get(name, 'absent')} there" for name in names[:3]
    )
    return listed + (f"; and {len(names) - 3} more" if len(names) > 3 else "")


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"path is {str(path)!r}; its ending must be one of {', '.join(SUFFIXES)}")
    return path


def _is_state(state: object) -> bool:
    return isinstance(state, Mapping) and all(isinstance(name, str) for name in state)
