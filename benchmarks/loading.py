"""The images of an experiment, or of a record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.config import Experiment
from dpq.errors import InputError
from dpq.protocols import Dataset, ReadOptions, load_protocol


def load_data(
    protocol: str,
    data_root: Path | str | None,
    reading: ReadOptions | None = None,
    *,
    split_seed: int,
    stored_side: int | None,
    validation: bool,
    limit: int | None,
) -> Dataset:
    """The splits that the settings of an experiment name; `benchmarks.config.Experiment` says what they mean.

    Raises:
        InputError: data are missing or unusable, or too few for the settings.
    """
    reading = reading or ReadOptions()
    if stored_side is not None:
        reading = replace(reading, side=stored_side)
    root = Path(data_root) if data_root else None
    dataset = load_protocol(protocol, root, options=reading, split_seed=split_seed)
    if validation:
        dataset = dataset.validation()
    return dataset if limit is None else dataset.limited(limit)


def load_data_for(experiment: Experiment, data_root: Path | None, reading: ReadOptions | None = None) -> Dataset:
    """The images of an experiment on one split.

    Raises:
        InputError: as for `load_data`.
    """
    return load_data(
        experiment.protocol,
        data_root,
        reading,
        split_seed=experiment.split_seed,
        stored_side=experiment.stored_side,
        validation=experiment.validation,
        limit=experiment.limit,
    )


def load_data_of(record: dict[str, Any], data_root: Path | str | None, reading: ReadOptions | None = None) -> Dataset:
    """The very images of a record; a copy may lack as many as the record's lacked.

    Raises:
        InputError: as for `load_data`; or these are other images.
    """
    config, data = record["config"], record["data"]
    lacking = sum(data.get("missing", {}).values())
    dataset = load_data(
        record["protocol"],
        data_root,
        replace(reading or ReadOptions(), allow_missing=lacking),
        split_seed=config["split_seed"],
        stored_side=config.get("stored_side"),
        validation=config["validation"],
        limit=config["limit"],
    )
    if dataset.fingerprint != data["fingerprint"]:
        raise InputError(
            f"the images of {record['id']} are others: the record has the fingerprint {data['fingerprint']}, those "
            f"that were found have {dataset.fingerprint}; give --data-root the copy that the run was made on"
        )
    return dataset
