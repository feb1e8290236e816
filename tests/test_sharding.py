"""What a sharded network sends and holds: counted by torch, and as the formulas say."""

from __future__ import annotations

import sys
from collections import Counter

import cloudpickle
import pytest
import torch.distributed as dist

from course_lib import distributed, measure, recorded
from course_lib.distributed import _private, memory, sharding
from course_lib.models.mlp import MLP
from course_lib.models.mobilenetv2 import MobileNetV2
from course_lib.models.resnet import ResNet

cloudpickle.register_pickle_by_value(sys.modules[__name__])

SHAPE = (4, 3, 32, 32)


def small() -> ResNet:
    return ResNet(18, stem="small", width=8, num_classes=10)


def expected(processes: int) -> Counter:
    model = small()
    blocks = [module for module in model.modules() if isinstance(module, sharding.BLOCKS)]
    inside = {id(parameter) for block in blocks for parameter in block.parameters()}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in inside]
    sizes = [sharding.padded(list(block.parameters()), processes) for block in blocks]
    return Counter(sharding.formula(sizes, sharding.padded(rest, processes)))


@pytest.mark.parametrize("processes", [8, 1024])
def test_collectives_of_a_made_up_group_are_the_formula(processes: int):
    found = sharding.collectives(small, SHAPE, processes)
    assert Counter(found) == expected(processes)
    assert Counter(each.kind for each in found) == {"all-gather": 17, "reduce-scatter": 9}
    assert not dist.is_initialized()


def really(processes: int | None) -> list[sharding.Collective]:
    return sharding.collectives(small, SHAPE, processes)


def test_collectives_of_two_real_processes_are_the_formula():
    first, second = distributed.run(really, 2, None)
    assert first == second
    assert Counter(first) == expected(2)


def test_counting_needs_a_group():
    with pytest.raises(ValueError, match="no process group is open"):
        sharding.collectives(small, SHAPE)


def test_bytes_that_each_process_sends():
    assert sharding.Collective("all-gather", 800).sent(8) == 700
    assert sharding.Collective("all-reduce", 800).sent(8) == distributed.ring_bytes(800, 8)


@pytest.mark.parametrize(("optimizer", "processes"), [("momentum", 1), ("adam", 8)])
def test_calculator_agrees_with_what_torch_counts(optimizer: str, processes: int):
    shape = (32, 3, 224, 224)
    held = memory.activations(MobileNetV2, shape)
    stage = 3 if processes > 1 else 0
    found = memory.needed(MobileNetV2, held, optimizer=optimizer, stage=stage, processes=processes)
    counted = memory.counted(MobileNetV2, shape, optimizer=optimizer, processes=processes)
    assert found.peak == pytest.approx(counted, rel=0.05)


def test_saved_activations_are_those_that_measure_counts():
    held = memory.activations(small, SHAPE)
    assert held.whole == measure.saved_for_backward(small(), SHAPE)
    assert held.whole == held.outside + sum(held.blocks)
    assert len(held.blocks) == len(held.inputs) == 8
    assert held.inputs[0] == 4 * 4 * 8 * 32 * 32
    assert max(held.blocks) < held.checkpointed < held.whole
    assert memory.activations(small, SHAPE, "bf16").whole < 0.7 * held.whole


def test_stages_cut_what_zero_cuts():
    held = memory.activations(small, SHAPE)
    whole = memory.needed(small, held, optimizer="adam")
    size = 4 * sum(parameter.numel() for parameter in small().parameters())
    assert (whole.weights, whole.gradients, whole.optimizer, whole.gathered) == (size, size, 2 * size, 0)
    for stage in range(4):
        part = memory.needed(small, held, optimizer="adam", stage=stage, processes=4)
        assert part.optimizer == 2 * size / (4 if stage >= 1 else 1)
        assert part.gradients == size / (4 if stage >= 2 else 1)
        assert part.weights == size / (4 if stage >= 3 else 1)
        assert (part.gathered > 0) == (stage == 3)
        assert part.activations == held.whole
    less = memory.needed(small, held, checkpointing=True)
    assert less.activations == held.checkpointed


def test_without_activations_to_speak_of_gradients_are_the_peak():
    def make() -> MLP:
        return MLP(784, (1000, 1000), 10)

    found = memory.needed(make, memory.activations(make, (2, 784)), optimizer="momentum")
    assert found.peak == 3 * found.weights


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "lion"}, "optimizer='lion' is unknown"),
        ({"stage": 4}, "stage=4 must be one of"),
        ({"processes": 0}, "processes=0 must be"),
    ],
)
def test_calculator_refuses(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        memory.needed(small, memory.Activations(0, 0, (), ()), **arguments)


def test_private_parts_of_torch_are_where_they_were():
    """When this fails torch has moved something: see what is new in course_lib/distributed/_private.py."""
    for name in _private.NAMES:
        assert _private.find(name).__name__ == name


def test_what_has_gone_is_named(monkeypatch):
    monkeypatch.setitem(_private.NAMES, "MemTracker", "torch.distributed._tools.nowhere")
    with pytest.raises(_private.Gone, match=r"no MemTracker in torch.distributed._tools.nowhere"):
        _private.find("MemTracker")


def test_a_group_is_not_made_up_over_another_one():
    with (
        _private.fake_group(4),
        pytest.raises(RuntimeError, match="a process group is open"),
        _private.fake_group(2),
    ):
        pass
    assert not dist.is_initialized()


def test_record_holds_what_was_counted():
    found = recorded.load("sharding")
    for row in found["memory"]:
        assert row["modelled"] == pytest.approx(row["counted"], rel=0.05)
    assert {row["processes"] for row in found["memory"]} == {1, 8, 64}
