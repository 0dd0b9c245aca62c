"""The records of an experiment, read and checked once, in the sections that tables, figures and claims are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from benchmarks.exhibits.exhibit import Gallery, Projection, Ties
from benchmarks.records.record import TERMS, Brought, Record, key_of
from benchmarks.records.store import read_all
from benchmarks.report.statistics import (
    ablation_rows,
    longest_trained,
    once,
    rows_of,
    summarise,
    summarise_ablations,
    tidy,
)
from benchmarks.setting.experiment import Experiment, describe, load_experiment
from benchmarks.setting.methods import METHODS
from dpq.errors import InputError
from dpq.learning.settings import as_recorded

E = TypeVar("E", Ties, Projection, Gallery)
MOST = 8  # methods of ours that a page or figure shows before one asks for all
_OF_THE_METHOD = ("methods", "bits", "source")
_SAID_LATER = ("re_encoded",)  # of the data, which older records lack
_OF_THE_CLASS_SPLIT = ("fingerprint", "seen", "unseen", "coarse", "database")  # copies lie in some classes alone


@dataclass(frozen=True)
class Section:
    """Records of one setting, which may be averaged and compared, and the ablations of DPQ that belong to them."""

    experiment: str  # name
    records: Sequence[Record]  # of the methods; none where only ablations are there
    ablated: Sequence[Record] = ()  # of ablations of DPQ
    key: str = ""  # digest of the setting
    output: Path = Path("results")  # folder of all results
    beside: Sequence[Section] = ()  # of the same setting on other copies of the images
    reading: str = TERMS  # or at equal budgets, where each method has the setting that its study found
    other: Section | None = None  # the same setting in the other reading

    @property
    def every(self) -> list[Record]:
        """All records."""
        return [*self.records, *self.ablated]

    @property
    def first(self) -> Record:
        """One that says what all have in common."""
        return self.every[0]

    @property
    def splits(self) -> list[int]:
        """Seeds of the splits."""
        return sorted({record.config.split_seed for record in self.every})

    @property
    def fingerprints(self) -> str:
        """Which images: the beginning of one fingerprint, or of that of each draw."""
        found = {record.config.split_seed: record.data.images[:12] for record in self.every}
        if len(set(found.values())) == 1:
            return f"fingerprint `{self.first.data.images[:12]}`"
        return "fingerprints " + ", ".join(f"`{found[split]}` (split {split})" for split in sorted(found))

    @property
    def title(self) -> str:
        """What a heading calls the setting."""
        first = self.first
        return (
            f"{first.data.variant}: {first.shared.training.epochs} epochs, {first.backbone.image_size} pixels, "
            f"{first.shared.training.evaluation_views} views at evaluation"
        )

    @property
    def heading(self) -> str:
        """The title, behind the reading where there are two."""
        return f"{self.reading.capitalize()}: {self.title}" if self.other else self.title

    @property
    def pairs(self) -> list[tuple[Record, Record]]:
        """The runs of ablations whose run of DPQ itself is there, each with it; one a training."""
        plain = {record.id: record for record in self.records}
        pairs = [(record, plain[record.ablation_of]) for record in self.ablated if record.ablation_of in plain]
        return once(pairs, lambda pair: pair[0], lambda pair: pair[0].longest)

    @property
    def lengths(self) -> list[int]:
        """Code lengths of the methods in bits, ascending."""
        return sorted({length.bits for record in self.records for length in record.lengths})

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per repetition of the methods and code length, as `tidy` has them."""
        return tidy(self.records)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Means over repetitions, as `summarise` has them."""
        return summarise(self.records)

    @cached_property
    def rows(self) -> list[tuple[str, pd.DataFrame]]:
        """The rows of the table of methods: title, and its part of the summary."""
        return list(rows_of(self.summary)) if self.records else []

    @property
    def main_titles(self) -> list[str]:
        """Titles of at most `MOST` rows, in their order, of whole codes that are as long as the method's longest.

        DPQ comes first, then methods with printed values or on DPQ's embedding, then those of the highest mAP.
        """
        longest = longest_trained(self.summary)
        whole = [
            (title, part)
            for title, part in self.rows
            if part["training"].iloc[0] != "truncated"
            if part["trained_bits"].iloc[0] in (0, longest[str(part["method"].iloc[0])])
        ]

        def place(row: tuple[str, pd.DataFrame]) -> tuple[bool, bool, float]:
            _, part = row
            method = str(part["method"].iloc[0])
            known = bool(part["paper_map"].notna().any()) or METHODS[method].source == "dpq"
            return method != "dpq", not known, -float(part["map"].mean())

        chosen = [title for title, _ in sorted(whole, key=place)[:MOST]]
        return [title for title, _ in whole if title in chosen]

    @cached_property
    def ablations(self) -> pd.DataFrame:
        """Means over repetitions, as `summarise_ablations` has them."""
        return summarise_ablations(self.ablated, self.records)

    @cached_property
    def ablation_rows(self) -> list[tuple[str, pd.DataFrame]]:
        """The rows of the table of ablations: title, and its part of the summary."""
        return list(ablation_rows(self.ablations)) if self.ablated else []

    def shown(self, kind: type[E]) -> tuple[Record, E] | None:
        """Record and exhibit of the one run that is drawn, DPQ's where it has one; None without exhibits.

        Raises:
            InputError: as `exhibits`.
        """
        return min(self.exhibits(kind), key=lambda pair: pair[0].method != "dpq", default=None)

    def exhibits(self, kind: type[E]) -> list[tuple[Record, E]]:
        """Records and their exhibits of a kind, in the order of tables, lowest seed first.

        Raises:
            InputError: an exhibit is damaged, or not of its record's code lengths.
        """
        from benchmarks.exhibits.store import check_run, exhibits_of

        every = exhibits_of(self.output, self.experiment, kind.kind)
        made = {exhibit.run: exhibit for exhibit in every if isinstance(exhibit, kind)}
        order = list(METHODS)
        ranked = sorted(self.records, key=lambda r: (order.index(r.method), r.variant, r.repetition, r.id))
        pairs = [(record, made[record.id]) for record in ranked if record.id in made]
        for record, exhibit in pairs:
            check_run(exhibit, record)
        return pairs


@dataclass(frozen=True)
class Study:
    """An experiment.

    Sections are by setting and reading. Full data come before subsets, the experiment's own training setting before
    changed ones, large ones before small ones, equal budgets before equal terms; last, ablations whose DPQ is not
    there.
    """

    output: Path  # folder of all results
    experiment: str  # name
    sections: tuple[Section, ...]
    brought: tuple[Brought, ...] = ()  # records of codes that were made elsewhere

    @classmethod
    def read(cls, output: Path, experiment: str) -> Study:
        """Read all records of an experiment.

        Raises:
            InputError: there are none but of ablations, or one cannot be used.
        """
        every = read_all(output, experiment)
        records = [record for record in every if isinstance(record, Record)]
        brought = tuple(record for record in every if isinstance(record, Brought))
        if all(record.ablation for record in records) and (records or not brought):
            remedy = f"make them with: python -m benchmarks run {experiment}"
            raise InputError(f"no records under {output / experiment / 'runs'}; {remedy}")
        return cls(output, experiment, sections_of(records, output) if records else (), brought)

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.output / self.experiment

    @property
    def readings(self) -> list[Section]:
        """The one or two sections of the first setting."""
        return [section for section in self.sections if section.key == self.sections[0].key]

    @property
    def records(self) -> list[Record]:
        """All records."""
        return [record for section in self.sections for record in section.every]


def sections_to_judge(study: Study) -> list[Section]:
    """The records of the shipped setting on the whole protocol, at equal budgets and at equal terms.

    None of a reading in which DPQ has no records.
    """
    shipped = load_experiment(study.experiment)
    return [found for section in study.readings if (found := _judged(section, shipped)) is not None]


def _judged(section: Section, shipped: Experiment) -> Section | None:
    if not section.first.comparable or setting_of(section.first)["training"] != as_recorded(shipped.training):
        return None
    sources = [record.config.source for record in section.records if record.config.source]
    longest = max((source.bits for source in sources), default=0)  # of the trainings whose embeddings are quantized
    own = [
        record
        for record in section.records
        if _as_shipped(record, shipped) and (record.config.source is None or record.config.source.bits == longest)
    ]
    return replace(section, records=own) if any(record.method == "dpq" for record in own) else None


def _as_shipped(record: Record, shipped: Experiment) -> bool:
    """Whether a record has what the experiment's file says of its method, or what it names as a study's winner."""
    wanted = shipped.tuned_as(record.method) if record.tuned else shipped
    if wanted is None:
        return False
    config, table = record.raw["config"], describe(wanted.splits()[0], METHODS[record.method].configs)
    alike = record.variant == "released" or config["methods"] == table["methods"]
    return bool(alike and config["training"] == table["training"])


def sections_of(records: Sequence[Record], output: Path = Path("results")) -> tuple[Section, ...]:
    """The sections of an experiment's records, in their order.

    Ablations stand with the run that they are an ablation of; where it is not there, by their own setting.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    settings = _keys(records)
    keys = {record.id: (settings[record.id], record.reading) for record in records}
    for record in records:
        if record.ablation is None:
            groups.setdefault(keys[record.id], []).append(record)
    home = {record.id: key for key, group in groups.items() for record in group}
    ablated: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.ablation_of is not None:
            ablated.setdefault(home.get(record.ablation_of) or keys[record.id], []).append(record)
    name = records[0].experiment
    shipped = as_recorded(load_experiment(name).training)
    sizes = Counter(settings[record.id] for group in groups.values() for record in group)

    def rank(key: tuple[str, str]) -> tuple[bool, bool, int, tuple[str, str]]:
        first = groups[key][0]
        return not first.comparable, setting_of(first)["training"] != shipped, -sizes[key[0]], key

    ordered = {key: groups[key] for key in sorted(groups, key=rank)} | {key: [] for key in ablated if key not in groups}
    made = [
        Section(name, group, ablated.get(key, ()), key[0], output, reading=key[1]) for key, group in ordered.items()
    ]
    main, first = made[0].key, _without(setting_of(made[0].first), ("data",))
    others = [one for one in made if one.key != main and one.records]
    copies = [one for one in others if _without(setting_of(one.first), ("data",)) == first]
    return tuple(
        replace(
            one,
            beside=[copy for copy in copies if copy.reading == one.reading] if one.key == main else (),
            other=next((two for two in made if two.key == one.key and two is not one), None),
        )
        for one in made
    )


def _keys(records: Sequence[Record]) -> dict[str, str]:
    """The digest of each record's setting, by identity: draws of the same images have that of the lowest split.

    Nothing in a record says that two draws are of the same images. They are taken for it if all else is the same, but
    where one split has two fingerprints, and so there are two sets of images under one name, each draw stands alone.
    """
    own = {record.id: setting_of(record) for record in records}
    drawn: dict[str, list[Record]] = {}
    for record in records:
        table = own[record.id]
        alike = table | {"split_seed": None, "data": _without(table["data"], ("fingerprint",))}
        drawn.setdefault(key_of(alike), []).append(record)
    keys: dict[str, str] = {}
    for group in drawn.values():
        first = min(group, key=lambda record: record.config.split_seed)
        found = {(record.config.split_seed, record.data.fingerprint) for record in group}
        clear = len(found) == len({split for split, _ in found})
        keys |= {record.id: key_of(own[(first if clear else record).id]) for record in group}
    return keys


def setting_of(record: Record) -> dict[str, Any]:
    """What records of one split share: all of the configuration but the method's own part, and the data.

    Class splits of the same images are one setting; tuned runs are of the setting that they were tuned from.
    """
    table, unseen = record.raw, record.has_unseen_classes
    own = (*_OF_THE_METHOD, "split_seed") if unseen else _OF_THE_METHOD
    # Frozen features have the network's own width; what the experiment asks for is in the configuration.
    config = table["config"] | (table.get("tuned") or {"shared": {}})["shared"]
    return _without(config, own) | {
        "data": _without(table["data"], (*_SAID_LATER, *(_OF_THE_CLASS_SPLIT if unseen else ()))),
        "backbone": _without(table["backbone"], ("embedding_dim",)),
    }


def _without(table: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}
