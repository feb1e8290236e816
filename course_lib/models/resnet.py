"""Residual networks: y = x + F(x), block after block.

Parameters have torchvision's names and shapes, so its state dicts load strictly, and the logits are the same
to the bit. Each network has a plain twin (``residual=False``): the same layers without the addition.

Sources: K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", CVPR 2016, table 1
and figure 5; the same, "Identity mappings in deep residual networks", ECCV 2016 (pre-activation).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import init
from course_lib.models.inputs import check_choice, check_count, check_images, smallest_side

SHORTCUTS = ("A", "B", "C", "A-centred")
STEMS = ("imagenet", "small")


class PadShortcut(nn.Module):
    """Option A: the image at every ``stride``-th pixel, new channels filled with 0. It has no parameters.

    The new channels come behind the old ones; with ``centred`` half of them come before.
    Shape: (N, in_channels, H, W) → (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, centred: bool = False) -> None:
        super().__init__()
        self.extra, self.stride = out_channels - in_channels, stride
        self.before = self.extra // 2 if centred else 0

    def forward(self, x: Tensor) -> Tensor:
        channels = self.before, self.extra - self.before
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *channels))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, {self.extra} channels of zeros"


def make_shortcut(
    option: str, in_channels: int, out_channels: int, stride: int, batch_norm: bool = True
) -> nn.Module | None:
    """What x becomes before F(x) is added to it; ``None`` for x as it is.

    ``option`` is He et al.'s: ``"A"`` pads with zeros where the shape changes, ``"B"`` projects there by a
    1×1 convolution and BatchNorm, ``"C"`` projects in every block. ``"A-centred"`` is A with half the zeros
    before the old channels and half behind, as in the widely used code of Y. Idelbayev (akamaster). The paper
    leaves the place open; the authors' own code pads behind. Weights trained with one are worth nothing in
    the other, and names and shapes do not tell them apart.
    """
    if option != "C" and stride == 1 and in_channels == out_channels:
        return None
    if option in ("A", "A-centred"):
        return PadShortcut(in_channels, out_channels, stride, centred=option != "A")
    projection = conv1x1(in_channels, out_channels, stride, bias=not batch_norm)
    return (
        nn.Sequential(projection, nn.BatchNorm2d(out_channels)) if batch_norm else nn.Sequential(projection)
    )


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """A 3×3 convolution that keeps the image's size, divided by ``stride``."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=bias)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """A 1×1 convolution: the same linear map of the channels at every pixel."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=bias)


def make_norm(channels: int, batch_norm: bool) -> nn.Module:
    """BatchNorm, or nothing in its place."""
    return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()


class BasicBlock(nn.Module):
    """Two 3×3 convolutions: y = relu(x + F(x)).

    Args:
        in_channels: of x.
        channels: of F(x) and of y.
        stride: of the first convolution.
        shortcut: ``"A"``, ``"B"`` or ``"C"``; see :func:`make_shortcut`.
        residual: ``False`` leaves the addition out: y = relu(F(x)), a block of the plain twin.
        batch_norm: ``False`` leaves BatchNorm out; the convolutions then have biases.

    Shape: (N, in_channels, H, W) → (N, channels, ⌈H / stride⌉, ⌈W / stride⌉).
    """

    expansion = 1  # channels of y / channels

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        shortcut: str = "B",
        residual: bool = True,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.conv1 = conv3x3(in_channels, channels, stride, bias=not batch_norm)
        self.bn1 = make_norm(channels, batch_norm)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(channels, channels, bias=not batch_norm)
        self.bn2 = make_norm(channels, batch_norm)
        self.downsample = (
            make_shortcut(shortcut, in_channels, channels, stride, batch_norm) if residual else None
        )

    @property
    def branch_end(self) -> nn.Module:
        """The layer whose output is F(x)."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))  # F(x)
        if self.residual:
            out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class Bottleneck(nn.Module):
    """1×1 to fewer channels, 3×3, 1×1 to four times as many: y = relu(x + F(x)).

    The stride is in the 3×3 convolution, as in torchvision; the paper has it in the first 1×1, where it
    throws three quarters of the pixels away unseen. Arguments as for :class:`BasicBlock`; y has
    ``4 * channels`` channels.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        shortcut: str = "B",
        residual: bool = True,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.residual = residual
        out_channels = self.expansion * channels
        bias = not batch_norm
        self.conv1 = conv1x1(in_channels, channels, bias=bias)
        self.bn1 = make_norm(channels, batch_norm)
        self.conv2 = conv3x3(channels, channels, stride, bias=bias)
        self.bn2 = make_norm(channels, batch_norm)
        self.conv3 = conv1x1(channels, out_channels, bias=bias)
        self.bn3 = make_norm(out_channels, batch_norm)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            make_shortcut(shortcut, in_channels, out_channels, stride, batch_norm) if residual else None
        )

    @property
    def branch_end(self) -> nn.Module:
        """The layer whose output is F(x)."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))  # F(x)
        if self.residual:
            out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class PreActBasicBlock(nn.Module):
    """BatchNorm and ReLU before each convolution, and nothing after the addition: y = x + F(x).

    Where the shortcut is a projection it takes the activated x, as in the authors' code. Arguments as for
    :class:`BasicBlock`.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        shortcut: str = "B",
        residual: bool = True,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.bn1 = make_norm(in_channels, batch_norm)
        self.conv1 = conv3x3(in_channels, channels, stride, bias=not batch_norm)
        self.bn2 = make_norm(channels, batch_norm)
        self.conv2 = conv3x3(channels, channels, bias=not batch_norm)
        self.downsample = (
            make_shortcut(shortcut, in_channels, channels, stride, batch_norm) if residual else None
        )

    @property
    def branch_end(self) -> nn.Module:
        """The layer whose output is F(x)."""
        return self.conv2

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        out = self.conv1(activated)
        out = self.conv2(F.relu(self.bn2(out)))  # F(x)
        return _add(self, x, activated, out) if self.residual else out


class PreActBottleneck(nn.Module):
    """:class:`Bottleneck` with BatchNorm and ReLU before each convolution: y = x + F(x)."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        shortcut: str = "B",
        residual: bool = True,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.residual = residual
        out_channels = self.expansion * channels
        bias = not batch_norm
        self.bn1 = make_norm(in_channels, batch_norm)
        self.conv1 = conv1x1(in_channels, channels, bias=bias)
        self.bn2 = make_norm(channels, batch_norm)
        self.conv2 = conv3x3(channels, channels, stride, bias=bias)
        self.bn3 = make_norm(channels, batch_norm)
        self.conv3 = conv1x1(channels, out_channels, bias=bias)
        self.downsample = (
            make_shortcut(shortcut, in_channels, out_channels, stride, batch_norm) if residual else None
        )

    @property
    def branch_end(self) -> nn.Module:
        """The layer whose output is F(x)."""
        return self.conv3

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        out = self.conv1(activated)
        out = self.conv2(F.relu(self.bn2(out)))
        out = self.conv3(F.relu(self.bn3(out)))  # F(x)
        return _add(self, x, activated, out) if self.residual else out


def _add(block: nn.Module, x: Tensor, activated: Tensor, out: Tensor) -> Tensor:
    if block.downsample is None:
        return out.add_(x)
    return out.add_(block.downsample(x if isinstance(block.downsample, PadShortcut) else activated))


def make_stage(
    block: type[nn.Module], in_channels: int, channels: int, blocks: int, stride: int, **options: object
) -> nn.Sequential:
    """``blocks`` blocks one after another; the first has the ``stride``. ``options`` go to each block."""
    out_channels = channels * block.expansion
    return nn.Sequential(
        block(in_channels, channels, stride, **options),
        *(block(out_channels, channels, **options) for _ in range(blocks - 1)),
    )


# Depth → the block and how many of them each of the four stages has: He et al., table 1.
DEPTHS: dict[int, tuple[type[nn.Module], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
PRE_ACTIVATION = {BasicBlock: PreActBasicBlock, Bottleneck: PreActBottleneck}


class ResNet(nn.Module):
    """The residual network for ImageNet with 18, 34, 50, 101 or 152 layers of weights.

    ========  =============  ======================  ================================
    stage     size from 224  18 and 34               50, 101 and 152
    ========  =============  ======================  ================================
    conv1     112            7×7, 64, stride 2       the same
    maxpool   56             3×3, stride 2           the same
    layer1    56             3×3, 64; 3×3, 64        1×1, 64; 3×3, 64; 1×1, 256
    layer2    28             3×3, 128; 3×3, 128      1×1, 128; 3×3, 128; 1×1, 512
    layer3    14             3×3, 256; 3×3, 256      1×1, 256; 3×3, 256; 1×1, 1024
    layer4    7              3×3, 512; 3×3, 512      1×1, 512; 3×3, 512; 1×1, 2048
    avgpool   1              mean over all pixels    the same
    fc                       512 → num_classes       2048 → num_classes
    ========  =============  ======================  ================================

    The middle rows show one block; how many of them each stage has stands in ``DEPTHS``.

    Args:
        depth: 18, 34, 50, 101 or 152.
        in_channels: of the images.
        num_classes: how many logits.
        stem: ``"imagenet"`` divides the image's side by 4 before the first block; ``"small"``, one 3×3
            convolution without stride, keeps it, for images of 16 to 64 pixels.
        width: channels of the stem, and of the 3×3 convolutions in the first stage; they double with every
            stage.
        shortcut: ``"A"``, ``"B"`` (the paper's and torchvision's) or ``"C"``; see :func:`make_shortcut`.
        residual: ``False`` for the plain twin: no shortcut anywhere.
        pre_activation: BatchNorm and ReLU before each convolution, and once more after the last block.
        batch_norm: ``False`` leaves BatchNorm out.
        zero_init_residual: start from F(x) = 0 in every block.
        weight_init: of the convolutions; what :func:`course_lib.init.initialize` takes.
        generator: where the weights are drawn from; ``None`` is torch's global generator.

    Shape: (N, in_channels, H, W) → (N, num_classes), for images of any size from 17 pixels (small stem: 5).

    Raises:
        ValueError: a depth, stem or shortcut that does not exist (the ones that do are named), a width or
            number below 1, images of another number of channels or too small for the network's stride.
    """

    def __init__(
        self,
        depth: int,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        stem: str = "imagenet",
        width: int = 64,
        shortcut: str = "B",
        residual: bool = True,
        pre_activation: bool = False,
        batch_norm: bool = True,
        zero_init_residual: bool = False,
        weight_init: str | float = "kaiming",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"depth is {depth!r}; a ResNet has {', '.join(map(str, DEPTHS))} layers")
        check_choice("stem", stem, STEMS)
        check_choice("shortcut", shortcut, SHORTCUTS)
        check_count(in_channels=in_channels, num_classes=num_classes, width=width)
        block, blocks = DEPTHS[depth]
        block = PRE_ACTIVATION[block] if pre_activation else block
        options = {"shortcut": shortcut, "residual": residual, "batch_norm": batch_norm}
        self.in_channels, self.pre_activation = in_channels, pre_activation
        self.stride = 32 if stem == "imagenet" else 8

        if stem == "imagenet":
            self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=not batch_norm)
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        else:
            self.conv1 = conv3x3(in_channels, width, bias=not batch_norm)
            self.maxpool = nn.Identity()
        if not pre_activation:
            self.bn1 = make_norm(width, batch_norm)
        self.relu = nn.ReLU(inplace=True)
        wide = block.expansion
        self.layer1 = make_stage(block, width, width, blocks[0], 1, **options)
        self.layer2 = make_stage(block, wide * width, 2 * width, blocks[1], 2, **options)
        self.layer3 = make_stage(block, wide * 2 * width, 4 * width, blocks[2], 2, **options)
        self.layer4 = make_stage(block, wide * 4 * width, 8 * width, blocks[3], 2, **options)
        if pre_activation:
            self.norm = make_norm(wide * 8 * width, batch_norm)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(wide * 8 * width, num_classes)
        initialize(self, weight_init, zero_init_residual, generator)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, in_channels=self.in_channels, smallest=smallest_side(self.stride))
        x = self.conv1(x)  # (N, width, H / 2, W / 2); with the small stem (N, width, H, W)
        if not self.pre_activation:
            x = self.relu(self.bn1(x))
        x = self.maxpool(x)  # (N, width, H / 4, W / 4)
        x = self.layer1(x)
        x = self.layer2(x)  # each stage from here on: twice the channels, half the side
        x = self.layer3(x)
        x = self.layer4(x)  # (N, features, H / 32, W / 32)
        if self.pre_activation:
            x = self.relu(self.norm(x))
        x = self.avgpool(x).flatten(1)  # (N, features), whatever H and W
        return self.fc(x)  # (N, num_classes)


def initialize(
    model: nn.Module, weight_init: str | float, zero_init_residual: bool, generator: torch.Generator | None
) -> None:
    """Draw the weights; with ``zero_init_residual``, every block starts from F(x) = 0.

    The last layer's standard deviation is always 0.01. The sum x + F₁ + F₂ + … grows with depth, and drawn
    by the same rule as the rest the logits would grow with it; so the first loss is ln(num_classes) at any
    depth.
    """
    init.initialize(model, weight_init, generator)
    init.normal_(model.fc.weight, std=0.01, generator=generator)
    if not zero_init_residual:
        return
    for module in model.modules():
        if getattr(module, "residual", False):
            if isinstance(module.branch_end, nn.Identity):
                raise ValueError(
                    "zero_init_residual=True needs batch_norm=True or pre_activation=True: it sets γ of the "
                    "last BatchNorm, or the weights of the last convolution, of each block to 0"
                )
            init.constant_(module.branch_end.weight, 0.0)
