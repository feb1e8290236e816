"""A published network in Chromium: from the disk, no request, and the same numbers as torch."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser
from torch import nn

from course_lib import layers
from course_lib.graph import Untraceable
from course_lib.models.cifar_resnet import CifarResNet
from course_lib.models.convnets import DeepConvNet, SimpleConvNet
from course_lib.models.lenet import LeNet5
from course_lib.models.mobilenetv2 import MobileNetV2
from course_lib.publish import publish, traced

pytestmark = pytest.mark.browser


def generated(seed: int) -> nn.Module:
    """A network of a seed: layers of any kind, sizes and activations, one after another."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    channels, size, parts = 1, 28, []
    for _ in range(rng.integers(1, 4)):
        wide, kernel, stride = (
            2 * int(rng.integers(1, 6)),
            int(rng.choice([1, 3, 5])),
            int(rng.integers(1, 3)),
        )
        groups = 2 if channels % 2 == 0 and rng.random() < 0.5 else 1
        own = layers.Conv2d if rng.random() < 0.3 else nn.Conv2d
        parts.append(own(channels, wide, kernel, stride=stride, padding=kernel // 2, groups=groups))
        size, channels = (size - 1) // stride + 1, wide
        parts.append(rng.choice([nn.BatchNorm2d(wide), nn.GroupNorm(2, wide), nn.Identity()]))
        parts.append(
            rng.choice([nn.ReLU(inplace=True), nn.GELU(), nn.SiLU(), nn.ELU(), nn.Tanh(), nn.Softplus()])
        )
        if size >= 6 and rng.random() < 0.7:
            parts.append(
                rng.choice([nn.MaxPool2d(2), nn.AvgPool2d(2), layers.MaxPool2d(2), nn.MaxPool2d(3, 2, 1)])
            )
            size = (size - 1) // 2 + 1 if parts[-1].padding in (1, (1, 1)) else size // 2
    parts += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(channels * 4, 7)]
    return nn.Sequential(*parts)


NETWORKS = {
    "SimpleConvNet": (SimpleConvNet, 28, 1),
    "DeepConvNet": (DeepConvNet, 28, 1),
    "LeNet5": (LeNet5, 28, 1),
    "ResNet-20": (lambda: CifarResNet(20), 32, 3),
    "MobileNetV2": (lambda: MobileNetV2(width=0.25, stem="small", num_classes=10), 32, 3),
} | {f"generated {seed}": (lambda seed=seed: generated(seed), 28, 1) for seed in range(20)}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_published_network_gives_what_torch_gives(name, chromium: Browser, tmp_path):
    make, size, channels = NETWORKS[name]
    torch.manual_seed(0)
    model = make()
    x = torch.rand(1, channels, size, size, generator=torch.Generator().manual_seed(1))
    path = publish(model, x, tmp_path / "network.html")
    assert model.training
    found, requests, complaints = opened(chromium, path)
    made, names = traced(model, x)
    expected = made.packed("float16").run(
        image=torch.tensor([round(float(v), 5) for v in x.flatten()]).view(x.shape)
    )
    assert len(found["maps"]) == len(names)
    torch.testing.assert_close(
        torch.tensor(found["answer"]), expected["answer"].flatten(), rtol=1e-4, atol=1e-6
    )
    for name, ours, theirs in zip(names, found["maps"], expected["maps"], strict=True):
        scale = float(theirs.abs().max())  # rounding in float32, over up to 53 layers
        torch.testing.assert_close(
            torch.tensor(ours),
            theirs.flatten(),
            rtol=1e-4,
            atol=1e-4 * scale,
            msg=lambda m, n=name: f"{n}: {m}",
        )
    assert requests == [path.as_uri()]
    assert complaints == []


def opened(chromium: Browser, path):
    page = chromium.new_page()
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(path.as_uri())
    page.wait_for_function("globalThis.published", timeout=60_000)
    found = page.evaluate(
        "({answer: [...published.result.answer.data], maps: published.result.maps.map((m) => [...m.data])})"
    )
    page.close()
    return found, requests, complaints


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)


def test_drawing_clearing_and_opening_a_file_change_the_answer(chromium: Browser, tmp_path):
    torch.manual_seed(0)
    path = publish(
        LeNet5(), torch.rand(1, 28, 28), tmp_path / "x.html", names=[f"class {k}" for k in range(10)]
    )
    page = chromium.new_page()
    page.goto(path.as_uri())
    page.wait_for_function("globalThis.published")
    read = "[...published.result.answer.data]"
    seen = [page.evaluate(read)]

    def settle() -> None:
        page.wait_for_function("String([...published.result.answer.data]) !== globalThis.lastSeen")
        page.wait_for_timeout(50)
        seen.append(page.evaluate(read))

    for act in ("clear", "draw", "png"):
        page.evaluate("globalThis.lastSeen = String([...published.result.answer.data])")
        if act == "clear":
            page.click("#clear")
        elif act == "draw":
            box = page.locator("#pad").bounding_box()
            page.mouse.move(box["x"] + 40, box["y"] + 40)
            page.mouse.down()
            page.mouse.move(box["x"] + 120, box["y"] + 160, steps=5)
            page.mouse.up()
        else:
            page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": PNG})
        settle()
    assert len({str(answer) for answer in seen}) == 4
    page.set_input_files("#file", {"name": "no.png", "mimeType": "image/png", "buffer": b"nothing"})
    page.wait_for_function("document.querySelector('#status').textContent.includes('no.png is not an image')")
    assert "class" in page.inner_text("#answer")
    page.close()


class Unusual(nn.Module):
    def forward(self, x):
        return torch.linalg.svd(x[:, 0])[1]


def test_what_cannot_be_published_is_said(tmp_path):
    x = torch.zeros(1, 28, 28)
    with pytest.raises(Untraceable, match="svd"):
        publish(Unusual(), x, tmp_path / "x.html")
    with pytest.raises(ValueError, match="example is"):
        publish(LeNet5(), torch.zeros(28, 28), tmp_path / "x.html")
    with pytest.raises(ValueError, match="names has 3"):
        publish(LeNet5(), x, tmp_path / "x.html", names="abc")
    with pytest.raises(ValueError, match="gives"):
        publish(nn.Conv2d(1, 1, 3), x, tmp_path / "x.html")
    with pytest.raises(ValueError, match=r"largest=1,000.*int8"):
        publish(LeNet5(), x, tmp_path / "x.html", largest=1000)
    with pytest.raises(ValueError, match="std"):
        publish(LeNet5(), x, tmp_path / "x.html", std=0)
    assert list(tmp_path.iterdir()) == []
