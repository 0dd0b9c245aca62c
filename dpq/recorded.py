"""What a record keeps of a configuration, so that settings added later leave older records their identity."""

from __future__ import annotations

from dataclasses import field, fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")
_ADDED = "added after records were made"


def added_later(default: T) -> T:
    """A dataclass field that is younger than the first records; its default is what they were made with."""
    return field(default=default, metadata={_ADDED: True})


def as_recorded(config: Any) -> dict[str, Any]:
    """The fields of a dataclass and of those inside it, without fields that were added later and hold their default.

    A record's identity is a digest of this, so it must not change when a setting is added that a run does not use.
    """
    table = {}
    for f in fields(config):
        value = getattr(config, f.name)
        if not (_ADDED in f.metadata and value == f.default):
            table[f.name] = as_recorded(value) if is_dataclass(value) else value
    return table
