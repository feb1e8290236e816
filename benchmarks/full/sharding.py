"""Memory and collectives of sharded networks: what the calculator says beside what torch counts."""

from __future__ import annotations

import json
import platform
from collections import Counter

import torch

from course_lib import recorded
from course_lib.distributed import memory, sharding
from course_lib.models.mobilenetv2 import MobileNetV2
from course_lib.models.resnet import ResNet

NETWORKS = {"ResNet-50": lambda: ResNet(50), "MobileNetV2": MobileNetV2}
SHAPE = (32, 3, 224, 224)
SHARDS = (1, 8, 64)
GROUPS = (8, 1024)


def peaks() -> list[dict]:
    """A row a network, optimizer and number of shards: bytes, modelled and counted."""
    rows = []
    for name, make in NETWORKS.items():
        held = memory.activations(make, SHAPE)
        for optimizer in ("momentum", "adam"):
            for n in SHARDS:
                settings = {"optimizer": optimizer, "processes": n}
                modelled = memory.needed(make, held, stage=3 if n > 1 else 0, **settings).peak
                counted = memory.counted(make, SHAPE, **settings)
                rows.append({"network": name, **settings, "modelled": round(modelled), "counted": counted})
    return rows


def calls() -> list[dict]:
    """What a training step of ResNet-50 sends, on two images of 64×64, which changes nothing about it."""
    rows = []
    for n in GROUPS:
        found = sharding.collectives(NETWORKS["ResNet-50"], (2, 3, 64, 64), n)
        kinds = Counter(each.kind for each in found)
        sent = sum(each.sent(n) for each in found)
        rows.append({"network": "ResNet-50", "processes": n, "calls": kinds, "sent": round(sent)})
    return rows


def text(found: dict) -> str:
    """The tables as Markdown."""
    mib = 2**20
    lines = [
        "| network | optimizer | shards | modelled, MiB | counted, MiB | error |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in found["memory"]:
        error = row["modelled"] / row["counted"] - 1
        cells = row["network"], row["optimizer"], row["processes"]
        lines.append(
            f"| {' | '.join(map(str, cells))} | {row['modelled'] / mib:,.0f} | {row['counted'] / mib:,.0f} | "
            f"{100 * error:+.1f} % |"
        )
    lines += [
        "",
        "| network | processes | all-gathers | reduce-scatters | each sends, MB |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in found["collectives"]:
        kinds = row["calls"]
        lines.append(
            f"| {row['network']} | {row['processes']:,} | {kinds['all-gather']} | "
            f"{kinds['reduce-scatter']} | {row['sent'] / 1e6:,.0f} |"
        )
    return "\n".join([*lines, "", found["protocol"], ""])


def run() -> str:
    """Count everything, keep the numbers, return the tables."""
    found = {
        "memory": peaks(),
        "collectives": calls(),
        "protocol": (
            "Each process has 32 images of 224×224, float32. Modelled: by distributed.memory.needed. "
            "Counted: by torch's memory trackers, on fake tensors, the second training step; sharded by "
            "fully_shard, block by block, in a made-up process group. Bytes sent: counted calls, each as a "
            "ring sends it, with the zeros that fill up what 1,024 does not divide; "
            f"Python {platform.python_version()}, torch {torch.__version__}."
        ),
    }
    recorded.path("sharding").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return text(found)
