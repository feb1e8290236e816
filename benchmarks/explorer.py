"""The explorer's promises: a repaint within a 60 Hz frame, a live frame within 50 ms, a light payload."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._measuring import row
from course_lib.explorer import Figure, explore, histogram

LAYERS, UNITS, INPUTS = 5, 100, 1000
LIVE_FRAMES = 60
CHROMIUM = Path("/usr/bin/chromium")
ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}

# From the input event to the changed and laid-out page, for every stop of the slider, there and back.
REPAINT = """
async () => {
  const input = document.querySelector("input[type=range]"), times = [];
  for (let k = 0; k < 164; k++) {
    const stop = k % 82 < 41 ? k % 82 : 81 - (k % 82);
    await new Promise(requestAnimationFrame);
    const began = performance.now();
    input.value = stop;
    input.dispatchEvent(new Event("input", {bubbles: true}));
    document.body.getBoundingClientRect();
    times.push(performance.now() - began);
  }
  return times.slice(4);
}
"""


def signals(weight_scale: float, activation: str) -> Figure:
    """Forward and backward through five layers: ten histograms of 100,000 values each."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(INPUTS, UNITS, generator=generator)
    h, kept = inputs, []
    for _ in range(LAYERS):
        weight = weight_scale * torch.randn(UNITS, UNITS, generator=generator)
        h = ACTIVATIONS[activation](h @ weight.requires_grad_())
        h.retain_grad()
        kept.append(h)
    h.square().mean().backward()
    forward = [histogram(h, title=f"layer {k}", note=f"std {h.std():.3g}") for k, h in enumerate(kept, 1)]
    backward = [
        histogram(h.grad, title=f"gradient {k}", note=f"std {h.grad.std():.3g}", series=2)
        for k, h in enumerate(kept, 1)
    ]
    return Figure(forward + backward, columns=LAYERS, summary=f"{h.std():.3g} is left after five layers.")


def run() -> list[dict[str, Any]]:
    """Rows of the table of benchmarks."""
    explorer = explore(signals, weight_scale=np.geomspace(1e-3, 10, 41), activation=list(ACTIVATIONS))
    payload = len(explorer._html.encode()) / 1000
    rows = [row("explorer: payload of 41 × 3 frames of 10 histograms", [payload], "≤ 300", "KB")]
    live = _live(explorer)
    rows.append(row("explorer: live frame, 5 × 100 × 1,000", live, "≤ 50", "ms"))
    if CHROMIUM.exists():
        repaint = _repaint(explorer._html)
        rows.append(row("explorer: repaint of 10 histograms (p95)", repaint, "≤ 16", "ms", _p95(repaint)))
    return rows


def _live(explorer: Any) -> list[float]:
    """Milliseconds from the page's question to the answer in JSON, off the grid."""
    times = []
    for k in range(LIVE_FRAMES + 5):
        began = time.perf_counter()
        explorer._answer(
            explorer, {"kind": "compute", "id": k, "values": {"weight_scale": 0.1 + k / 1000}}, []
        )
        times.append(1000 * (time.perf_counter() - began))
    return times[5:]


def _repaint(html: str) -> list[float]:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "page.html"
        page_file.write_text(f'<!doctype html><meta charset="utf-8">{html}', encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(page_file.as_uri())
        times = page.evaluate(REPAINT)
        browser.close()
    return times


def _p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


if __name__ == "__main__":
    for line in run():
        print(line)
