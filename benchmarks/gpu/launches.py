"""A GPU works behind the processor's back: launches that return at once, streams, and graphs of launches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.gpu._clock import Deadline, free, summary, tf32
from benchmarks.gpu._networks import batch, training_step
from benchmarks.gpu._settings import Settings
from benchmarks.gpu.switches import Row, off_on_off
from course_lib.device import synchronize


def run(device: torch.device, settings: Settings, deadline: Deadline) -> dict[str, Any]:
    """``asynchronous``: what the two clocks say; ``rows``: streams and CUDA graphs, where there is CUDA."""
    free(device)
    found: dict[str, Any] = {"asynchronous": asynchronous(device, settings), "rows": []}
    if device.type == "cuda":
        measures = [streams, lambda *a: graph(32, *a), lambda *a: graph(settings.batch * 4, *a)]
        found["rows"] = [measure(device, settings) for measure in measures if deadline.allows(3)]
    return found


def asynchronous(device: torch.device, settings: Settings, products: int = 20) -> dict[str, Any]:
    """Twenty matrix products: until the processor is free again, and until they are done, in milliseconds.

    The first is what a clock shows that is read without waiting, and it is no time of the GPU's.
    """
    side = settings.product // 2
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    returned, done = [], []
    a @ b
    for _ in range(settings.repeats):
        synchronize(device)
        began = time.perf_counter()
        for _ in range(products):
            a @ b
        returned.append(1e3 * (time.perf_counter() - began))
        synchronize(device)
        done.append(1e3 * (time.perf_counter() - began))
    what = f"{products} products of {side}×{side} matrices, float32"
    return {"name": what, "returned": summary(returned), "done": summary(done)}


def streams(device: torch.device, settings: Settings, chains: int = 4, links: int = 20) -> Row:
    """Chains of products too small to fill the GPU, one after another or each in a stream of its own."""
    side = 512
    starts = [torch.randn(side, side, device=device) / side**0.5 for _ in range(chains)]
    own = [torch.cuda.Stream(device) for _ in range(chains)]

    def chain(a: Tensor) -> Tensor:
        for _ in range(links):
            a = a @ a
            a = a / a.norm()
        return a

    def one_after_another() -> None:
        for start in starts:
            chain(start)

    def side_by_side() -> None:
        current = torch.cuda.current_stream(device)
        for start, stream in zip(starts, own, strict=True):
            stream.wait_stream(current)  # what the chain reads must be there before it begins
            with torch.cuda.stream(stream):
                chain(start)
        for stream in own:
            current.wait_stream(stream)

    replays = [captured(call) for call in (one_after_another, side_by_side)]
    what = f"{chains} chains of {links} products of {side}×{side}: a stream each, launched as one graph"
    return off_on_off(what, *replays, device, settings)


def captured(call: Callable[[], None]) -> Callable[[], None]:
    """The kernels that ``call`` launches, recorded once and launched together from then on.

    It runs three times before, in a stream of its own, so that nothing is set up while it is recorded.
    """
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(aside)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        call()
    return recorded.replay


def graph(size: int, device: torch.device, settings: Settings) -> Row:
    """A whole training step of SimpleConvNet, launched kernel by kernel or as one CUDA graph."""
    network = settings.networks["SimpleConvNet"]
    x, y = batch(network, size, device)
    with tf32(False):
        eager = training_step(network.make().to(device), x, y)
        model = network.make().to(device).train()
        whole = captured(recordable_step(model, x, y))
        what = f"SimpleConvNet, float32, {size} images: the step as one CUDA graph"
        row = off_on_off(what, eager, whole, device, settings)
    return row | {"loss_difference": replay_error(network.make, x, y)}


def recordable_step(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """A training step that a graph can hold: the same tensors at the same addresses each time."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def replay_error(make: Callable[[], nn.Module], x: Tensor, y: Tensor, replays: int = 5) -> float:
    """The largest difference of a weight after the same steps, launched singly and replayed: 0 if equal."""
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(make().to(x.device).train())
    singly = recordable_step(models[0], x, y)
    replay = captured(recordable_step(models[1], x, y))  # three steps of warm-up; recording takes none
    for _ in range(3 + replays):
        singly()
    for _ in range(replays):
        replay()
    pairs = zip(models[0].parameters(), models[1].parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)
