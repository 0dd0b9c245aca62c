"""The images of an experiment, or of a record."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.records.record import Record, Setting
from benchmarks.setting.experiment import Experiment
from dpq.errors import InputError
from dpq.protocols import Dataset, ReadOptions, load_protocol


def reading_of(options: argparse.Namespace) -> ReadOptions:
    """How the options of `run` have images read."""
    return ReadOptions(allow_missing=options.allow_missing, strip_prefix=options.strip_prefix, workers=options.workers)


def load_data(experiment: Experiment, data_root: Path | None, reading: ReadOptions | None = None) -> Dataset:
    """The images of an experiment on one split.

    Raises:
        InputError: data are missing or unusable, or too few for the settings.
    """
    return _load(experiment.protocol, experiment, data_root, reading or ReadOptions())


def load_data_of(record: Record, data_root: Path | None, reading: ReadOptions | None = None) -> Dataset:
    """The very images of a record; a copy may lack as many as the record's lacked.

    Raises:
        InputError: as for `load_data`; or these are other images.
    """
    reading = replace(reading or ReadOptions(), allow_missing=sum(record.data.missing.values()))
    dataset = _load(record.protocol, record.config, data_root, reading)
    if dataset.fingerprint != record.data.fingerprint:
        raise InputError(
            f"these are not the images of {record.id}: the record has the fingerprint {record.data.fingerprint}, those "
            f"that were found have {dataset.fingerprint}; give --data-root the copy that the run was made on"
        )
    return dataset


def described(dataset: Dataset) -> dict[str, Any]:
    """What a record says of its data."""
    return {
        "name": dataset.protocol,
        "variant": dataset.name,
        "fingerprint": dataset.fingerprint,
        "train": len(dataset.train),
        "query": len(dataset.query),
        "database": len(dataset.database),
        **dataset.facts,
    }


def _load(protocol: str, setting: Experiment | Setting, data_root: Path | None, reading: ReadOptions) -> Dataset:
    if setting.stored_side is not None:
        reading = replace(reading, side=setting.stored_side)
    dataset = load_protocol(protocol, data_root, options=reading, split_seed=setting.split_seed)
    if setting.validation:
        dataset = dataset.validation()
    return dataset if setting.limit is None else dataset.limited(setting.limit)
