import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import data, detection
from course_lib.data.scenes import COLOURS, SHAPES, relation


@settings(max_examples=25, deadline=None)
@given(
    side=st.sampled_from([16, 32, 48]),
    most=st.integers(1, 3),
    overlap=st.sampled_from([0.0, 0.1, 0.4]),
    clutter=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_a_scene_says_what_is_in_it(side, most, overlap, clutter, seed):
    for scene in data.shapes(2, side=side, objects=(1, most), overlap=overlap, clutter=clutter, seed=seed):
        count = len(scene.labels)
        assert scene.image.shape == (3, side, side)
        assert scene.image.dtype == torch.uint8
        assert 1 <= count <= most
        assert scene.masks.shape == (count, side, side)
        assert (scene.masks.sum(0) <= 1).all()  # no pixel belongs to two
        assert torch.equal(scene.boxes, detection.boxes_of_masks(scene.masks))
        assert len(scene.words) == count
        if clutter == 0:
            for mask, words, label in zip(scene.masks, scene.words, scene.labels.tolist(), strict=True):
                _, colour, shape = words.split()
                assert shape == SHAPES[label]
                assert (scene.image[:, mask] == torch.tensor(COLOURS[colour])[:, None]).all()


def test_the_same_seed_gives_the_same_scenes_and_more_begin_as_fewer():
    few, many = data.shapes(3, clutter=0.5, seed=1), data.shapes(6, clutter=0.5, seed=1)
    assert all(torch.equal(a.image, b.image) for a, b in zip(few, many, strict=False))
    assert not torch.equal(few[0].image, data.shapes(1, clutter=0.5, seed=2)[0].image)


def test_no_overlap_means_none():
    for scene in data.shapes(20, objects=2, overlap=0.0):
        assert detection.iou(scene.boxes, scene.boxes)[0, 1] == 0


def test_clutter_changes_the_ground_alone():
    plain, full = (data.shapes(30, objects=1, clutter=c)[0] for c in (0.0, 1.0))
    assert full.image.float().std() > plain.image.float().std() / 2
    ground = plain.image[:, ~plain.masks.any(0)].float()
    assert (ground.max(0).values == ground.min(0).values).all()  # grey


def test_a_caption_reads_as_the_boxes_lie():
    a, left = torch.tensor([2.0, 2, 8, 8]), torch.tensor([20.0, 4, 28, 12])
    assert relation(a, left) == "left of"
    assert relation(left, a) == "right of"
    assert relation(a, a + torch.tensor([3.0, 9, 3, 9])) == "above"
    assert relation(a + torch.tensor([3.0, 9, 3, 9]), a) == "below"
    scene = data.shapes(1, objects=2, seed=3)[0]
    assert scene.caption == f"{scene.words[0]} {relation(*scene.boxes)} {scene.words[1]}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": 1, "side": 8}, "side is 8"),
        ({"n": 1, "objects": 5}, "objects is 5"),
        ({"n": 1, "objects": (3, 2)}, r"objects is \(3, 2\)"),
        ({"n": 1, "overlap": 0.9}, "overlap is 0.9"),
        ({"n": 1, "clutter": -1}, "clutter is -1"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.shapes(**arguments)
