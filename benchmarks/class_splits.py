"""Records of one experiment that differ in the classes that were held out; a table averages over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_OF_THE_SPLIT = ("fingerprint", "seen", "unseen")


def is_class_split(record: dict[str, Any]) -> bool:
    """Whether the record's queries and database are of classes that its training had not seen."""
    return "unseen" in record["data"]


def common_data(record: dict[str, Any]) -> dict[str, Any]:
    """What the record says of its data, without what differs between class splits of the same images."""
    if not is_class_split(record):
        return dict(record["data"])
    return {key: value for key, value in record["data"].items() if key not in _OF_THE_SPLIT}


def held_out(record: dict[str, Any]) -> dict[str, str]:
    """The column of a table of runs that tells class splits apart; none for other records."""
    return {"held out": ", ".join(record["data"]["unseen"])} if is_class_split(record) else {}


def class_split_lines(records: Sequence[dict[str, Any]]) -> list[str]:
    """What a table says of its class splits; nothing where there are none."""
    splits = {r["config"]["split_seed"]: held_out(r)["held out"] for r in records if is_class_split(r)}
    if not splits:
        return []
    listed = "; ".join(f"{classes} (split {seed})" for seed, classes in sorted(splits.items()))
    return [
        f"- **Queries and database are of classes that training has not seen:** {listed}. The numbers of images are "
        "those of one split."
    ]
