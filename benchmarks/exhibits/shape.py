"""What an exhibit must hold for figures and tables to be made of it."""

from __future__ import annotations

from typing import Any

from benchmarks.shapes import label, number, one_of, refuse, row, share, table, text, whole

SCHEMA_VERSION = 1
PARTS = ("ties", "projection", "gallery")

_size = whole(1, 1 << 16)
_bits = whole(1, 1024)
_HEADER = {"schema_version": one_of(SCHEMA_VERSION), "kind": one_of(*PARTS), "run": label}
_SHAPES = {
    "ties": table(_HEADER | {"lengths": row(table({"bits": _bits, "orders": table({}, others=share)}), 1)}),
    "projection": table(
        _HEADER
        | {
            "classes": row(text(), 1),
            "labels": row(whole(), 2),
            "lengths": row(table({"bits": _bits, "points": row(row(number(), 2, 2))}), 1),
        }
    ),
    "gallery": table(
        _HEADER
        | {
            "side": _size,
            "columns": _size,
            "classes": row(text(), 1),
            "images": row(table({"labels": row(whole())}), 1),
            "queries": row(
                table(
                    {
                        "image": whole(),
                        "lengths": row(table({"bits": _bits, "nearest": row(whole(), 1), "tied": whole(1)}), 1),
                    }
                ),
                1,
            ),
            "sprite": text(),
            "sprite_sha256": text("[0-9a-f]{64}", "64 hexadecimal digits"),
        }
    ),
}


def check_exhibit(exhibit: dict[str, Any]) -> None:
    """Check types, ranges, and that what points to a class or an image finds one.

    Raises:
        ValueError: names the first place that is wrong, what it must hold and what it holds.
    """
    part = exhibit["kind"]
    _SHAPES[part](exhibit, "")
    if part == "ties":
        orders = list(exhibit["lengths"][0]["orders"])
        for index, entry in enumerate(exhibit["lengths"]):
            if list(entry["orders"]) != orders:
                refuse(f"lengths[{index}].orders", f"of {orders}", list(entry["orders"]))
    if part == "projection":
        _below(exhibit["labels"], len(exhibit["classes"]), "labels")
        for index, entry in enumerate(exhibit["lengths"]):
            if len(entry["points"]) != len(exhibit["labels"]):
                refuse(f"lengths[{index}].points", f"{len(exhibit['labels'])} points", len(entry["points"]))
    if part == "gallery":
        for index, image in enumerate(exhibit["images"]):
            _below(image["labels"], len(exhibit["classes"]), f"images[{index}].labels")
        bits = [entry["bits"] for entry in exhibit["queries"][0]["lengths"]]
        for index, query in enumerate(exhibit["queries"]):
            place = f"queries[{index}]"
            _below([query["image"]], len(exhibit["images"]), f"{place}.image")
            if [entry["bits"] for entry in query["lengths"]] != bits:
                refuse(f"{place}.lengths", f"of {bits} bits", [entry["bits"] for entry in query["lengths"]])
            for at, entry in enumerate(query["lengths"]):
                _below(entry["nearest"], len(exhibit["images"]), f"{place}.lengths[{at}].nearest")


def _below(values: list[int], count: int, place: str) -> None:
    for value in values:
        if value >= count:
            refuse(place, f"below {count}", value)
