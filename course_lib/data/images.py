"""A set of images as two tensors, and the batches made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from numbers import Integral

import torch
from torch import Tensor

Augment = Callable[[Tensor, torch.Generator | None], Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Images with their labels, one class each.

    Attributes:
        x: pixels 0 to 255, ``uint8``, (N, C, H, W).
        y: labels 0 to ``len(classes) − 1``, ``int64``, (N,), on the same device.
        classes: the name of each label; numbers become strings.
        mean: mean of each channel over the training set, of pixels scaled to 0…1. Any row of numbers, a
            NumPy array say; kept as a tuple of ``float``.
        std: its standard deviation, in the same unit, so above 0 and at most 1.

    Raises:
        ValueError: an empty set, a shape, a type or a device that does not fit, labels out of range, a mean
            or standard deviation that pixels from 0 to 1 cannot have (those of pixels from 0 to 255, say).
    """

    x: Tensor
    y: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(str(name) for name in self.classes))
        for name in ("mean", "std"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        x, y = self.x, self.y
        if x.ndim != 4:
            raise ValueError(f"x must have the shape (N, C, H, W), got {tuple(x.shape)}")
        if x.dtype != torch.uint8:
            raise ValueError(f"x must be uint8 pixels from 0 to 255, got {x.dtype}")
        if y.dtype != torch.int64:
            raise ValueError(f"y must be int64 labels, got {y.dtype}")
        if y.shape != x.shape[:1]:
            raise ValueError(f"y must have one label per image, ({len(x)},), got {tuple(y.shape)}")
        if x.numel() == 0:
            raise ValueError(f"x holds no pixels: its shape is {tuple(x.shape)}")
        if x.device != y.device:
            raise ValueError(f"x is on {x.device} but y is on {y.device}; both must be on one device")
        low, high = y.min().item(), y.max().item()
        if low < 0 or high >= len(self.classes):
            raise ValueError(
                f"labels must be from 0 to {len(self.classes) - 1}, one for each of the "
                f"{len(self.classes)} classes, got labels from {low} to {high}"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != x.shape[1]:
                raise ValueError(f"{name} must have one value per channel, {x.shape[1]}, got {len(values)}")
            if not all(0 <= value <= 1 for value in values):
                raise ValueError(
                    f"{name}={values} is not that of pixels scaled to 0…1, which is from 0 to 1"
                    + ("; of pixels from 0 to 255, divide it by 255" if max(values) > 1 else "")
                )
        if not all(self.std):
            raise ValueError(f"std must be positive, got {self.std}")

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        shape = "×".join(str(size) for size in self.x.shape[1:])
        return f"Images({len(self):,} of {shape}, {len(self.classes)} classes, on {self.device})"

    @property
    def device(self) -> torch.device:
        """The device that the pixels and labels are on."""
        return self.x.device

    def to(
        self, device: str | torch.device, memory_format: torch.memory_format = torch.preserve_format
    ) -> Images:
        """The same images on ``device``, in ``memory_format`` (see ``device.memory_format``), which their
        batches keep."""
        x = self.x.to(device, memory_format=memory_format)
        return self if x is self.x else replace(self, x=x, y=self.y.to(device))

    def take(self, n: int, seed: int | None = None) -> Images:
        """``n`` images, as many of each class as of the next, interleaved: 0, 1, …, 9, 0, 1, …

        ``seed`` None takes the first ones of each class, a number takes them at random. ``take(10)`` is the
        beginning of ``take(20)``. A class that runs out is made up for by the others.
        """
        _check_count("n", n, len(self))
        order = torch.arange(len(self)) if seed is None else _permutation(len(self), seed)
        rank, _ = self._rank_within_class(order)
        key = rank * len(self.classes) + self.y.cpu()[order]
        return self._select(order[key.argsort()][:n])

    def split(self, first: int | float, seed: int = 0) -> tuple[Images, Images]:
        """Two disjoint sets, shuffled and stratified: each has the classes in the same proportions.

        Args:
            first: the size of the first set, an integer, or its share, a float between 0 and 1.
            seed: which split; the same on every device.
        """
        if isinstance(first, float):
            if not 0 < first < 1:
                raise ValueError(f"first={first} must be a share between 0 and 1, or a number of images")
            share, first = first, round(first * len(self))
            if not 0 < first < len(self):
                raise ValueError(
                    f"first={share} of {len(self)} images is {first} images, which leaves a set empty: "
                    f"give a share from {1 / len(self):.2g} to {1 - 1 / len(self):.2g}, or a number of images"
                )
        _check_count("first", first, len(self) - 1)
        order = _permutation(len(self), seed)
        rank, count = self._rank_within_class(order)
        # Image k of the n of its class stands at (k + ½) / n on the way from 0 to 1. Cutting that way
        # anywhere cuts every class in the same proportion.
        order = order[((rank + 0.5) / count).argsort(stable=True)]
        parts = order[:first], order[first:]
        return tuple(self._select(part[_permutation(len(part), seed + k)]) for k, part in enumerate(parts))

    def tensors(self) -> tuple[Tensor, Tensor]:
        """The whole set at once: normalised ``float32`` (N, C, H, W), and labels (N,)."""
        scale, shift = self._scale_and_shift()
        return self.x * scale + shift, self.y

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = True,
        generator: torch.Generator | None = None,
        augment: Augment | None = None,
        drop_last: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over the set: ``(x, y)`` with x normalised ``float32`` (B, C, H, W), y ``int64`` (B,).

        Args:
            batch_size: B; the last batch is smaller where it does not divide the set.
            shuffle: a new order, drawn on the device.
            generator: where the order and the augmentation get their random numbers; None: torch's own.
            augment: called as ``augment(x, generator)`` on each normalised batch, on the device.
            drop_last: leave a smaller last batch out.

        Raises:
            ValueError: ``batch_size`` is not between 1 and the size of the set.
        """
        # Checked here, not in the generator below, which runs only when the first batch is asked for.
        _check_count("batch_size", batch_size, len(self))
        return self._batches(batch_size, shuffle, generator, augment, drop_last)

    def _batches(
        self,
        batch_size: int,
        shuffle: bool,
        generator: torch.Generator | None,
        augment: Augment | None,
        drop_last: bool,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        if shuffle:
            # A generator draws only on its own device; without one, draw where the images are.
            source = self.device if generator is None else generator.device
            order = torch.randperm(len(self), generator=generator, device=source).to(self.device)
        else:
            order = torch.arange(len(self), device=self.device)
        scale, shift = self._scale_and_shift()
        stop = len(self) - len(self) % batch_size if drop_last else len(self)
        for start in range(0, stop, batch_size):
            index = order[start : start + batch_size]
            x = (_rows(self.x, index) * scale).add_(shift)
            yield (x if augment is None else augment(x, generator)), self.y.index_select(0, index)

    def _scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """(x / 255 − mean) / std as one product and one sum, x · scale + shift, each (C, 1, 1)."""
        mean = torch.tensor(self.mean, dtype=torch.float32, device=self.device)[:, None, None]
        std = torch.tensor(self.std, dtype=torch.float32, device=self.device)[:, None, None]
        return 1 / (255 * std), -mean / std

    def _rank_within_class(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """For each image, taken in ``order``: how many of its class come before it, and its class's size."""
        labels = self.y.cpu()[order]
        counts = labels.bincount(minlength=len(self.classes))
        by_class = labels.argsort(stable=True)
        rank = torch.empty_like(by_class)
        rank[by_class] = torch.arange(len(self)) - (counts.cumsum(0) - counts)[labels[by_class]]
        return rank, counts[labels]

    def _select(self, index: Tensor) -> Images:
        index = index.to(self.device)
        return replace(self, x=_rows(self.x, index), y=self.y[index])


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """``x[index]`` in x's own memory format, by ``index_select``, which is ten times as fast on a CPU."""
    if x.is_contiguous():
        return x.index_select(0, index)
    return x.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)  # channels_last stays that


def _permutation(n: int, seed: int) -> Tensor:
    """A random order of 0 … n − 1, drawn on the CPU so that every device gets the same one."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def _numbers(name: str, values: Iterable[float]) -> tuple[float, ...]:
    """As plain floats: NumPy's would make float64 batches."""
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a row of numbers, one per channel, got {values!r}") from error


def _check_count(name: str, value: int, most: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r} must be a positive integer")
    if value > most:
        raise ValueError(f"{name}={value} is more than the set allows: at most {most}")
