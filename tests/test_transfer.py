"""Heads, frozen stages, rates, schedules and probes, on the library's networks and torchvision's."""

from __future__ import annotations

import copy
import hashlib
import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from benchmarks.full.transfer import FASHION, text
from course_lib import recorded, transfer
from course_lib.data import Images
from course_lib.download import DownloadError
from course_lib.models.cifar_resnet import CifarResNet
from course_lib.models.efficientnet import EfficientNetLite0
from course_lib.models.mlp import MLP
from course_lib.models.mobilenetv2 import MobileNetV2
from course_lib.models.resnet import ResNet
from course_lib.training import evaluate, fit

STAGES = ("conv1", "bn1", "layer1", "layer2", "layer3", "fc")
OURS = {
    "CifarResNet": lambda: CifarResNet(8),
    "ResNet": lambda: ResNet(18),
    "MobileNetV2": MobileNetV2,
    "EfficientNetLite0": EfficientNetLite0,
    "MLP": lambda: MLP(3 * 8 * 8, [20, 20], 10, batch_norm=True),
}
THEIRS = (
    "alexnet", "vgg11_bn", "googlenet", "resnet18", "densenet121", "mobilenet_v2", "mobilenet_v3_small",
    "efficientnet_b0", "squeezenet1_1", "shufflenet_v2_x0_5", "convnext_tiny", "vit_b_16", "swin_t",
)  # fmt: skip


def torchvisions(name: str) -> nn.Module:
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    return torchvision.models.get_model(name, **options)


def small(classes: int = 10, seed: int = 0) -> CifarResNet:
    return CifarResNet(
        8, widths=(4, 8, 8), num_classes=classes, generator=torch.Generator().manual_seed(seed)
    )


def images(n: int = 24, classes: int = 3, side: int = 8) -> Images:
    g = torch.Generator().manual_seed(1)
    y = torch.arange(n) % classes
    x = (
        torch.randint(256, (n, 3, side, side), generator=g, dtype=torch.uint8) // 2
        + (40 * y).to(torch.uint8)[:, None, None, None]
    )
    return Images(x, y, tuple("abcdefgh"[:classes]), (0.5,) * 3, (0.25,) * 3)


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


# Structure ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*OURS, *THEIRS])
def test_every_parameter_is_in_one_stage_and_the_head_is_in_the_network(name: str) -> None:
    with torch.device("meta") if name in THEIRS else torch.device("cpu"):
        model = OURS[name]() if name in OURS else torchvisions(name)
    names = transfer.stages(model)
    assert len(set(names)) == len(names) > 1
    inside = [p for n, p in model.named_parameters() if any(n.startswith(f"{s}.") for s in names)]
    outside = {n for n, p in model.named_parameters() if all(p is not q for q in inside)}
    assert outside <= {"class_token"}  # the vision transformer's
    head, layer = transfer.head(model)
    assert model.get_submodule(head) is layer
    assert (layer.weight.shape[0]) == (10 if name in ("CifarResNet", "MLP") else 1000)


def test_stages_are_what_the_papers_call_so() -> None:
    assert transfer.stages(small()) == STAGES
    assert transfer.stages(ResNet(18))[2:] == ("layer1", "layer2", "layer3", "layer4", "fc")
    lite = transfer.stages(EfficientNetLite0())
    assert lite == (*(f"features.{k}" for k in range(18)), "classifier")


@pytest.mark.parametrize(
    "name", [*OURS, "alexnet", "resnet18", "mobilenet_v2", "squeezenet1_1", "shufflenet_v2_x0_5"]
)
def test_a_new_head_gives_as_many_logits_as_classes_and_little_else_changes(name: str) -> None:
    model = OURS[name]() if name in OURS else torchvisions(name)
    before = snapshot(model)
    head, _ = transfer.head(model)
    new = transfer.replace_head(model, 7, generator=torch.Generator().manual_seed(0))
    assert transfer.head(model) == (head, new)
    side = {"MLP": 8, "CifarResNet": 8}.get(name, 64)
    model.eval()
    with torch.no_grad():
        logits = model(torch.randn(2, 3, side, side))
    assert logits.shape == (2, 7)
    assert all(
        torch.equal(v, before[n]) for n, v in model.state_dict().items() if not n.startswith(f"{head}.")
    )
    assert new.weight.requires_grad
    assert new.bias.count_nonzero() == 0
    assert 0.005 < new.weight.std() < 0.02


def test_a_module_can_be_the_head() -> None:
    model = small()
    head = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
    assert transfer.replace_head(model, head) is head
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 2)


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (nn.Linear(512, 10), r"takes 512 features, but fc .* is given 8: .* Linear\(8, …\)"),
        (nn.Sequential(nn.Dropout(), nn.Linear(4, 10)), "takes 4 features"),
        (0, "new is 0"),
        (True, "new is True"),
        (2.0, "new is 2.0"),
    ],
)
def test_a_head_that_does_not_fit_is_refused_and_changes_nothing(new, message: str) -> None:
    model = small()
    old = model.fc
    with pytest.raises(ValueError, match=message):
        transfer.replace_head(model, new)
    assert model.fc is old


def test_a_network_without_a_head_is_named() -> None:
    with pytest.raises(ValueError, match="Sequential has no linear"):
        transfer.head(nn.Sequential(nn.ReLU()))


def test_the_first_layer_of_alexnet_is_cut_to_its_middle() -> None:
    model = torchvision.models.alexnet(weights=None)
    old = model.features[0]
    new = transfer.cut_first_layer(model, 3)
    assert model.features[0] is new
    assert (new.kernel_size, new.stride, new.padding) == ((3, 3), (1, 1), (1, 1))
    assert torch.equal(new.weight, old.weight[:, :, 4:7, 4:7])
    assert torch.equal(new.bias, old.bias)
    model.eval()
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 1000)
    with pytest.raises(ValueError, match=r"kernel_size=5 must be from 1 to 3, the size of features.0"):
        transfer.cut_first_layer(model, 5)
    with pytest.raises(ValueError, match="no convolution"):
        transfer.cut_first_layer(nn.Linear(2, 2))


# Freezing ----------------------------------------------------------------------------------------


def test_what_is_frozen_does_not_move_in_fit_and_what_is_not_does() -> None:
    model = small(3)
    transfer.freeze(model, "conv1", "bn1", "layer1", "layer2")
    before = snapshot(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    fit(model, images(), optimizer, epochs=2, batch_size=8, progress=False)
    changed = moved(model, before)
    assert changed == {name for name in before if name.startswith(("layer3", "fc"))}
    assert any("running_mean" in name for name in changed)


def test_a_batch_norm_that_is_only_not_trained_forgets_the_old_task() -> None:
    """The mistake that freeze() is there to prevent, so that the test above can fail."""
    model = small(3)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("fc"))
    before = snapshot(model)
    fit(model, images(), torch.optim.SGD(model.fc.parameters(), 0.1), epochs=1, batch_size=8, progress=False)
    assert {name for name in moved(model, before) if "running" in name}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121"])
def test_torchvisions_frozen_networks_stay_as_they_are_in_training_mode(name: str) -> None:
    model = torchvisions(name)
    transfer.replace_head(model, 3)
    transfer.freeze(model)
    before = snapshot(model)
    model.train()
    model(torch.randn(2, 3, 64, 64)).sum().backward()
    assert moved(model, before) == set()
    learning = {n for n, p in model.named_parameters() if p.grad is not None}
    head, _ = transfer.head(model)
    assert learning == {f"{head}.weight", f"{head}.bias"}


def test_dropout_before_the_head_still_drops_while_the_rest_is_frozen() -> None:
    model = EfficientNetLite0(num_classes=3)
    transfer.freeze(model)
    model.train()
    assert model.classifier[0].training
    assert not any(m.training for m in model.features.modules())


def test_freezing_can_be_undone_in_part_and_whole() -> None:
    model = small()
    own_train = nn.Module.train
    transfer.freeze(model)
    assert transfer.count(model) == (8 * 10 + 10, sum(p.numel() for p in model.parameters()) - 90)
    transfer.unfreeze(model, "layer3")
    model.train()
    assert {n for n in STAGES if getattr(model, n).training} == {"layer3", "fc"}
    assert all(p.requires_grad == n.startswith(("layer3", "fc")) for n, p in model.named_parameters())
    transfer.unfreeze(model, "layer2.0.bn1")  # inside what stays frozen
    model.train()
    assert model.layer2[0].bn1.training
    assert not model.layer2[0].bn2.training
    model.eval()
    assert not any(m.training for m in model.modules())
    model.train()
    transfer.unfreeze(model)
    assert transfer.count(model).frozen == 0
    assert all(m.training for m in model.modules())
    assert all(m.train.__func__ is own_train for m in model.modules())


def test_frozen_networks_can_be_copied_and_stored() -> None:
    model = small()
    transfer.freeze(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        twin.train()
        assert not twin.layer1.training
        assert twin.fc.training
        transfer.unfreeze(twin)
        assert twin.layer1.training
    assert not model.layer1.training


def test_an_old_gradient_moves_nothing_after_freezing() -> None:
    model = small()
    model(torch.randn(4, 3, 8, 8)).sum().backward()
    transfer.freeze(model)
    before = snapshot(model)
    torch.optim.SGD(model.parameters(), 1.0).step()
    assert moved(model, before) == {"fc.weight", "fc.bias"}


def test_a_stage_that_does_not_exist_and_nothing_left_to_train() -> None:
    model = small()
    with pytest.raises(
        ValueError, match=r"no stage 'layer4'; its stages are conv1, bn1, layer1, layer2, layer3, fc"
    ):
        transfer.freeze(model, "layer1", "layer4")
    with pytest.raises(ValueError, match="no stage 'head'"):
        transfer.unfreeze(model, "head")
    with pytest.raises(ValueError, match="no trainable parameter"):
        transfer.freeze(model, *STAGES)
    assert transfer.count(model).frozen == 0
    assert all(m.training for m in model.modules())
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        transfer.freeze(model)
    with pytest.raises(ValueError, match="no parameter of CifarResNet is trainable"):
        transfer.layerwise_rates(model, 0.1)
    with pytest.raises(ValueError, match="no parameter of CifarResNet is trainable"):
        transfer.fine_tune(small(3).requires_grad_(False), images(), epochs=1, frozen_epochs=0)


# Rates and schedule ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*OURS, "vit_b_16", "densenet121"])
def test_layerwise_rates_hold_every_parameter_once_the_head_at_the_highest(name: str) -> None:
    with torch.device("meta") if name in THEIRS else torch.device("cpu"):
        model = OURS[name]() if name in OURS else torchvisions(name)
    groups = transfer.layerwise_rates(model, 0.1, decay=2.0)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    assert [group["lr"] for group in groups] == [0.1 / 2**k for k in range(len(groups))]
    if name != "MLP":  # whose BatchNorms are listed behind its layers
        assert id(transfer.head(model)[1].weight) in map(id, groups[0]["params"])


def test_layerwise_rates_work_in_fit() -> None:
    model = small(3)
    transfer.freeze(model, "conv1")
    optimizer = torch.optim.Adam(transfer.layerwise_rates(model, 1e-2))
    history = fit(model, images(), optimizer, epochs=1, batch_size=8, progress=False)
    assert history.epochs[0].learning_rate == 1e-2
    with pytest.raises(ValueError, match="must be positive"):
        transfer.layerwise_rates(model, 0)


def scheduled(frozen: int = 2, rates: bool = False):
    model = small(3)
    groups = transfer.layerwise_rates(model, 1e-2, decay=2.0) if rates else model.parameters()
    optimizer = torch.optim.Adam(groups, lr=1e-2)
    return model, optimizer, transfer.FrozenThenAll(optimizer, model, epochs=frozen, lr=1e-3)


def test_frozen_for_n_epochs_then_all_at_a_lower_rate() -> None:
    model, optimizer, scheduler = scheduled()
    before = snapshot(model)
    train = images()
    history = fit(model, train, optimizer, epochs=2, batch_size=8, scheduler=scheduler, progress=False)
    assert moved(model, before) == {"fc.weight", "fc.bias"}
    assert transfer.count(model).frozen == 0  # the second epoch has just ended
    history = fit(model, train, optimizer, epochs=1, batch_size=8, scheduler=scheduler, progress=False)
    assert [e.learning_rate for e in history.epochs] == [1e-3]
    assert {n.split(".")[0] for n in moved(model, before)} == set(STAGES)
    assert "bn1.running_mean" in moved(model, before)


def test_rates_of_several_groups_fall_in_proportion_and_then_on_a_plateau() -> None:
    _, optimizer, scheduler = scheduled(1, rates=True)
    scheduler.step(1.0)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([1e-3 / 2**k for k in range(6)])
    for _ in range(12):
        scheduler.step(1.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_killed_run_resumes_frozen_or_not_to_the_same_bits(tmp_path, stop: int) -> None:
    def run(epochs: int, path) -> nn.Module:
        torch.manual_seed(0)
        model, optimizer, scheduler = scheduled(2, rates=True)
        fit(
            model, images(), optimizer, epochs=epochs, batch_size=8, scheduler=scheduler, progress=False,
            checkpoint=path, validation=images(12),
        )  # fmt: skip
        return model

    whole = run(4, tmp_path / "whole")
    run(stop, tmp_path / "part")
    resumed = run(4, tmp_path / "part")
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )
    assert transfer.count(resumed).frozen == 0


def test_a_state_from_the_frozen_part_freezes_again() -> None:
    _, _, scheduler = scheduled(3)
    scheduler.step(1.0)
    state = scheduler.state_dict()
    assert "model" not in state
    model, _, again = scheduled(3)
    transfer.unfreeze(model)
    again.load_state_dict(state)
    assert transfer.count(model).trainable == 8 * 3 + 3
    again.step(1.0)
    again.step(1.0)
    assert transfer.count(model).frozen == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"epochs": 0, "lr": 1e-3}, "epochs=0"), ({"epochs": 1, "lr": -1}, "lr=-1"),
     ({"epochs": 1, "lr": 1e-3, "names": ("layer9",)}, "no stage 'layer9'")],
)  # fmt: skip
def test_a_schedule_that_makes_no_sense(arguments: dict, message: str) -> None:
    model = small()
    with pytest.raises(ValueError, match=message):
        transfer.FrozenThenAll(torch.optim.SGD(model.parameters(), 0.1), model, **arguments)


def test_batch_norms_can_be_kept_for_good() -> None:
    model, train = small(3), images()
    names = transfer.batch_norms(model)
    assert names[:2] == ("bn1", "layer1.0.bn1")
    assert len(names) == 7
    before = snapshot(model)
    transfer.fine_tune(model, train, epochs=3, frozen_epochs=1, keep=names, batch_size=8, progress=False)
    changed = moved(model, before)
    assert {"conv1.weight", "layer3.0.conv1.weight", "fc.weight"} <= changed
    assert not any("bn" in name for name in changed)
    model, optimizer, scheduler = scheduled(1)
    transfer.unfreeze(model)
    again = transfer.FrozenThenAll(optimizer, model, epochs=1, lr=1e-3, keep=names)
    again.load_state_dict(scheduler.state_dict() | {"last_epoch": 1, "keep": list(names)})
    assert not model.bn1.weight.requires_grad
    assert model.conv1.weight.requires_grad


def test_an_optimizer_that_lacks_the_frozen_parameters_is_refused() -> None:
    model = small()
    with pytest.raises(ValueError, match=r"optimizer lacks .* conv1.weight for one"):
        transfer.FrozenThenAll(torch.optim.SGD(model.fc.parameters(), 0.1), model, epochs=1, lr=0.1)
    assert transfer.count(model).frozen == 0


def test_fine_tune_is_head_first_then_all() -> None:
    model, train = small(3), images(48)
    before = snapshot(model)
    history = transfer.fine_tune(
        model, train, epochs=8, frozen_epochs=3, lr=1e-2, lower_lr=3e-3, batch_size=16, progress=False
    )
    assert [e.learning_rate for e in history.epochs] == [1e-2] * 3 + [3e-3] * 5
    assert evaluate(model, train).accuracy > 0.6
    assert "conv1.weight" in moved(model, before)


def test_the_recipe_of_the_chapter_runs_on_torchvisions_networks() -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None)
    transfer.replace_head(model, 3)
    train = transfer.prepare(images(16, side=16), 32, transfer.IMAGENET)
    history = transfer.fine_tune(
        model, train, epochs=2, frozen_epochs=1, batch_size=8, validation=train, patience=2, progress=False
    )
    assert [e.learning_rate for e in history.epochs] == [1e-3, 1e-4]
    assert train.mean == transfer.IMAGENET[0]


def test_fine_tune_refuses_what_cannot_be_learned() -> None:
    train = images()
    two = Images(train.x, train.y, (*train.classes, "d", "e"), train.mean, train.std)
    with pytest.raises(ValueError, match=r"no image of 2 of its 5 classes: d, e"):
        transfer.fine_tune(small(5), two, epochs=1, frozen_epochs=0)
    with pytest.raises(ValueError, match=r"fc has 10 outputs, but there are 3 classes: call replace_head"):
        transfer.fine_tune(small(), train, epochs=1, frozen_epochs=0)
    with pytest.raises(ValueError, match="frozen_epochs=3 must be from 0 to epochs=2"):
        transfer.fine_tune(small(3), train, epochs=2, frozen_epochs=3)


# Probes ------------------------------------------------------------------------------------------


def test_features_are_what_the_head_is_given() -> None:
    model, some = small(), images()
    model.train()
    found = transfer.features(model, some, batch_size=7)
    assert found.shape == (24, 8)
    assert all(m.training for m in model.modules())
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model.fc(found), model(some.tensors()[0]), atol=1e-5, rtol=1e-5)
    assert not model.fc._forward_pre_hooks


def test_a_linear_probe_is_at_the_minimum_and_fits_as_a_head() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = 5 + 3 * torch.randn(60, 8, generator=g), torch.arange(60) % 3
    x[:, 0] += 4 * y
    layer = transfer.linear_probe(x, y, penalty=0.05)
    scale = x.var(0).mean().sqrt()
    weight = (layer.weight.detach() * scale).requires_grad_()
    logits = ((x - x.mean(0)) / scale) @ weight.T + layer.bias.detach() + layer.weight.detach() @ x.mean(0)
    loss = nn.functional.cross_entropy(logits, y) + 0.025 * weight.square().sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    assert gradient.abs().max() < 1e-3
    assert (layer(x).argmax(1) == y).float().mean() > 0.7
    model = small(10)
    transfer.replace_head(model, layer)
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 3)


def test_probe_and_neighbours_refuse_what_does_not_fit() -> None:
    x, y = torch.randn(6, 4), torch.tensor([0, 0, 2, 2, 0, 2])
    with pytest.raises(ValueError, match="1 of them without an example"):
        transfer.linear_probe(x, y)
    with pytest.raises(ValueError, match="without an example"):
        transfer.linear_probe(x, y.clamp_max(1), classes=3)
    with pytest.raises(ValueError, match=r"x must be \(N, features\)"):
        transfer.linear_probe(x, y[:3])
    with pytest.raises(ValueError, match="k=7 must be from 1 to 6"):
        transfer.nearest_neighbours(x, y, x, k=7)
    with pytest.raises(ValueError, match="4 features and queries 3"):
        transfer.nearest_neighbours(x, y, x[:, :3])


def test_neighbours_vote() -> None:
    x = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    y = torch.tensor([1, 1, 0, 0])
    queries = torch.tensor([[2.0, 0.1], [0.1, 2.0]])
    assert transfer.nearest_neighbours(x, y, queries).tolist() == [1, 0]
    assert transfer.nearest_neighbours(x, y, queries, k=3).tolist() == [1, 0]


def test_prepare_gives_the_pretrained_networks_size_channels_and_scale() -> None:
    grey = Images(
        torch.randint(256, (5, 1, 28, 28), dtype=torch.uint8),
        torch.zeros(5, dtype=torch.long),
        ("a",),
        (0.1,),
        (0.3,),
    )
    ready = transfer.prepare(grey, 64)
    assert ready.x.shape == (5, 3, 64, 64)
    assert torch.equal(ready.x[:, 0], ready.x[:, 2])
    torch.testing.assert_close(ready.tensors()[0], (ready.x.float() - 127) / 128)
    assert torch.equal(transfer.prepare(grey, 28).x[:, :1], grey.x)
    with pytest.raises(ValueError, match="2 channels"):
        transfer.prepare(Images(grey.x.expand(-1, 2, -1, -1), grey.y, ("a",), (0.1,) * 2, (0.3,) * 2), 64)
    with pytest.raises(ValueError, match="side=0"):
        transfer.prepare(grey, 0)


# Weights and the field ---------------------------------------------------------------------------


class _Weights:
    def __init__(self, url: str) -> None:
        self.url = url


@pytest.fixture
def served(tmp_path, monkeypatch) -> _Weights:
    """A state dict on a host of its own, its name ending in its checksum, as torchvision's do."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "cache"))
    path = tmp_path / "tiny.pth"
    torch.save(small().state_dict(), path)
    named = tmp_path / f"tiny-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    path.rename(named)
    return _Weights(named.as_uri())


def test_weights_are_downloaded_once_and_load(served: _Weights, tmp_path) -> None:
    model = small(seed=1)
    model.load_state_dict(transfer.download_weights(served, progress=False))
    assert torch.equal(model.fc.weight, small().fc.weight)
    next(tmp_path.glob("tiny-*.pth")).unlink()  # the host is gone
    assert transfer.download_weights(served, progress=False).keys() == model.state_dict().keys()


def test_altered_weights_are_not_loaded_but_fetched_anew_or_refused(served: _Weights, tmp_path) -> None:
    transfer.download_weights(served, progress=False)
    kept = next((tmp_path / "cache" / "weights").glob("*.pth"))
    good = kept.read_bytes()
    kept.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    transfer.download_weights(served, progress=False)
    assert kept.read_bytes() == good
    kept.write_bytes(good[:100])
    next(tmp_path.glob("tiny-*.pth")).unlink()
    with pytest.raises(
        DownloadError, match=r"(?s)could not be downloaded.*altered.*by hand.*EfficientNetLite0"
    ):
        transfer.download_weights(served, progress=False)


def test_a_host_that_serves_another_file_is_refused_and_leaves_nothing(served: _Weights, tmp_path) -> None:
    host = next(tmp_path.glob("tiny-*.pth"))
    host.write_bytes(host.read_bytes() + b"x")
    with pytest.raises(DownloadError, match="invalid hash value"):
        transfer.download_weights(served, progress=False)
    assert not list((tmp_path / "cache" / "weights").glob("*.pth"))
    with pytest.raises(ValueError, match="CHECKSUM"):
        transfer.download_weights(_Weights("https://example.org/plain.pth"))


def test_the_field_has_torchvisions_parameter_counts_and_sources() -> None:
    bibliography = (Path(__file__).parents[1] / "book" / "references.bib").read_text("utf-8")
    known = 0
    for each in transfer.field():
        assert f"{{{each.source}," in bibliography
        assert each.url.startswith("https://")
        if not each.torchvision:
            continue
        with torch.device("meta"):
            model = torchvisions(each.torchvision)
        parameters = sum(p.numel() for p in model.parameters())
        if each.part == "backbone":
            parameters -= sum(p.numel() for p in transfer.head(model)[1].parameters())
        assert parameters == each.parameters, each.name
        if each.accuracy_of == "torchvision":
            weights = torchvision.models.get_model_weights(each.torchvision)["IMAGENET1K_V1"]
            assert weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] == each.accuracy
        known += 1
    assert known >= 12
    dates = [each.date for each in transfer.field()]
    assert dates == sorted(dates)
    lite = next(each for each in transfer.field() if each.name == "EfficientNet-Lite0")
    assert sum(p.numel() for p in EfficientNetLite0().parameters()) == lite.parameters


def test_what_was_measured_is_whole_and_is_what_the_table_shows() -> None:
    found = recorded.load("transfer")
    for runs in found["fashion"].values():
        assert len(runs) == FASHION["seeds"]
        for run in runs:
            assert len(run["accuracy"]) == FASHION["epochs"]
            assert all(0 <= accuracy <= 1 for accuracy in run["accuracy"])
    table = Path(__file__).parents[1] / "book" / "results" / "transfer.md"
    assert table.read_text("utf-8") == text(found)


def test_what_fine_tuning_unfroze_is_in_the_models_mode_afterwards():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    y = torch.arange(33) % 3
    images = Images(torch.randint(0, 255, (33, 1, 8, 8), dtype=torch.uint8), y, "abc", (0.5,), (0.25,))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="batch_size=16 leaves a batch of one of the 33 images"):
        transfer.fine_tune(model, images, epochs=2, frozen_epochs=1, batch_size=16, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    transfer.fine_tune(model, images, epochs=2, frozen_epochs=1, batch_size=11, progress=False)
    assert [module.training for module in model.modules()] == [True] * 6
