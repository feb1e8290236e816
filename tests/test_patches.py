"""Crops of photographs: halves that share no pixel, one brightness, always the same ones."""

from __future__ import annotations

import sys

import pytest
import torch

from course_lib import data

module = sys.modules["course_lib.data.patches"]  # the name belongs to the function


def test_sixteen_photographs_forty_and_thirty_crops_of_each() -> None:
    train, test = data.patches()
    assert train.x.shape == (640, 1, 64, 64)
    assert test.x.shape == (480, 1, 64, 64)
    assert train.y.bincount().tolist() == [40] * 16
    assert test.y.bincount().tolist() == [30] * 16
    assert len(train.classes) == 16
    for images in (train, test):
        pixels = images.x.float()
        assert (pixels.mean(dim=(1, 2, 3)) - 127).abs().median() < 3
        assert (pixels.std(dim=(1, 2, 3)) > 15).all()
        assert len(pixels.flatten(1).unique(dim=0)) > 0.97 * len(images)


def test_the_same_seed_cuts_the_same_crops() -> None:
    again, other = data.patches()[0], data.patches(seed=1)[0]
    assert torch.equal(again.x, data.patches(seed=0)[0].x)
    assert not torch.equal(again.x, other.x)


def test_no_pixel_is_in_a_left_and_in_a_right_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs whose columns count up: the largest of the left must be below the smallest of the right."""
    width, seen = 301, []
    monkeypatch.setattr(module, "_grey", lambda _: torch.arange(float(width)).expand(200, width))
    cut = module._crops
    monkeypatch.setattr(
        module, "_crops", lambda half, *rest: (seen.append((half.min(), half.max())), cut(half, *rest))[1]
    )
    data.patches(side=128)
    assert all(
        left[1] < right[0] for left, right in zip(seen[0::2], seen[1::2], strict=True)
    )  # train, test, train, …
    assert seen[0][0] == 0
    assert seen[1][1] == width - 1


@pytest.mark.parametrize("side", [4, 129, 64.0, True])
def test_a_side_that_does_not_fit(side) -> None:
    with pytest.raises(ValueError, match="side="):
        data.patches(side)
