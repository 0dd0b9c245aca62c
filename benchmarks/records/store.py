"""Result records: one JSON a run; `benchmarks.records.raw` has the codes beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.records.record import (
    KS,
    SCHEMA_VERSION,
    TUNED,
    Brought,
    Measured,
    Plugin,
    Ranked,
    Record,
    brought_id,
    digest,
    stem_of,
)
from benchmarks.setting.methods import METHODS
from dpq.errors import InputError, one_line
from dpq.files.atomic import write_atomically
from dpq.files.json import read_json
from dpq.files.places import matching
from dpq.files.schema import read_table, refuse

M = TypeVar("M", bound=Measured)

_NEAR = 1e-9  # what rounding may do to a mean


def record_path(output: Path, experiment: str, identity: str) -> Path:
    """Where the record of a run lies."""
    return output / experiment / "runs" / f"{identity}.json"


def write_record(path: Path, table: Mapping[str, Any]) -> Record:
    """Write the table of a record whole or not at all, and return the record.

    Raises:
        ValueError: it could not be read again.
    """
    return _write(path, table, _as_run)


def write_brought(path: Path, table: Mapping[str, Any]) -> Brought:
    """As `write_record`, of brought codes.

    Raises:
        ValueError: it could not be read again.
    """
    return _write(path, table, as_brought)


def _write(path: Path, table: Mapping[str, Any], read: Callable[[dict[str, Any]], M]) -> M:
    text = json.dumps(table, indent=1, allow_nan=False) + "\n"
    record = read(json.loads(text))
    check_measured(record)
    write_atomically(path, text)
    return record


def read_record(path: Path, *, renewing: bool = False) -> Record:
    """Read the record of a run; `renewing` its metrics, they may contradict each other.

    Raises:
        InputError: missing, no JSON, of another schema, of a method that is not installed, not what tables, figures
            and pages can be made of, at odds with itself, in the file of another run, or of brought codes.
    """
    record = read_measured(path, renewing=renewing)
    if isinstance(record, Brought):
        raise InputError(f"{path} is of codes that were brought, not of a run; give the record of a run")
    return record


def read_measured(path: Path, *, renewing: bool = False) -> Record | Brought:
    """Read a record, of a run or of brought codes; `renewing` its metrics, they may contradict each other.

    Raises:
        InputError: as for `read_record`, but for the last.
    """
    try:
        table = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read record {path}: {one_line(error)}") from error
    if not isinstance(table, dict) or table.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path} is no result record of schema {SCHEMA_VERSION}; give a file from <output>/<experiment>/runs"
        )
    if "brought" not in table and (package := _package_to_install(table)):
        raise InputError(f"{path} is of a method that is not installed; install {package}, or move the record away")
    try:
        record = as_brought(table) if "brought" in table else _as_run(table)
        if not renewing:
            check_measured(record)
    except InputError:  # of a broken package, which is no fault of the record
        raise
    except ValueError as error:
        raise InputError(f"{path} is no usable record: {one_line(error)}; get it again, or run with --force") from error
    if path.stem != record.id:
        raise InputError(f"{path} holds the record of {record.id}.json; remove the copy, or give it back its name")
    return record


def read_records(output: Path, experiment: str) -> list[Record]:
    """The records of all runs of an experiment, by file name; each is of another run.

    Raises:
        InputError: as for `read_measured`; or one is of another experiment.
    """
    return [record for record in read_all(output, experiment) if isinstance(record, Record)]


def read_all(output: Path, experiment: str) -> list[Record | Brought]:
    """All records of an experiment, of runs and of brought codes, by file name.

    Raises:
        InputError: as for `read_measured`; or one is of another experiment.
    """
    records = []
    for path in matching(output / experiment / "runs", "*.json"):
        records.append(read_measured(path))
        if records[-1].experiment != experiment:
            raise InputError(f"{path} is of the experiment {records[-1].experiment}; move it to that one's runs")
    return records


def _as_run(table: dict[str, Any]) -> Record:
    """The record that a table holds, which is what its identity says."""
    record = as_record(table)
    check_identity(record)
    return record


def as_brought(table: dict[str, Any]) -> Brought:
    """The record of brought codes that a table holds.

    Raises:
        ValueError: names the first place that is wrong, what it must hold and what it holds.
    """
    record = read_table(Brought, table, extra="ignore")
    record.__dict__["raw"] = table
    bits = [length.bits for length in record.lengths]
    if bits != sorted(set(bits)):
        refuse("lengths", "of ascending bits", bits)
    for index, length in enumerate(record.lengths):
        _check_length(length, record, f"lengths[{index}]")
    if len(record.intervals) != len(bits):
        refuse("intervals", f"one of each of {len(bits)} lengths", len(record.intervals))
    if record.data.name != record.protocol:
        refuse("data.name", f"{record.protocol!r}, its protocol", record.data.name)
    if record.id != (made := brought_id(table)):
        refuse("id", f"{made}, which is of the codes that it has", record.id)
    return record


def as_record(table: dict[str, Any]) -> Record:
    """The record that a table holds.

    Raises:
        ValueError: names the first place that is wrong, what it must hold and what it holds.
        InputError: the method is of a package that is broken.
    """
    record = read_table(Record, table, extra="ignore")
    record.__dict__["raw"] = table
    bits = [length.bits for length in record.lengths]
    if bits != sorted(set(bits)) or sorted(record.config.bits) != bits:
        refuse("config.bits", f"those of lengths, {bits}, ascending", list(record.config.bits))
    levels = int(math.log2(record.config.codebook_size))
    for index, length in enumerate(record.lengths):
        if length.bits % levels:
            refuse(f"lengths[{index}].bits", f"a multiple of {levels} (log2 of the codebook's size)", length.bits)
        _check_length(length, record, f"lengths[{index}]")
    _check_method(record)
    if (record.ablation is None) != (record.ablation_of is None):
        refuse("ablation_of", "beside ablation", record.ablation_of)
    if record.tuned and record.ablation:
        refuse("ablation", "absent beside tuned", record.ablation)
    return record


def _package_to_install(table: dict[str, Any]) -> str | None:
    """The package and version that a record's method is of, if it is not there to say how the record is read."""
    if table.get("method") in list(METHODS):
        return None
    try:
        return read_table(Plugin, table.get("plugin"), extra="ignore").title
    except ValueError:  # the record is checked as a whole where it names no package
        return None


def _check_length(length: Ranked, record: Measured, place: str) -> None:
    if missing := [k for k in map(str, KS) if k not in length.precision_at]:
        raise ValueError(f"{place}.precision_at.{missing[0]} is missing")
    worst, best = length.map_bounds
    if worst > best:
        refuse(f"{place}.map_bounds", "the worst before the best", [worst, best])
    if length.distinct_codes > record.data.database:
        refuse(f"{place}.distinct_codes", "no more than database images", length.distinct_codes)
    recalls = [recall for recall, _ in length.pr]
    if recalls != sorted(recalls):
        refuse(f"{place}.pr", "of ascending recall", recalls)


def _check_method(record: Record) -> None:
    """What the registry knows of the method; a record says of whom it is, and pages of our own methods trust it."""
    name, config, said = record.method, record.config, record.plugin
    if name not in list(METHODS):
        refuse("method", f"one of {', '.join(map(repr, METHODS))}", name)
    if config.source is not None and config.source.method not in METHODS.own:
        refuse("config.source.method", f"one of {', '.join(map(repr, METHODS.own))}", config.source.method)
    method = METHODS[name]
    # The first says how it ranks; a further one may be younger than the record.
    if missing := [table for table in method.configs[:1] if table not in config.methods]:
        raise ValueError(f"config.methods.{missing[0]} is missing")
    if method.source in METHODS and config.source is None:
        raise ValueError(f"config.source is missing, and {name} quantizes embeddings of {method.source}")
    if method.plugin is None:
        if said is not None:
            refuse("plugin", f"absent, as {name} is a method of this project", record.raw["plugin"])
        return
    if said is None or said.package != method.plugin.package:
        refuse("plugin.package", f"{method.plugin.package}, which has the method {name}", said and said.package)


def check_identity(record: Record) -> None:
    """Refuse a record whose identity is not that of what it holds, or which says something twice, and differently.

    Raises:
        ValueError: names the first place.
    """
    config, method = record.config, METHODS[record.method]
    for place, value, wanted in (
        ("experiment", record.experiment, config.name),
        ("protocol", record.protocol, config.protocol),
        ("data.name", record.data.name, config.protocol),
        ("backbone.name", record.backbone.name, config.backbone.name),
        ("backbone.weights", record.backbone.weights, config.backbone.weights),
        ("backbone.image_size", record.backbone.image_size, config.training.image_size),
        *(
            (f"tuned.shared.training.{name}", getattr(record.shared.training, name), getattr(config.training, name))
            for name in ("image_size", "evaluation_views", "precision")  # which all methods have alike
        ),
        ("score", record.score, config.methods[method.configs[0]].get("score", record.score)),
    ):
        if value != wanted:
            refuse(place, f"{wanted!r}, as its config says", value)
    bits = "" if method.progressive else f"-{record.longest}bits"
    plain = stem_of(record.method, record.variant, record.seed) + bits
    change = record.ablation or (TUNED if record.tuned else None)
    made = stem_of(record.method, record.variant, record.seed, change) + f"{bits}-{digest(record.decisive)}"
    if record.id != made:
        refuse("id", f"{made}, which is of the seed and setting that it has", record.id)
    if record.ablation_of is not None and record.ablation_of.rpartition("-")[0] != plain:
        refuse("ablation_of", f"a run of {plain}", record.ablation_of)


def check_measured(record: Measured) -> None:
    """Refuse metrics that contradict each other; `evaluate` may mend them.

    Raises:
        ValueError: names the first place.
    """
    images = record.data.database
    for index, one in enumerate(record.lengths):
        worst, best = one.map_bounds
        hits, ranks = one.map if record.ap_denominator == "hits" else 1.0, min(record.cut or images, images)
        for name, value, least, most in (
            ("map", one.map, worst, best),
            ("map_ties_index", one.map_ties_index, worst, best),
            ("map_at_r", one.map_at_r, one.map, one.map),
            ("map_capped", one.map_capped, one.map_total, hits),
            ("r", one.r, ranks, ranks),
            ("distinct_codes", one.distinct_codes, 1, min(images, 2**one.bits)),
        ):
            if not least - _NEAR <= value <= most + _NEAR:
                refuse(f"lengths[{index}].{name}", f"from {least} to {most}, by what else it says", value)
