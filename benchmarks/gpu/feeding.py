"""How images reach the network: from a DataLoader, through pinned memory, or already there."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.gpu._clock import Deadline, free, summary, times
from benchmarks.gpu._settings import Settings
from course_lib.data import Images
from course_lib.device import synchronize

BATCH = 128


def run(device: torch.device, settings: Settings, deadline: Deadline, images: Images) -> dict[str, Any]:
    """``rows``: seconds a pass and images a second for each way; ``copies``: GB/s from the processor."""
    free(device)
    images = images.take(settings.feeding, seed=0)
    model = settings.networks["SimpleConvNet"].make().to(device).train()
    pinned = device.type == "cuda"
    workers = settings.workers
    there = images.to(device)
    ways = {
        "DataLoader, no workers": lambda: loader(images, device),
        f"DataLoader, {workers} workers": lambda: loader(images, device, workers),
        f"DataLoader, {workers} workers, pinned, non_blocking": lambda: loader(
            images, device, workers, pinned
        ),
        "on the device, shuffled and cut there": lambda: there.batches(BATCH),
    }
    rows = []
    for name, batches in ways.items():
        if deadline.allows(4):
            rows.append({"name": name} | passes(model, batches, device, min(3, settings.repeats)))
    return {"rows": rows, "images": len(images), "batch": BATCH, "copies": copies(device, settings)}


class OneByOne(Dataset):
    """The images as most code has them: one at a time, converted and normalised one at a time."""

    def __init__(self, images: Images) -> None:
        self.images = images.to("cpu")
        self.transform = v2.Compose(
            [v2.ToDtype(torch.float32, scale=True), v2.Normalize(images.mean, images.std)]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images.x[k]), self.images.y[k]


def loader(
    images: Images, device: torch.device, workers: int = 0, pinned: bool = False
) -> Iterable[tuple[Tensor, Tensor]]:
    """Batches of a shuffled DataLoader, on the device."""
    batches = DataLoader(
        OneByOne(images),
        BATCH,
        shuffle=True,
        num_workers=workers,
        pin_memory=pinned,
        persistent_workers=False,
    )
    for x, y in batches:
        yield x.to(device, non_blocking=pinned), y.to(device, non_blocking=pinned)


def passes(model: nn.Module, batches: Any, device: torch.device, n: int) -> dict[str, Any]:
    """Training SimpleConvNet for ``n`` passes, after one that is not counted: seconds of each.

    What a pass costs includes starting the workers, as it does in an epoch.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    seconds, seen = [], 0
    for k in range(n + 1):
        synchronize(device)
        began, seen = time.perf_counter(), 0
        for x, y in batches():
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(x)
        synchronize(device)
        if k:
            seconds.append(time.perf_counter() - began)
    found = summary(seconds)
    return {"seconds": found, "images_per_second": float(f"{seen / found['median']:.4g}")}


def copies(device: torch.device, settings: Settings) -> list[dict[str, Any]]:
    """From the processor's memory to the GPU's: pageable, pinned; and when the call returns."""
    if device.type != "cuda":
        return []
    size = settings.copied // 4
    there = torch.empty(size, dtype=torch.uint8, device=device)
    rows = []
    for kind in ("pageable", "pinned"):
        here = torch.randint(256, (size,), dtype=torch.uint8)
        here = here.pin_memory() if kind == "pinned" else here
        found = times(lambda here=here: there.copy_(here, non_blocking=True), device, n=settings.repeats)
        synchronize(device)
        began = time.perf_counter()
        there.copy_(here, non_blocking=True)
        returned = 1e3 * (time.perf_counter() - began)
        synchronize(device)
        rate = size / 1e9 / (found["median"] / 1e3)
        rows.append(
            {
                "memory": kind,
                "milliseconds": found,
                "gigabytes_per_second": float(f"{rate:.4g}"),
                "returned_ms": float(f"{returned:.3g}"),
            }
        )
    return rows
