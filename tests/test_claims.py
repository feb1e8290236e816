"""Claims with margins, and comparisons that know how far a few seeds can tell."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from course_lib.teaching import ClaimFailed, claim, compare, margins


@pytest.mark.parametrize("measured", [0.5, [0.5, 0.7], np.array([0.5, 0.7]), torch.tensor([0.5, 0.7])])
def test_claim_about_a_number_prints_what_a_plain_one_prints(measured, capsys):
    claim("it is large", measured, above=0.4)
    assert capsys.readouterr().out == "✓ it is large\n"


def test_the_worst_value_decides_and_the_message_has_it():
    claim("all are below", [0.1, 0.2, 0.3], below=0.31)
    with pytest.raises(ClaimFailed, match=r"worst of 3 ≈ 0.3, bound ≈ 0.25.*'all are below'"):
        claim("all are below", [0.1, 0.2, 0.3], below=0.25)
    with pytest.raises(ClaimFailed, match=r"worst of 3 ≈ 0.1, bound ≈ 0.15"):
        claim("all are above", [0.1, 0.2, 0.3], above=0.15)
    with pytest.raises(ClaimFailed):
        claim("strictly", [0.1], above=0.1)


def test_both_bounds_hold_or_the_claim_fails():
    claim("between", [1.0, 2.0], above=0.5, below=2.5)
    for bounds in ({"above": 1.5, "below": 2.5}, {"above": 0.5, "below": 1.5}):
        with pytest.raises(ClaimFailed):
            claim("between", [1.0, 2.0], **bounds)


@pytest.mark.parametrize("bound", ["above", "below"])
def test_not_a_number_is_on_neither_side(bound):
    with pytest.raises(ClaimFailed):
        claim("it is finite", [0.0, float("nan")], **{bound: 0.0})


def test_margins_are_kept_in_units_of_the_spread():
    before = len(margins())
    claim("kept", [1.0, 1.2, 1.5], above=0.5)
    (margin,) = margins()[before:]
    assert (margin.worst, margin.bound, margin.n, margin.spread) == (1.0, 0.5, 3, 0.5)
    assert margin.in_spreads == 1.0
    claim("a single value has no spread", 2.0, below=3.0)
    assert margins()[-1].in_spreads == float("inf")


@pytest.mark.parametrize("measured", ["yes", None, [], [True, False]])
def test_a_bound_needs_numbers(measured):
    with pytest.raises(ValueError, match="needs a number"):
        claim("it holds", measured, above=0.0)


def by_hand(differences):
    """The two-sided sign-flip p, pattern by pattern."""
    patterns = itertools.product([-1, 1], repeat=len(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in patterns]
    return np.mean(np.array(sums) >= abs(sum(differences)) - 1e-12)


@pytest.mark.parametrize("n", [2, 5, 8, 11])
def test_p_is_that_of_all_sign_patterns(n):
    a, b = np.random.default_rng(n).normal([[0.5], [0.0]], size=(2, n))
    assert compare(a, b).p == pytest.approx(by_hand(a - b))


def test_many_seeds_are_drawn_and_agree_with_a_normal_approximation():
    differences = np.random.default_rng(0).normal(0.4, 1.0, size=40)
    p = compare(differences, np.zeros(40)).p
    z = differences.sum() / np.sqrt((differences**2).sum())
    expected = 2 * (1 - torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(abs(z))).item())
    assert p == pytest.approx(expected, abs=0.01)


def test_ties_change_nothing_and_equal_measurements_tell_nothing():
    found = compare([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (found.p, found.mean, found.agree, found.holds) == (1.0, 0.0, 0, False)


def test_five_seeds_agree_at_best_and_eight_can_be_certain(capsys):
    five, eight = compare(np.arange(1, 6), np.zeros(5)), compare(np.arange(1, 9), np.zeros(8))
    assert five.p == 2 / 2**5
    assert not five.certain
    assert five.holds
    assert eight.p == 2 / 2**8
    assert eight.certain
    claim("It is ahead", five)
    claim("It is ahead", eight)
    assert capsys.readouterr().out == "✓ It is ahead (all 5 seeds agree)\n✓ It is ahead (8 seeds, p ≤ 0.01)\n"


def test_what_cannot_be_told_cannot_be_claimed(capsys):
    one_disagrees = [3.0, 2.0, 4.0, 3.0, -0.1]
    for differences in (one_disagrees, [*one_disagrees, -2.0, 1.0, -0.5, 0.3]):
        with pytest.raises(ClaimFailed, match="we cannot tell"):
            claim("It is ahead", compare(differences, np.zeros(len(differences))))
    assert capsys.readouterr().out == ""


def test_the_other_direction_does_not_hold_however_certain():
    found = compare(np.zeros(9), np.arange(1, 10))
    assert found.certain
    assert not found.holds


@pytest.mark.parametrize(
    ("larger", "smaller", "match"),
    [
        ([1.0, 2.0], [1.0], "one value a seed"),
        ([[1.0, 2.0]], [[1.0, 2.0]], "one value a seed"),
        ([1.0], [0.5], "two seeds"),
        ([1.0, float("nan")], [1.0, 2.0], "not finite"),
    ],
)
def test_compare_wants_a_value_a_seed(larger, smaller, match):
    with pytest.raises(ValueError, match=match):
        compare(larger, smaller)
