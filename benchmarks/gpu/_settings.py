"""How large everything is: in full, for a GPU; and tiny, to see that all of it runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from benchmarks.gpu._networks import NETWORKS, Network


@dataclass(frozen=True)
class Settings:
    """Sizes of every section.

    Attributes:
        networks: the ones timed, by name.
        batches: of each network, in the grid.
        batch: of the rows that compare one thing on and off.
        repeats: blocks timed for each number.
        copied: bytes of the buffer that the bandwidth is measured with.
        product: side of the square matrices that the peak product is measured with.
        feeding: how many images are fed in one pass; workers: of the DataLoader.
        images: of Fashion-MNIST to train on, None for all.
        seeds: runs of each recipe.
        rung_epochs: of a rung of the ladder of tricks; taught_epochs: of the recipe it starts from.
        short, long: numbers of epochs tried on the way to a target, with the tricks that paid in a short
            run, and with all of them.
        widths: channels of the network that is trained; loading_steps: taken before a recipe is timed.
        compile_seconds: about how long ``torch.compile`` takes for a network, so that none is begun too late.
    """

    networks: dict[str, Network]
    batches: dict[str, tuple[int, ...]]
    batch: int = 128
    repeats: int = 5
    copied: int = 2**30
    product: int = 8192
    feeding: int = 12_800
    workers: int = 8
    images: int | None = None
    seeds: int = 5
    rung_epochs: int = 3
    taught_epochs: int = 10
    short: tuple[int, ...] = (2, 3, 4)
    long: tuple[int, ...] = (6, 9, 14)
    widths: tuple[int, int, int] = (64, 128, 256)
    loading_steps: int = 10
    compile_seconds: dict[str, float] = field(
        default_factory=lambda: {"SimpleConvNet": 12, "ResNet-18": 25, "MobileNetV2": 40, "ResNet-50": 50}
    )


FULL = Settings(
    networks=NETWORKS,
    batches={
        "SimpleConvNet": (32, 128, 512, 2048, 8192),
        "ResNet-18": (8, 32, 128, 512),
        "MobileNetV2": (8, 32, 128, 512),
        "ResNet-50": (8, 32, 128, 256),
    },
)

SMOKE = Settings(
    networks={
        name: replace(network, image=(network.image[0], min(32, network.image[1]), min(32, network.image[2])))
        for name, network in NETWORKS.items()
        if name != "ResNet-50"
    },
    batches={"SimpleConvNet": (8, 16), "ResNet-18": (2,), "MobileNetV2": (4,)},
    batch=8,
    repeats=2,
    copied=2**22,
    product=128,
    feeding=256,
    workers=1,
    images=600,
    seeds=2,
    rung_epochs=1,
    taught_epochs=1,
    short=(1,),
    long=(2,),
    widths=(2, 4, 8),
    loading_steps=1,
    compile_seconds={"SimpleConvNet": 10},
)
