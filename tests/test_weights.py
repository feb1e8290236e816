import copy
import os
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import weights
from course_lib.layers import BatchNorm
from course_lib.models.cifar_resnet import CifarResNet
from course_lib.models.convnets import SimpleConvNet

ENDINGS = [".safetensors", ".pth", ".pt"]


def small(filters=3):
    return SimpleConvNet(image_size=8, filters=filters, kernel_size=3, hidden=5)


def same(a, b):
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


class Running(nn.Module):
    """A tied weight, a view, a channels_last weight and a buffer of whole numbers."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.a = nn.Linear(3, 3)
        self.b = nn.Linear(3, 3)
        self.b.weight = self.a.weight
        self.conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        self.view = nn.Parameter(torch.arange(6.0)[1::2])


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("make", [small, Running])
def test_what_is_saved_is_loaded_to_the_bit(tmp_path, ending, make):
    torch.manual_seed(0)
    model, other = make(), make()
    assert not same(model, other) or make is Running
    path = weights.save(model, tmp_path / "new folder" / f"net{ending}")
    assert weights.load(other, path) is other
    assert same(model, other)
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing left lying about


def test_a_state_dict_will_do_at_both_ends(tmp_path):
    model, other = small(), small()
    weights.load(other, model.state_dict())
    assert same(model, other)
    path = weights.save({"a": torch.ones(2)}, str(tmp_path / "a.safetensors"))
    assert weights.read(str(path))["a"].tolist() == [1, 1]


def test_numbers_take_the_models_type(tmp_path):
    model = small()
    path = weights.save(model, tmp_path / "net.safetensors")
    other = weights.load(small().double(), path)
    assert other.output.weight.dtype == torch.float64
    torch.testing.assert_close(other.output.weight.float(), model.output.weight)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, 0.99])
def test_a_cut_file_gets_a_clear_error(tmp_path, ending, keep):
    path = weights.save(small(), tmp_path / f"net{ending}")
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(ValueError, match="cut short") as error:
        weights.load(small(), path)
    assert path.name in str(error.value)


def test_a_pickle_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, ("raise SystemExit('it was run')",))

    for ending in ENDINGS:
        path = tmp_path / f"trap{ending}"
        path.write_bytes(pickle.dumps(Trap()))
        with pytest.raises(ValueError, match=r"is not a (safetensors )?file"):
            weights.load(small(), path)
    torch.save(Trap(), tmp_path / "trap.pth")
    with pytest.raises(ValueError, match="nothing else in it is run"):
        weights.load(small(), tmp_path / "trap.pth")


@pytest.mark.parametrize(
    "content", [[1, 2], torch.ones(3), {"epoch": 3, "w": torch.ones(2)}, {1: torch.ones(2)}]
)
def test_a_file_of_something_else_gets_a_clear_error(tmp_path, content):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(ValueError, match="must hold a state dict"):
        weights.load(small(), tmp_path / "net.pth")


def test_weights_of_another_network_name_what_differs_and_change_nothing(tmp_path):
    path = weights.save(small(filters=4), tmp_path / "net.safetensors")
    model = small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="another network than this SimpleConvNet") as error:
        weights.load(model, path)
    assert "conv.weight: (3, 1, 3, 3) here, (4, 1, 3, 3) there" in str(error.value)
    assert str(path) in str(error.value)
    state = dict(small().state_dict(), extra=torch.ones(1))
    del state["conv.bias"]
    with pytest.raises(
        ValueError, match=r"conv.bias: \(3,\) here, absent there; extra: absent here, \(1,\) there"
    ):
        weights.load(model, state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = weights.save({"a": torch.zeros(2)}, tmp_path / "net.safetensors")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        weights.save({"a": torch.ones(2)}, path)
    assert weights.read(path)["a"].tolist() == [0, 0]
    assert len(list(tmp_path.iterdir())) == 1


def test_other_mistakes(tmp_path):
    with pytest.raises(ValueError, match=r"ending must be one of .safetensors, .pth, .pt"):
        weights.save(small(), tmp_path / "net.pkl")
    with pytest.raises(ValueError, match="'epoch' is a int"):
        weights.save({"epoch": 3}, tmp_path / "net.pth")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        weights.load(small(), tmp_path / "missing.safetensors")


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_a_file_is_for_all_who_may_read(tmp_path, ending):
    """Not for its owner alone, as what safetensors writes is."""
    mask = os.umask(0o022)
    try:
        path = weights.save(nn.Linear(2, 2), tmp_path / f"w{ending}")
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, BatchNorm])
def test_older_files_load_where_torch_loads_them(norm, tmp_path):
    model, twin = (nn.Sequential(nn.Conv2d(1, 2, 3), norm(2)) for _ in range(2))
    model(torch.randn(4, 1, 5, 5))
    older = {n: v for n, v in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    weights.load(twin, weights.save(older, tmp_path / "older.safetensors"))
    assert torch.equal(twin[1].running_mean, model[1].running_mean)
    before = copy.deepcopy(twin.state_dict())
    del older["1.running_var"]
    older["0.weight"] = older["0.weight"] + 1
    with pytest.raises(ValueError, match=r"1\.running_var"):
        weights.load(twin, older)
    for name, value in before.items():
        assert torch.equal(twin.state_dict()[name], value)


def akamasters(depth=8):
    """Weights under the names of Y. Idelbayev's code, from a network that is his: zeros on both sides."""
    theirs = CifarResNet(depth, shortcut="A-centred")
    for block in (theirs.layer2[0], theirs.layer3[0]):
        quarter = block.conv1.out_channels // 4
        block.downsample = Lambda(lambda x, q=quarter: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, q, q)))
    state = {f"module.{n.replace('fc.', 'linear.')}": v for n, v in theirs.state_dict().items()}
    return theirs.eval(), state


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = function


def test_akamasters_weights_go_into_their_own_layout_only():
    theirs, state = akamasters()
    x = torch.randn(3, 3, 16, 16)
    ours = weights.load(CifarResNet(8, shortcut="A-centred"), state).eval()
    torch.testing.assert_close(ours(x), theirs(x))
    assert not torch.allclose(weights.load(CifarResNet(8), plain(ours)).eval()(x), theirs(x), atol=1e-2)
    wrong = CifarResNet(8)
    before = copy.deepcopy(wrong.state_dict())
    for refused in (state, {n.removeprefix("module."): v for n, v in state.items()}):
        with pytest.raises(ValueError, match="shortcut='A-centred', and this one has 'A'"):
            weights.load(wrong, refused)
    assert all(torch.equal(v, before[n]) for n, v in wrong.state_dict().items())
    assert "module.linear.weight" in state  # it was read, not changed


def plain(model):
    """A state without torch's notes: names and numbers, as others' files have them."""
    return dict(model.state_dict())


@pytest.mark.parametrize("ending", [".safetensors", ".pt", None])
def test_a_state_remembers_its_shortcut(tmp_path, ending):
    model = CifarResNet(8)
    state = model.state_dict()
    if ending:
        state = weights.read(weights.save(model, tmp_path / f"w{ending}"))
    for whole in (CifarResNet(8, shortcut="A-centred"), nn.Sequential(CifarResNet(8, shortcut="A-centred"))):
        deep = isinstance(whole, nn.Sequential)
        with pytest.raises(ValueError, match="shortcut='A', and this one has 'A-centred'"):
            weights.load(whole, nn.Sequential(model).state_dict() if deep else state)
    weights.load(CifarResNet(8), state)
