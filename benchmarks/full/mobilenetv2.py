"""MobileNetV2 beside its relatives: what it costs, what it takes, which of its parts it needs (chapter 9).

Writes ``book/results/mobilenetv2.md``, a table between each pair of marks, and ``mobilenetv2.json`` in
``course_lib/recorded``: latency by width and resolution, which the chapter's first explorer shows.
"""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from benchmarks.full._tables import spread
from course_lib import data, device, export, measure, recorded
from course_lib.data import Images
from course_lib.models.mobilenetv1 import MobileNetV1
from course_lib.models.mobilenetv2 import InvertedResidual, MobileNetV2, conv_norm
from course_lib.models.resnet import ResNet
from course_lib.training import evaluate, fit

RESULTS = Path(__file__).parents[2] / "book" / "results"
SEEDS = range(3)
PARTS_SEEDS = range(5)
EPOCHS = 4
WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.4)
SIDES = (96, 128, 160, 192, 224)
OTHERS: dict[str, Callable[[], nn.Module]] = {
    "MobileNetV1": MobileNetV1,
    "ResNet-18": lambda: ResNet(18),
    "ResNet-50": lambda: ResNet(50),
}


def run() -> str:
    """Every table, and the data file on the way."""
    torch.set_num_threads(1)
    recorded.path("mobilenetv2").write_text(json.dumps(latencies(), indent=1) + "\n", "utf-8")
    parts = {"cost": cost, "bf16": half_precision, "parts": parts_left_out, "int8": eight_bits}
    tables = [f"<!-- {name} -->\n\n{make()}\n\n<!-- end {name} -->" for name, make in parts.items()]
    return "\n\n".join(tables) + "\n"


def seconds(run: Callable[[], object], repeats: int = 30) -> float:
    """Processor time of the quickest of ``repeats`` runs: what else the machine does can only add to it."""
    run()
    run()
    took = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        took.append(time.process_time() - began)
    return min(took)


def ready(model: nn.Module, batch: int, side: int) -> tuple[nn.Module, Tensor]:
    layout = device.memory_format(model)
    return model.to(memory_format=layout), torch.randn(batch, 3, side, side).to(memory_format=layout)


@torch.no_grad()
def inference(model: nn.Module, side: int, batch: int = 1, precision: str = "fp32") -> float:
    model, x = ready(model.eval(), batch, side)
    with device.autocast("cpu", precision):
        return seconds(lambda: model(x))


def latencies() -> dict:
    """Milliseconds for one image: each width at each side, and the other networks at each side."""
    nets = {f"{width:g}": lambda width=width: MobileNetV2(width=width) for width in WIDTHS} | OTHERS
    found = {
        name: [float(f"{1e3 * inference(make(), side):.3g}") for side in SIDES] for name, make in nets.items()
    }
    return {
        "sides": SIDES,
        "milliseconds": found,
        "protocol": f"one image, float32, processor time, quickest of 30 runs, {_machine()}",
    }


def cost() -> str:
    """Counted and measured at 224×224."""
    nets = {"MobileNetV2": MobileNetV2, "MobileNetV2, width 1.4": lambda: MobileNetV2(width=1.4)} | OTHERS
    lines = [
        "| network | parameters | multiply-adds | activations | torch | onnxruntime | onnxruntime, int8 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, make in nets.items():
        model = make().eval()
        total = measure.summary(model, (1, 3, 224, 224)).total
        x = torch.randn(2, 3, 224, 224)
        with tempfile.TemporaryDirectory() as folder:
            whole = export.to_onnx(model, x, Path(folder, "fp32.onnx"))
            small = export.quantize(whole, Path(folder, "int8.onnx"), x)
            times = [
                inference(model, 224),
                *(_runtime_seconds(file, x[:1]) for file in (whole, small)),
            ]
        cells = " | ".join(f"{1e3 * time:.1f} ms" for time in times)
        lines.append(
            f"| {name} | {total.parameters:,} | {total.multiply_adds / 1e6:,.0f} M "
            f"| {total.activations / 1e6:.1f} MB | {cells} |"
        )
    return _table(
        lines,
        "One image of 224×224, random weights. Activations: what all layers put out, float32, inference. "
        f"Time: of the processor, quickest of 30 runs, `channels_last` in torch; {_machine()}.",
    )


def _runtime_seconds(file: Path, x: Tensor) -> float:
    runtime = export.Runtime(file, threads=1)
    return seconds(lambda: runtime(x))


def training_step(model: nn.Module, batch: int, side: int, precision: str) -> float:
    model, x = ready(model.train(), batch, side)
    y = torch.arange(batch) % 10

    def step() -> None:
        with device.autocast("cpu", precision):
            loss = F.cross_entropy(model(x), y)
        model.zero_grad()
        loss.backward()

    return seconds(step, 12)


def half_precision() -> str:
    """float32 against bf16 autocast, network by network and layer by layer."""
    nets = {
        "ResNet-18": lambda: ResNet(18, num_classes=10),
        "MobileNetV2": lambda: MobileNetV2(num_classes=10),
        "MobileNetV2, depthwise in float32": lambda: device.depthwise_in_float32(MobileNetV2(num_classes=10)),
    }
    lines = ["| | float32 | bf16 autocast | gain |", "|---|---|---|---|"]
    for name, make in nets.items():
        for what, batch, side in (("inference", 64, 32), ("training", 64, 32), ("training", 16, 96)):
            if what == "inference":
                pair = [inference(make(), side, batch, precision) for precision in ("fp32", "bf16")]
            else:
                pair = [training_step(make(), batch, side, precision) for precision in ("fp32", "bf16")]
            lines.append(f"| {name}, {what}, {batch} images of {side}×{side} | {_pair(pair)}")
    for name, conv in {
        "3×3, 64 to 64 channels": nn.Conv2d(64, 64, 3, padding=1),
        "1×1, 24 to 144 channels": nn.Conv2d(24, 144, 1),
        "3×3 depthwise, 96 channels": nn.Conv2d(96, 96, 3, padding=1, groups=96),
        "3×3 depthwise, 96 channels, stride 2": nn.Conv2d(96, 96, 3, 2, padding=1, groups=96),
    }.items():
        forward, backward = zip(
            *(_layer_seconds(conv, dtype) for dtype in (torch.float32, torch.bfloat16)), strict=True
        )
        lines.append(f"| layer {name}: forward | {_pair(forward)}")
        lines.append(f"| layer {name}: gradient of the input | {_pair(backward)}")
    return _table(
        lines,
        "Layers: 64 images of 16×16. Processor time, quickest of 12 to 30 runs, `channels_last`; "
        f"{_machine()}.",
    )


def _layer_seconds(conv: nn.Conv2d, dtype: torch.dtype) -> tuple[float, float]:
    layer = conv.to(dtype=dtype, memory_format=torch.channels_last)
    x = torch.randn(64, conv.in_channels, 16, 16, dtype=dtype).to(memory_format=torch.channels_last)
    x.requires_grad_()
    y = layer(x)
    upstream = torch.randn_like(y)
    with torch.no_grad():
        forward = seconds(lambda: layer(x))
    return forward, seconds(lambda: torch.autograd.grad(y, x, upstream, retain_graph=True))


def _pair(pair: tuple[float, ...] | list[float]) -> str:
    whole, half = pair
    return f"{1e3 * whole:.3g} ms | {1e3 * half:.3g} ms | {whole / half:.2g}× |"


# The small network of the chapter.
TABLE = ((1, 8, 1, 1), (6, 12, 2, 2), (6, 16, 2, 2))


def small_network(
    seed: int,
    *,
    activation: str = "relu6",
    shortcut: bool = True,
    linear: bool = True,
    expansion: int = 6,
    width: float = 1,
) -> nn.Sequential:
    """Five inverted residuals for digits of 14×14; 14,826 parameters as the paper's design has it.

    ``width`` multiplies the channels of the stem and of the blocks.
    """
    torch.manual_seed(seed)
    channels = round(16 * width)
    layers = [conv_norm(1, channels, activation=activation)]
    for t, c, n, s in TABLE:
        c = round(c * width)
        for k in range(n):
            block = InvertedResidual(
                channels, c, s if k == 0 else 1, 1 if t == 1 else expansion, activation=activation,
                shortcut=shortcut,
            )  # fmt: skip
            if not linear:
                block.conv.append(nn.ReLU6())
            layers.append(block)
            channels = c
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10)]
    return nn.Sequential(*layers, conv_norm(channels, 96, 1, activation=activation), *head)


def digits() -> tuple[Images, Images]:
    """The offline digits at 14×14."""
    halved = []
    for images in data.mnist():
        x = F.avg_pool2d(images.x.float(), 2).round().to(torch.uint8)
        halved.append(Images(x, images.y, images.classes, images.mean, images.std))
    return halved[0], halved[1]


def trained(model: nn.Module, train: Images, seed: int, epochs: int) -> tuple[nn.Module, float]:
    """One cycle of SGD; the model, and the mean loss of the last epoch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, nesterov=True)
    total = epochs * -(-len(train) // 128)
    scheduler = OneCycleLR(optimizer, 0.2, total_steps=total)
    history = fit(
        model, train, optimizer, epochs=epochs, scheduler=scheduler, scheduler_every="step", seed=seed,
        progress=False,
    )  # fmt: skip
    return model, history.epochs[-1].train_loss


def parts_left_out(epochs: int = EPOCHS) -> str:
    """What the block is without one of its parts."""
    train, test = digits()
    variants = {
        "as in the paper: t = 6, linear bottlenecks, shortcuts": {},
        "ReLU6 in the bottlenecks": {"linear": False},
        "no shortcuts": {"shortcut": False},
        "t = 1": {"expansion": 1},
        "t = 1, channels × 2.8": {"expansion": 1, "width": 2.8},
        "t = 3": {"expansion": 3},
        "ReLU for ReLU6": {"activation": "relu"},
    }
    lines = [
        "| block | parameters | multiply-adds | training loss, last epoch | test accuracy |",
        "|---|---|---|---|---|",
    ]
    for name, settings in variants.items():
        losses, accuracies = [], []
        for seed in PARTS_SEEDS:
            model, loss = trained(small_network(seed, **settings), train, seed, epochs)
            losses.append(loss)
            accuracies.append(100 * evaluate(model, test).accuracy)
        total = measure.summary(model, (1, 1, 14, 14)).total
        lines.append(
            f"| {name} | {total.parameters:,} | {total.multiply_adds / 1e3:,.0f} k | {spread(losses, 3)} "
            f"| {spread(accuracies, 1)} % |"
        )
    return _table(
        lines,
        f"4,000 digits at 14×14 to train, 1,000 to test; {epochs} epochs of SGD with Nesterov momentum 0.9, "
        "one cycle up to a learning rate of 0.2, batches of 128; mean ± standard deviation of "
        f"{len(PARTS_SEEDS)} seeds.",
    )


def eight_bits(epochs: int = EPOCHS) -> str:
    """The small network before and after int8 in onnxruntime; ReLU6 and ReLU; a bad calibration image."""
    train, test = digits()
    calibration = train.take(200, seed=0).tensors()[0]
    spoilt = calibration.clone()
    spoilt[0] *= 30
    one = test.take(10).tensors()[0][:1]
    lines = [
        "| network | float32 | int8 | int8, one calibration image 30 times too bright | file | time |",
        "|---|---|---|---|---|---|",
    ]
    for activation in ("relu6", "relu"):
        rows: dict[str, list[float]] = {}
        for seed in SEEDS:
            model, _ = trained(small_network(seed, activation=activation), train, seed, epochs)
            with tempfile.TemporaryDirectory() as folder:
                whole = export.to_onnx(model, calibration[:2], Path(folder, "fp32.onnx"))
                small = export.quantize(whole, Path(folder, "int8.onnx"), calibration)
                bad = export.quantize(whole, Path(folder, "bad.onnx"), spoilt)
                for name, file in (("fp32", whole), ("int8", small), ("bad", bad)):
                    runtime = export.Runtime(file, threads=1)
                    rows.setdefault(name, []).append(100 * evaluate(runtime, test).accuracy)
                    rows.setdefault(f"{name} kB", []).append(file.stat().st_size / 1e3)
                    rows.setdefault(f"{name} ms", []).append(1e3 * seconds(lambda r=runtime: r(one)))
        accuracy = " | ".join(f"{spread(rows[name], 1)} %" for name in ("fp32", "int8", "bad"))
        kilobytes, time = (
            [statistics.mean(rows[f"{n} {u}"]) for n in ("fp32", "int8")] for u in ("kB", "ms")
        )
        lines.append(
            f"| {'ReLU6' if activation == 'relu6' else 'ReLU'} | {accuracy} | {kilobytes[0]:.0f} → "
            f"{kilobytes[1]:.0f} kB | {time[0]:.2g} → {time[1]:.2g} ms |"
        )
    return _table(
        lines,
        "The small network, test accuracy on 1,000 digits in onnxruntime; calibrated on 200 digits of the "
        f"training set; mean ± standard deviation of {len(SEEDS)} seeds; time of one image; {_machine()}.",
    )


def _table(lines: list[str], protocol: str) -> str:
    return "\n".join(lines) + f"\n\n{protocol}"


def _machine() -> str:
    return f"{device.describe('cpu')}, Python {platform.python_version()}, torch {torch.__version__}"
