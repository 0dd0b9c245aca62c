"""Any two sides that somebody names, compared by the rule of the claims: rows of a table, files of records, numbers.

A side is written PLACE or PLACE:ROW. A place is an experiment, a folder of records, one record or a CSV of raw numbers;
a row is a method and what is unusual about it, such as `dpq`, `dpq:released`, `dpq:no-margin` or `dpq:tuned`, and goes
without saying where the place has one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.records.record import Record
from benchmarks.records.store import read_record, read_records
from benchmarks.report.comparisons import SAME_FEATURES, Side, compared, per_repetition, side, with_lengths
from benchmarks.report.details import as_markdown
from benchmarks.report.intervals import CONFIDENCE
from benchmarks.report.statistics import row_title, settings_key
from benchmarks.report.study import Section, Study, sections_of, sections_to_judge
from benchmarks.report.verdicts import NOT_RUN, POINT, UNCLEAR, Comparison, effect_of, reason_of
from benchmarks.setting.ablations import ABLATIONS
from benchmarks.setting.experiment import flat, known_experiments
from benchmarks.setting.methods import METHODS
from dpq.errors import InputError, one_line
from dpq.files.places import exists, is_folder, matching

COLUMNS = ("method", "bits", "seed", "map")  # of a CSV of raw numbers
# What two numbers must have in common to be compared, and how it is said.
_MEASURED: dict[str, Callable[[Record], str]] = {
    "images": lambda record: f"{record.data.variant} {record.data.fingerprint[:12]}",
    "cut": lambda record: "the whole database" if record.cut is None else f"{record.cut} ranks",
    "denominator of AP": lambda record: record.ap_denominator,
    "subset": lambda record: f"--limit {record.config.limit}" if record.config.limit else "all images",
    "queries": lambda record: "held-out training images" if record.config.validation else "the protocol's",
}


@dataclass(frozen=True)
class Given:
    """One side as it was given: runs of one row and setting, or raw numbers."""

    said: str  # place and row
    title: str  # as tables have it
    records: tuple[Record, ...] = ()  # none of raw numbers
    numbers: pd.DataFrame | None = None  # as of `read_numbers`, of one method
    folder: Path | None = None  # where the records lie
    note: str = ""  # what of the place is left out

    @property
    def short(self) -> str:
        """Place and row, of a record its identity alone."""
        return Path(self.said).stem if self.said.endswith(".json") else self.said

    @property
    def bits(self) -> set[int]:
        """Code lengths that any run has."""
        if self.numbers is not None:
            return set(self.numbers["bits"].tolist())
        return {length.bits for record in self.records for length in record.lengths}

    def at(self, bits: Sequence[int]) -> Side:
        """Mean mAP of each run over these lengths."""
        if self.numbers is not None:
            found = Side.of(self.title, self.numbers, "map", bits)
            return replace(found, values=found.values / len(bits))
        first = self.records[0]
        return replace(side(self._section, first.method, bits, variant=first.variant), name=self.title)

    @cached_property
    def _section(self) -> Section:
        return Section(self.records[0].experiment, self.records)


@dataclass(frozen=True)
class Effect:
    """A difference at one length, or of means over all that both sides have."""

    label: str
    comparison: Comparison  # A minus B
    means: tuple[float, float] | None  # mAP of A and of B over what is compared; None where nothing is


@dataclass(frozen=True)
class Answer:
    """What the comparison of two sides gave."""

    sides: tuple[Given, Given]
    lengths: tuple[Effect, ...]
    whole: Effect  # which is judged
    paired: str  # how
    warnings: tuple[str, ...]

    @property
    def titles(self) -> tuple[str, str]:
        """What sentences call the sides."""
        one, other = self.sides
        return (one.title, other.title) if one.title != other.title else (one.short, other.short)

    @property
    def sentence(self) -> str:
        """The verdict."""
        comparison, (one, other) = self.whole.comparison, self.titles
        verdict, why = comparison.verdict, reason_of(comparison)
        said = f"{one} is better than {other}: {verdict}" + (f" ({why})" if why else "")
        if comparison.values and comparison.interval.high is not None and comparison.interval.high < -POINT:
            return f"{said}; {other} is better than {one}: holds"
        if verdict == UNCLEAR and comparison.needed:
            return f"{said}: so many seeds or splits of each side would settle it at this mean and spread"
        return said

    @property
    def text(self) -> str:
        """For a terminal."""
        lines = [f"{name}: {one.said} ({one.title}{_counted(one)})" for name, one in zip("AB", self.sides, strict=True)]
        lines += [f"warning: {line}" for line in self.warnings]
        table = as_markdown([_row(effect) for effect in (*self.lengths, self.whole)])
        rule = f"{100 * CONFIDENCE:.0f} % intervals, {self.paired}; better: by more than {POINT}, in the mean"
        return "\n".join([*lines, "", table, "", f"{rule}.", self.sentence])

    @property
    def table(self) -> dict[str, Any]:
        """For a program."""
        return {
            **{name: _described(one) for name, one in zip("ab", self.sides, strict=True)},
            "warnings": list(self.warnings),
            "paired": self.paired,
            "lengths": [{"bits": int(one.label.split()[0]), **_numbers(one)} for one in self.lengths],
            "mean": _numbers(self.whole),
            "verdict": self.whole.comparison.verdict,
            "reason": reason_of(self.whole.comparison),
        }


def compare(one: Given, other: Given, *, paired: bool = False) -> Answer:
    """How much better one side is than the other, at every length that both have and in the mean over these.

    Args:
        one: what is claimed to be better.
        other: what it is compared with.
        paired: runs of one seed belong together, where one side is raw numbers; of records it is known.

    Raises:
        InputError: the two are of other images, or otherwise measured; they are the same runs; or have no length in
            common.
    """
    if one.records and other.records:
        if paired:
            raise InputError("what runs share is known of records; --paired is for numbers from a CSV")
        _refuse_unlike(one, other)
    one, other = _as_runs_of(one, other), _as_runs_of(other, one)
    bits = [
        length
        for length in sorted(one.bits & other.bits)
        if not (one.at([length]).missing or other.at([length]).missing)
    ]
    if not bits:
        raise InputError(
            f"{one.said} and {other.said} have no code length in common; {_lengths(one)}, {_lengths(other)}"
        )
    _refuse_same(one, other, bits)
    shared = paired or _share(one, other)

    def difference(bits: Sequence[int]) -> Comparison:
        return compared("", one.at(bits), other.at(bits), POINT, shared=shared, tie=POINT)

    (whole,) = with_lengths(bits, difference)

    def effect(label: str, comparison: Comparison, lengths: Sequence[int]) -> Effect:
        return Effect(label, comparison, _means(one.at(lengths), other.at(lengths), comparison, shared))

    parts = tuple(effect(part.label, part, [length]) for part, length in zip(whole.parts, bits, strict=True))
    if not any(part.values for part in whole.parts):
        remedy = "give runs of common seeds and splits"
        raise InputError(f"{one.said} and {other.said} cannot be compared: {whole.missing}; {remedy}")
    apart = any(part.against for part in whole.parts)
    how = "not paired (Welch)" if apart else f"paired by {'seed' if shared else 'split'}"
    warnings = (*filter(None, (one.note, other.note)), *_warnings(one, other))
    return Answer((one, other), parts, effect("mean", whole, bits), how, warnings)


def _means(one: Side, other: Side, comparison: Comparison, shared: bool) -> tuple[float, float] | None:
    """Of both sides over what they have in common, whose difference is the effect."""
    if not comparison.values:
        return None
    runs = [half.values.index for half in (one, other)]
    here, there = runs if shared else [each.get_level_values("split_seed") for each in runs]
    mean = float(np.mean(per_repetition(one.values[here.isin(there)])))
    return mean, mean - comparison.interval.mean


def _share(one: Given, other: Given) -> bool:
    """Whether runs of one seed share an embedding, a code or the epochs that train features.

    That is so where both are made of one training, which is known of records that lie beside each other alone.
    """
    if not one.records or not other.records or one.folder != other.folder:
        return False
    ids = [{record.id for record in half.records} for half in (one, other)]
    of = [{record.ablation_of for record in half.records if record.ablation in SAME_FEATURES} for half in (one, other)]
    return bool(of[0] & ids[1] or of[1] & ids[0]) or _embedding(one) == _embedding(other)


def _embedding(given: Given) -> Any:
    """What decides the embedding that the codes are of."""
    first = given.records[0]
    config, entry = first.raw["config"], METHODS[first.method]
    made_by = entry.source or first.method
    length = first.config.source.bits if first.config.source else max(record.longest for record in given.records)
    settings = config["methods"].get(made_by)
    own = (settings, length) if made_by in METHODS and METHODS[made_by].progressive else (settings,)
    return made_by, *own, config["training"], config["label_vectors"], first.ablation


def _refuse_unlike(one: Given, other: Given) -> None:
    """Refuse what is of other images or queries, or measured otherwise."""
    draws = [{record.config.split_seed: record for record in half.records} for half in (one, other)]
    common = sorted(draws[0].keys() & draws[1].keys())
    pairs = [(draws[0][split], draws[1][split]) for split in common] or [(one.records[0], other.records[0])]
    unlike = []
    for what, read in _MEASURED.items():
        said = next(((read(a), read(b)) for a, b in pairs if read(a) != read(b)), None)
        unlike += [f"{what} ({said[0]} and {said[1]})"] if said else []
    if not unlike and not common:
        splits = [", ".join(map(str, sorted(draw))) for draw in draws]
        unlike = [f"the draw of the images (splits {splits[0]} and {splits[1]})"]
    if unlike:
        remedy = "give two sides of one protocol, measured alike"
        raise InputError(f"{one.said} and {other.said} cannot be compared: other {', '.join(unlike)}; {remedy}")


def _warnings(one: Given, other: Given) -> list[str]:
    """What else the sides differ in, or what cannot be looked up."""
    unknown = [half.said for half in (one, other) if not half.records]
    if unknown:
        with_records = [half.records[0] for half in (one, other) if half.records]
        known = f", and are those of {_measured(with_records[0])}" if with_records else ""
        said = f"of {' and '.join(unknown)} images, cut and denominator are not known"
        return [f"{said}; the comparison holds only if they are the same{known}"]
    first, second = (_setting(half.records[0]) for half in (one, other))
    common = first["methods"].keys() & second["methods"].keys()
    before, after = (
        flat(half | {"methods": {name: half["methods"][name] for name in common}}) for half in (first, second)
    )
    values = {path: (before.get(path), after.get(path)) for path in {**before, **after}}
    differing = [f"{path} {a} and {b}" for path, (a, b) in values.items() if a != b]
    return [f"the sides differ in {', '.join(differing)} (A and B)"] if differing else []


def _setting(record: Record) -> dict[str, Any]:
    """Network and training of a run."""
    config = record.raw["config"]
    named = {
        name: config.get(name) for name in ("training", "label_vectors", "codebook_size", "stored_side", "methods")
    }
    return named | {"backbone": config["backbone"], "weights_sha256": record.backbone.weights_sha256}


def _measured(record: Record) -> str:
    return ", ".join(read(record) for read in _MEASURED.values())


def _refuse_same(one: Given, other: Given, bits: Sequence[int]) -> None:
    """Refuse runs that stand on both sides."""
    measured = [{record.id: record.raw["lengths"] for record in half.records} for half in (one, other)]
    twice = sorted(run for run, lengths in measured[0].items() if measured[1].get(run) == lengths)
    if twice or (not (one.records and other.records) and one.at(bits).values.equals(other.at(bits).values)):
        what = f"the run {twice[0]}" if twice else "the same numbers"
        raise InputError(f"{one.said} and {other.said} both have {what}; give two sides that have no run in common")


def _as_runs_of(given: Given, other: Given) -> Given:
    """Raw numbers as runs of the other side's splits, where they name none, and repeating as its runs do."""
    if given.numbers is None:
        return given
    numbers = given.numbers
    if numbers["split_seed"].isna().any():
        theirs = {record.config.split_seed for record in other.records}
        theirs |= set(other.numbers["split_seed"].dropna()) if other.numbers is not None else set()
        if len(theirs) > 1:
            raise InputError(
                f"{other.said} has {len(theirs)} splits; say in a column split_seed which {given.said} is of"
            )
        numbers = numbers.fillna({"split_seed": min(theirs, default=0)})
    unseen = any(record.has_unseen_classes for record in other.records)
    return replace(given, numbers=numbers.astype({"split_seed": int}).assign(**({"unit": 0} if unseen else {})))


def read_side(text: str, output: Path) -> Given:
    """One side, from how it is written.

    Args:
        text: PLACE or PLACE:ROW.
        output: folder of all results, where experiments are looked for.

    Raises:
        InputError: nothing is there, or it cannot be used; or there are several rows and none is named.
    """
    parts = text.split(":")
    for count in range(len(parts), 0, -1):
        place, row = ":".join(parts[:count]), ":".join(parts[count:])
        if place in known_experiments():
            return _of_records(read_records(output, place), place, row, output / place / "runs")
        if exists(place):
            return _read_path(Path(place), row)
    known = ", ".join(known_experiments())
    raise InputError(
        f"{text} is no experiment ({known}), folder, record or CSV; write it EXPERIMENT:METHOD or PATH:METHOD"
    )


def _read_path(path: Path, row: str) -> Given:
    if is_folder(path):
        folder = path / "runs" if is_folder(path / "runs") else path
        return _of_records([read_record(file) for file in matching(folder, "*.json")], str(path), row, folder)
    if path.suffix.lower() == ".csv":
        return _of_numbers(read_numbers(path), str(path), row)
    return _of_records([read_record(path)], str(path), row, path.parent)


def _row_of(record: Record) -> str:
    """How the row of a record is written."""
    unusual = ("released" if record.variant == "released" else None, record.ablation, "tuned" if record.tuned else None)
    return ":".join([record.method, *filter(None, unusual)])


def _chosen(rows: Sequence[str], place: str, row: str) -> str:
    """The row that is asked for, or the only one."""
    known = sorted(set(rows))
    if not known:
        raise InputError(f"no records in {place}; make some with: python -m benchmarks run")
    if row in known:
        return row
    if not row and len(known) == 1:
        return known[0]
    what = f"has no runs of {row}" if row else "has several methods"
    raise InputError(f"{place} {what}; write one of {', '.join(f'{place}:{one}' for one in known)}")


def _of_records(records: Sequence[Record], place: str, row: str, folder: Path) -> Given:
    row = _chosen([_row_of(record) for record in records], place, row)
    names = sorted({record.experiment for record in records})
    if len(names) > 1:
        raise InputError(f"{place} has records of {' and '.join(names)}; give those of one experiment")
    every = [record for record in records if _row_of(record) == row]
    for section in sections_of(records):
        if own := [record for record in section.every if _row_of(record) == row]:
            break
    own = _of_one_setting(section, own, place, row)
    left = len(every) - len(own)
    note = f"records of {place}:{row} in other settings are left out: {left}" if left else ""
    first = own[0]
    title = row_title(first.method, first.variant)
    title += f", {ABLATIONS[first.ablation].title}" if first.ablation in ABLATIONS else ""
    title += ", tuned" if first.tuned else ""
    said = place if place.endswith(".json") else f"{place}:{row}"
    return Given(said, title, tuple(own), folder=Path(os.path.abspath(folder)), note=note)


def _of_one_setting(section: Section, records: list[Record], place: str, row: str) -> list[Record]:
    """The runs of one setting of the method: the one there is, or that which the claims judge.

    Quantizers of embeddings are those of the longest training, as in the claims.
    """
    longest = max(record.config.source.bits if record.config.source else 0 for record in records)
    records = [record for record in records if not record.config.source or record.config.source.bits == longest]
    if len({settings_key(record) for record in records}) == 1:
        return records
    judged = sections_to_judge(Study(section.output, section.experiment, (replace(section, other=None),)))
    ids = {record.id for one in judged for record in one.records}
    if today := [record for record in records if record.id in ids]:
        return today
    tables = [flat(record.raw["config"]["methods"]) for record in records]
    paths = sorted({path for table in tables for path in table if any(one.get(path) != table[path] for one in tables)})
    raise InputError(
        f"{place} has {row} in several settings, which differ in {', '.join(paths)}; give one record's file"
    )


def _of_numbers(numbers: pd.DataFrame, place: str, row: str) -> Given:
    row = _chosen(numbers["method"].tolist(), place, row)
    return Given(f"{place}:{row}", row, numbers=numbers[numbers["method"] == row].drop(columns="method"))


def read_numbers(path: Path) -> pd.DataFrame:
    """The rows of a CSV of raw numbers: `COLUMNS`, and the columns that runs are told apart by.

    A column split_seed may say which draw of the images a number is of; it is missing else.

    Raises:
        InputError: no such file or no CSV, a column is missing, a value is none, or two rows are of one run.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read {path}: {one_line(error)}; give a CSV with columns {', '.join(COLUMNS)}"
        ) from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes what stands before the named columns for an index
        raise InputError(f"{path} has more values in a row than columns; give each column a name")
    if missing := [name for name in COLUMNS if name not in table]:
        raise InputError(f"{path} has no column {missing[0]}; give a CSV with columns {', '.join(COLUMNS)}")
    found = pd.DataFrame({"method": table["method"].str.strip()})
    for name in ("bits", "seed", "map", *(["split_seed"] if "split_seed" in table else [])):
        found[name] = pd.to_numeric(table[name], errors="coerce").astype(float)
        whole, least = name != "map", 1 if name == "bits" else 0
        most = 2.0**31 if whole else 1.0
        good = found[name].between(least, most) & (not whole or found[name] % 1 == 0)
        if not good.all():
            place, value = int(np.argmin(good)) + 2, table[name][int(np.argmin(good))]
            expected = f"a whole number from {least} on" if whole else "mAP as a share from 0 to 1, no percentage"
            raise InputError(f"{path}, row {place}: {name} must be {expected}; got {value!r}")
    if "split_seed" not in found:
        found["split_seed"] = np.nan
    if (twice := found.duplicated(["method", "split_seed", "seed", "bits"])).any():
        raise InputError(
            f"{path}, row {int(np.argmax(twice)) + 2}: a second number of one method, length and seed; leave one of "
            "them, or give another method another name"
        )
    whole_numbers = found.astype({"bits": int, "seed": int})
    return whole_numbers.assign(unit=whole_numbers["seed"], id="")


def _counted(given: Given) -> str:
    """How many runs a side has."""
    if given.numbers is not None:
        return f", {len(given.numbers)} numbers"
    count = len(given.records)
    return f", {count} record" + ("s" if count > 1 else "")


def _lengths(given: Given) -> str:
    return f"{given.said} has {', '.join(map(str, sorted(given.bits)))} bits"


def _row(effect: Effect) -> dict[str, str]:
    one, other = (f"{mean:.3f}" for mean in effect.means) if effect.means else ("", "")
    known = effect.comparison.verdict != NOT_RUN
    difference, interval = effect_of(effect.comparison) if known else (effect.comparison.missing, "")
    return {
        "mAP": effect.label,
        "A": one,
        "B": other,
        "A − B": difference,
        "interval": interval,
        "n": effect.comparison.n,
    }


def _numbers(effect: Effect) -> dict[str, Any]:
    comparison = effect.comparison
    if effect.means is None:
        return {"missing": comparison.missing}
    interval = comparison.interval
    ends = None if interval.low is None else [interval.low, interval.high]
    return {"a": effect.means[0], "b": effect.means[1], "effect": interval.mean, "interval": ends, "n": comparison.n}


def _described(given: Given) -> dict[str, Any]:
    return {"given": given.said, "title": given.title, "records": [record.id for record in given.records]}
