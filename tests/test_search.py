"""Searches draw what they promise, keep what they did, and go on where they were cut off."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import data, optim, search
from course_lib.models.mlp import MLP
from course_lib.search import Choice, Integer, LogUniform, Trial, Trials, Uniform
from course_lib.training import fit

SPACE = {"lr": LogUniform(1e-6, 1e-2), "weight_decay": LogUniform(1e-8, 1e-4)}
WIDE = {
    "lr": LogUniform(1e-3, 1.0),
    "momentum": Uniform(0, 0.9),
    "depth": Integer(1, 4),
    "hidden": Choice([(9,), "a", None]),
}


def near(parameters, report=lambda value: None):
    """The higher, the nearer ``lr`` is to 1e-3."""
    return -abs(math.log10(parameters["lr"]) + 3)


# The space


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: LogUniform(0, 1), "low is 0.*above 0"),
        (lambda: LogUniform(-1e-3, 1), "above 0"),
        (lambda: LogUniform(1e-2, 1e-6), "low is 0.01 and high 1e-06"),
        (lambda: Uniform(1, 1), "low must be below high"),
        (lambda: Uniform(0, math.inf), "finite"),
        (lambda: Uniform(math.nan, 1), "finite"),
        (lambda: Integer(1.5, 3), "whole numbers"),
        (lambda: Integer(3, 3), "below"),
        (lambda: Choice([]), "options is empty"),
    ],
)
def test_a_range_says_what_is_wrong_with_its_ends(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@given(seed=st.integers(0, 2**32), number=st.integers(0, 10**6))
@settings(max_examples=40)
def test_what_is_drawn_lies_in_the_space_and_follows_from_seed_and_number(seed, number):
    drawn = search.sample(WIDE, seed, number)
    assert drawn == search.sample(WIDE, seed, number)
    assert 1e-3 <= drawn["lr"] <= 1
    assert 0 <= drawn["momentum"] <= 0.9
    assert drawn["depth"] in (1, 2, 3, 4)
    assert type(drawn["depth"]) is int
    assert drawn["hidden"] in ((9,), "a", None)


def test_log_uniform_gives_each_power_of_ten_its_share():
    values = [search.sample(SPACE, 0, k)["lr"] for k in range(4000)]
    shares = np.histogram(np.log10(values), bins=4, range=(-6, -2))[0] / 4000
    assert abs(shares - 0.25).max() < 0.03  # four standard errors
    both = np.log10([list(search.sample(SPACE, 0, k).values()) for k in range(4000)])
    assert abs(np.corrcoef(both.T)[0, 1]) < 0.06


def test_seeds_and_numbers_give_different_trials():
    drawn = {search.sample(SPACE, seed, k)["lr"] for seed in range(10) for k in range(10)}
    assert len(drawn) == 100


def test_integers_reach_both_ends_and_choices_all_options():
    drawn = [search.sample(WIDE, 1, k) for k in range(200)]
    assert {d["depth"] for d in drawn} == {1, 2, 3, 4}
    assert {d["hidden"] for d in drawn} == {(9,), "a", None}


def test_narrow_spans_the_best_and_stays_inside():
    trials = [
        Trial(k, {"lr": lr, "momentum": 0.5, "depth": 4, "hidden": "a"}, 1.0, "finished")
        for k, lr in enumerate((1e-2, 0.1))
    ]
    space = search.narrow(WIDE, trials)
    assert space["lr"].low == pytest.approx(1e-2)
    assert space["lr"].high == pytest.approx(0.1)
    assert (space["momentum"].low, space["momentum"].high) == pytest.approx((0.455, 0.545))  # a tenth of 0.9
    assert space["depth"] == Integer(3, 4)
    assert space["hidden"] == Choice(("a",))
    at_the_end = search.narrow(SPACE, [Trial(0, {"lr": 1e-2, "weight_decay": 1e-8}, 1.0, "finished")])
    assert at_the_end["lr"].high == 1e-2
    assert at_the_end["weight_decay"].low == 1e-8
    with pytest.raises(ValueError, match="trials is empty"):
        search.narrow(SPACE, [])


# Random search and grid search


@pytest.mark.parametrize(
    ("space", "match"),
    [
        ({}, "space is {}"),
        ([], "at least one range"),
        ({"lr": (1e-6, 1e-2)}, r"space\['lr'\] is \(1e-06, 0.01\)"),
    ],
)
@pytest.mark.parametrize("run", [search.random_search, search.optuna_search])
def test_a_space_that_is_none_is_refused(run, space, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        run(near, space, 3, storage=tmp_path / "s")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("trials", [0, -1, 1.5, True])
@pytest.mark.parametrize("run", [search.random_search, search.optuna_search])
def test_fewer_than_one_trial_is_refused(run, trials, tmp_path):
    with pytest.raises(ValueError, match=r"trials is .* at least 1"):
        run(near, SPACE, trials, storage=tmp_path / "s")


def test_random_search_is_the_seeds_and_finds_the_best():
    found = search.random_search(near, SPACE, 30, seed=3, progress=False)
    assert [t.parameters for t in found] == [search.sample(SPACE, 3, k) for k in range(30)]
    assert found.best.score == max(near(t.parameters) for t in found)
    assert [t.score for t in found.top(5)] == sorted(found.values("score"))[:-6:-1]
    assert np.array_equal(found.values("lr"), [t.parameters["lr"] for t in found])


def test_grid_search_tries_every_combination():
    found = search.grid_search(near, {"lr": [1e-4, 1e-3], "weight_decay": [0, 1e-8, 1e-4]}, progress=False)
    assert [tuple(t.parameters.values()) for t in found] == [
        (a, b) for a in (1e-4, 1e-3) for b in (0, 1e-8, 1e-4)
    ]
    assert found.best.number == 3  # of equals the first
    for axes in ({}, {"lr": []}):
        with pytest.raises(ValueError, match="at least one"):
            search.grid_search(near, axes)


def explode(parameters, report):
    """Trains with steps that overflow where ``lr`` is large."""
    images = data.mnist()[0].take(20)
    model = MLP(784, [5], 10, weight_init=0.1)
    optimizer = optim.SGD(model.parameters(), lr=parameters["lr"])
    history = fit(model, images, optimizer, steps=3, batch_size=20, progress=False)
    report(-history.loss[-1])
    return -history.loss[-1]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_kept_marked_and_never_chosen(score):
    found = search.random_search(
        lambda p, report: score if p["lr"] > 1e-4 else near(p), SPACE, 20, progress=False
    )
    assert len(found) == 20
    for trial in found:
        assert (trial.state == "failed") == math.isnan(trial.score) == (trial.parameters["lr"] > 1e-4)
    assert found.best.parameters["lr"] <= 1e-4
    assert {t.state for t in found.top(20)} == {"finished"}
    assert "failed" in str(found)


def test_a_loss_that_overflows_makes_a_failed_trial():
    found = search.grid_search(explode, {"lr": [1e-3, 1e38]}, progress=False)
    assert [t.state for t in found] == ["finished", "failed"]
    assert found[1].curve == ()


def test_without_a_finished_trial_there_is_no_best():
    found = search.random_search(lambda p, report: math.nan, SPACE, 3, progress=False)
    assert found.top(1) == []
    with pytest.raises(ValueError, match=r"no trial finished.*Trials\(3 failed\)"):
        _ = found.best
    with pytest.raises(ValueError, match="no trial finished"):
        _ = Trials(()).best
    assert repr(Trials(())) == "Trials(none)"
    assert str(Trials(()))


def test_an_objectives_own_error_comes_through():
    with pytest.raises(ZeroDivisionError):
        search.random_search(lambda p, report: 1 / 0, SPACE, 3, progress=False)


def test_the_table_reads_best_first_and_escapes_html():
    trials = Trials(
        (
            Trial(0, {"h": "<b>"}, 0.5, "finished"),
            Trial(1, {"h": "x"}, math.nan, "failed"),
            Trial(2, {"h": "y"}, 0.75, "finished"),
        )
    )
    assert [row[0] for row in trials.cells()] == ["trial", "2", "0", "1"]
    assert str(trials).splitlines()[1].split() == ["2", "y", "0.75", "finished"]
    assert "&lt;b&gt;" in trials._repr_html_()
    assert repr(trials) == "Trials(2 finished, 1 failed)"


def test_progress_is_shown_unless_the_environment_says_no(capsys, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "0")
    search.random_search(near, SPACE, 3)
    assert capsys.readouterr().err == ""
    search.random_search(near, SPACE, 3, progress=True)
    assert "trial" in capsys.readouterr().err


def test_a_search_that_was_stopped_goes_on(tmp_path: Path):
    """Ctrl-C after 4 of 10; then a line that a killed process left half written."""
    storage, space, calls = tmp_path / "deep" / "search.jsonl", WIDE, []

    def objective(parameters, report):
        calls.append(parameters)
        if len(calls) == 5:
            raise KeyboardInterrupt
        report(math.nan)
        return near(parameters)

    first = search.random_search(objective, space, 10, storage=storage, progress=False)
    assert first.interrupted
    assert len(first) == 4
    with storage.open("a") as file:
        file.write('{"number": 4, "param')
    found = search.random_search(objective, space, 10, storage=storage, progress=False)
    plain = search.random_search(near, space, 10, progress=False)
    assert not found.interrupted
    assert [(t.parameters, t.score) for t in found] == [(t.parameters, t.score) for t in plain]
    assert len(calls) == 11  # 10 and the one that was stopped
    assert len(storage.read_text().splitlines()) == 10
    assert len(search.random_search(objective, space, 10, storage=storage, progress=False)) == 10
    assert len(search.random_search(objective, space, 6, storage=storage, progress=False)) == 6
    assert len(calls) == 11
    with pytest.raises(ValueError, match="of another search: its trial 0"):
        search.random_search(objective, space, 10, seed=1, storage=storage, progress=False)
    storage.write_text("hello\n")
    with pytest.raises(ValueError, match="no trial, b'hello'"):
        search.random_search(objective, space, 10, storage=storage, progress=False)


def kept(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def not_ours(folder: Path) -> list[Path]:
    """Files of other people, and of other searches, one kind each."""
    whole = folder / "cut.jsonl"
    search.random_search(near, SPACE, 2, seed=9, storage=whole, progress=False)
    line = whole.read_bytes().split(b"\n")[1]
    texts = {
        "notes.txt": b"my notes",
        "lines.txt": b"my notes\nand more\n",
        "one.json": b'{"number": 3}',
        "many.jsonl": b'{"number": 0, "text": "mine"}\n',
        "list.json": b"[1, 2]\n",
        "numbers.txt": b"1\n2\n",
        "latin.txt": "müde".encode("latin-1"),
        "photo.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "half.jsonl": line[: len(line) // 2],  # of a search with another seed
        "behind.jsonl": line.replace(b'"number": 1', b'"number": 0') + b"\n",
    }
    for name, text in texts.items():
        (folder / name).write_bytes(text)
    with sqlite3.connect(folder / "theirs.db") as database:
        database.execute("CREATE TABLE notes (text)")
        database.execute("INSERT INTO notes VALUES ('mine')")
    database.close()
    return sorted(path for path in folder.iterdir())


def run_grid(objective, space, trials, **options):
    return search.grid_search(objective, {"lr": [1e-3, 1e-2], "weight_decay": [0]}, **options)


@pytest.mark.parametrize("run", [search.random_search, run_grid, search.optuna_search])
def test_a_file_that_is_not_this_searchs_own_stays_as_it_is(run, tmp_path: Path):
    pytest.importorskip("optuna")
    files = not_ours(tmp_path)
    before, calls = kept(tmp_path), []
    for path in [*files, tmp_path]:
        with pytest.raises(ValueError, match=r"(?s)the storage .* (is|holds|ends).*stays as it is"):
            run(lambda p, r: calls.append(p), SPACE, 3, storage=path, progress=False)
    assert kept(tmp_path) == before  # nor is there a new file beside them
    assert not calls
    with pytest.raises(ValueError, match="a text that begins with 'my notes'"):
        run(near, SPACE, 3, storage=tmp_path / "notes.txt", progress=False)
    with pytest.raises(ValueError, match="a binary file of 16 bytes"):
        run(near, SPACE, 3, storage=tmp_path / "photo.png", progress=False)
    with pytest.raises(ValueError, match="an SQLite database"):
        run(near, SPACE, 3, storage=tmp_path / "theirs.db", progress=False)
    with pytest.raises(ValueError, match="a folder"):
        run(near, SPACE, 3, storage=tmp_path, progress=False)


def test_a_note_below_the_trials_is_not_cut_off(tmp_path: Path):
    path = tmp_path / "s.jsonl"
    search.random_search(near, SPACE, 2, storage=path, progress=False)
    own = path.read_bytes()
    for note in (b"the second was best", b'{"number": 1, "parameters": {"lr": 1}', b'{"numb": 2'):
        path.write_bytes(own + note)
        with pytest.raises(ValueError, match="ends in what is no trial"):
            search.random_search(near, SPACE, 3, storage=path, progress=False)
        assert path.read_bytes() == own + note
    # Half a line of its own, at every length, and of a trial that only a longer search has.
    third = search.random_search(near, SPACE, 3, storage=tmp_path / "t.jsonl", progress=False)
    line = (tmp_path / "t.jsonl").read_bytes().splitlines()[2]
    for length in range(1, len(line), 7):
        path.write_bytes(own + line[:length])
        assert len(search.random_search(near, SPACE, 2, storage=path, progress=False)) == 2
        again = search.random_search(near, SPACE, 3, storage=path, progress=False)
        assert [t.parameters for t in again] == [t.parameters for t in third]


def named(text):
    return lambda: text


@pytest.mark.parametrize("method", ["random", "grid", "optuna"])
def test_an_option_is_known_by_its_place_whatever_it_is(method, tmp_path: Path):
    """Arrays, tensors, functions, a dict that JSON cannot write, and options that are equal: 1, 1.0, True."""
    pytest.importorskip("optuna")

    def options():  # new objects each time, as in a new process
        return [
            np.zeros(2000), np.ones(2000), torch.zeros(3), named("a"), named("b"), {(1, 2): np.ones(2)},
            [np.ones(2)], None, 1, 1.0, True, math.nan, np.int64(1), "x", (9,),
        ]  # fmt: skip

    seen = []

    def run(given, seed=0, trials=80):
        def objective(parameters, report):
            place = next(k for k, option in enumerate(given) if option is parameters["it"])
            seen.append(place)
            return float(place)

        arguments = {"storage": tmp_path / "s", "progress": False}
        if method == "grid":
            return search.grid_search(objective, {"it": given}, **arguments)
        space = {"it": Choice(given), "lr": LogUniform(1e-3, 1.0)}
        if method == "random":
            return search.random_search(objective, space, trials, seed=seed, **arguments)
        return search.optuna_search(objective, space, trials, sampler="random", seed=seed, **arguments)

    first = options()
    found = run(first)
    count = len(seen)
    assert count == len(found)
    assert set(seen) == set(range(15))
    assert all(first[int(t.score)] is t.parameters["it"] for t in found)
    second = options()
    again = run(second)
    assert len(seen) == count  # all of it was in the storage
    assert [t.score for t in again] == [t.score for t in found]
    assert all(second[int(t.score)] is t.parameters["it"] for t in again)
    assert len(str(again).splitlines()) == len(again) + 1  # a trial a line
    assert again.values("it").shape == (len(again),)
    space = {"it": Choice(first)}
    for trial in found:
        (its,) = search.narrow(space, [trial])["it"].options
        assert its is trial.parameters["it"]
    if method != "grid":
        with pytest.raises(ValueError, match="of another search"):
            run(options(), seed=1)
    with pytest.raises(ValueError, match="of another search"):
        run([*first[:-2], "y", (8,)])


def test_choices_are_equal_where_their_options_are():
    assert Choice([np.ones(2), 1]) == Choice([np.ones(2), 1])
    assert Choice([np.ones(2)]) != Choice([np.zeros(2)])
    assert Choice([1]) != Choice([True])
    assert len({Choice([[1]]), Choice([[1]])}) == 1
    assert Choice([1, 1.0, True]).around([True]) == Choice([True])


def test_a_storage_of_before_places_were_written_is_read(tmp_path: Path):
    path = tmp_path / "s.jsonl"
    found = search.random_search(near, WIDE, 4, storage=path, progress=False)
    old = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(line.pop("places").keys() == {"hidden"} for line in old)
    path.write_text("".join(json.dumps(line) + "\n" for line in old))
    again = search.random_search(lambda p, r: 1 / 0, WIDE, 4, storage=path, progress=False)
    assert list(again) == list(found)


@pytest.mark.parametrize(
    ("returned", "match"),
    [
        (None, r"the objective returned None.*`return` is missing"),
        ((0.9, 0.1), r"the objective returned \(0.9, 0.1\).*a score is one number"),
        ("0.9", "the objective returned '0.9'; it must be a number"),
        (np.ones(2), "the objective returned array"),
        (torch.ones(2), "the objective returned tensor"),
    ],
)
def test_an_objective_that_returns_no_number_is_told(returned, match, tmp_path: Path):
    pytest.importorskip("optuna")
    for run in (search.random_search, run_grid, search.optuna_search):
        path = tmp_path / run.__name__
        with pytest.raises(ValueError, match=match):
            run(lambda p, r: returned, SPACE, 2, storage=path, progress=False)
        with pytest.raises(
            ValueError, match=match.replace("the objective returned", "report was given")[:22]
        ):
            run(lambda p, report: report(returned), SPACE, 2, storage=path, progress=False)


@pytest.mark.parametrize("one", [torch.tensor(0.5), np.array([0.5]), np.float32(0.5), True, 1])
def test_an_array_or_tensor_of_one_number_is_a_score(one):
    def objective(parameters, report):
        report(one)
        return one

    (trial,) = search.random_search(objective, SPACE, 1, progress=False)
    assert trial.score == np.asarray(one).item() == trial.curve[0]
    assert type(trial.score) is float


@pytest.mark.parametrize("run", [search.random_search, run_grid, search.optuna_search])
def test_optunas_own_word_for_pruned_is_understood(run, tmp_path: Path):
    optuna = pytest.importorskip("optuna")

    def objective(parameters, report):
        report(0.5)
        raise optuna.TrialPruned

    for trial in run(objective, SPACE, 2, storage=tmp_path / "s", progress=False):
        assert trial.state == "pruned"
        assert trial.curve == (0.5,)


# Optuna

optuna = pytest.importorskip("optuna")


def test_optuna_search_with_the_random_sampler_is_random_search(tmp_path: Path):
    found = search.optuna_search(
        near, WIDE, 8, storage=tmp_path / "s.db", sampler="random", seed=2, progress=False
    )
    plain = search.random_search(near, WIDE, 8, seed=2, progress=False)
    assert [(t.number, t.parameters, t.score) for t in found] == [
        (t.number, t.parameters, t.score) for t in plain
    ]


def test_tpe_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path):
    arguments = {"space": WIDE, "progress": False, "seed": 5, "prune": False}
    whole = search.optuna_search(near, trials=16, storage=tmp_path / "whole.db", **arguments)
    calls = []

    def stopped(parameters, report):
        calls.append(parameters)
        if len(calls) == 13:  # beyond TPE's ten trials at random
            raise KeyboardInterrupt
        return near(parameters)

    first = search.optuna_search(stopped, trials=16, storage=tmp_path / "parts.db", **arguments)
    assert first.interrupted
    assert len(first) == 12
    second = search.optuna_search(stopped, trials=16, storage=tmp_path / "parts.db", **arguments)
    assert [t.parameters for t in second] == [t.parameters for t in whole]
    assert len(calls) == 17
    assert len({t.parameters["lr"] for t in whole}) == 16


def test_a_hopeless_trial_is_pruned_and_what_it_said_is_kept(tmp_path: Path):
    def objective(parameters, report):
        for _ in range(4):
            report(near(parameters))
        return near(parameters)

    run = {"storage": tmp_path / "s.db", "sampler": "random", "progress": False}
    found = search.optuna_search(objective, SPACE, 20, **run)
    pruned = [t for t in found if t.state == "pruned"]
    assert pruned
    assert all(math.isnan(t.score) and 2 <= len(t.curve) < 4 for t in pruned)
    assert all(len(t.curve) == 4 for t in found if t.state == "finished")
    assert found.best.score == max(near(t.parameters) for t in found)
    assert all(t.state == "finished" for t in list(found)[:5])
    never = search.optuna_search(objective, SPACE, 20, **run | {"storage": tmp_path / "n.db", "prune": False})
    assert {t.state for t in never} == {"finished"}


def test_optuna_keeps_failed_trials_marked_and_asked_for_once(tmp_path: Path):
    def objective(parameters, report):
        report(math.nan)
        return math.nan if parameters["lr"] > 1e-4 else near(parameters)

    calls = []
    run = {"storage": tmp_path / "s.db", "sampler": "random", "progress": False}
    found = search.optuna_search(objective, SPACE, 10, **run)
    again = search.optuna_search(lambda p, r: calls.append(p), SPACE, 10, **run)
    assert not calls
    for trial in again:
        assert (trial.state == "failed") == (trial.parameters["lr"] > 1e-4)
    assert again.best == found.best
    assert len(search.optuna_search(objective, SPACE, 4, **run)) == 4


def test_a_storage_of_another_search_and_other_mistakes_are_refused(tmp_path: Path):
    run = {"storage": tmp_path / "s.db", "progress": False}
    search.optuna_search(near, SPACE, 1, **run)
    for change in ({"space": WIDE}, {"seed": 1}, {"sampler": "random"}):
        with pytest.raises(ValueError, match="of another search"):
            search.optuna_search(near, **{"space": SPACE, "trials": 1} | run | change)
    study = optuna.create_study(study_name="theirs", storage=f"sqlite:///{tmp_path / 'o.db'}")
    before = kept(tmp_path)
    with pytest.raises(ValueError, match="studies of its own: theirs"):
        search.optuna_search(near, SPACE, 1, storage=tmp_path / "o.db", progress=False)
    assert kept(tmp_path) == before
    assert [one.study_name for one in optuna.get_all_study_summaries(study._storage)] == ["theirs"]
    (tmp_path / "uv.lock").write_text("version = 1")
    (tmp_path / "u.1.lock").write_text("mine")
    with pytest.raises(ValueError, match=r"uv.lock as its lock, which is a text that begins with 'version"):
        search.optuna_search(near, SPACE, 1, storage=tmp_path / "uv", progress=False)
    with pytest.raises(ValueError, match=r"u.1.lock as its lock"):
        search.optuna_search(near, SPACE, 2, storage=tmp_path / "u", progress=False)
    assert (tmp_path / "uv.lock").read_text() == "version = 1"
    assert (tmp_path / "u.1.lock").read_text() == "mine"
    with pytest.raises(ValueError, match="sampler is 'grid'"):
        search.optuna_search(near, SPACE, 1, sampler="grid", **run)
    with pytest.raises(ValueError, match="workers is 0"):
        search.optuna_search(near, SPACE, 1, workers=0, **run)


def test_without_optuna_the_error_says_what_to_install(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install optuna cloudpickle"):
        search.optuna_search(near, SPACE, 1, storage=tmp_path / "s.db")


def by_workers(folder: str, killing: bool) -> None:
    """Two workers on 8 trials, each trial a line in a file as it starts and one as it ends."""
    folder = Path(folder)

    def objective(parameters, report):
        with (folder / "started").open("a") as file:
            file.write(f"{os.getpid()} {parameters['lr']!r}\n")
        while killing and not (folder / "go").exists():
            time.sleep(0.01)
        with (folder / "ended").open("a") as file:
            file.write(f"{parameters['lr']!r}\n")
        return near(parameters)

    # Sent by value, as from a notebook: the workers need not be able to import this module.
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    found = search.optuna_search(
        objective, SPACE, 8, storage=folder / "s.db", workers=2, sampler="random", progress=False
    )
    (folder / "found").write_text(json.dumps([[t.number, t.parameters["lr"], t.score] for t in found]))


def wait_for(condition, seconds=600):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing happened for ten minutes"
        time.sleep(0.02)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_killed_workers_lose_and_repeat_nothing(tmp_path: Path):
    """kill -9 one worker in the middle of a trial, then the whole search in the middle of two; then go on."""
    expected = [[k, p["lr"], near(p)] for k in range(8) for p in [search.sample(SPACE, 0, k)]]
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=by_workers, args=(str(tmp_path), True))
    process.start()
    wait_for(lambda: len(lines(tmp_path / "started")) == 2)
    killed, other = (int(line.split()[0]) for line in lines(tmp_path / "started"))
    assert killed != other
    os.kill(killed, signal.SIGKILL)  # one worker, in its trial
    process.kill()  # and the search
    process.join()
    wait_for(lambda: not alive(other))  # a worker does not outlive its search
    assert lines(tmp_path / "ended") == []

    (tmp_path / "go").touch()
    by_workers(str(tmp_path), True)
    assert json.loads((tmp_path / "found").read_text()) == expected
    ended = [float(line) for line in lines(tmp_path / "ended")]
    assert sorted(ended) == sorted(lr for _, lr, _ in expected)  # each once
    started = [float(line.split()[1]) for line in lines(tmp_path / "started")]
    assert len(started) == 10  # the two that were cut short once more
    assert len({line.split()[0] for line in lines(tmp_path / "started")[2:]}) <= 2


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def test_a_worker_that_is_killed_is_replaced_by_the_others(tmp_path: Path):
    def objective(parameters, report):
        try:
            (tmp_path / "first").touch(exist_ok=False)
        except FileExistsError:
            return near(parameters)
        os.kill(os.getpid(), signal.SIGKILL)

    found = search.optuna_search(
        objective, SPACE, 5, storage=tmp_path / "s.db", workers=2, sampler="random", progress=False
    )
    assert [t.parameters for t in found] == [search.sample(SPACE, 0, k) for k in range(5)]
    assert {t.state for t in found} == {"finished"}


def test_what_goes_wrong_in_a_worker_is_told(tmp_path: Path):
    def wrong(parameters, report):
        raise LookupError("no such network")

    run = {"storage": tmp_path / "s.db", "workers": 2, "progress": False}
    with pytest.raises(RuntimeError, match="no such network"):
        search.optuna_search(wrong, SPACE, 3, **run)
    with pytest.raises(RuntimeError, match=r"killed.*-9.*memory"):
        search.optuna_search(lambda p, report: os.kill(os.getpid(), signal.SIGKILL), SPACE, 3, **run)
    found = search.optuna_search(near, SPACE, 3, storage=tmp_path / "s.db", progress=False)
    assert len(found) == 3
    assert not list(tmp_path.glob("*.[0-9].lock"))
