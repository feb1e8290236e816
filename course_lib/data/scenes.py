"""Scenes whose every object is known: colour images made here, with class, box, mask and words of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {"red": (214, 64, 58), "green": (66, 168, 90), "blue": (66, 108, 214), "yellow": (226, 192, 60)}
LEAST_SEEN = 0.6  # of an object's pixels: what is hidden more is not there to be found
TRIES = 100  # places for one object before a scene is begun anew


@dataclass(frozen=True, eq=False)
class Scene:
    """One image and what is in it, M objects from back to front.

    Attributes:
        image: ``uint8`` (3, H, W).
        boxes: around what is seen of each object, float (M, 4): x1, y1, x2, y2 in pixels.
        labels: the shape of each, ``int64`` (M,), a place in ``SHAPES``.
        masks: the pixels that are seen of each, bool (M, H, W); no pixel belongs to two.
        words: each as a phrase, "a red circle".
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    masks: Tensor
    words: tuple[str, ...]

    @property
    def caption(self) -> str:
        """All objects and the way from each to the next, as "a red circle left of a blue square"."""
        text = self.words[0]
        for k in range(1, len(self.words)):
            text += f" {relation(self.boxes[k - 1], self.boxes[k])} {self.words[k]}"
        return text


def shapes(
    n: int,
    *,
    side: int = 32,
    objects: int | tuple[int, int] = (1, 3),
    overlap: float = 0.1,
    clutter: float = 0.0,
    seed: int = 0,
) -> list[Scene]:
    """``n`` scenes of coloured shapes on grey ground; the same arguments give the same scenes on every
    machine.

    Args:
        side: of the image in pixels, from 16. Objects measure a quarter to a half of it.
        objects: how many in a scene, a number or (least, most), at most 4.
        overlap: the largest IoU of two objects' boxes, 0 to 0.5; the one in front hides what is behind it.
        clutter: how much else is there, 0 to 1: strokes of any colour behind the objects, and noise.
        seed: which scenes.

    ``shapes(10, seed=1)`` is the beginning of ``shapes(20, seed=1)``. Raises ``ValueError`` for an
    argument out of range.
    """
    least, most = (objects, objects) if isinstance(objects, int) else objects
    _check(n=(n, 1, 10**7), side=(side, 16, 1024), overlap=(overlap, 0, 0.5), clutter=(clutter, 0, 1))
    if not 1 <= least <= most <= 4:
        raise ValueError(f"objects is {objects!r}; it must be a number from 1 to 4, or (least, most)")
    generator = torch.Generator().manual_seed(seed)
    return [_scene(side, least, most, overlap, clutter, generator) for _ in range(n)]


def relation(a: Tensor, b: Tensor) -> str:
    """Where box ``a`` (4,) lies, seen from ``b``: left of, right of, above, below; the longer way decides."""
    across, down = ((a[:2] + a[2:]) / 2 - (b[:2] + b[2:]) / 2).tolist()
    if abs(across) >= abs(down):
        return "left of" if across < 0 else "right of"
    return "above" if down < 0 else "below"


def _scene(
    side: int, least: int, most: int, overlap: float, clutter: float, generator: torch.Generator
) -> Scene:
    while True:
        ground = _ground(side, clutter, generator)
        count = _whole(least, most + 1, generator)
        drawn = [_object(side, generator) for _ in range(count)]
        placed = _placed(drawn, side, overlap, generator)
        if placed is None:
            continue
        seen = _seen(placed)
        if all(m.sum() >= LEAST_SEEN * whole.sum() for m, whole in zip(seen, placed, strict=True)):
            break
    names = list(COLOURS)
    colours = [names[_whole(0, len(names), generator)] for _ in placed]
    image = ground
    for mask, colour in zip(seen, colours, strict=True):
        image = torch.where(mask, torch.tensor(COLOURS[colour], dtype=torch.float32)[:, None, None], image)
    image = image + clutter * 24 * torch.randn(image.shape, generator=generator)
    labels = torch.tensor([label for label, _ in drawn])
    return Scene(
        image=image.round().clamp(0, 255).to(torch.uint8),
        boxes=torch.stack([_box(mask) for mask in seen]),
        labels=labels,
        masks=torch.stack(seen),
        words=tuple(
            f"a {colour} {SHAPES[label]}" for colour, label in zip(colours, labels.tolist(), strict=True)
        ),
    )


def _object(side: int, generator: torch.Generator) -> tuple[int, int]:
    """A shape and its size in pixels."""
    return _whole(0, len(SHAPES), generator), _whole(side // 4, side // 2 + 1, generator)


def _placed(
    drawn: Sequence[tuple[int, int]], side: int, overlap: float, generator: torch.Generator
) -> list[Tensor] | None:
    """The mask of each object, its place drawn anew until it fits; None where it never does."""
    masks: list[Tensor] = []
    boxes: list[Tensor] = []
    for label, size in drawn:
        for _ in range(TRIES):
            left, top = (_whole(1, side - size, generator) for _ in range(2))
            box = torch.tensor([left, top, left + size, top + size], dtype=torch.float32)
            if all(_iou(box, other) <= overlap for other in boxes):
                break
        else:
            return None
        boxes.append(box)
        masks.append(_draw(SHAPES[label], left, top, size, side))
    return masks


def _draw(shape: str, left: int, top: int, size: int, side: int) -> Tensor:
    """The pixels, bool (side, side), whose centres lie in the shape; it fills a square of ``size``."""
    at = torch.arange(side) + 0.5
    y, x = ((at - first) / size for first in (top, left))  # 0 to 1 in the square
    y, x = y[:, None], x[None, :]
    inside = (x > 0) & (x < 1) & (y > 0) & (y < 1)
    if shape == "circle":
        return inside & ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.25)
    if shape == "triangle":
        return inside & ((x - 0.5).abs() < y / 2)
    if shape == "cross":
        return inside & (((x - 0.5).abs() < 1 / 6) | ((y - 0.5).abs() < 1 / 6))
    return inside


def _ground(side: int, clutter: float, generator: torch.Generator) -> Tensor:
    """Grey that changes a little from corner to corner, and strokes: float (3, side, side)."""
    low, high = (torch.rand(2, generator=generator) * 60 + 90).tolist()
    ramp = torch.linspace(0, 1, side)
    image = (low + (high - low) * (ramp[:, None] + ramp) / 2).expand(3, -1, -1).clone()
    at = torch.arange(side) + 0.5
    for _ in range(round(12 * clutter)):
        x, y, angle, length = torch.rand(4, generator=generator).tolist()
        cosine, sine = math.cos(angle * math.pi), math.sin(angle * math.pi)
        across, down = at[None, :] - x * side, at[:, None] - y * side
        along = across * cosine + down * sine
        away = across * sine - down * cosine
        stroke = (along.abs() < (0.05 + 0.15 * length) * side) & (away.abs() < 1)
        colour = torch.rand(3, generator=generator) * 255
        image = torch.where(stroke, colour[:, None, None], image)
    return image


def _seen(masks: Sequence[Tensor]) -> list[Tensor]:
    """What is left of each mask when the later ones lie over it."""
    covered = torch.zeros_like(masks[0])
    left = []
    for mask in reversed(masks):
        left.append(mask & ~covered)
        covered = covered | mask
    return left[::-1]


def _box(mask: Tensor) -> Tensor:
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    ends = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    return torch.stack(ends).float()


def _iou(a: Tensor, b: Tensor) -> float:
    sides = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp_min(0)
    shared = sides.prod().item()
    whole = sum((box[2:] - box[:2]).prod().item() for box in (a, b))
    return shared / (whole - shared)


def _whole(low: int, high: int, generator: torch.Generator) -> int:
    return int(torch.randint(low, high, (), generator=generator))


def _check(**ranges: tuple[float, float, float]) -> None:
    for name, (value, low, high) in ranges.items():
        kind = int if name in ("n", "side") else (int, float)
        if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{name} is {value!r}; it must be from {low} to {high}")
