"""Makes the exhibits of a record."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.exhibits import PARTS
from benchmarks.exhibits.exhibit import Exhibit
from benchmarks.exhibits.gallery import show_nearest
from benchmarks.exhibits.projection import project_lengths
from benchmarks.exhibits.store import exhibit_path, sprite_path, write_exhibit, write_sprite
from benchmarks.exhibits.ties import measure_orders
from benchmarks.records.raw import RawResult
from benchmarks.records.record import Record
from benchmarks.records.store import read_record
from benchmarks.running.environment import describe_environment
from benchmarks.running.loading import load_data_of
from dpq.errors import InputError
from dpq.protocols import Dataset, ReadOptions

log = logging.getLogger(__name__)


def check_parts(names: Sequence[str]) -> list[str]:
    """The parts that were asked for, in the order of `PARTS`.

    Raises:
        InputError: a part is unknown.
    """
    for name in names:
        if name not in PARTS:
            raise InputError(f"unknown part {name!r}; choose from {', '.join(PARTS)}")
    return [part for part in PARTS if part in names]


def paths_of(path: Path, parts: Sequence[str]) -> dict[str, Path]:
    """Where these parts of the exhibits of the record at `path` lie.

    Raises:
        InputError: there is no record, or not where records lie, so that its exhibits have no place.
    """
    identity, place = read_record(path).id, path.absolute()
    if place.parent.name != "runs" or place.stem != identity:
        raise InputError(f"{path} does not lie where records do; move it to <output>/<experiment>/runs/{identity}.json")
    return {part: exhibit_path(place.parents[2], place.parents[1].name, identity, part) for part in parts}


@dataclass
class Images:
    """Data sets of records; that of the last record is kept, as the next one's is often the same."""

    data_root: Path | None  # as for `load_protocol`
    reading: ReadOptions  # how a copy is read
    _last: Dataset | None = None

    def of(self, record: Record) -> Dataset:
        """The data set of a record.

        Raises:
            InputError: as for `load_data_of`.
        """
        if self._last is None or self._last.fingerprint != record.data.fingerprint:
            self._last = load_data_of(record, self.data_root, self.reading)
        return self._last


def make(path: Path, part: str, record: Record, raw: RawResult, images: Images) -> None:
    """Make one part and write it to `path`, with its sprite if it has one.

    Args:
        path: from `paths_of`.
        part: of `PARTS`.
        record: of the run.
        raw: its codes.
        images: for the parts that show or name something; "ties" needs none.

    Raises:
        InputError: there is nothing to show, or the folder cannot be written.
    """
    log.info("%s: %s", record.id, part)
    environment = describe_environment(torch.device("cpu"))
    created = datetime.now(UTC).isoformat(timespec="seconds")
    made = _content(path, part, record, raw, images)
    write_exhibit(path, replace(made, created=created, environment=environment))


def _content(path: Path, part: str, record: Record, raw: RawResult, images: Images) -> Exhibit:
    if part == "ties":
        return measure_orders(record, raw)
    if part == "projection":
        return project_lengths(record, raw, images.of(record))
    gallery, sprite = show_nearest(record, raw, images.of(record))
    # Before the gallery itself, so that one that exists is complete.
    digest = write_sprite(sprite_path(path), sprite)
    return replace(gallery, sprite=sprite_path(path).name, sprite_sha256=digest)
