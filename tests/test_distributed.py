"""Several processes: the ring, groups that are closed, BatchNorm over all of them; and what is modelled."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import data, distributed
from course_lib.distributed import AlphaBeta
from course_lib.layers import BatchNorm
from course_lib.models.convnets import SimpleConvNet
from course_lib.training import fit

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the processes do not find the tests


def rings(seed: int) -> dict[str, Any]:
    """What one process sees of the ring beside ``dist.all_reduce``, on tensors that it alone has."""
    me, n = distributed.rank(), distributed.world_size()
    generator = torch.Generator().manual_seed(seed + me)
    found: dict[str, Any] = {"equal": [], "close": [], "bytes": []}
    for shape in ((16, 3), (7,), (1,), (5, 2, 3)):
        whole = torch.randint(-1000, 1000, shape, generator=generator).float()
        fraction = torch.randn(shape, generator=generator)
        for name, x in (("equal", whole), ("close", fraction)):
            ours, theirs = x.clone(), x.clone()
            steps = distributed.ring_all_reduce(ours, watch=True)
            dist.all_reduce(theirs)
            same = torch.equal(ours, theirs) if name == "equal" or n == 2 else torch.allclose(ours, theirs)
            found[name].append(same and steps[-1].after == ours.flatten().tolist())
        found["bytes"].append((4 * whole.numel(), sum(step.sent_bytes for step in steps)))
    try:
        distributed.ring_all_reduce(torch.ones(3, 4).T)
    except ValueError as error:
        found["refused"] = str(error)
    return found


def check_rings(everybody: list[dict[str, Any]]) -> None:
    for found in everybody:
        assert all(found["equal"])
        assert all(found["close"])
        assert "is not contiguous" in found["refused"]
    # Chunks differ by one number where n does not divide: the formula holds for all processes together.
    n = len(everybody)
    for sizes in zip(*(found["bytes"] for found in everybody), strict=True):
        message = sizes[0][0]
        assert sum(sent for _, sent in sizes) == n * distributed.ring_bytes(message, n)


def test_ring_of_two_is_all_reduce_and_sends_what_the_formula_says(two):
    check_rings([found["rings"] for found in two])


def test_ring_of_four_is_all_reduce_and_sends_what_the_formula_says():
    check_rings(distributed.run(rings, 4, 0))


def normalized(cls: type, sizes: list[int], x: Tensor, target: Tensor) -> dict[str, Tensor]:
    """One training step of a layer on this process's part of the batch."""
    me = distributed.rank()
    torch.manual_seed(0)
    layer = cls(3).double()
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2)
        layer.bias.normal_()
    part = x.split(sizes)[me].clone().requires_grad_()
    out = layer(part)
    (out * target.split(sizes)[me]).sum().backward()
    gradients = [layer.weight.grad, layer.bias.grad]
    for gradient in gradients:
        dist.all_reduce(gradient)
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    return {"y": out.detach(), "x": part.grad, "weight": gradients[0], "bias": gradients[1], "state": state}


def timed() -> dict[int, float]:
    return distributed.measured([1024, 4096], repeats=3)


def trained(steps: int, batch_size: int = 8) -> list[Tensor]:
    """Parameters and losses after ``steps`` of momentum in float64 on 43 digits, in parts or whole."""
    train = data.mnist()[0].take(43)  # five batches of 8, and one of 3, which are two and one
    torch.manual_seed(distributed.rank())  # a different start in every process, but for what DDP does
    model = SimpleConvNet(filters=4, hidden=10).double()
    network = distributed.parallel(model, train)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    share, generator, done = distributed.Share(len(train), batch_size), torch.Generator().manual_seed(7), 0
    losses = []
    while done < steps:
        for x, y in train.batches(batch_size, generator=generator):
            x_part, y_part = share.of(x.double(), y)
            loss = F.cross_entropy(network(x_part), y_part) * share.weight(len(x_part), len(x))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(distributed.mean(loss))
            done += 1
            if done == steps:
                break
    return [*(parameter.detach().clone() for parameter in model.parameters()), torch.stack(losses)]


def fitted_network(folder: str) -> dict[str, Any]:
    """What ``fit`` leaves in this process, and who wrote the checkpoint."""
    train = data.mnist()[0].take(43)
    model = SimpleConvNet(filters=4, hidden=10, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    file = Path(folder) / f"{distributed.rank()}-of-{distributed.world_size()}.pt"
    history = fit(model, train, optimizer, epochs=2, batch_size=8, validation=train, progress=False,
                  checkpoint=file)  # fmt: skip
    accuracy = [epoch.validation_accuracy for epoch in history.epochs]
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    return {"weights": weights, "loss": history.loss, "accuracy": accuracy, "wrote": file.exists()}


def test_fit_takes_part_by_itself_and_ends_where_one_process_does(tmp_path):
    alone = fitted_network(str(tmp_path))
    both = distributed.run(fitted_network, 2, str(tmp_path))
    assert [found["wrote"] for found in both] == [True, False]
    for found in both:
        torch.testing.assert_close(found["weights"], alone["weights"], rtol=0, atol=1e-6)
        assert found["loss"] == pytest.approx(alone["loss"], abs=1e-5)
        assert found["accuracy"] == alone["accuracy"]


def refusals() -> dict[str, str]:
    """What each process says of what does not fit."""
    me, found = distributed.rank(), {}
    digits = data.mnist()[0]
    for name, call in {
        "network": lambda: distributed.parallel(nn.Linear(4, 2 + me)),
        "images": lambda: distributed.parallel(nn.Linear(4, 2), digits.take(10 + me)),
        "batch": lambda: distributed.Share(100, 25),
        "last": lambda: distributed.Share(101, 20),
    }.items():
        try:
            call()
        except ValueError as error:
            found[name] = str(error)
    return found


SIZES = ([4, 4], [5, 3])


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, target = torch.randn(2, 8, 3, 2, 2, dtype=torch.float64, generator=generator)
    return 3 + x, target


def jobs() -> dict[str, Any]:
    """All that two processes are asked for, at one start of them."""
    layers = (distributed.SyncBatchNorm, BatchNorm)
    norms = {(cls.__name__, *sizes): normalized(cls, sizes, *batch()) for cls in layers for sizes in SIZES}
    return {
        "rings": rings(0),
        "norms": norms,
        "timed": timed(),
        "trained": trained(50),
        "refused": refusals(),
    }


@pytest.fixture(scope="module")
def two() -> list[dict[str, Any]]:
    return distributed.run(jobs, 2)


@pytest.mark.parametrize("sizes", SIZES)
def test_sync_batch_norm_is_batch_norm_of_the_whole_batch(two, sizes: list[int]):
    x, target = batch()
    parts = [found["norms"]["SyncBatchNorm", *sizes] for found in two]
    apart = [found["norms"]["BatchNorm", *sizes] for found in two]
    torch.manual_seed(0)
    layer = BatchNorm(3).double()
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2)
        layer.bias.normal_()
    whole = x.clone().requires_grad_()
    out = layer(whole)
    (out * target).sum().backward()
    assert whole.grad.abs().max() > 0.01
    torch.testing.assert_close(torch.cat([part["y"] for part in parts]), out.detach())
    torch.testing.assert_close(torch.cat([part["x"] for part in parts]), whole.grad)
    for part in parts:
        torch.testing.assert_close(part["weight"], layer.weight.grad)
        torch.testing.assert_close(part["bias"], layer.bias.grad)
        for name, value in layer.state_dict().items():
            torch.testing.assert_close(part["state"][name], value)
    assert not torch.allclose(torch.cat([part["y"] for part in apart]), out, atol=1e-3)


def test_two_processes_train_as_one_on_the_same_batches(two):
    alone = trained(50)
    for found in two:
        for mine, theirs in zip(found["trained"], alone, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    torch.manual_seed(0)
    start = SimpleConvNet(filters=4, hidden=10).double()
    assert (next(start.parameters()) - alone[0]).abs().max() > 1e-3


def test_what_does_not_fit_is_said_in_every_process(two):
    for found in two:
        said = found["refused"]
        assert "process 1 has another network than process 0: weight (3, 4) against (2, 4)" in said["network"]
        assert "process 1 has other images than process 0: 11 of" in said["images"]
        assert "batch_size=25 is not divisible by 2 processes: take 24 or 26" in said["batch"]
        assert "is a batch of 1, too few for 2 processes" in said["last"]


def test_every_image_is_in_one_part():
    share = distributed.Share(100, 10)
    x, y = torch.arange(10.0)[:, None], torch.arange(10)
    assert share.of(x, y)[0] is not None
    assert torch.equal(share.of(x, y)[1], y)
    assert share.weight(10, 10) == 1
    assert distributed.parallel(model := nn.Linear(2, 2)) is model


def test_sync_batch_norm_alone_is_batch_norm():
    model = nn.Sequential(BatchNorm(3), nn.ReLU(), nn.Sequential(BatchNorm(3)))
    x = torch.randn(6, 3)
    expected = model(x)
    assert type(distributed.synchronized(model)[2][0]) is distributed.SyncBatchNorm
    torch.testing.assert_close(model(x), expected)


def failing(which: int, how: str) -> None:
    if distributed.rank() == which:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ArithmeticError("no such luck")
    dist.all_reduce(torch.ones(3))


@pytest.mark.parametrize("how", ["killed", "raises"])
def test_a_process_that_dies_is_named_and_the_others_are_stopped(how: str):
    began = time.monotonic()
    with pytest.raises(distributed.ProcessDied, match="process 1 died") as caught:
        distributed.run(failing, 2, 1, how)
    assert time.monotonic() - began < 60
    assert caught.value.rank == 1
    assert ("no such luck" if how == "raises" else "killed, exit code -9") in str(caught.value)


def test_processes_must_be_some():
    with pytest.raises(ValueError, match="processes=0 must be"):
        distributed.run(rings, 0)


def test_without_torchrun_there_is_one_process():
    with distributed.joined() as (rank, of):
        assert (rank, of) == (0, 1)
        assert not dist.is_initialized()
    assert (distributed.rank(), distributed.world_size()) == (0, 1)


WHOLE = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def test_what_torchrun_tells():
    assert distributed.told(WHOLE) == (1, 2)
    assert distributed.told({}) is None
    assert distributed.told({"MASTER_ADDR": "localhost"}) is None  # of itself it says nothing


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is set, but RANK, MASTER_ADDR, MASTER_PORT are not"),
        ({**WHOLE, "RANK": ""}, "WORLD_SIZE, MASTER_ADDR, MASTER_PORT are set, but RANK is not"),
        ({**WHOLE, "RANK": "2"}, "RANK='2' must be"),
        ({**WHOLE, "WORLD_SIZE": "two"}, "WORLD_SIZE='two'"),
    ],
)
def test_half_a_launch_is_refused(environment: dict[str, str], message: str):
    with pytest.raises(ValueError, match=message):
        distributed.told(environment)


def test_group_is_opened_and_closed_and_not_opened_twice(monkeypatch):
    for name, value in {**WHOLE, "RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": "29533"}.items():
        monkeypatch.setenv(name, value)
    with distributed.joined("gloo") as (rank, of):
        assert (rank, of, dist.is_initialized()) == (0, 1, True)
        with pytest.raises(RuntimeError, match="never closed"), distributed.joined("gloo"):
            pass
    assert not dist.is_initialized()


def test_alpha_beta_finds_what_made_the_times_and_predicts_others():
    link = AlphaBeta(alpha=5e-4, beta=8e8)
    for processes in (2, 8):
        times = {size: link.ring_all_reduce(size, processes) for size in (2**12, 2**16, 2**18)}
        found = distributed.fitted(times, processes)
        assert found.alpha == pytest.approx(link.alpha, rel=1e-6)
        assert found.beta == pytest.approx(link.beta, rel=1e-6)
        assert found.error({2**24: link.ring_all_reduce(2**24, processes)}, processes) < 1e-6


def test_alpha_is_never_negative():
    found = distributed.fitted({1000: 1e-6, 2000: 2.2e-6, 4000: 4.6e-6}, 2)
    assert found.alpha == 0
    assert found.beta == pytest.approx(1000 / 1.1e-6, rel=0.1)


@pytest.mark.parametrize("times", [{1000: 1.0}, {1000: 1.0, 2000: 0.0}, {1000: 4.0, 2000: 1.0, 9000: 0.1}])
def test_times_without_a_slope_are_refused(times: dict[int, float]):
    with pytest.raises(ValueError, match="seconds="):
        distributed.fitted(times, 2)


def test_everybody_measures_the_same(two):
    first, second = (found["timed"] for found in two)
    assert first == second
    assert list(first) == [1024, 4096]
    assert min(first.values()) > 0


def test_amdahl():
    assert distributed.speed_up(0, 8) == 8
    assert distributed.speed_up(0.1, 10**9) == pytest.approx(10, rel=1e-6)
    with pytest.raises(ValueError, match=r"serial_share=1.5"):
        distributed.speed_up(1.5, 2)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize(
    ("stages", "micro_batches"), [(1, 1), (1, 5), (4, 1), (4, 4), (4, 8), (3, 10), (8, 3)]
)
def test_bubble_of_a_timetable_is_the_formula(schedule: str, stages: int, micro_batches: int):
    table = distributed.timetable(stages, micro_batches, schedule)
    assert table.bubble == pytest.approx(distributed.bubble(stages, micro_batches))
    assert len(table.work) == 2 * stages * micro_batches
    most = [micro_batches] * stages if schedule == "gpipe" else None
    assert list(table.held) == (most or [min(micro_batches, stages - k) for k in range(stages)])


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_timetable_is_possible(schedule: str):
    """Nobody does two things at once, and nothing starts before what it needs is done."""
    table = distributed.timetable(4, 6, schedule)
    ends = {(each.stage, each.micro_batch, each.pass_): each.end for each in table.work}
    for stage in range(4):
        own = [each for each in table.work if each.stage == stage]
        assert all(a.end <= b.start for a, b in itertools.pairwise(own))
    for each in table.work:
        if each.pass_ == "forward" and each.stage:
            assert ends[each.stage - 1, each.micro_batch, "forward"] <= each.start
        if each.pass_ == "backward":
            needed = (3, "forward") if each.stage == 3 else (each.stage + 1, "backward")
            assert ends[needed[0], each.micro_batch, needed[1]] <= each.start


def test_pipeline_refuses():
    with pytest.raises(ValueError, match="stages=0"):
        distributed.bubble(0, 1)
    with pytest.raises(ValueError, match="schedule='zb' is unknown"):
        distributed.timetable(2, 2, "zb")
