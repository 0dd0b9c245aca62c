"""Carries out a trial: the method's trainings in one setting, ranked on held-out training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.records.record import Record
from benchmarks.records.store import read_record
from benchmarks.running.environment import describe_environment
from benchmarks.running.plan import Run, plan
from benchmarks.setting.building import Ingredients, read_ingredients
from benchmarks.setting.experiment import Experiment
from benchmarks.tuning.space import Settings, applied
from benchmarks.tuning.study import FOLDER, Trial
from dpq.files.json import read_text
from dpq.files.places import is_file

NOTE = ".diverged"  # beside the record that there is not
_MOST_BYTES = 1 << 16  # of a note


@dataclass
class Objective:
    """Makes the runs of a method's trials, on images that are read once.

    Args:
        experiment: on its validation part: without queries and database of the protocol.
        ingredients: of the experiment, with images of that part.
        method: to be tuned.
        seed: master seed of every training.
        output: folder of all results; what a trial leaves until it is finished is inside.
        vectors: a file of label vectors that may be chosen.
    """

    experiment: Experiment
    ingredients: Ingredients
    method: str
    seed: int
    output: Path
    vectors: str | None = None
    _read: dict[str, Ingredients] = field(default_factory=dict)

    @property
    def scratch(self) -> Path:
        """Where trials are until they are finished, and what they share until the study is."""
        return self.output / FOLDER / self.experiment.name / ".trials" / self.method

    def runs(self, settings: Settings) -> list[Run]:
        """The runs of a trial: one of a progressive method, else one a code length."""
        experiment = applied(self.experiment, self.method, settings, self.vectors)
        vectors = experiment.label_vectors
        if vectors not in self._read:
            self._read[vectors] = read_ingredients(experiment, self.ingredients.dataset, self.ingredients)
        how: dict[str, Any] = {"methods": [self.method], "seeds": [self.seed], "variant": "paper"}
        return plan(experiment, self._read[vectors], output=self.scratch, **how)


def outcome(number: int, settings: Settings, runs: Sequence[Run], device: torch.device) -> Trial:
    """What came of a trial whose runs were attempted, until the first that diverged."""
    notes = [path for run in runs if is_file(path := run.record.with_suffix(NOTE))]
    records = [read_record(run.record) for run in runs if is_file(run.record)]
    place = records[0].raw["environment"] if records else describe_environment(device)
    seconds = sum(s.train + s.encode + s.evaluate for s in (record.seconds for record in records))
    found: dict[str, Any] = {"map": {}, "value": None, "state": "diverged"}
    if notes:
        found["reason"] = read_text(notes[0], _MOST_BYTES)
    else:
        maps = _by_length(runs, records)
        found |= {"map": maps, "value": fmean(maps.values()), "state": "complete"}
    return Trial(
        number=number,
        settings=dict(settings),
        seconds=round(seconds, 2),
        created=_now(),
        environment=place | {"optuna": version("optuna")},
        **found,
    )


def repeated(number: int, earlier: Trial) -> Trial:
    """A trial of the settings of an earlier one, which is not trained again."""
    first = earlier.same_as or earlier.number
    return Trial(**vars(earlier) | {"number": number, "same_as": first, "seconds": 0.0, "created": _now()})


def _by_length(runs: Sequence[Run], records: Sequence[Record]) -> Mapping[str, float]:
    """The mAP of each code length, of the training that is its own; a prefix is one where the method is progressive."""
    lengths = runs[0].experiment.bits if len(runs) == 1 else [record.longest for record in records]
    (whole, *_), own = records, {record.longest: record for record in records}
    return {str(bits): own.get(bits, whole).at(bits).map for bits in sorted(lengths)}


def clear(runs: Sequence[Run]) -> None:
    """Delete what runs of a finished trial have left; what trials share stays."""
    for run in runs:
        run.forget()
        for suffix in (".json", ".npz", NOTE):
            run.record.with_suffix(suffix).unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
