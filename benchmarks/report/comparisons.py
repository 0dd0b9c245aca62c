"""What the claims compare: effects of one setting's records, repetition by repetition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from benchmarks.records.reported import MARKS, OTHER_DATA, UNKNOWN_CUT, reported, reported_value
from benchmarks.report.intervals import per_unit
from benchmarks.report.statistics import mean_difference, row_title
from benchmarks.report.study import Section
from benchmarks.report.verdicts import Comparison
from benchmarks.setting.ablations import ABLATIONS
from benchmarks.setting.methods import METHODS

OWN = "dpq"
# What counts as no loss, and as the printed value: one point of mAP, set before the runs that it judges were made.
POINT = 0.01
RUN = ["split_seed", "unit", "seed"]  # columns of `Section.table` by which two methods are paired


@dataclass(frozen=True)
class Side:
    """One side of a comparison: what every run of one training gave, or every set of one training for each length."""

    name: str  # as tables have it
    values: pd.Series[float]  # by what tells runs apart: split, unit and seed
    records: tuple[str, ...]  # identities

    @classmethod
    def of(cls, name: str, rows: pd.DataFrame, column: str) -> Side:
        """From rows of `Section.table`; those of one run are added up."""
        return cls(name, rows.groupby(RUN)[column].sum(), tuple(sorted(set(rows["id"]))))


def side(section: Section, method: str, bits: int, *, variant: str = "paper", trained: int | None = None) -> Side:
    """MAP of a method at one length: of its one training, or of that for this length where each has its own.

    Args:
        section: the records.
        method: name.
        bits: length of the code.
        variant: "paper" or "released".
        trained: longest length of a progressive method's training; None for the longest of the table.
    """
    table, progressive = section.table, METHODS[method].progressive
    training = "once" if progressive else "each"
    wanted = (trained or max(section.lengths)) if progressive else 0
    rows = table[
        (table["method"] == method)
        & (table["variant"] == variant)
        & (table["bits"] == bits)
        & (table["training"] == training)
        & (table["trained_bits"] == wanted)
    ]
    return Side.of(row_title(method, variant, training, wanted if trained else 0), rows, "map")


def compared(label: str, one: Side, other: Side, low: float, high: float = math.inf) -> Comparison:
    """The paired difference of two sides."""
    values = (one.values - other.values).dropna()
    if values.empty:
        lacking = [each.name for each in (one, other) if each.values.empty]
        return Comparison(label, missing=f"no runs of {' and '.join(lacking)}" if lacking else "no common seed")
    records = {one.name: one.records, other.name: other.records}
    return Comparison(label, _per_unit(values), low, high, tuple(records.items()))


def _per_unit(values: pd.Series[float]) -> tuple[float, ...]:
    units = (values.index.get_level_values(level) for level in RUN[:2])
    return tuple(per_unit(zip(zip(*units, strict=True), values, strict=True)).tolist())


def above(
    section: Section, other: str = OWN, variant: str = "paper", low: float = 0.0, high: float = math.inf
) -> list[Comparison]:
    """DPQ, or its other variant, minus another method or itself, at every length."""
    return [
        compared(f"{bits} bits", side(section, OWN, bits, variant=variant), side(section, other, bits), low, high)
        for bits in section.lengths
    ]


def as_if_alone(section: Section) -> list[Comparison]:
    """A prefix of DPQ's longest code minus DPQ trained for that length alone."""
    return [
        compared(f"{bits} bits", side(section, OWN, bits), side(section, OWN, bits, trained=bits), -POINT)
        for bits in section.lengths[:-1]
    ]


def flat(section: Section) -> list[Comparison]:
    """Shorter codes minus the longest, within the spread of DPQ's printed values; CIFAR-10 alone."""
    if section.first.protocol != "cifar10":
        return []
    values = reported().query("dataset == 'cifar10' and method == 'DPQ'")["map"]
    spread, longest = round(float(values.max() - values.min()), 3), max(section.lengths)
    end = side(section, OWN, longest)
    return [
        compared(f"{bits} bits minus {longest}, within ±{spread:.3f}", side(section, OWN, bits), end, -spread, spread)
        for bits in section.lengths[:-1]
    ]


def as_printed(section: Section, other: str | None = None) -> list[Comparison]:
    """DPQ minus its printed value, or its gain over another method minus the gain in print, at every length."""
    return [_against_print(section, bits, other) for bits in section.lengths]


def _against_print(section: Section, bits: int, other: str | None) -> Comparison:
    titles = [METHODS[name].title for name in (OWN, other) if name]
    printed = [_printed(section.first.protocol, title, bits) for title in titles]
    ours, label = side(section, OWN, bits), f"{bits} bits"
    if other:
        two = side(section, other, bits)
        gain = (ours.values - two.values).dropna()
        ours = Side(f"{ours.name} and {two.name}", gain, (*ours.records, *two.records))
    if not all(printed) or ours.values.empty:
        absent = [f"no printed value of {title}" for title, one in zip(titles, printed, strict=True) if one is None]
        return Comparison(label, missing="; ".join(absent) or f"no runs of {ours.name}")
    known = [one for one in printed if one is not None]
    value = known[0][0] - sum(one for one, _ in known[1:])
    marks = "".join(dict.fromkeys(MARKS[status] for _, status in known))
    label += f", printed {value:.3f}{marks}"
    return Comparison(label, _per_unit(ours.values - value), -POINT, records=((ours.name, ours.records),))


def _printed(dataset: str, title: str, bits: int) -> tuple[float, str] | None:
    """A printed value that ours may be compared with."""
    value = reported_value(dataset, title, bits)
    return None if value is None or value[1] == OTHER_DATA or dataset in UNKNOWN_CUT else value


def cheaper(section: Section, other: str) -> list[Comparison]:
    """Seconds of DPQ's one training over the sum of another method's trainings, one for each length.

    Of runs that shared the machine with others nothing is concluded.
    """
    table = section.table[section.table["beside"] == 0]
    own = table[(table["method"] == OWN) & (table["variant"] == "paper")]
    longest = max(section.lengths)
    one = Side.of(METHODS[OWN].title, own[(own["trained_bits"] == longest) & (own["bits"] == longest)], "train_seconds")
    each = table[(table["method"] == other) & (table["variant"] == "paper") & (table["training"] == "each")]
    rows = own[own["trained_bits"] == own["bits"]] if other == OWN else each
    complete = rows.groupby(RUN).filter(lambda part: part["bits"].nunique() == len(section.lengths))
    two = Side.of(f"{METHODS[other].title} trained for each length", complete, "train_seconds")
    one, two = (replace(half, values=half.values.map(math.log)) for half in (one, two))
    return [replace(compared("all lengths", one, two, -math.inf, 0.0), ratio=True)]


def components(section: Section, names: Sequence[str]) -> list[Comparison]:
    """DPQ with something left out minus DPQ, mean over the lengths."""
    found = []
    for name in names:
        title, pairs = ABLATIONS[name].title, [pair for pair in section.pairs if pair[0].ablation == name]
        longest = max((changed.longest for changed, _ in pairs), default=0)  # trainings for less are others
        pairs = [pair for pair in pairs if pair[0].longest == longest]
        values = per_unit((changed.unit, mean_difference(changed, plain)) for changed, plain in pairs)
        sides = (("changed", tuple(r.id for r, _ in pairs)), ("DPQ", tuple(r.id for _, r in pairs)))
        missing = "" if pairs else f"no runs with {title}"
        found.append(Comparison(title, tuple(values.tolist()), high=0.0, records=sides, missing=missing))
    return found
