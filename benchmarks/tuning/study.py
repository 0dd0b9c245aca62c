"""A study: the search of one method's settings in one experiment, as one file that is written after every trial."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

from annotated_types import MinLen

from benchmarks.records.record import LabelVectors
from benchmarks.setting.experiment import flat
from dpq.errors import InputError, one_line
from dpq.files.atomic import write_atomically
from dpq.files.json import read_json
from dpq.files.places import exists, matching
from dpq.files.schema import Amount, Bits, Digest, Label, Scalar, Share, Size, Whole, read_table

FOLDER = "studies"
_NEAR = 1e-9  # what rounding may do to a mean


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial: what was tried, and what came of it."""

    number: Size  # from 1
    state: Literal["complete", "diverged"]  # what diverged counts as a trial, and has no value
    settings: Mapping[str, Scalar]  # values by path; all else is the experiment's own
    map: Mapping[str, Share]  # mAP by code length in bits
    value: Share | None  # their mean
    seconds: Amount  # of trainings, encoding and evaluation, epochs that lengths share counted at each
    same_as: Size | None = None  # number of the trial whose result this one repeats
    reason: str | None = None  # what diverged
    created: str  # UTC
    environment: Mapping[str, Any]  # as in a record, and Optuna's version


@dataclass(frozen=True, kw_only=True)
class Images:
    """Which images: of the training split alone, a fifth of it held out as queries and database."""

    variant: str  # of the data
    fingerprint: Label
    train: Size  # images, as in the next two
    query: Size
    database: Size


@dataclass(frozen=True, kw_only=True)
class TuningStudy:
    """All that decides a study, and its trials."""

    schema_version: Literal[1] = 1
    experiment: Label
    method: Label
    seed: Whole  # of the sampler, and the master seed of every training
    batch: Size  # trials that are proposed at once, from the results of earlier batches
    bits: Annotated[tuple[Bits, ...], MinLen(1)]  # code lengths that a value is the mean over
    ranges: Mapping[str, tuple[Scalar, ...]]
    data: Images
    weights_sha256: Digest | None
    label_vectors: LabelVectors | None  # a file that may be chosen
    setting: Mapping[str, Any]  # of the experiment, as a record has it
    trials: tuple[Trial, ...] = ()

    @property
    def best(self) -> Trial | None:
        """The trial of the highest value, the first of several; None while there is none."""
        done = [trial for trial in self.trials if trial.value is not None]
        return max(done, key=lambda trial: (trial.value, -trial.number), default=None)

    def same(self, settings: Mapping[str, Any]) -> Trial | None:
        """The trial that had these settings already."""
        return next((trial for trial in self.trials if trial.settings == settings), None)

    def with_trial(self, trial: Trial) -> TuningStudy:
        """The study after one more trial."""
        return replace(self, trials=(*self.trials, trial))

    def check(self) -> None:
        """Refuse trials that contradict each other or the study.

        Raises:
            ValueError: names the first that does.
        """
        lengths = {str(bits) for bits in self.bits}
        for number, trial in enumerate(self.trials, 1):
            complete, earlier = trial.state == "complete", self.trials[: number - 1]
            if trial.number != number or trial.settings.keys() != self.ranges.keys():
                raise ValueError(f"trial {number} has another number, or settings that are not searched")
            if complete != (trial.value is not None) or trial.map.keys() != (lengths if complete else set()):
                raise ValueError(f"trial {number} is {trial.state}, and its numbers are not those of such a trial")
            if trial.value is not None and not math.isclose(trial.value, fmean(trial.map.values()), abs_tol=_NEAR):
                raise ValueError(f"the value of trial {number} is not the mean over its lengths")
            same = next((one.number for one in earlier if one.settings == trial.settings), None)
            if trial.same_as != same:
                raise ValueError(f"trial {number} repeats trial {same}, and says {trial.same_as}")


def study_path(output: Path, experiment: str, method: str) -> Path:
    """Where the study of a method lies."""
    return output / FOLDER / experiment / f"{method}.json"


def read_study(path: Path) -> TuningStudy:
    """A study from its file.

    Raises:
        InputError: unreadable, of another schema, at odds with itself, or in the place of another study.
    """
    try:
        study = read_table(TuningStudy, read_json(path))
        study.check()
        if (study.experiment, study.method) != (path.parent.name, path.stem):
            raise ValueError(f"it is of {study.method} in {study.experiment}")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no usable study: {one_line(error)}; get it again, or move it away") from error
    return study


def read_studies(output: Path, experiment: str = "*") -> list[TuningStudy]:
    """All studies of an experiment, or of all, by path.

    Raises:
        InputError: as for `read_study`.
    """
    folders = matching(output / FOLDER, experiment)
    return [read_study(path) for folder in folders for path in matching(folder, "*.json")]


def write_study(path: Path, study: TuningStudy) -> None:
    """Write a study, whole or not at all.

    Raises:
        InputError: the folder cannot be written.
    """
    write_atomically(path, json.dumps(asdict(study), indent=1, allow_nan=False) + "\n")


def continued(path: Path, begun: TuningStudy) -> TuningStudy:
    """The study of the file, if it is the one that is `begun`, which may propose more or fewer trials at once.

    Raises:
        InputError: as for `read_study`; or it is of another setting, and what differs is named.
    """
    if not exists(path):
        return begun
    there = read_study(path)
    one, other = (_decisive(study) for study in (there, begun))
    if differing := [key for key in {**one, **other} if one.get(key) != other.get(key)]:
        key = differing[0]
        raise InputError(
            f"{path} is a study with {key} = {one.get(key)!r}, and this call has {other.get(key)!r}; give the options "
            "that it was begun with, or another --output"
        )
    return there


def _decisive(study: TuningStudy) -> dict[str, Any]:
    table = json.loads(json.dumps(asdict(replace(study, trials=(), batch=1))))
    return flat(table)


def as_toml(study: TuningStudy, best: Trial) -> str:
    """The table of an experiment that has the values of a study's best trial, and names the study."""
    lines, values = [f"[tuned.{study.method}]", f"study = {json.dumps(study.method)}"], best.settings
    lines += [_line(name, value) for name, value in values.items() if "." not in name]
    for place in ("training", "method"):
        inside = [(name.partition(".")[2], value) for name, value in values.items() if name.startswith(f"{place}.")]
        lines += [f"[tuned.{study.method}.{place}]", *(_line(*one) for one in inside)] if inside else []
    return "\n".join(lines)


def _line(name: str, value: Any) -> str:
    return f"{name} = {json.dumps(value)}"  # of texts, numbers and flags, as TOML has them


def known(trials: Sequence[Trial], batch: int) -> list[tuple[Mapping[str, Any], float | None]]:
    """Settings and values of the trials of earlier batches, which the next ones are proposed from."""
    return [(trial.settings, trial.value) for trial in trials[: len(trials) // batch * batch]]
