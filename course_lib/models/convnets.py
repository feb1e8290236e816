"""Two small convolutional networks for digits: the first that one writes, and the first deep one.

Source: K. Saitoh, "Deep Learning from Scratch", O'Reilly Japan 2016, chapters 7 and 8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib import init
from course_lib.models.inputs import check_count, check_images


class SimpleConvNet(nn.Module):
    """Convolution, ReLU, pooling, a hidden layer, ReLU, logits.

    Args:
        in_channels: of the images.
        num_classes: how many logits.
        image_size: the side of the images, for the hidden layer has one weight a pixel.
        filters: how many, each of ``kernel_size`` by ``kernel_size``.
        hidden: units of the fully connected hidden layer.
        conv, pool: the layers to build it from, ``nn``'s or the book's own from :mod:`course_lib.layers`.
        weight_init: what :func:`course_lib.init.initialize` takes.
        generator: where the weights are drawn from; ``None`` is torch's global generator.

    With the defaults 433,890 parameters. Shape: (N, in_channels, image_size, image_size) → (N, num_classes).

    Raises:
        ValueError: a number below 1, an image too small for the kernel and the pooling, images of another
            shape.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: int = 28,
        filters: int = 30,
        kernel_size: int = 5,
        hidden: int = 100,
        conv: Callable[..., nn.Module] = nn.Conv2d,
        pool: Callable[..., nn.Module] = nn.MaxPool2d,
        weight_init: str | float = "kaiming",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_count(
            in_channels=in_channels, num_classes=num_classes, image_size=image_size, filters=filters,
            kernel_size=kernel_size, hidden=hidden,
        )  # fmt: skip
        pooled = (image_size - kernel_size + 1) // 2
        if pooled < 1:
            raise ValueError(
                f"image_size is {image_size}; a {kernel_size}×{kernel_size} convolution and a pooling of 2 "
                f"need at least {kernel_size + 1} pixels"
            )
        self.in_channels, self.image_size = in_channels, image_size
        self.conv = conv(in_channels, filters, kernel_size)
        self.relu = nn.ReLU()
        self.pool = pool(2)
        self.hidden = nn.Linear(filters * pooled * pooled, hidden)
        self.output = nn.Linear(hidden, num_classes)
        init.initialize(self, weight_init, generator)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, in_channels=self.in_channels, exactly=self.image_size)
        x = self.pool(self.relu(self.conv(x)))  # (N, 30, 24, 24) → (N, 30, 12, 12)
        x = self.relu(self.hidden(x.flatten(1)))  # (N, 100)
        return self.output(x)  # (N, num_classes)


class DeepConvNet(nn.Module):
    """Six 3×3 convolutions, a pooling after every second; a hidden layer and dropout before the logits.

    16, 16, pool, 32, 32, pool, 64, 64, pool, 50, dropout, 10: with 28×28 images 28 → 14 → 8 → 4, because the
    fourth convolution pads by 2, so that the last pooling divides evenly.

    Args:
        in_channels: of the images.
        num_classes: how many logits.
        image_size: the side of the images.
        channels: of the three pairs of convolutions.
        hidden: units of the fully connected hidden layer.
        dropout: the probability of dropping a hidden unit. (The source drops logits too, which only makes
            the loss noisier: a dropped logit is 0, not absent.)
        weight_init: what :func:`course_lib.init.initialize` takes.
        generator: where the weights are drawn from; ``None`` is torch's global generator.

    Shape: (N, in_channels, image_size, image_size) → (N, num_classes). Raises ``ValueError`` as
    :class:`SimpleConvNet` does.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: int = 28,
        channels: Sequence[int] = (16, 32, 64),
        hidden: int = 50,
        dropout: float = 0.5,
        weight_init: str | float = "kaiming",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_count(in_channels=in_channels, num_classes=num_classes, image_size=image_size, hidden=hidden)
        if len(channels) != 3:
            raise ValueError(f"channels are {tuple(channels)}; give three, one for each pair of convolutions")
        check_count(**{f"channels[{k}]": wide for k, wide in enumerate(channels)})
        side = ((image_size // 2 + 2) // 2) // 2
        if image_size < 4:
            raise ValueError(f"image_size is {image_size}; three poolings of 2 need at least 4 pixels")
        self.in_channels, self.image_size = in_channels, image_size
        layers: list[nn.Module] = []
        before = in_channels
        for pair, wide in enumerate(channels):
            for second in (False, True):
                padding = 2 if pair == 1 and second else 1
                layers += [nn.Conv2d(before, wide, 3, padding=padding), nn.ReLU(inplace=True)]
                before = wide
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(before * side * side, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        init.initialize(self, weight_init, generator)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, in_channels=self.in_channels, exactly=self.image_size)
        x = self.features(x)  # (N, 64, 4, 4)
        return self.classifier(x.flatten(1))  # (N, num_classes)
