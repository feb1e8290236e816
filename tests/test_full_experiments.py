"""The long experiments of many small runs: what they ask for, how it is kept, what their tables say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.full import _jobs, degradation, depth, few_labels
from benchmarks.full._jobs import Record
from course_lib import recorded

EXPERIMENTS = {"degradation": degradation, "depth": depth, "few_labels": few_labels}
RESULTS = Path(__file__).parents[1] / "book" / "results"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_is_recorded_is_whole_and_is_what_the_table_shows(name: str) -> None:
    record = Record(name, smoke=False)
    assert record.runs.keys() == EXPERIMENTS[name].jobs(False).keys()
    assert record.where
    table = (RESULTS / f"{name}.md").read_text("utf-8")
    assert table == EXPERIMENTS[name].table(record)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_trial_is_a_few_of_the_runs_cut_short(name: str) -> None:
    jobs, trial = EXPERIMENTS[name].jobs(False), EXPERIMENTS[name].jobs(True)
    assert 0 < len(trial) < len(jobs)
    assert trial.keys() <= jobs.keys()
    assert all(trial[key] != jobs[key] for key in trial)


def test_several_experiments_come_to_their_end_together() -> None:
    order = _jobs._interleaved([list("abcd"), [1, 2]])
    assert [each for each in order if each in (1, 2)] == [1, 2]
    assert [each for each in order if each not in (1, 2)] == list("abcd")
    assert 1 in order[:3]
    assert 2 in order[3:]


def test_a_record_is_kept_and_read_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(recorded, "FOLDER", tmp_path)
    record = Record("depth", smoke=False)
    assert (record.where, record.runs) == ("", {})
    record.where, record.runs = "a machine", {"b": {"test": 0.5}, "a": {"test": 1}}
    record.save()
    assert Record("depth", smoke=False).runs == record.runs
    assert list(json.loads((tmp_path / "depth.json").read_text("utf-8"))["runs"]) == ["a", "b"]
    assert [file.name for file in tmp_path.iterdir()] == ["depth.json"]
    assert Record("depth", smoke=True).file.parent != tmp_path


def test_the_networks_of_the_depth_experiment_have_equal_parameters() -> None:
    for kind in depth.KINDS:
        size = depth.count(depth.stages(kind, depth.width_of(kind)))
        assert abs(size / depth.PARAMETERS - 1) < 0.1, (kind, size)


def test_the_small_network_is_chosen_by_held_out_images_alone() -> None:
    runs = {}
    for network, held_out, test in (
        ("SimpleConvNet", 0.9, 0.1),
        ("DeepConvNet", 0.5, 0.8),
        ("ResNet-8", 0, 1),
    ):
        for seed in few_labels.SEEDS["digits"]:
            name = few_labels.name_of("digits", 28, seed, 5, 2, True, network)
            runs[f"small: {name}"] = {"held out": held_out, "test": test}
    assert few_labels.best_small(runs, "digits", 5, 2, True) == ("SimpleConvNet", [0.1])


def test_held_out_images_are_not_among_the_labelled() -> None:
    few, rest = few_labels.labelled("digits", 5, 0), few_labels.held_out("digits", 5, 0)
    together = {row.numpy().tobytes() for row in few.x}
    assert len(few) == 50
    assert len(rest) == 500
    assert not together & {row.numpy().tobytes() for row in rest.x}
