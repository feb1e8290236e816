"""The record as Markdown: a table a section, and after each which numbers are measured and which counted."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

Record = dict[str, Any]


def text(record: Record) -> str:
    """All tables of what is in ``record``; a section that is missing is named."""
    parts = []
    for name, write in SECTIONS.items():
        found = record.get(name)
        told = "There was no time for this." if found is None else found.get("error") or write(found)
        parts.append(f"<!-- {name} -->\n\n{told.strip()}\n\n<!-- end {name} -->")
    return "\n\n".join([*parts, record["protocol"]]) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """The first column to the left, the others to the right."""
    head = list(head)
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, unit: str = "") -> str:
    """Three digits, thousands apart; a dash for what was not measured."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    digits = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{digits} {unit}".strip()


def between(found: Record, unit: str = "") -> str:
    """Median, and the quartiles in brackets."""
    return f"{number(found['median'], unit)} ({number(found['low'])} to {number(found['high'])})"


def roofline(found: Record) -> str:
    roofs = [
        ["memory, copied on the device", between(found["bandwidth"], "GB/s"), str(found["bandwidth"]["n"])]
    ]
    roofs += [
        [f"matrix product, {name}", between(each, "TFLOP/s"), str(each["n"])]
        for name, each in found["peak"].items()
    ]
    layers = [
        [
            f"{each['name']}, {each['precision']}",
            number(each["intensity"]),
            between(each["milliseconds"], "ms"),
            number(each["teraflops"]),
            number(each["gigabytes_per_second"]),
        ]
        for each in found["layers"]
    ]
    return "\n\n".join(
        [
            table(["roof", "measured", "n"], roofs),
            table(["layer, forward", "operations a byte", "time", "TFLOP/s", "GB/s"], layers),
            "Roofs and times are measured; operations and bytes are counted, the bytes at their least: input "
            "and weights read once, output written once.",
        ]
    )


def switched(rows: list[Record]) -> str:
    lines = [
        [
            row["name"],
            between(row["off"], "ms"),
            between(row["on"], "ms"),
            between(row["again"], "ms"),
            f"{row['gain']:.2f}×",
            f"{number(row.get('off_mib'))} → {number(row.get('on_mib'))}",
            str(row["on"]["n"]),
        ]
        for row in rows
    ]
    return table(["what", "off", "on", "off again", "gain", "peak MiB", "n"], lines)


def switches(found: Record) -> str:
    parts = [switched(found["rows"]), "All measured."]
    if found["skipped"]:
        parts.append(f"No time for: {'; '.join(found['skipped'])}.")
    if scaled := found.get("scaler"):
        parts.append(
            f"A GradScaler that starts at {scaled['first_scale']:.3g}: of {scaled['steps']} steps it skips "
            f"{scaled['skipped']}, and ends at {scaled['last_scale']:.3g} (counted)."
        )
    return "\n\n".join(parts)


def memory(found: Record) -> str:
    equal = [
        [each["network"], "yes" if each["batch_norm"] else "no", f"{each['difference']:.1e}"]
        for each in found["equal"]
    ]
    head = ["gradients, accumulated against whole, float64", "BatchNorm", "relative difference"]
    return "\n\n".join([switched(found["rows"]), table(head, equal), "All measured."])


def launches(found: Record) -> str:
    clocks = found["asynchronous"]
    parts = [
        f"{clocks['name']}: the processor is free after {between(clocks['returned'], 'ms')}, the GPU has "
        f"finished after {between(clocks['done'], 'ms')}; n = {clocks['done']['n']}, measured."
    ]
    if found["rows"]:
        parts.append(switched(found["rows"]))
        apart = [row["loss_difference"] for row in found["rows"] if "loss_difference" in row]
        parts.append(
            "Measured. Weights after the same steps, launched singly and as a graph, differ by at most "
            f"{max(apart, default=0):.1e}."
        )
    return "\n\n".join(parts)


def feeding(found: Record) -> str:
    rows = [
        [
            row["name"],
            between(row["seconds"], "s"),
            number(row["images_per_second"]),
            str(row["seconds"]["n"]),
        ]
        for row in found["rows"]
    ]
    what = f"a pass over {found['images']:,} images of 28×28, SimpleConvNet, batches of {found['batch']}"
    parts = [table([what, "time", "images a second", "n"], rows)]
    if found["copies"]:
        copies = [
            [
                row["memory"],
                between(row["milliseconds"], "ms"),
                number(row["gigabytes_per_second"]),
                f"{row['returned_ms']:.3g} ms",
            ]
            for row in found["copies"]
        ]
        head = ["copied to the GPU from memory that is", "time", "GB/s", "the call returns after"]
        parts.append(table(head, copies))
    return "\n\n".join([*parts, "All measured."])


def compiling(found: Record) -> str:
    parts = [switched(found["rows"])] if found["rows"] else []
    for row in found["rows"]:
        told = f"{row['name']}: the first step takes {row['compile_seconds']:.1f} s"
        steps = row["pays_after_steps"]
        if row["gain"] < 1.02 or steps is None:
            parts.append(f"{told}, and the later ones gain nothing here.")
        else:
            parts.append(f"{told}; {steps:,} steps pay that back (modelled: that time over what one saves).")
    if found["skipped"]:
        parts.append(f"No time to compile: {', '.join(found['skipped'])}.")
    return "\n\n".join(parts)


def grid(found: Record) -> str:
    best: dict[tuple[str, str], Record] = {}
    for cell in found["cells"]:
        where = cell["network"], f"{cell['precision']}, {cell['layout']}"
        rate = cell["images_per_second"] or 0
        if rate and rate > best.get(where, {"images_per_second": 0})["images_per_second"]:
            best[where] = cell
    networks = list(dict.fromkeys(network for network, _ in best))
    ways = list(dict.fromkeys(way for _, way in best))
    rows = []
    for way in ways:
        cells = [best.get((network, way)) for network in networks]
        rows.append(
            [way, *("–" if c is None else f"{c['images_per_second']:,.0f} at {c['batch']}" for c in cells)]
        )
    missing = sum(cell["milliseconds"] is None for cell in found["cells"])
    lines = [
        table(["images a second in training, the best of the batches measured", *networks], rows),
        f"Measured: {len(found['cells']) - missing} cells; every one is in the record. Not measured, for "
        f"want of time or memory: {missing}.",
    ]
    return "\n\n".join(lines)


def percent(values: list[float]) -> str:
    return spread([100 * value for value in values], 2) + " %"


def spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation; the value alone where there is only one."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def fastest(found: Record) -> str:
    taught, rows = found["taught"], []
    for rung in found["ladder"]:
        if rung.get("skipped"):
            rows.append([rung["name"], *["–"] * 5, "no time"])
            continue
        gain, p = rung["gain"], rung["p"]
        told = (
            "–"
            if gain is None
            else f"{100 * gain:+.2f} points"
            if rung["kind"] == "accuracy"
            else f"{gain:+.2f} s"
        )
        rows.append(
            [
                rung["name"],
                percent(rung["validation"]),
                spread(rung["seconds"], 2),
                told,
                "–" if p is None else f"{p:.2g}",
                str(len(rung["seconds"])),
                "yes" if rung["kept"] else "no",
            ]
        )
    epochs = found["kept"]["epochs"]
    parts = [
        table([f"{epochs} epochs", "validation accuracy", "seconds", "gain", "p", "n", "kept"], rows),
        f"As taught: {found['network']['name']}, widths {found['network']['widths']}, "
        f"{found['network']['parameters']:,} parameters, SGD with momentum 0.9, learning rate "
        f"{taught['recipe']['lr']}, batches of {taught['recipe']['batch_size']}. Its best of "
        f"{taught['recipe']['epochs']} epochs sets the target, {100 * found['targets'][0]:.1f} % on the "
        f"{found['images']['validation']:,} validation images; epoch {taught['epochs_to_target']} reaches it "
        f"after {spread(taught['seconds_to_target'], 2)} s of training (n = {len(taught['seconds'])}). After "
        f"the last epoch: {percent(taught['test'])} of the test images.",
    ]
    finals = [
        [
            f"{100 * each['target']:.1f} %",
            f"{each['recipe']['epochs']} epochs, {each['which']} tricks",
            spread(each["seconds"], 2),
            percent(each["test"]),
            percent(each["test_mirrored"]),
            str(len(each["seconds"])),
        ]
        for each in found["final"]
    ]
    head = ["target", "recipe", "seconds", "test accuracy", "and mirrored", "n"]
    parts.append(
        table(head, finals) if finals else "No recipe that there was time to try reached the target."
    )
    tried = "; ".join(
        f"{each['which']} tricks, {each['epochs']} epochs: {percent(each['validation'])}, "
        f"{spread(each['seconds'], 2)} s"
        for each in found["candidates"]
    )
    parts.append(
        f"Tried on the validation images: {tried}. Seconds are of training alone, without the look at the "
        "validation images; mean ± standard deviation over seeds; p by Welch's test against the rung kept "
        "last. All measured."
    )
    return "\n\n".join(parts)


SECTIONS = {
    "roofline": roofline,
    "switches": switches,
    "memory": memory,
    "launches": launches,
    "feeding": feeding,
    "grid": grid,
    "fastest": fastest,
    "compiling": compiling,
}
