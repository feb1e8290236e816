import importlib.util
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from course_lib import export, quantization
from course_lib.models.mobilenetv2 import MobileNetV2

needs_packages = pytest.mark.skipif(
    not all(importlib.util.find_spec(package) for package in export.PACKAGES), reason="needs the extra export"
)


def network():
    torch.manual_seed(0)
    model = MobileNetV2(in_channels=1, num_classes=10, width=0.35, stem="small", dropout=0.5)
    model(torch.randn(16, 1, 8, 8))  # running statistics that are not 0 and 1
    return model


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    model = network()
    torch.manual_seed(1)
    x = torch.randn(64, 1, 8, 8)
    path = export.to_onnx(model, x[:2], folder / "deep" / "network.onnx")
    return model.eval(), x, path, export.quantize(path, folder / "int8.onnx", x)


def test_a_program_says_what_the_network_says_for_any_batch():
    model = network()
    modes = [module.training for module in model.modules()]
    program = export.to_program(model, torch.randn(2, 1, 8, 8))
    assert [module.training for module in model.modules()] == modes
    x = torch.randn(7, 1, 8, 8)
    model.eval()
    torch.testing.assert_close(program.module()(x), model(x))
    with pytest.raises(ValueError, match=r"\(1, 1, 8, 8\)"):
        export.to_program(model, x[:1])


@needs_packages
def test_onnx_says_what_the_network_says_for_any_batch(files):
    model, x, path, _ = files
    runtime = export.Runtime(path)
    for batch in (x, x[:1]):
        torch.testing.assert_close(runtime(batch), model(batch), rtol=1e-4, atol=1e-4)
    assert [file.name for file in path.parent.iterdir()] == ["network.onnx"]  # nothing beside it


@needs_packages
def test_int8_is_a_quarter_and_close(files):
    model, x, path, small = files
    # Biases stay 32 bits and the graph itself takes room, so a small network shrinks less than fourfold.
    assert small.stat().st_size < 0.5 * path.stat().st_size
    y, rounded = model(x), export.Runtime(small)(x)
    assert (rounded - y).abs().mean() < 0.2 * y.abs().mean()
    assert (rounded != y).any()


@needs_packages
def test_int8_has_integer_weights_a_scale_each_channel_or_one(files, tmp_path):
    import onnx

    _, x, path, small = files
    one = export.quantize(path, tmp_path / "one.onnx", x, per_channel=False)
    lengths = {}
    for name, file in (("channel", small), ("layer", one)):
        graph = onnx.load(file).graph
        scales = {
            t.name: max(t.dims, default=1) for t in graph.initializer if t.name.endswith("weight_scale")
        }
        kinds = [t.data_type for t in graph.initializer if t.name.endswith("weight_quantized")]
        assert kinds
        assert set(kinds) == {onnx.TensorProto.INT8}
        lengths[name] = max(scales.values(), default=1)
    assert lengths["channel"] > 1
    assert lengths["layer"] == 1


@needs_packages
def test_a_file_that_differs_from_the_network_is_refused_and_not_left_behind(tmp_path, monkeypatch):
    model = nn.Linear(3, 2)
    monkeypatch.setattr(export.Runtime, "forward", lambda _self, x: model(x) + 0.1)
    path = tmp_path / "network.onnx"
    with pytest.raises(ValueError, match="differs from the network"):
        export.to_onnx(model, torch.randn(2, 3), path)
    assert list(tmp_path.iterdir()) == []


@needs_packages
def test_what_does_not_fit_is_named(files, tmp_path):
    _, x, path, _ = files
    with pytest.raises(ValueError, match="no such file"):
        export.Runtime(tmp_path / "absent.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot read"):
        export.Runtime(broken)
    with pytest.raises(ValueError, match="empty"):
        export.quantize(path, tmp_path / "q.onnx", x[:0])
    with pytest.raises(ValueError, match=r"\(4, 3, 8, 8\).*1, 8, 8"):
        export.quantize(path, tmp_path / "q.onnx", torch.randn(4, 3, 8, 8))
    assert [file.name for file in tmp_path.iterdir()] == ["broken.onnx"]


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxruntime" else object())
    for call in (
        lambda: export.to_onnx(nn.Linear(2, 2), torch.ones(2, 2), tmp_path / "x.onnx"),
        lambda: export.Runtime(tmp_path / "x.onnx"),
        lambda: export.quantize(tmp_path / "x.onnx", tmp_path / "y.onnx", torch.ones(2, 2)),
    ):
        with pytest.raises(ModuleNotFoundError, match="pip install onnxruntime"):
            call()


def test_the_module_needs_no_package_to_be_imported():
    source = Path(export.__file__).read_text("utf-8")
    before_any_function, _, inside = source.partition("\ndef ")
    assert "import onnx" not in before_any_function
    assert "import onnx" in inside


class Pair(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.layer = kind, nn.Linear(3, 2)

    def forward(self, x):
        y = self.layer(x)
        return {"tuple": (y, x), "dict": {"a": y, "b": y + 1}, "list": [y], "nested": (y, [x, y])}[self.kind]


@needs_packages
@pytest.mark.parametrize("kind", ["tuple", "dict", "list", "nested"])
def test_a_network_of_several_outputs_is_exported_and_each_is_checked(kind, tmp_path, monkeypatch):
    model, x = Pair(kind), torch.randn(4, 3)
    expected = export._outputs(model(x))
    got = export._outputs(export.to_program(model, x).module()(x))
    runtime = export.Runtime(export.to_onnx(model, x, tmp_path / "pair.onnx"))
    for outputs in (got, export._outputs(runtime(x))):
        assert len(outputs) == len(expected)
        for one, wanted in zip(outputs, expected, strict=True):
            torch.testing.assert_close(one, wanted)
    if kind != "list":  # one of several that is wrong is found
        forward = export.Runtime.forward
        monkeypatch.setattr(export.Runtime, "forward", lambda self, x: (*forward(self, x)[:-1], x + 9))
        with pytest.raises(ValueError, match=r"the ONNX file (differs|has outputs)"):
            export.to_onnx(model, x, tmp_path / "wrong.onnx")


def test_a_network_that_returns_no_tensor_is_refused():
    class Odd(nn.Module):
        def forward(self, x):
            return x, "done"

    with pytest.raises(ValueError, match="returns str; what is exported must return a tensor"):
        export._check_same(Odd(), Odd(), torch.ones(2, 3), "it")


@needs_packages
def test_inputs_that_are_not_finite_are_refused(files, tmp_path):
    model, x, path, _ = files
    x = x.clone()
    x[3, 0, 1, 2] = math.nan
    for call in (
        lambda: export.quantize(path, tmp_path / "q.onnx", x),
        lambda: export.to_onnx(model, x, tmp_path / "q.onnx"),
        lambda: quantization.simulate(model, x),
        lambda: quantization.input_ranges(model, x),
    ):
        with pytest.raises(
            ValueError, match=r"(calibration|example|x) has 1 values .* nan at index \(3, 0, 1, 2\)"
        ):
            call()
    assert not list(tmp_path.iterdir())
