"""Augmentation equals torchvision's transforms: given the same parameters to the pixel, drawn alike."""

from __future__ import annotations

import itertools

import pytest
import torch
import torchvision.transforms as T
import torchvision.transforms.functional as TF
from torch import Tensor

from course_lib import device
from course_lib.data import Images
from course_lib.data.augment import (
    Augmentation,
    Crop,
    Flip,
    Jitter,
    Rotation,
    _brightness,
    _contrast,
    _hue,
    _saturation,
)
from course_lib.training import fit

BILINEAR = TF.InterpolationMode.BILINEAR
COLOURS = (_brightness, _contrast, _saturation, _hue)
TORCHVISIONS = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)


def pixels(n: int = 12, channels: int = 3, size: tuple[int, int] = (12, 17)) -> Tensor:
    return torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(0))


def images(n: int = 40) -> Images:
    x = (255 * pixels(n, size=(8, 8))).to(torch.uint8)
    return Images(x, torch.arange(n) % 2, ("a", "b"), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def distance(a: Tensor, b: Tensor) -> float:
    """Kolmogorov's: the largest gap between the two distribution functions."""
    at = torch.cat([a, b]).sort().values
    below = [torch.searchsorted(x.sort().values, at, right=True) / len(x) for x in (a, b)]
    return (below[0] - below[1]).abs().max().item()


@pytest.mark.parametrize("size", [(9, 9), (12, 17), (17, 12)])
def test_rotation_is_torchvisions_at_every_angle(size: tuple[int, int]) -> None:
    x, angles = pixels(size=size), torch.linspace(-170, 170, 12)
    want = torch.stack([TF.rotate(each, float(a), BILINEAR) for each, a in zip(x, angles, strict=True)])
    torch.testing.assert_close(Rotation(180).apply(x, angles), want, atol=2e-5, rtol=0)


def test_crop_is_torchvisions_at_every_corner() -> None:
    x, padding = pixels(9), 1
    corners = torch.tensor(list(itertools.product(range(3), range(3))))
    padded = TF.pad(x, [padding] * 4)
    want = [TF.crop(each, *corner, 12, 17) for each, corner in zip(padded, corners.tolist(), strict=True)]
    assert torch.equal(Crop(padding).apply(x, corners), torch.stack(want))


def test_flip_mirrors_those_chosen_and_no_others() -> None:
    x = pixels(2)
    flipped = Flip().apply(x, torch.tensor([True, False]))
    assert torch.equal(flipped[0], TF.hflip(x[0]))
    assert torch.equal(flipped[1], x[1])


@pytest.mark.parametrize("k", range(4))
def test_each_colour_operation_is_torchvisions(k: int) -> None:
    x = pixels()
    x[0] = x[0, :1]  # grey, where the hue is anything
    x[1] = x[1].round()  # pure colours, where two channels are equal
    factors = torch.linspace(-0.5, 0.5, 12) if k == 3 else torch.linspace(0, 2, 12)
    want = [TORCHVISIONS[k](each, float(f)) for each, f in zip(x, factors, strict=True)]
    torch.testing.assert_close(COLOURS[k](x, factors.view(-1, 1, 1, 1)), torch.stack(want), atol=1e-5, rtol=0)


def test_jitter_takes_each_images_operations_in_its_own_order() -> None:
    orders = torch.tensor(list(itertools.permutations(range(4))))
    x, jitter = pixels(len(orders)), Jitter(0.5, 0.5, 0.5, 0.2)
    _, parameters = jitter.draw(len(x), x.device, torch.Generator().manual_seed(1))
    want = []
    for each, order, values in zip(x, orders.tolist(), parameters.tolist(), strict=True):
        for k in order:
            each = TORCHVISIONS[k](each, values[k])
        want.append(each)
    before = x.clone()
    got = jitter.apply(x, orders, parameters)
    torch.testing.assert_close(got, torch.stack(want), atol=1e-5, rtol=0)
    assert not torch.allclose(got, jitter.apply(x, orders.flip(1), parameters), atol=1e-3)
    assert torch.equal(x, before)


def test_parameters_are_drawn_as_torchvision_draws_them() -> None:
    n, g = 4000, torch.Generator().manual_seed(2)
    torch.manual_seed(3)
    cpu = torch.device("cpu")
    limit = 1.95 * (2 / n) ** 0.5  # Kolmogorov and Smirnov, one case in a thousand

    theirs = T.ColorJitter(0.4, 0.3, 0.2, 0.1)
    drawn = [
        T.ColorJitter.get_params(theirs.brightness, theirs.contrast, theirs.saturation, theirs.hue)
        for _ in range(n)
    ]
    order, values = Jitter(0.4, 0.3, 0.2, 0.1).draw(n, cpu, g)
    for k in range(4):
        assert distance(values[:, k], torch.tensor([float(d[k + 1]) for d in drawn])) < limit
        for turn in range(4):  # each operation is equally often at each turn
            assert abs((order[:, turn] == k).float().mean().item() - 0.25) < 0.03
    assert (order.sort(1).values == torch.arange(4)).all()
    assert len({tuple(row) for row in order.tolist()}) == 24

    angles = torch.tensor([T.RandomRotation.get_params([-15, 15]) for _ in range(n)])
    assert distance(Rotation(15).draw(n, cpu, g), angles) < limit

    padded = torch.empty(3, 32 + 8, 32 + 8)
    corners = torch.tensor([T.RandomCrop.get_params(padded, (32, 32))[:2] for _ in range(n)]).float()
    ours = Crop(4).draw(n, cpu, g).float()
    for axis in range(2):
        assert distance(ours[:, axis], corners[:, axis]) < limit
        assert set(ours[:, axis].tolist()) == set(range(9))
    assert abs(Flip(0.3).draw(n, cpu, g).float().mean().item() - 0.3) < 0.03


def test_factors_never_go_below_zero() -> None:
    _, values = Jitter(brightness=1.5).draw(2000, torch.device("cpu"), torch.Generator().manual_seed(0))
    theirs = T.ColorJitter(brightness=1.5).brightness
    assert theirs == (0.0, 2.5)
    assert 0 <= values[:, 0].min() < 0.05
    assert 2.45 < values[:, 0].max() <= 2.5


def test_grey_images_keep_their_hue_and_saturation() -> None:
    x = pixels(channels=1)
    assert torch.equal(Jitter(saturation=0.5, hue=0.5)(x), x)
    assert not torch.equal(Jitter(brightness=0.5)(x), x)


@pytest.mark.parametrize("at", device.available())
def test_an_augmentation_works_on_normalised_batches_of_any_layout(at: str) -> None:
    train = images().to(at)
    x, _ = train.tensors()
    g = torch.Generator(x.device)
    augment = Augmentation(train, Crop(2), Flip(), Jitter(0.2, 0.2, 0.2, 0.1), Rotation(10))
    plain = augment(x, g.manual_seed(5))
    last = augment(x.to(memory_format=torch.channels_last), g.manual_seed(5))
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert plain.is_contiguous()
    torch.testing.assert_close(plain, last)
    assert not torch.equal(plain, augment(x, g))
    assert Augmentation(train)(x) is not x
    torch.testing.assert_close(Augmentation(train)(x), x, atol=1e-6, rtol=0)
    black = -torch.tensor(train.mean) / torch.tensor(train.std)
    shifted = Augmentation(train, Crop(8))(x)  # some corner of some image lies outside: it is black
    assert torch.isclose(shifted, black.to(x.device)[:, None, None], atol=1e-5).all(1).any()


def test_fit_takes_an_augmentation_and_repeats_it() -> None:
    train = images()

    def losses() -> list[float]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2))
        augment = Augmentation(train, Crop(2), Flip(), Rotation(20))
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        return fit(model, train, optimizer, epochs=2, batch_size=16, augment=augment, progress=False).loss

    assert losses() == losses()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Crop(0), "padding=0"),
        (lambda: Flip(1.5), "p=1.5"),
        (lambda: Rotation(-1), "degrees=-1"),
        (lambda: Jitter(brightness=-0.1), "brightness=-0.1"),
        (lambda: Jitter(hue=0.6), "hue=0.6"),
    ],
)
def test_bad_settings_are_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
