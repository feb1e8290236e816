import html.parser
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from packaging.requirements import Requirement
from packaging.version import Version
from torch import nn

from course_lib import init, measure, optim
from course_lib.teaching import ClaimFailed, ask, check, claim, require, setup, show_source
from course_lib.teaching.numbers import read_number


def test_claim_prints_one_stable_line(capsys):
    claim("He keeps the signal alive", True)
    assert capsys.readouterr().out == "✓ He keeps the signal alive\n"


@pytest.mark.parametrize("condition", [False, torch.tensor([True, False]), np.array([False])])
def test_claim_that_does_not_hold_raises_and_shows_nothing(condition, capsys):
    with pytest.raises(ClaimFailed, match="no longer holds: 'the moon is cheese'"):
        claim("the moon is cheese", condition)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("condition", [None, 1, torch.ones(3), "yes"])
def test_claim_wants_truth_values(condition):
    with pytest.raises(ValueError, match="condition"):
        claim("it holds", condition)


def test_claim_wants_a_sentence():
    with pytest.raises(ValueError, match="text is empty"):
        claim(" ", True)


def test_show_source_shows_the_library_as_it_is(capsys):
    show_source(init.kaiming_normal_)
    shown = capsys.readouterr().out
    assert "gain(activation) / math.sqrt(fan_in)" in shown
    assert "He et al." not in shown
    compile(shown, "shown", "exec")
    show_source(optim.SGD, docstring=True)
    assert "Robbins" in capsys.readouterr().out


def test_show_source_without_docstrings_is_still_python(capsys):
    for thing in (optim.SGD, init, init.initialize):
        show_source(thing)
        compile(capsys.readouterr().out, "shown", "exec")


def test_show_source_of_something_without_source():
    with pytest.raises(ValueError, match="no Python source"):
        show_source(torch.randn)


@pytest.fixture
def pip(monkeypatch):
    """What pip was asked for: the arguments, and the versions that it was held to."""
    calls = []

    def run(command, **_):
        held = Path(command[command.index("--constraint") + 1]).read_text()
        calls.append((command, held))
        failed = "no-such-package" in command
        return subprocess.CompletedProcess(command, int(failed), "", "ERROR: nothing found" if failed else "")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_require_installs_nothing_that_is_there(pip):
    require("torch", "numpy>=1.0")
    assert pip == []


def test_require_asks_pip_for_what_is_missing_and_holds_the_rest(pip):
    require("torch", "no-such-package-yet>=1")
    ((command, held),) = pip
    assert command[1:4] == ["-m", "pip", "install"]
    assert command[-1] == "no-such-package-yet>=1"
    assert "torch" not in command
    assert f"numpy=={np.__version__}" in held.splitlines()


def test_require_says_what_pip_said(pip):
    with pytest.raises(ImportError, match=r"needs no-such-package, and pip failed:\nERROR: nothing found"):
        require("no-such-package")


def test_require_holds_pip_only_to_what_pip_can_be_held_to(pip, tmp_path, monkeypatch):
    """Debian's versions, none at all, no metadata: pip would refuse the whole list for one such line."""
    for name, text in {
        "odd": "Name: odd\nVersion: 1.1build1\n",
        "unknown": "Name: unknown\nVersion: 0.0.0-unknown\n",
        "none": "Name: none\n",
        "nameless": "Version: 1.0\n",
        "strange": "Name: a strange name\nVersion: 1.0\n",
        "fine": "Name: fine\nVersion: 1.0+local\n",
    }.items():
        (tmp_path / f"{name}-1.dist-info").mkdir()
        (tmp_path / f"{name}-1.dist-info" / "METADATA").write_text(text)
    (tmp_path / "empty-1.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    require("no-such-package-yet")
    ((_, held),) = pip
    for line in held.splitlines():
        Version(Requirement(line).specifier.__iter__().__next__().version)
    assert "fine==1.0+local" in held.splitlines()
    assert f"numpy=={np.__version__}" in held.splitlines()
    assert not re.search("odd|unknown|none|strange", held)
    require("odd", "odd>=1", "none", "fine>=1")  # they are there, so nothing is installed over them
    assert len(pip) == 1


def test_require_wants_a_requirement(pip):
    with pytest.raises(ValueError, match="requirement is 'a package'"):
        require("a package")
    assert pip == []


def verdict(capsys, *arguments, **options):
    check(*arguments, **options)
    return capsys.readouterr().out.strip()


def test_check_numbers_and_tensors(capsys):
    assert verdict(capsys, 0.1, 0.1) == "✓ right"
    assert verdict(capsys, None, 0.1) == "… not answered yet"
    assert "too large" in verdict(capsys, 0.2, 0.1)
    assert "shape is (2,) and should be (3,)" in verdict(capsys, [1, 2], [1, 2, 3])
    assert "index (1,) you have 5, and 2 is right" in verdict(capsys, torch.tensor([1.0, 5.0]), [1.0, 2.0])
    assert "'x' is a text, not a number" in verdict(capsys, "x", 0.1)


def test_check_explains_the_expected_mistake(capsys):
    said = verdict(capsys, 0.2, 0.1, mistakes={"that is the variance": 0.2})
    assert said == "✗ not yet: that is the variance"


def test_check_functions(capsys):
    inputs = [(torch.tensor([-1.0, 2.0]),), (torch.tensor([[0.0, -3.0]]),)]
    assert verdict(capsys, torch.relu, torch.relu, inputs=inputs) == "✓ right"
    assert "index (0,) you have 1, and 0 is right" in verdict(capsys, torch.abs, torch.relu, inputs=inputs)
    assert "overwrites its argument" in verdict(capsys, torch.relu_, torch.relu, inputs=inputs)
    assert "it raised ZeroDivisionError" in verdict(capsys, lambda x: 1 / 0, torch.relu, inputs=inputs)
    assert "a function is asked for" in verdict(capsys, 3, torch.relu, inputs=inputs)
    said = verdict(capsys, torch.abs, torch.relu, inputs=inputs, mistakes={"it keeps both sides": torch.abs})
    assert said == "✗ not yet: it keeps both sides"
    with pytest.raises(ValueError, match="inputs is empty"):
        check(torch.relu, torch.relu)


@pytest.mark.parametrize(
    ("typed", "value"), json.loads(Path(__file__).with_name("numbers_typed.json").read_text("utf-8"))
)
def test_numbers_are_read_as_readers_type_them(typed, value, capsys):
    """The page is held to the same table in tests/browser/test_question.py."""
    read = read_number(typed)
    assert math.isnan(read) if value is None else math.isclose(read, value, rel_tol=1e-12)
    if value is not None:
        assert verdict(capsys, typed, value) == "✓ right"


def test_check_reads_texts_and_knows_two_numbers_with_a_comma(capsys):
    assert "'a lot' is a text" in verdict(capsys, "a lot", 3)
    assert "13.863 is too small" in verdict(capsys, "13.863", 13863)
    assert "(13, 863) is 2 numbers in Python: write no comma, or 13_863" in verdict(capsys, (13, 863), 13863)
    assert read_number("45 %", percent=1) == 45


def no_return(x):
    x.relu()


def two_steps(x):
    total = 0 * x
    return total + x.no_such_thing


class Broken:
    def __init__(self, rate):
        self.rate = rate.no_such_thing


def test_check_says_in_a_sentence_what_is_wrong_with_a_function(capsys):
    relu = {"expected": torch.relu, "inputs": [(torch.tensor([-1.0, 2.0]),)]}
    assert "returns nothing; perhaps its `return` is missing" in verdict(capsys, no_return, **relu)
    assert "called with 1 argument (a tensor of shape (2,)), and yours takes (x, y)" in verdict(
        capsys, lambda x, y: x, **relu
    )
    said = verdict(capsys, two_steps, **relu)
    assert "it raised AttributeError at `return total + x.no_such_thing`: 'Tensor'" in said
    assert "a list is not a number" in verdict(capsys, lambda x: ["a"], **relu)
    assert "this is a function; a value is asked for" in verdict(capsys, no_return, 3)
    nan = [(torch.tensor([math.nan, -1.0]),)]
    assert verdict(capsys, lambda x: x.clamp(min=0), torch.relu, inputs=nan) == "✓ right"  # nan stays nan
    lists = [([3, 1, 2],)]
    assert "overwrites its argument" in verdict(capsys, lambda x: x.sort() or x, sorted, inputs=lists)
    raising = {"a mistake that does not suit these arguments": lambda x, y: x}
    assert "at index (0,)" in verdict(capsys, torch.abs, mistakes=raising, **relu)


def test_check_runs_the_answer_through_a_function_and_explains_what_it_raises(capsys):
    def through(function):
        return function(torch.ones(2)).sum()

    assert verdict(capsys, torch.neg, -2, through=through) == "✓ right"
    assert "2 is too large" in verdict(capsys, torch.abs, -2, through=through)
    assert verdict(capsys, None, -2, through=through) == "… not answered yet"
    said = verdict(capsys, no_return, -2, through=through)
    assert "'NoneType' object has no attribute 'sum'; perhaps its `return` is missing" in said
    assert "at `return total + x.no_such_thing`" in verdict(capsys, two_steps, -2, through=through)
    said = verdict(capsys, Broken, -2, through=lambda kind: kind(0.1))
    assert "it raised AttributeError at `self.rate = rate.no_such_thing`" in said
    said = verdict(capsys, torch.abs, -2, through=through, mistakes={"a sign is missing": torch.abs})
    assert said == "✗ not yet: a sign is missing"


READY = nn.LayerNorm(5)


def by_sum(x):
    y = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    return y


def caught(x):
    try:
        return F.layer_norm(x, x.shape[1:])
    except Exception:
        return by_sum(x)


@pytest.mark.parametrize(
    ("forbid", "answer"),
    [
        (F.layer_norm, lambda x: F.layer_norm(x, x.shape[1:])),
        (F.layer_norm, lambda x: nn.LayerNorm(x.shape[1])(x)),
        (F.layer_norm, lambda x: torch.layer_norm(x, x.shape[1:])),
        (F.layer_norm, caught),
        (nn.LayerNorm, lambda x: READY(x)),
        (nn.Sequential, lambda x: nn.Sequential(nn.LayerNorm(5))(x)),
    ],
)
def test_check_forbids_what_would_do_the_exercise(forbid, answer, capsys):
    exercise = {"expected": lambda x: F.layer_norm(x, x.shape[1:]), "inputs": [(torch.randn(3, 5),)]}
    assert verdict(capsys, answer, **exercise) == "✓ right"
    said = verdict(capsys, answer, forbid=[forbid], **exercise)
    assert f"it calls {forbid.__qualname__}, which does the exercise for you" in said
    assert verdict(capsys, by_sum, forbid=[forbid, F.avg_pool2d, F.max_pool2d], **exercise) == "✓ right"
    assert sys.getprofile() is None


@pytest.mark.parametrize("forbid", [F.max_pool2d, F.avg_pool2d])
def test_what_is_forbidden_is_found_in_c_and_behind_decorators(forbid, capsys):
    exercise = {"inputs": [(torch.randn(1, 2, 4, 4),)], "forbid": [forbid]}
    assert "does the exercise" in verdict(capsys, lambda x: forbid(x, 2), lambda x: forbid(x, 2), **exercise)
    other = F.adaptive_max_pool2d
    assert verdict(capsys, lambda x: other(x, 2), lambda x: other(x, 2), **exercise) == "✓ right"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_letters_gets_others(encoding, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
    claim("β → 0", True)
    check(1, 1)
    check(2, 1)
    check(None, 1)
    ask("How much is √4?", 2)
    ask("Which?", "a", choices={"a": "", "b": ""})
    show_source(optim.SGD, docstring=True)
    print(measure.summary(nn.Linear(2, 2), (1, 2)))
    sys.stdout.flush()
    said = raw.getvalue().decode(encoding)
    assert "not answered yet" in said
    assert ("✓ right" if encoding == "utf-8" else "+ right") in said


def page_form(monkeypatch, *arguments, **options):
    shown = {}
    monkeypatch.setattr(
        "course_lib.teaching.answers.show", lambda plain, **rich: shown.update(rich, plain=plain)
    )
    ask(*arguments, **options)
    return shown


def test_ask_puts_its_data_into_the_page(monkeypatch):
    shown = page_form(monkeypatch, "What is </script> ½?", 0.5, mistakes={2: "upside down"}, unit="m")
    html.parser.HTMLParser().feed(shown["html"])
    data = json.loads(re.search(r'course-ask-data">(.*?)</script>', shown["html"]).group(1))
    assert data["question"] == "What is </script> ½?"
    assert data["mistakes"] == [[2, "upside down", 0]]
    assert shown["plain"].startswith("? What is")


def test_ask_choices(monkeypatch):
    shown = page_form(monkeypatch, "Which?", "b", choices={"a": "no, because", "b": "yes"})
    assert "○ a" in shown["plain"]


def test_ask_that_cannot_be_answered():
    with pytest.raises(ValueError, match="one of the choices"):
        ask("Which?", "c", choices={"a": "", "b": ""})
    with pytest.raises(ValueError, match="finite number"):
        ask("How much?", float("nan"))
    with pytest.raises(ValueError, match="counts as right"):
        ask("How much?", 1.5, mistakes={1.501: "close"})


def test_ask_takes_counts_exactly_and_measures_within_a_tolerance(monkeypatch):
    def tolerances(*arguments, **options):
        shown = page_form(monkeypatch, *arguments, **options)
        data = json.loads(re.search(r'course-ask-data">(.*?)</script>', shown["html"]).group(1))
        return data["tolerance"], [allowed for _, _, allowed in data["mistakes"]], data["percent"]

    assert tolerances("How many?", 128, mistakes={130: "", 0.5: ""}) == (0, [0, 0.02], False)
    assert tolerances("How many?", 128, mistakes={64: ""}, tolerance=0.05) == (0.05, [0.05], False)
    assert tolerances("How far?", 0.5, mistakes={1: ""}) == (0.02, [0], False)
    assert tolerances("How many per cent?", 45.5) == (0.02, [], True)
    assert tolerances("How much?", 45.5, unit="%")[2]


def test_setup_seeds_and_prints_nothing(capsys):
    setup(seed=5)
    first = torch.rand(3)
    device = setup(seed=5)
    assert torch.equal(first, torch.rand(3))
    assert isinstance(device, torch.device)
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="nonsense"):
        setup(device="nonsense")
