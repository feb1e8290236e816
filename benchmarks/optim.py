"""What a step of each optimizer costs beside torch's own, on the parameters of ResNet-18.

Each number is a ratio of two loops of ``STEPS`` steps timed in one process, in turn, both with gradients
that are there already. On the CPU both step parameter by parameter, on a GPU both in lists.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torchvision.models import resnet18

from benchmarks._measuring import ratios, row
from course_lib import optim
from course_lib.device import resolve

REPETITIONS = 15
STEPS = 5
LIMIT = "≤ 1.3"
PAIRS = {
    "SGD": (optim.SGD, torch.optim.SGD, {"lr": 1e-4}, {}),
    "Momentum": (optim.Momentum, torch.optim.SGD, {"lr": 1e-4}, {"momentum": 0.9}),
    "Nesterov": (optim.Nesterov, torch.optim.SGD, {"lr": 1e-4}, {"momentum": 0.9, "nesterov": True}),
    "AdaGrad": (optim.AdaGrad, torch.optim.Adagrad, {"lr": 1e-4}, {}),
    "RMSprop": (optim.RMSprop, torch.optim.RMSprop, {"lr": 1e-4}, {}),
    "Adam": (optim.Adam, torch.optim.Adam, {"lr": 1e-4}, {}),
    "AdamW": (optim.AdamW, torch.optim.AdamW, {"lr": 1e-4}, {}),
}


def stepper(kind: type[torch.optim.Optimizer], settings: dict, device: torch.device) -> Callable[[], None]:
    """A function that takes ``STEPS`` steps on ResNet-18's 62 tensors, 11.7 million numbers."""
    torch.manual_seed(0)
    model = resnet18().to(device)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer = kind(model.parameters(), **settings)

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.step()

    return steps


def run() -> list[dict]:
    """A row for each optimizer: our time over torch's."""
    device = resolve()
    rows = []
    for name, (ours, theirs, settings, more) in PAIRS.items():
        mine = stepper(ours, settings, device)
        twin = stepper(theirs, settings | more, device)
        rows.append(
            row(
                f"step of optim.{name} on ResNet-18 / torch's own",
                ratios(mine, twin, device, REPETITIONS),
                LIMIT,
            )
        )
    return rows


if __name__ == "__main__":
    for line in run():
        print(line)
