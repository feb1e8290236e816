"""The engine in the page against torch on one thread, and the bytes of each graph."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks._measuring import row
from benchmarks.explorer import CHROMIUM
from course_lib.explorer import static
from course_lib.graph import Graph, trace
from course_lib.models.cifar_resnet import CifarResNet
from course_lib.models.convnets import DeepConvNet
from course_lib.models.lenet import LeNet5
from course_lib.models.mlp import MLP
from course_lib.models.mobilenetv2 import MobileNetV2

RUNS = 25
TIMES = """
([graph, inputs, runs]) => {
  const {run} = engine.load(graph), times = [];
  const values = Object.fromEntries(Object.entries(inputs).map(([name, {data, shape}]) =>
    [name, {data: Float64Array.from(data), shape}]));
  for (let k = 0; k < runs; k++) {
    const began = performance.now();
    run(values);
    times.push(performance.now() - began);
  }
  return times.slice(5);
}
"""


def training(model: nn.Module) -> tuple[Callable[..., Any], dict[str, Tensor]]:
    """A step of plain SGD as a function of the parameters."""
    state = {name: value.detach().clone() for name, value in model.named_parameters()}

    def step(x: Tensor, y: Tensor, **state: Tensor) -> dict[str, Any]:
        weights = {name: value.detach().requires_grad_() for name, value in state.items()}
        buffers = {name: value.clone() for name, value in model.named_buffers()}
        loss = F.cross_entropy(torch.func.functional_call(model, {**weights, **buffers}, x), y)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        moved = {n: w.detach() - 0.1 * g for (n, w), g in zip(weights.items(), gradients, strict=True)}
        return {"loss": loss.detach(), **moved}

    return step, state


def cases() -> dict[str, tuple[Callable[..., Any], dict[str, Tensor], str | None]]:
    """Name → function, inputs, limit of the time in the page."""
    torch.manual_seed(0)
    networks = {
        "LeNet-5": (LeNet5(), (1, 1, 28, 28), None),
        "DeepConvNet": (DeepConvNet(), (1, 1, 28, 28), "≤ 50"),
        "ResNet-20": (CifarResNet(20), (1, 3, 32, 32), None),
        "MobileNetV2 of width ¼": (
            MobileNetV2(width=0.25, stem="small", num_classes=10), (1, 3, 32, 32), None,
        ),
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name, (model, shape, limit) in networks.items():
        model.eval()
        found[name] = (lambda x, model=model: model(x)), {"x": torch.randn(shape)}, limit
    step, state = training(MLP(784, [50, 50], 10))
    found["MLP's training step, batch 32"] = (
        step, {"x": torch.randn(32, 784), "y": torch.arange(32) % 10, **state}, None,
    )  # fmt: skip
    return found


def run() -> list[dict[str, Any]]:
    """Rows of the table of benchmarks."""
    rows = [row("engine: in the page, once", [len(static.engine().encode()) / 1000], "≤ 40", "KB")]
    made = {name: (fn, inputs, limit, trace(fn, inputs)) for name, (fn, inputs, limit) in cases().items()}
    for name, (_, _, _, graph) in made.items():
        rows.append(row(f"engine: {name}, graph with 16-bit weights", [_kilobytes(graph)], None, "KB"))
    if CHROMIUM.exists():
        for name, (fn, inputs, limit, graph) in made.items():
            in_page, in_torch = _in_page(graph, inputs), _in_torch(fn, inputs)
            rows.append(row(f"engine: {name} in Chromium", in_page, limit, "ms"))
            slower = [a / b for a, b in zip(sorted(in_page), sorted(in_torch), strict=True)]
            rows.append(row(f"engine: {name}, over torch on one thread", slower))
    return rows


def _kilobytes(graph: Graph) -> float:
    return len(json.dumps(graph.to_dict("float16"), separators=(",", ":")).encode()) / 1000


def _in_torch(fn: Callable[..., Any], inputs: dict[str, Tensor]) -> list[float]:
    threads, times = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for _ in range(RUNS):
        began = time.perf_counter()
        fn(**inputs)
        times.append(1000 * (time.perf_counter() - began))
    torch.set_num_threads(threads)
    return times[5:]


def _in_page(graph: Graph, inputs: dict[str, Tensor]) -> list[float]:
    from playwright.sync_api import sync_playwright

    source = files("course_lib.explorer").joinpath("engine.js").read_text(encoding="utf-8")
    values = {name: {"data": t.flatten().tolist(), "shape": list(t.shape)} for name, t in inputs.items()}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.evaluate(
            "async (source) => { const blob = new Blob([source], {type: 'text/javascript'});"
            " globalThis.engine = await import(URL.createObjectURL(blob)); }",
            source,
        )
        times = page.evaluate(TIMES, [graph.to_dict(), values, RUNS])
        browser.close()
    return times


if __name__ == "__main__":
    for line in run():
        print(line)
