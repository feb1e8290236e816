"""The GPU part of chapter 12 runs, every section of it, on tiny sizes and on any device."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.gpu import _tables, fastest, memory
from benchmarks.gpu.__main__ import SHARES, earlier, measured, shares, write
from benchmarks.gpu._clock import Deadline, summary, tf32, times
from benchmarks.gpu._settings import FULL, SMOKE
from benchmarks.gpu.roofline import counted
from course_lib import data
from course_lib.models.convnets import SimpleConvNet
from course_lib.models.resnet import ResNet


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_DEVICE", "cpu")
        patch.delenv("COURSE_DATA", raising=False)
        out = tmp_path_factory.mktemp("speed")
        found = measured(SMOKE, list(SHARES), 600, lambda record: write(record, out))
    return found, out


def test_every_section_runs(record):
    found, _ = record
    assert [name for name in SHARES if "error" in found[name]] == []
    assert all(cell["images_per_second"] > 0 for cell in found["grid"]["cells"])
    assert {row["name"].split(", ")[-1] for row in found["feeding"]["rows"]} >= {"no workers"}


def test_both_files_are_written_and_agree(record):
    found, out = record
    assert json.loads((out / "speed.json").read_text("utf-8")) == json.loads(json.dumps(found))
    text = (out / "speed.md").read_text("utf-8")
    assert text == _tables.text(found)
    assert "these numbers mean nothing" in text
    assert sorted(path.name for path in out.iterdir()) == ["speed.json", "speed.md"]


def test_ladder_keeps_only_what_pays(record):
    rungs = record[0]["fastest"]["ladder"][1:]
    for rung in rungs:
        better = rung["gain"] > 0 if rung["kind"] == "accuracy" else rung["gain"] < 0
        assert rung["kept"] == (rung["p"] is not None and rung["p"] < fastest.LEVEL and better)


def test_what_there_is_no_time_for_is_named(monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    monkeypatch.delenv("COURSE_DATA", raising=False)
    found = measured(SMOKE, ["switches", "grid"], 0, lambda record: None)
    assert len(found["switches"]["skipped"]) == 6
    assert all(cell["milliseconds"] is None for cell in found["grid"]["cells"])
    assert "No time for: " in _tables.text(found)
    assert "There was no time for this." in _tables.text(found)


def test_chosen_sections_have_all_the_time_and_keep_the_others(tmp_path):
    assert shares(list(SHARES)) == pytest.approx(SHARES)
    assert shares(["grid", "fastest"])["fastest"] == pytest.approx(1)
    assert shares(["fastest"]) == pytest.approx({"fastest": 1})
    write({"protocol": "an earlier run", "roofline": {"error": "none"}}, tmp_path)
    assert earlier(tmp_path, FULL)["roofline"] == {"error": "none"}
    assert earlier(tmp_path, SMOKE) == {}


def test_times_are_those_of_one_step():
    calls = []
    found = times(lambda: calls.append(1), torch.device("cpu"), n=3, warmup=2, least=1e-5, limit=1)
    assert found["n"] == 3
    assert 0 < found["low"] <= found["median"] <= found["high"]
    assert summary([4.0]) == {"median": 4, "low": 4, "high": 4, "n": 1}


def test_deadline():
    assert Deadline(10).allows(9)
    assert not Deadline(10).allows(11)
    assert Deadline(-1).left < 0


def test_tf32_is_put_back():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with tf32(not before[0]):
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == (not before[0])
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_operations_and_bytes_of_a_layer():
    layer = nn.Conv2d(3, 8, 5)
    x = torch.randn(2, 3, 12, 12)
    outputs = 2 * 8 * 8 * 8
    assert counted(layer, x) == (2 * outputs * 3 * 25, 4 * (x.numel() + 8 * 75 + 8 + outputs))
    assert counted(nn.ReLU(), x)[0] == x.numel()


@pytest.mark.parametrize("size", [16, 18])  # 18 images make unequal parts
def test_accumulated_gradients_are_those_of_the_whole(size: int):
    torch.manual_seed(0)
    model = SimpleConvNet().double()
    x, y = torch.randn(size, 1, 28, 28, dtype=torch.float64), torch.randint(10, (size,))
    F.cross_entropy(model(x), y).backward()
    whole = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    memory.gradients(model, x, y, 4)
    assert all(gradient.abs().max() > 0 for gradient in whole)
    for parameter, gradient in zip(model.parameters(), whole, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-14)


def test_checkpointing_changes_no_gradient_and_is_undone():
    model = ResNet(18, width=4, num_classes=5).double().train()
    x, y = torch.randn(4, 3, 64, 64, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    F.cross_entropy(model(x), y).backward()
    whole = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    with memory.blocks_computed_twice(model):
        assert "forward" in vars(model.layer1[0])
        F.cross_entropy(model(x), y).backward()
    assert "forward" not in vars(model.layer1[0])
    for parameter, gradient in zip(model.parameters(), whole, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_whitened_filters_put_out_uncorrelated_numbers_of_equal_variance():
    x, _ = data.mnist()[0].take(500, seed=0).tensors()
    conv = nn.Conv2d(1, 20, 3)
    drawn = conv.weight[18:].clone()
    fastest.whiten(conv, x, eps=0)
    out = F.conv2d(x, conv.weight[:9]).transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.cov(out), torch.eye(9), rtol=0, atol=1e-3)
    torch.testing.assert_close(conv.weight[9:18], -conv.weight[:9])
    assert torch.equal(conv.weight[18:], drawn)


def test_one_cycle_rises_in_the_first_quarter_and_falls_to_almost_zero():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler, rates = fastest.one_cycle(optimizer, 20), []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert max(rates) == rates[4] == 2.0
    assert rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)
    assert 0 < rates[-1] < 0.2


def test_mirrored_network_sees_both_images():
    model = fastest.Mirrored(nn.Flatten())
    x = torch.randn(2, 1, 3, 3)
    torch.testing.assert_close(model(x), model(x.flip(-1)))
