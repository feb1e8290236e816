"""Finding objects: our suppression beside torchvision's, and the time of average precision.

- ``nms of 10,000 boxes / torchvision's``, where two thirds stay and where a third stays.
- ``average precision of 1,000 images``: twenty boxes and five objects in each, in seconds.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision import ops

from benchmarks._measuring import ratios, row, seconds
from course_lib import detection


def boxes(n: int, spread: float, generator: torch.Generator) -> Tensor:
    """``n`` boxes of sides from 5 to 105 pixels, their corners in a square of ``spread`` pixels."""
    corner = torch.rand(n, 2, generator=generator) * spread
    return torch.cat([corner, corner + torch.rand(n, 2, generator=generator) * 100 + 5], 1)


def run() -> list[dict]:
    """Rows of the table of benchmarks; see the top of this file for what each compares."""
    generator, cpu, rows = torch.Generator().manual_seed(0), torch.device("cpu"), []
    for name, spread in (("two thirds stay", 1000), ("a third stays", 300)):
        found, scores = boxes(10_000, spread, generator), torch.rand(10_000, generator=generator)
        measured = ratios(
            lambda found=found, scores=scores: detection.nms(found, scores, 0.5),
            lambda found=found, scores=scores: ops.nms(found, scores, 0.5),
            cpu,
            11,
        )
        rows.append(row(f"nms of 10,000 boxes, {name} / torchvision's", measured, "≤ 3"))
    found, truth = ([boxes(k, 100, generator) for _ in range(1000)] for k in (20, 5))
    scores = [torch.rand(20, generator=generator) for _ in range(1000)]
    times = [
        seconds(lambda: detection.average_precision(detection.precision_recall(found, scores, truth)), cpu)
        for _ in range(5)
    ]
    return [*rows, row("average precision of 1,000 images", times, "≤ 1", "s")]
