"""A network as one HTML file: it takes an image or a drawing, and shows every layer's maps and the answer.

The file needs nothing else, no server and no network: it carries the weights, and the engine computes in it.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import palette
from course_lib.explorer import static
from course_lib.graph import Graph, trace

__all__ = ["LARGEST", "publish"]

LARGEST = 10_000_000  # bytes of a file that still opens in a moment


def publish(
    model: nn.Module,
    example: Tensor,
    path: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    title: str | None = None,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    packing: str = "float16",
    largest: int = LARGEST,
) -> Path:
    """Write ``model`` as a page that a browser opens from the disk, with no network.

    Args:
        model: (1, C, H, W) → logits (1, K), with C of 1 or 3; it is published in evaluation mode.
        example: an input as the model takes it, (C, H, W) or (1, C, H, W): what the page shows first, and
            the size that drawings and images are brought to.
        path: of the file.
        names: of the K classes; their numbers if not given.
        title: of the page.
        mean, std: a pixel from 0 to 1 becomes (pixel − mean) / std; one number, or one a channel.
        packing: of the weights, as :meth:`course_lib.graph.Graph.to_dict` takes it; ``"int8"`` halves them.
        largest: bytes that the file may have.

    Returns the path.

    Raises:
        course_lib.graph.Untraceable: the model does what a page cannot: the message names the operation.
        ValueError: an example or an answer of another shape, names of another number, a file too large.
    """
    example = _image(example)
    channels = example.shape[1]
    scale = _per_channel("mean", mean, channels), _per_channel("std", std, channels)
    if not all(scale[1]):
        raise ValueError(f"std is {std}; a pixel is divided by it, so it must not be 0")
    made, layers = traced(model, example)
    classes = made.run(image=example)["answer"].shape[-1]
    names = list(names) if names is not None else [str(k) for k in range(classes)]
    if len(names) != classes:
        raise ValueError(f"names has {len(names)} entries; the model has {classes} classes")
    about = {
        "names": names, "mean": scale[0], "std": scale[1], "shape": list(example.shape), "layers": layers,
        "example": [round(float(v), 5) for v in example.flatten()],
    }  # fmt: skip
    page = _page(
        {**about, "graph": made.to_dict(packing)}, title or f"{type(model).__name__}, layer by layer"
    )
    size = len(page.encode())
    if size > largest:
        raise ValueError(
            f"the page would have {size:,} bytes, more than largest={largest:,}: try packing='int8', which "
            "takes 1.3 bytes a weight, a narrower model, or allow more"
        )
    path = Path(path)
    path.write_text(page, encoding="utf-8")
    return path


def traced(model: nn.Module, example: Tensor) -> tuple[Graph, list[str]]:
    """The graph image → {"answer": probabilities (1, K), "maps": of each layer}, and the layers' names.

    A layer is a module without modules inside; one that is used twice is there twice.
    """
    layers: list[str] = []

    def look(image: Tensor) -> dict[str, Any]:
        layers.clear()
        maps: list[Tensor] = []

        def note(name: str, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() in (2, 4) and output.shape[0] == 1:
                layers.append(name)
                maps.append(output.clone())  # a ReLU in place may change it afterwards

        with _watched(model, note):
            logits = model(image)
        if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[0] != 1:
            what = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"the model gives {what}; a classifier gives logits of shape (1, K)")
        return {"answer": torch.softmax(logits, -1), "maps": maps}

    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        made = trace(look, {"image": example})
    finally:
        for module, mode in modes.items():
            module.training = mode
    return made, list(layers)


@contextmanager
def _watched(model: nn.Module, note: Any) -> Iterator[None]:
    hooks = [
        module.register_forward_hook(
            lambda module, _, output, name=name: note(f"{name} {type(module).__name__}".strip(), output)
        )
        for name, module in model.named_modules()
        if not list(module.children()) and not isinstance(module, nn.Flatten | nn.Dropout | nn.Identity)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _image(example: Tensor) -> Tensor:
    if isinstance(example, Tensor) and example.dim() == 3:
        example = example[None]
    if (
        not isinstance(example, Tensor)
        or example.dim() != 4
        or len(example) != 1
        or example.shape[1] not in (1, 3)
    ):
        what = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise ValueError(
            f"example is {what}; it must be one image, (C, H, W) or (1, C, H, W) with C of 1 or 3"
        )
    if not example.isfinite().all():
        raise ValueError("example has a value that is not finite; every pixel must be a number")
    return example.detach().cpu().float()


def _per_channel(name: str, value: float | Sequence[float], channels: int) -> list[float]:
    values = [float(v) for v in value] if isinstance(value, Sequence) else [float(value)] * channels
    if len(values) != channels:
        raise ValueError(f"{name} has {len(values)} numbers; the example has {channels} channels")
    return values


def _page(data: dict[str, Any], title: str) -> str:
    folder = files(__package__)
    data_text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    parts = {
        "TITLE": html.escape(title), "DATA": data_text, "PALETTE": _colours(),
        "ENGINE": static.engine(), "SCRIPT": (folder / "page.js").read_text(encoding="utf-8"),
    }  # fmt: skip
    page = (folder / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], page)


def _colours() -> str:
    light, dark = palette.css_variables(palette.LIGHT), palette.css_variables(palette.DARK)
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
