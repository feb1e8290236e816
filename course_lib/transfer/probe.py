"""What a network knows without being trained further: its features, a linear layer on them, neighbours.

A probe costs one forward pass over the images and a second of linear algebra. It is how to tell beforehand
whether a transfer will pay.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.data import Images
from course_lib.device import memory_format
from course_lib.transfer.structure import head

# What EfficientNet-Lite0 was trained on: (pixel − 127) / 128.
CENTRED = ((127 / 255,) * 3, (128 / 255,) * 3)
# What torchvision's networks were trained on: the mean and standard deviation of ImageNet's pixels.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def prepare(
    images: Images,
    side: int,
    normalization: tuple[tuple[float, ...], tuple[float, ...]] = CENTRED,
) -> Images:
    """The same images as a pretrained network expects them: RGB, ``side`` pixels wide and high, its scale.

    A network must be given the pixels on the scale it was trained with, not on that of the new data set.
    Grey images get three equal channels; sizes change by bilinear interpolation, antialiased.

    Args:
        images: of 1 or 3 channels.
        side: in pixels.
        normalization: mean and standard deviation of the pretraining, ``CENTRED`` or ``IMAGENET``.

    Raises:
        ValueError: images of another number of channels, or a side below 1.
    """
    channels = images.x.shape[1]
    if channels not in (1, 3):
        raise ValueError(f"images have {channels} channels; a network for photographs takes 1 (grey) or 3")
    if not isinstance(side, int) or side < 1:
        raise ValueError(f"side={side!r} must be a whole number of pixels, 1 or more")
    x = images.x
    if x.shape[2:] != (side, side):
        x = F.interpolate(x.float(), size=(side, side), mode="bilinear", antialias=True, align_corners=False)
        x = x.round_().clamp_(0, 255).to(torch.uint8)
    mean, std = normalization
    return replace(images, x=x.expand(-1, 3, -1, -1).contiguous(), mean=mean, std=std)


def check_classes(train: Images) -> None:
    """Every class needs an image to learn from. Raises ``ValueError`` naming the classes that have none."""
    counts = train.y.bincount(minlength=len(train.classes))
    missing = [train.classes[k] for k in (counts == 0).nonzero().flatten().tolist()]
    if missing:
        raise ValueError(
            f"train has no image of {len(missing)} of its {len(train.classes)} classes: "
            f"{', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}; a network cannot learn what it is "
            "not shown"
        )


def features(model: nn.Module, images: Images, *, batch_size: int = 250) -> Tensor:
    """What the head of ``model`` is given for each image, (N, features), in evaluation mode.

    The model's mode and gradients are left as they were.
    """
    seen: list[Tensor] = []
    hook = head(model)[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    modes = [(module, module.training) for module in model.modules()]
    images = images.to(next(model.parameters()).device, memory_format(model))
    try:
        model.eval()
        with torch.no_grad():
            for x, _ in images.batches(min(batch_size, len(images)), shuffle=False):
                model(x)
    finally:
        hook.remove()
        for module, mode in modes:
            module.training = mode
    return torch.cat(seen).flatten(1)


def linear_probe(x: Tensor, y: Tensor, *, classes: int | None = None, penalty: float = 0.01) -> nn.Linear:
    """A linear classifier of features, as the layer that it is: ``replace_head`` can put it in place.

    Multinomial logistic regression: mean cross-entropy plus ½ · ``penalty`` · ‖W‖², brought to its minimum
    (it is convex, so there is one) by L-BFGS, on features that are centred and divided by one number so
    that they have variance 1 on average. Both are then folded into weights and biases.

    Args:
        x: features (N, F).
        y: labels (N,), ``int64``.
        classes: how many there are; None: as many as the labels show.
        penalty: on the weights.

    Raises:
        ValueError: shapes that do not fit, or a class without an example.
    """
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(f"x must be (N, features) and y (N,), got {tuple(x.shape)} and {tuple(y.shape)}")
    counts = y.bincount(minlength=classes or 0)
    if (counts == 0).any() or (classes and len(counts) > classes):
        raise ValueError(
            f"labels of {len(counts)} classes, {int((counts == 0).sum())} of them without an example "
            f"(classes={classes}); a probe needs at least one of each"
        )
    # One scale for all: a feature that is nearly always 0 would be blown up by its own standard deviation.
    mean, scale = x.mean(0), x.var(0, correction=0).mean().sqrt().clamp_min(1e-12)
    z = (x - mean) / scale
    weight = torch.zeros(len(counts), x.shape[1], device=x.device, requires_grad=True)
    bias = torch.zeros(len(counts), device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(F.linear(z, weight, bias), y) + 0.5 * penalty * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    layer = nn.Linear(x.shape[1], len(counts), device=x.device)
    with torch.no_grad():
        layer.weight.copy_(weight / scale)
        layer.bias.copy_(bias - layer.weight @ mean)
    return layer


def nearest_neighbours(x: Tensor, y: Tensor, queries: Tensor, k: int = 1) -> Tensor:
    """The label of each query: what most of its ``k`` nearest examples are, by the angle between features.

    Args:
        x: features of the examples (N, F).
        y: their labels (N,).
        queries: features (M, F).
        k: how many neighbours vote, each with its cosine; from 1 to N.

    Returns:
        labels (M,).

    Raises:
        ValueError: ``k`` out of range, or features of different lengths.
    """
    if not isinstance(k, int) or not 1 <= k <= len(x):
        raise ValueError(f"k={k!r} must be from 1 to {len(x)}, the number of examples")
    if x.shape[1:] != queries.shape[1:]:
        raise ValueError(f"x has {x.shape[1]} features and queries {queries.shape[1]}; they must be the same")
    centre = x.mean(0)  # ReLU features all point one way; what tells them apart is around their mean
    cosine = F.normalize(queries - centre, dim=1) @ F.normalize(x - centre, dim=1).T  # (M, N)
    nearest, index = cosine.topk(k, dim=1)
    votes = torch.zeros(len(queries), int(y.max()) + 1, device=x.device)
    return votes.scatter_add_(1, y[index], nearest.clamp_min(0) + 1e-6).argmax(1)
