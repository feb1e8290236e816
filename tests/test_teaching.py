import html.parser
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib import init, optim
from course_lib.teaching import ClaimFailed, ask, check, claim, require, setup, show_source


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
    assert "a str is not a number" in verdict(capsys, "x", 0.1)


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
    assert data["mistakes"] == [[2, "upside down"]]
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
        ask("How much?", 1.0, mistakes={1.001: "close"})


def test_setup_seeds_and_prints_nothing(capsys):
    setup(seed=5)
    first = torch.rand(3)
    device = setup(seed=5)
    assert torch.equal(first, torch.rand(3))
    assert isinstance(device, torch.device)
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="nonsense"):
        setup(device="nonsense")
