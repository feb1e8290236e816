"""A trained network leaves Python: ``torch.export``, ONNX, int8; each checked against the network it was.

Needs the extra ``export`` (onnx, onnxscript, onnxruntime); without it, a clear error says what to install.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from course_lib.device import check_finite

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_packages() -> None:
    """Raises ``ModuleNotFoundError`` that says what to install, unless everything is there."""
    absent = [package for package in PACKAGES if find_spec(package) is None]
    if absent:
        raise ModuleNotFoundError(
            f"export to ONNX needs {', '.join(PACKAGES)}, and {', '.join(absent)} is not installed: "
            f"pip install {' '.join(absent)}",
            name=absent[0],
        )


def to_program(model: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The network as a graph of tensor operations, without its Python: ``torch.export``, in evaluation mode.

    example: a batch (N, …) of two or more; the graph takes any N, and images of the example's size.
    ``program.module()`` is the graph as a module again. Raises ``ValueError`` for a batch of fewer than two
    (a 1 would be taken for a constant) and where the graph's outputs differ from the network's.
    """
    _check_example(example)
    model = _evaluating_copy(model)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
    _check_same(model, program.module(), example, "torch.export's graph")
    return program


def to_onnx(model: nn.Module, example: Tensor, path: str | os.PathLike) -> Path:
    """Write the network to ``path`` as ONNX, with its weights, and check it in onnxruntime.

    example: as for :func:`to_program`. The file is written whole or not at all.
    Raises ``ValueError`` as :func:`to_program` does, ``ModuleNotFoundError`` without the packages.
    """
    require_packages()
    _check_example(example)
    path = Path(path)
    model = _evaluating_copy(model)
    with _written_whole(path) as part:
        with _quiet():
            exported = torch.onnx.export(
                model, (example,), dynamo=True, verbose=False, external_data=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )  # fmt: skip
            exported.save(part)
        _check_same(model, Runtime(part), example, "the ONNX file")
    return path


class Runtime(nn.Module):
    """An ONNX file that runs in onnxruntime, called like a network: (N, …) → (N, classes), on the CPU.

    A network of several outputs returns a tuple of them, whatever collection they were in.

    Args:
        path: the file.
        threads: how many onnxruntime may use; ``None`` is as many as torch does.

    Raises:
        ModuleNotFoundError: without the packages.
        ValueError: no such file, or no ONNX file.
    """

    def __init__(self, path: str | os.PathLike, threads: int | None = None) -> None:
        super().__init__()
        require_packages()
        import onnxruntime

        if not Path(path).is_file():
            raise ValueError(f"path is {os.fspath(path)!r}; there is no such file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3  # errors only
        try:
            self.session = onnxruntime.InferenceSession(
                os.fspath(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class of its own for each kind of broken file
            raise ValueError(
                f"path is {os.fspath(path)!r}, which onnxruntime cannot read: {error}"
            ) from error
        self.input = self.session.get_inputs()[0].name

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        batch = x.detach().cpu().float().contiguous().numpy()
        outputs = tuple(torch.from_numpy(one) for one in self.session.run(None, {self.input: batch}))
        return outputs[0] if len(outputs) == 1 else outputs


def quantize(
    source: str | os.PathLike,
    path: str | os.PathLike,
    calibration: Tensor,
    *,
    per_channel: bool = True,
    batch_size: int = 50,
) -> Path:
    """Write the ONNX file ``source`` to ``path`` with weights and activations in int8.

    Args:
        source: as :func:`to_onnx` wrote it.
        calibration: typical inputs (N, …), some hundred; they set the range of each activation.
        per_channel: a grid for each output channel's weights; else one for each layer's.
        batch_size: calibration inputs at once.

    onnxruntime folds BatchNorm, finds the ranges (smallest and largest value seen) and writes integer
    weights. Raises ``ValueError`` for a calibration set that is empty, not finite, or of another shape than
    the network's inputs, ``ModuleNotFoundError`` without the packages.
    """
    require_packages()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    runtime = Runtime(source)
    if len(calibration) == 0:
        raise ValueError("calibration is empty; give some hundred typical inputs")
    wanted = runtime.session.get_inputs()[0].shape[1:]
    if list(calibration.shape[1:]) != wanted:
        raise ValueError(
            f"calibration has shape {tuple(calibration.shape)}; this network takes (N, "
            f"{', '.join(map(str, wanted))})"
        )

    check_finite("calibration", calibration)

    class Reader(CalibrationDataReader):
        batches = iter(calibration.detach().cpu().float().split(batch_size))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {runtime.input: batch.contiguous().numpy()}

    path = Path(path)
    with _written_whole(path) as part, tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder, "prepared.onnx")
        quant_pre_process(os.fspath(source), os.fspath(prepared), skip_symbolic_shape=True)
        quantize_static(
            os.fspath(prepared), os.fspath(part), Reader(), quant_format=QuantFormat.QDQ,
            per_channel=per_channel, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
    return path


def _check_example(example: Tensor) -> None:
    if example.dim() < 2 or len(example) < 2:
        raise ValueError(
            f"example has shape {tuple(example.shape)}; it must be a batch (N, …) of two or more"
        )
    check_finite("example", example)


def _evaluating_copy(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).eval()


@torch.no_grad()
def _check_same(model: nn.Module, other: nn.Module, example: Tensor, name: str) -> None:
    """Both must say the same on the example, and on a batch of another size."""
    for x in (example, torch.cat([example, example[:1]])):
        expected, got = _outputs(model(x)), _outputs(other(x))
        if [tuple(one.shape) for one in expected] != [tuple(one.shape) for one in got]:
            shapes = [[tuple(one.shape) for one in outputs] for outputs in (got, expected)]
            raise ValueError(f"{name} has outputs of the shapes {shapes[0]}, the network {shapes[1]}")
        for wanted, one in zip(expected, got, strict=True):
            wanted, one = wanted.double(), one.double()
            difference = (one - wanted).abs().max().item()
            if not difference <= 1e-4 * max(1.0, wanted.abs().max().item()):
                raise ValueError(f"{name} differs from the network by up to {difference:.2g} in its outputs")


def _outputs(returned: Any) -> list[Tensor]:
    """The tensors in what a network returned: one, or a tuple, list or dict of them."""
    found = pytree.tree_leaves(returned)
    odd = [type(one).__name__ for one in found if not isinstance(one, Tensor)]
    if odd or not found:
        raise ValueError(
            f"the network returns {odd[0] if odd else 'nothing'}; what is exported must return a tensor, or "
            "a tuple, list or dict of them"
        )
    return found


@contextlib.contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; it takes the name ``path`` when all has gone well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder, path.name)
        yield part
        os.replace(part, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters' progress reports and advice to developers stay off the page; errors do not."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
