"""The room ``device``: names, seeds, precision, memory format."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from course_lib import device as devices

PRESENT = [name for name in devices.available() if name != "cuda"]


@pytest.fixture(autouse=True)
def _no_course_device(monkeypatch):
    monkeypatch.delenv("COURSE_DEVICE", raising=False)


def test_available_starts_with_the_cpu_and_counts_every_gpu():
    names = devices.available()
    assert names[0] == "cpu"
    assert [name for name in names if name.startswith("cuda:")] == [
        f"cuda:{index}" for index in range(torch.cuda.device_count())
    ]


@pytest.mark.parametrize("name", PRESENT)
def test_resolve_gives_the_device_that_a_tensor_reports(name):
    resolved = devices.resolve(name)
    assert isinstance(resolved, torch.device)
    assert torch.zeros(1, device=name).device == resolved == devices.resolve(resolved)


def test_resolve_none_takes_the_best_device_there_is():
    best = next(kind for kind in ("cuda", "mps", "cpu") if kind in devices.available())
    assert devices.resolve().type == best


def test_resolve_none_obeys_the_environment(monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    assert devices.resolve() == torch.device("cpu")
    monkeypatch.setenv("COURSE_DEVICE", "")
    assert devices.resolve().type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", "cpu:3", "", 1.5])
def test_resolve_refuses_what_is_not_there_and_names_what_is(name):
    with pytest.raises(ValueError, match=r"device='.*' is not a device of this machine; it has cpu"):
        devices.resolve(name)


def test_resolve_blames_the_environment_variable_for_its_value(monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "tpu")
    with pytest.raises(ValueError, match="COURSE_DEVICE='tpu'"):
        devices.resolve()


def test_describe(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert devices.describe("cpu") == "CPU, 2 threads"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert devices.describe("cpu") == "CPU, 1 thread"


@pytest.mark.parametrize("name", PRESENT)
def test_seed_everything_repeats_every_generator(name):
    def draw():
        old = np.random.random()  # noqa: NPY002 - the generator that seed_everything is there for
        return random.random(), old, torch.rand(1).item(), torch.rand(1, device=name).item()

    devices.seed_everything(7)
    first = draw()
    assert draw() != first
    devices.seed_everything(7)
    assert draw() == first
    devices.seed_everything(8)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, True, "0"])
def test_seed_everything_refuses_what_numpy_cannot_take(seed):
    with pytest.raises(ValueError, match=r"seed=.* must be an integer from 0 to 4294967295"):
        devices.seed_everything(seed)


@pytest.mark.parametrize("name", PRESENT)
@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_sets_the_precision_of_a_product_and_can_be_entered_twice(name, precision, dtype):
    a = torch.ones(4, 4, device=name)
    context = devices.autocast(name, precision)
    for _ in range(2):
        with context:
            assert (a @ a).dtype == dtype
        assert (a @ a).dtype == torch.float32


def test_autocast_refuses_an_unknown_precision():
    with pytest.raises(ValueError, match="precision='fp8' is unknown; choose one of fp32, bf16, fp16"):
        devices.autocast("cpu", "fp8")


def test_autocast_refuses_fp16_without_cuda():
    with pytest.raises(ValueError, match=r"precision='fp16' needs a CUDA device.*'bf16' runs everywhere"):
        devices.autocast("cpu", "fp16")


def test_memory_format_follows_the_weights():
    assert devices.memory_format(nn.Linear(3, 2)) is torch.contiguous_format
    assert devices.memory_format(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())) is torch.channels_last
    assert devices.memory_format(nn.Conv1d(3, 4, 3)) is torch.contiguous_format


@pytest.mark.parametrize("name", PRESENT)
def test_synchronize_returns(name):
    assert devices.synchronize(name) is None


def test_depthwise_in_float32_changes_nothing_but_what_autocast_does_to_them():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, 2, groups=4))
    kept = devices.depthwise_in_float32(copy.deepcopy(plain))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(kept(x), plain(x))
    plain.load_state_dict(kept.state_dict())
    with devices.autocast("cpu", "bf16"):
        assert plain(x).dtype == torch.bfloat16
        assert kept(x).dtype == torch.float32
        assert kept[0](x).dtype == torch.bfloat16
    assert type(copy.deepcopy(kept)[1]) is type(kept[1])
