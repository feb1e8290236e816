"""Diagrams: what is drawn is what ran; confusion matrices: what is written is what was counted."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

from course_lib import plotting
from course_lib.data import Images
from course_lib.models.googlenet import GoogLeNet, Inception
from course_lib.models.resnet import ResNet
from course_lib.models.vgg import VGG


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def meta(make):
    with torch.device("meta"):
        return make()


def test_a_chain_has_one_box_a_layer_and_each_takes_the_one_before():
    nodes = plotting.trace(meta(lambda: VGG(16, batch_norm=True)), (1, 3, 224, 224))
    kinds = [node.kind for node in nodes]
    assert [kinds.count(kind) for kind in ("convolution", "pooling", "linear", "block")] == [13, 6, 3, 0]
    assert all(node.sources == (k,) for k, node in enumerate(nodes[1:]))
    assert nodes[1].output == (1, 64, 224, 224)
    assert nodes[-1].output == (1, 1000)


def test_inception_has_four_ways_that_meet():
    nodes = plotting.trace(meta(lambda: Inception(192, 64, 96, 128, 16, 32, 32)), (2, 192, 28, 28))
    assert sum(node.sources == (0,) for node in nodes) == 4
    assert nodes[-1].kind == "join"
    assert nodes[-1].label == "concat"
    assert len(nodes[-1].sources) == 4
    assert nodes[-1].output == (2, 256, 28, 28)


def test_residual_additions_are_seen_with_their_shortcuts():
    nodes = plotting.trace(meta(lambda: ResNet(18)), (1, 3, 64, 64))
    joins = [node for node in nodes if node.label == "+"]
    assert len(joins) == 8
    assert all(len(node.sources) == 2 for node in joins)
    assert sum(nodes[s].label == "conv 1×1 /2" for node in joins for s in node.sources) == 3


def test_depth_one_has_a_box_for_each_part_that_runs():
    nodes = plotting.trace(meta(lambda: GoogLeNet(transform_input=True)), (1, 3, 224, 224), depth=1)
    assert sum(node.label == "Inception" for node in nodes) == 9
    assert all(len(node.sources) == 1 for node in nodes[1:])


def test_the_network_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True))
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plotting.diagram(model, (4, 1, 8, 8))
    assert (model.training, model[0].training, model[1].training) == (True, True, False)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    vgg = meta(VGG)
    with pytest.raises(ValueError, match="at least 32 pixels"):
        plotting.diagram(vgg, (1, 3, 16, 16))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in vgg.modules())


def test_the_chain_is_drawn_to_scale_and_put_into_words():
    plotting.use_style()
    figure = plotting.diagram(
        nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)), (1, 1, 28, 28), title="Two"
    )
    boxes = [
        patch for patch in figure.axes[0].patches if hasattr(patch, "get_height") and not patch.get_fill()
    ]
    heights, widths = [b.get_height() for b in boxes], [b.get_width() for b in boxes]
    assert heights[0] == heights[1] > heights[2]
    assert widths[0] < widths[1] == widths[2]
    assert boxes[1].get_hatch() != boxes[2].get_hatch()  # told apart without colour
    assert plotting.alt_text(figure) == (
        "Diagram of Two, 2 boxes: input (1 × 28 × 28), conv 3×3 (64 × 28 × 28), max 2×2 /2 (64 × 14 × 14)."
    )


def test_a_branch_is_drawn_beside_the_other():
    figure = plotting.diagram(meta(lambda: ResNet(18).layer2), (1, 64, 28, 28))
    assert "+ (128 × 14 × 14) from conv 3×3 and conv 1×1 /2" in plotting.alt_text(figure)


def test_bad_depths():
    with pytest.raises(ValueError, match="depth is 0"):
        plotting.diagram(nn.Linear(2, 2), (1, 2), depth=0)
    with pytest.raises(ValueError, match="depth is None, which makes 71 boxes"):
        plotting.diagram(nn.Sequential(*(nn.Linear(2, 2) for _ in range(70))), (1, 2))


def digits():
    y = torch.tensor([0, 0, 1, 1, 2, 2, 2])
    answers = torch.tensor([0, 1, 1, 1, 0, 0, 2])
    x = torch.zeros(7, 1, 2, 2, dtype=torch.uint8)
    return Images(x, y, ("a", "b", "c"), (0.5,), (0.5,)), nn.functional.one_hot(answers, 3).float()


def test_confusion_counts_rows_are_the_truth():
    assert plotting.confusion_counts(*digits()).tolist() == [[1, 1, 0], [0, 2, 0], [2, 0, 1]]


def test_confusion_matrix_writes_every_count_and_says_it():
    figure = plotting.confusion_matrix(*digits(), title="Mistakes")
    written = {
        (round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in figure.axes[0].texts
    }
    assert written == {(0, 0): "1", (0, 1): "1", (1, 1): "2", (2, 0): "2", (2, 2): "1"}
    assert plotting.alt_text(figure) == (
        "Mistakes: Table of 3 classes by 3 answers: 4 of 7 images right; most often c taken for a (2 times), "
        "a taken for b (once)."
    )


def test_confusion_refuses_logits_of_another_shape():
    images, logits = digits()
    with pytest.raises(ValueError, match=r"logits has shape \(7, 2\); .* \(7, 3\)"):
        plotting.confusion_matrix(images, logits[:, :2])


def test_a_nan_is_counted_as_no_class():
    images = Images(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.arange(4) % 3, range(3), [0.5], [0.5])
    logits = torch.zeros(4, 3)
    logits[2, 1] = float("nan")
    for counting in (plotting.confusion_counts, plotting.confusion_matrix):
        with pytest.raises(ValueError, match="logits has NaN in 1 of its 4 rows"):
            counting(images, logits)
    plotting.confusion_matrix(images, torch.zeros(4, 3))  # whose classes were given as numbers
