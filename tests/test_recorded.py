"""Recorded results: found by name, wherever the library is installed."""

from __future__ import annotations

import pytest

from course_lib import recorded


@pytest.mark.parametrize("name", ["resnet", "mobilenetv2", "transfer", "sharding", "speed"])
def test_every_record_can_be_read(name: str):
    assert recorded.load(name)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"name is 'resnt'; recorded are: .*mobilenetv2, resnet"):
        recorded.load("resnt")
