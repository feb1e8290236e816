import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import ops

from course_lib import detection, device

DEVICES = [name for name in device.available() if ":" not in name]


def random_boxes(n, seed, size=20.0, whole=False, dtype=torch.float64):
    """Boxes of all sizes in a square, many of which overlap; whole edges give ties and touching sides."""
    generator = torch.Generator().manual_seed(seed)
    ends = torch.rand(n, 2, 2, generator=generator, dtype=dtype) * size
    ends = ends.round() if whole else ends
    return torch.cat([ends.amin(1), ends.amax(1)], 1)


COUNT, SEED = st.integers(0, 30), st.integers(0, 2**31)


@pytest.mark.parametrize("at", DEVICES)
@settings(max_examples=60, deadline=None)
@given(n=COUNT, m=COUNT, seed=SEED, whole=st.booleans())
def test_overlaps_equal_torchvisions(at, n, m, seed, whole):
    dtype = torch.float32 if at == "mps" else torch.float64
    a, b = (random_boxes(k, seed + i, whole=whole, dtype=dtype).to(at) for i, k in enumerate((n, m)))
    expected = ops.box_iou(a, b).nan_to_num(0)  # two boxes without area share nothing of nothing
    torch.testing.assert_close(detection.iou(a, b), expected)
    torch.testing.assert_close(detection.area(a), ops.box_area(a))
    torch.testing.assert_close(detection.clip(a, 7, 11), ops.clip_boxes_to_image(a, (7, 11)))


def test_boxes_without_area_share_nothing():
    point = torch.tensor([[3.0, 3, 3, 3]])
    assert detection.iou(point, point).item() == 0


@pytest.mark.parametrize("at", DEVICES)
@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 60), seed=SEED, whole=st.booleans(), threshold=st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0])
)
def test_nms_equals_torchvisions(at, n, seed, whole, threshold):
    dtype = torch.float32 if at == "mps" else torch.float64
    boxes = random_boxes(n, seed, whole=whole, dtype=dtype).to(at)
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randperm(len(boxes), generator=generator).to(
        at, dtype
    )  # no ties: their order is torchvision's own
    kept = detection.nms(boxes, scores, threshold)
    assert kept.tolist() == ops.nms(boxes, scores, threshold).tolist()
    labels = torch.randint(3, (len(boxes),), generator=generator).to(at)
    mine = detection.batched_nms(boxes, scores, labels, threshold)
    assert mine.tolist() == ops.batched_nms(boxes, scores, labels, threshold).tolist()


def test_nms_goes_on_from_block_to_block(monkeypatch):
    boxes, scores = random_boxes(300, 4), torch.rand(300, generator=torch.Generator().manual_seed(5))
    whole = detection.nms(boxes, scores, 0.3)
    monkeypatch.setattr(detection.suppression, "BLOCK", 7)
    assert detection.nms(boxes, scores, 0.3).tolist() == whole.tolist()


def test_of_equal_scores_the_earlier_box_stays():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10]])
    assert detection.nms(boxes, torch.ones(3), 0.5).tolist() == [0]


@pytest.mark.parametrize("at", DEVICES)
@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    scale=st.sampled_from([1.0, 0.5, 0.25]),
    samples=st.integers(1, 3),
    shift=st.sampled_from([0.0, -6.0, 9.0]),
    seed=SEED,
)
def test_roi_align_equals_torchvisions_with_its_gradient(at, counts, size, scale, samples, shift, seed):
    dtype = torch.float32 if at == "mps" else torch.float64
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(len(counts), 3, 9, 7, generator=generator).to(at, dtype).requires_grad_()
    twin = features.detach().clone().requires_grad_()
    boxes = [random_boxes(k, seed + i, dtype=dtype).to(at) + shift for i, k in enumerate(counts)]
    mine = detection.roi_align(features, boxes, size, spatial_scale=scale, sampling_ratio=samples)
    theirs = ops.roi_align(twin, boxes, size, scale, samples, aligned=True)
    torch.testing.assert_close(mine, theirs)
    if sum(counts):
        upstream = torch.randn(mine.shape, generator=generator).to(at, dtype)
        mine.backward(upstream)
        theirs.backward(upstream)
        torch.testing.assert_close(features.grad, twin.grad)


@settings(max_examples=40, deadline=None)
@given(n=COUNT, seed=SEED)
def test_coding_equals_torchvisions_and_comes_back(n, seed):
    from torchvision.models.detection._utils import BoxCoder

    boxes, anchors = (
        random_boxes(n, seed) + torch.tensor([0, 0, 1, 1]),
        random_boxes(n, seed + 1) + torch.tensor([0, 0, 1, 1]),
    )
    deltas = detection.encode(boxes, anchors)
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    torch.testing.assert_close(deltas, coder.encode_single(boxes, anchors))
    torch.testing.assert_close(detection.decode(deltas, anchors), boxes)
    wild = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 5
    torch.testing.assert_close(detection.decode(wild, anchors), coder.decode_single(wild, anchors))


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_smooth_l1_equals_torchs(beta):
    error = torch.linspace(-4, 4, 33, dtype=torch.float64, requires_grad=True)
    twin = error.detach().clone().requires_grad_()
    detection.smooth_l1(error, beta).sum().backward()
    torch.nn.functional.smooth_l1_loss(
        twin, torch.zeros(33, dtype=torch.float64), beta=beta, reduction="sum"
    ).backward()
    torch.testing.assert_close(error.grad, twin.grad)


def plain_average_precision(boxes, scores, truth, threshold, interpolation):
    """The definition, box by box, in plain Python."""
    found = sorted(
        ((s, n, k) for n, of_image in enumerate(scores) for k, s in enumerate(of_image.tolist())),
        reverse=True,
    )
    taken, hits, points = set(), 0, []
    for count, (_, n, k) in enumerate(found, 1):
        best, which = 0.0, None
        for j, object_ in enumerate(truth[n]):
            value = ops.box_iou(boxes[n][k : k + 1], object_[None]).item() if (n, j) not in taken else 0.0
            if value > best:
                best, which = value, j
        if which is not None and best >= threshold:
            taken.add((n, which))
            hits += 1
        points.append((hits / sum(map(len, truth)), hits / count))
    if interpolation == "all":
        recalls = [0.0, *(r for r, _ in points)]
        return sum((recalls[i + 1] - recalls[i]) * max(p for _, p in points[i:]) for i in range(len(points)))
    grid = [i / 100 for i in range(101)]
    return sum(max((p for r, p in points if r >= g - 1e-12), default=0.0) for g in grid) / 101


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4)), min_size=1, max_size=4),
    threshold=st.sampled_from([0.1, 0.3, 0.5]),
    interpolation=st.sampled_from(["all", "101"]),
    seed=SEED,
)
def test_average_precision_equals_its_definition(counts, threshold, interpolation, seed):
    boxes = [random_boxes(k, seed + i, size=6.0) for i, (k, _) in enumerate(counts)]
    truth = [random_boxes(m, seed + 100 + i, size=6.0) for i, (_, m) in enumerate(counts)]
    order = torch.randperm(sum(k for k, _ in counts), generator=torch.Generator().manual_seed(seed)).double()
    scores = list(order.split([k for k, _ in counts]))
    value = detection.average_precision(
        detection.precision_recall(boxes, scores, truth, threshold), interpolation
    )
    if sum(map(len, truth)) == 0:
        assert math.isnan(value)
        return
    assert value == pytest.approx(
        plain_average_precision(boxes, scores, truth, threshold, interpolation), abs=1e-9
    )


def test_a_second_box_on_one_object_is_an_error():
    one = torch.tensor([[0.0, 0, 10, 10]])
    curve = detection.precision_recall([one.repeat(2, 1)], [torch.tensor([0.9, 0.8])], [one])
    assert curve.precision.tolist() == [1.0, 0.5]
    assert curve.recall.tolist() == [1.0, 1.0]


def test_mean_average_precision_leaves_out_classes_without_an_object():
    one = torch.tensor([[0.0, 0, 10, 10]])
    mean, each = detection.mean_average_precision(
        [one], [torch.ones(1)], [torch.tensor([0])], [one], [torch.tensor([0])], classes=3
    )
    assert mean == 1.0
    assert each.isnan().tolist() == [False, True, True]


def test_boxes_enclose_their_masks():
    masks = torch.zeros(2, 6, 8, dtype=torch.bool)
    masks[0, 2:4, 1:7] = True
    masks[1, 5, 0] = True
    assert detection.boxes_of_masks(masks).tolist() == [[1, 2, 7, 4], [0, 5, 1, 6]]
    with pytest.raises(ValueError, match=r"masks\[0\] has no pixel"):
        detection.boxes_of_masks(torch.zeros(1, 3, 3, dtype=torch.bool))


def test_the_windows_of_a_grid_are_counted():
    windows = detection.grid_windows(32, 32, [8, 16], 4)
    assert len(windows) == 7 * 7 + 5 * 5
    assert windows[0].tolist() == [0, 0, 8, 8]
    assert windows[-1].tolist() == [16, 16, 32, 32]


def test_pixels_of_one_colour_are_one_region():
    from course_lib.detection.proposals import _components

    assert _components(torch.zeros(1, 5, 7, dtype=torch.int64).numpy()).max() == 0
    snake = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 1], [1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1]])
    found = _components(snake[None].numpy())
    assert (found[snake == 1] == found[0, 0]).all()
    assert found.max() == 2


def test_proposals_hold_every_region_and_the_image():
    image = torch.zeros(3, 20, 24)
    image[0, 3:9, 4:12] = 1.0
    image[1, 11:18, 10:20] = 1.0
    found = detection.region_proposals(image).tolist()
    assert [4, 3, 12, 9] in found
    assert [10, 11, 20, 18] in found
    assert [0, 0, 24, 20] in found
    assert len(found) == len({tuple(box) for box in found})


MAPS, NONE = torch.zeros(2, 1, 3, 3), torch.zeros(0, 4)
BAD = [
    (torch.tensor([[0.0, 0, 1, 1], [5, 0, 4, 1]]), r"boxes\[1\] is \(5, 0, 4, 1\); x1 ≤ x2"),
    (torch.tensor([[0.0, 0, math.nan, 1]]), r"boxes\[0\] is \(0, 0, nan, 1\); every edge must be a finite"),
    (torch.zeros(3, 5), r"boxes is \(3, 5\); it must be a tensor \(N, 4\)"),
    (torch.zeros(2, 4, dtype=torch.int64), "boxes is torch.int64"),
    ([[0, 0, 1, 1]], "boxes is list"),
]


@pytest.mark.parametrize(("boxes", "message"), BAD)
def test_what_is_no_box_is_named(boxes, message):
    with pytest.raises(ValueError, match=message):
        detection.area(boxes)
    with pytest.raises(ValueError, match=message):
        detection.nms(boxes, torch.ones(len(boxes)), 0.5)


def test_no_boxes_are_no_trouble():
    none = torch.zeros(0, 4)
    assert detection.nms(none, torch.zeros(0), 0.5).tolist() == []
    assert detection.iou(none, none).shape == (0, 0)
    assert detection.clip(none, 5, 5).shape == (0, 4)
    assert detection.roi_align(torch.zeros(1, 2, 4, 4), [none], 2).shape == (0, 2, 2, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: detection.nms(torch.zeros(2, 4), torch.ones(3), 0.5), "scores has shape"),
        (lambda: detection.nms(torch.zeros(1, 4), torch.tensor([math.nan]), 0.5), "one finite number a box"),
        (lambda: detection.nms(torch.zeros(1, 4), torch.ones(1), 1.5), "threshold is 1.5"),
        (lambda: detection.encode(torch.zeros(1, 4), torch.ones(1, 4)), "side of length 0"),
        (lambda: detection.decode(torch.zeros(2, 4), torch.ones(1, 4)), r"deltas has shape \(2, 4\)"),
        (lambda: detection.roi_align(MAPS[:2], [NONE], 2), "1 sets of boxes for 2"),
        (lambda: detection.roi_align(MAPS[:1], [NONE], 2, sampling_ratio=0), "sampling"),
        (lambda: detection.precision_recall([], [torch.ones(1)], []), "0 images have boxes, 1 scores"),
        (lambda: detection.grid_windows(8, 8, [9], 1), "sides has 9"),
        (lambda: detection.region_proposals(torch.full((1, 2, 2), math.nan)), "not finite"),
        (lambda: detection.smooth_l1(torch.ones(1), 0), "beta is 0"),
        (lambda: detection.region_proposals(torch.zeros(1, 4, 4), most=0), "most is 0"),
        (lambda: detection.precision_recall([], [], []), "truth holds no image"),
        (
            lambda: detection.mean_average_precision(
                [torch.zeros(1, 4)], [torch.ones(1)], [torch.tensor([3])], [torch.zeros(0, 4)],
                [torch.zeros(0, dtype=torch.int64)], classes=2,
            ),
            r"labels\[0\]",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
