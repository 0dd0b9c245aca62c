"""What tables say of somebody's own images."""

from __future__ import annotations

from typing import Any

PROTOCOL = "folder"
_SPLITS = {
    "classes": "drawn class by class",
    "splits": "those of its folders",
    "manifest": "those of its manifest",
}


def own_data_lines(record: dict[str, Any]) -> list[str]:
    """What a table says of own images; nothing where there are none."""
    if record["protocol"] != PROTOCOL:
        return []
    data = record["data"]
    counted = {
        "Images that could not be read": sum(data["missing"].values()),
        "Copies of others, left out": data["copies_left_out"],
        "Queries that are in the database too": data["queries_in_database"],
    }
    said = [f"{what}: {count:,}" for what, count in counted.items() if count]
    return [
        f"- **Own images of {len(data['classes'])} classes; splits: {_SPLITS[data['layout']]}; not comparable with any "
        f"paper.**{''.join(f' {line}.' for line in said)}"
    ]
