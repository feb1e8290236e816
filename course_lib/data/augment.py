"""Random crops, flips, colours and rotations of a whole batch at once, on its device.

Each operation is torchvision's transform of the same idea, with the same distribution for every image, but
without Python per image: parameters are drawn for the batch as tensors, and applied to it as one tensor.
An operation has two halves: ``draw(n, …)`` gives the random parameters, ``apply(x, …)`` uses them.

``fit(..., augment=Augmentation(train, Crop(4), Flip(), Jitter(0.2, 0.2, 0.2), Rotation(10)))``.

Source of the definitions: torchvision.transforms (RandomCrop, RandomHorizontalFlip, ColorJitter,
RandomRotation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.data.images import Images

Generator = torch.Generator | None


class Operation(Protocol):
    """Maps pixels (B, C, H, W) from 0 to 1 to others, of the same shape."""

    def __call__(self, x: Tensor, generator: Generator = None) -> Tensor: ...


class Augmentation:
    """Several operations as ``fit`` takes them: on normalised batches.

    The operations are about light, so they work on pixels from 0 to 1: a batch is brought back to
    these, changed, and normalised again. What a crop or a rotation brings in from outside is black.

    Args:
        images: the set whose ``mean`` and ``std`` the batches are normalised with.
        operations: one after another.
    """

    def __init__(self, images: Images, *operations: Operation) -> None:
        self.mean, self.std, self.operations = images.mean, images.std, operations

    def __call__(self, x: Tensor, generator: Generator = None) -> Tensor:
        """(B, C, H, W), normalised, to the same shape, device and memory format."""
        mean, std = (
            torch.tensor(v, device=x.device, dtype=x.dtype)[:, None, None] for v in (self.mean, self.std)
        )
        layout = torch.channels_last if _is_channels_last(x) else torch.contiguous_format
        pixels = torch.addcmul(mean, x, std)
        for operation in self.operations:
            pixels = operation(pixels, generator)
        return pixels.sub_(mean).div_(std).contiguous(memory_format=layout)


@dataclass(frozen=True)
class Crop:
    """Shift each image by up to ``padding`` pixels either way: pad with black, cut the old size out.

    As ``RandomCrop(size, padding)``. Raises ``ValueError`` for a padding below 1.
    """

    padding: int

    def __post_init__(self) -> None:
        if not isinstance(self.padding, int) or self.padding < 1:
            raise ValueError(f"padding={self.padding!r} must be a whole number of pixels, 1 or more")

    def draw(self, n: int, device: torch.device, generator: Generator = None) -> Tensor:
        """Row and column of the cut, 0 to 2 · padding, ``int64`` (n, 2)."""
        return torch.randint(2 * self.padding + 1, (n, 2), device=device, generator=generator)

    def apply(self, x: Tensor, corner: Tensor) -> Tensor:
        """(B, C, H, W), (B, 2) → (B, C, H, W)."""
        p, (height, width) = self.padding, x.shape[2:]
        padded = F.pad(x, (p, p, p, p))
        rows = corner[:, 0, None] + torch.arange(height, device=x.device)  # (B, H)
        columns = corner[:, 1, None] + torch.arange(width, device=x.device)  # (B, W)
        place = (rows[:, :, None] * (width + 2 * p) + columns[:, None, :]).flatten(1)  # (B, H · W)
        flat = padded.contiguous().flatten(2)  # (B, C, (H + 2p) · (W + 2p))
        return flat.gather(2, place[:, None].expand(-1, x.shape[1], -1)).view(x.shape)

    def __call__(self, x: Tensor, generator: Generator = None) -> Tensor:
        return self.apply(x, self.draw(len(x), x.device, generator))


@dataclass(frozen=True)
class Flip:
    """Mirror each image left to right with probability ``p``, as ``RandomHorizontalFlip(p)``."""

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_range("p", self.p, 0, 1)

    def draw(self, n: int, device: torch.device, generator: Generator = None) -> Tensor:
        """Which are mirrored, ``bool`` (n,)."""
        return torch.rand(n, device=device, generator=generator) < self.p

    def apply(self, x: Tensor, mirrored: Tensor) -> Tensor:
        return torch.where(mirrored[:, None, None, None], x.flip(-1), x)

    def __call__(self, x: Tensor, generator: Generator = None) -> Tensor:
        return self.apply(x, self.draw(len(x), x.device, generator))


@dataclass(frozen=True)
class Rotation:
    """Turn each image about its centre by up to ``degrees`` either way, as ``RandomRotation(degrees)``.

    Between pixels it interpolates bilinearly. Raises ``ValueError`` for an angle outside 0 to 180.
    """

    degrees: float

    def __post_init__(self) -> None:
        _check_range("degrees", self.degrees, 0, 180)

    def draw(self, n: int, device: torch.device, generator: Generator = None) -> Tensor:
        """Angles in degrees, counter-clockwise, (n,)."""
        return torch.empty(n, device=device).uniform_(-self.degrees, self.degrees, generator=generator)

    def apply(self, x: Tensor, angles: Tensor) -> Tensor:
        height, width = x.shape[2:]
        turn = angles.to(x.dtype) * (math.pi / 180)
        cos, sin, zero = turn.cos(), turn.sin(), torch.zeros_like(turn)
        # Where each pixel comes from, in coordinates from −1 to 1; unequal sides must not shear the image.
        theta = torch.stack([cos, -sin * (height / width), zero, sin * (width / height), cos, zero], dim=1)
        grid = F.affine_grid(theta.view(-1, 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def __call__(self, x: Tensor, generator: Generator = None) -> Tensor:
        return self.apply(x, self.draw(len(x), x.device, generator))


@dataclass(frozen=True)
class Jitter:
    """Change brightness, contrast, saturation and hue of each image, in an order of its own.

    As ``ColorJitter``: three factors uniform in 1 ± ``brightness``, ``contrast``, ``saturation`` (never below
    0) and a shift of the hue uniform in ± ``hue`` turns of the colour circle. Grey images have neither
    saturation nor hue: those two leave them as they are.

    Raises:
        ValueError: a number below 0, or a hue above 0.5.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            _check_range(name, getattr(self, name), 0, math.inf)
        _check_range("hue", self.hue, 0, 0.5)

    def draw(self, n: int, device: torch.device, generator: Generator = None) -> tuple[Tensor, Tensor]:
        """The order (n, 4), each row a permutation of 0 to 3, and the four parameters (n, 4)."""
        order = torch.rand(n, 4, device=device, generator=generator).argsort(dim=1)
        widths = torch.tensor([self.brightness, self.contrast, self.saturation, self.hue], device=device)
        low = torch.cat([(1 - widths[:3]).clamp_min(0), -widths[3:]])
        high = torch.cat([1 + widths[:3], widths[3:]])
        return order, low + (high - low) * torch.rand(n, 4, device=device, generator=generator)

    def apply(self, x: Tensor, order: Tensor, parameters: Tensor) -> Tensor:
        colour = x.shape[1] == 3
        used = [
            (k, operation)
            for k, (operation, width, needs_colour) in enumerate(
                [
                    (_brightness, self.brightness, False),
                    (_contrast, self.contrast, False),
                    (_saturation, self.saturation, True),
                    (_hue, self.hue, True),
                ]
            )
            if width and (colour or not needs_colour)
        ]
        x = x.clone()
        for turn in range(4 if len(used) > 1 else 1):
            for k, operation in used:
                # Images whose turn-th operation this is: each image meets each operation once in all.
                chosen = (order[:, turn] == k).nonzero().flatten() if len(used) > 1 else ...
                part = x[chosen]
                if len(part):
                    x[chosen] = operation(part, parameters[chosen, k, None, None, None])
        return x

    def __call__(self, x: Tensor, generator: Generator = None) -> Tensor:
        return self.apply(x, *self.draw(len(x), x.device, generator))


def _brightness(x: Tensor, factor: Tensor) -> Tensor:
    return (x * factor).clamp_(0, 1)


def _contrast(x: Tensor, factor: Tensor) -> Tensor:
    mean = _grey(x).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, x, factor).clamp_(0, 1)


def _saturation(x: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(_grey(x), x, factor).clamp_(0, 1)


def _hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the colour circle: each channel is value − chroma · how far the hue is from that channel's."""
    value, least = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    chroma = value - least
    red, green, blue = x.unbind(1)
    top, span = value[:, 0], chroma[:, 0].clamp_min(1e-12)
    sixth = torch.where(
        top == red, (green - blue) / span,
        torch.where(top == green, 2 + (blue - red) / span, 4 + (red - green) / span),
    )[:, None]  # fmt: skip
    # Smith's formula: channel n is v − c · clamp(min(k, 4 − k), 0, 1) with k = (n + hue in sixths) mod 6.
    offset = torch.tensor([5.0, 3.0, 1.0], device=x.device, dtype=x.dtype).view(1, 3, 1, 1)
    k = torch.remainder(offset + sixth + 6 * shift, 6)
    return value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1)


def _grey(x: Tensor) -> Tensor:
    """(B, 1, H, W): how bright each pixel is (ITU-R 601)."""
    if x.shape[1] == 1:
        return x
    weights = torch.tensor([0.2989, 0.587, 0.114], device=x.device, dtype=x.dtype).view(1, 3, 1, 1)
    return (x * weights).sum(1, keepdim=True)


def _is_channels_last(x: Tensor) -> bool:
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        most = f"from {low} to {high}" if math.isfinite(high) else f"{low} or more"
        raise ValueError(f"{name}={value!r} must be {most}")
