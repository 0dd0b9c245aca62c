"""What the claims compare: effects of one setting's records, repetition by repetition."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.records.raw import committed_average_precision
from benchmarks.records.record import Record
from benchmarks.records.reported import MARKS, OTHER_DATA, UNKNOWN_CUT, reported, reported_value
from benchmarks.report.intervals import Draw, per_unit
from benchmarks.report.statistics import longest_trained, row_title
from benchmarks.report.study import Section
from benchmarks.report.verdicts import POINT, Comparison
from benchmarks.setting.ablations import ABLATIONS
from benchmarks.setting.methods import METHODS

OWN = "dpq"
RUN = ["split_seed", "unit", "seed"]  # columns of `Section.table` that tell runs of a method apart
# Standard deviation of average precision over queries where that of each is not committed, and the mark of what rests
# on it. DPQ's was 0.18 to 0.28, from the best network to the worst; the largest is taken.
QUERY_SD, STATED = 0.28, "◊"
# Ablations whose feature epochs are those of DPQ itself; what the others change is in force from the first step.
SAME_FEATURES = (
    *("no-soft", "cosine-choice", "cosine-assignment", "gamma-small", "gamma-large"),
    *("codebook-gradient", "two-step"),
)


@dataclass(frozen=True)
class Side:
    """One side of a comparison: what every run of one training gave, or every set of one training for each length."""

    name: str  # as tables have it
    values: pd.Series[float]  # by what tells runs apart: split, unit and seed
    records: tuple[str, ...]  # identities
    missing: str = ""  # why there are no values

    @classmethod
    def of(cls, name: str, rows: pd.DataFrame, column: str, bits: Sequence[int]) -> Side:
        """Sums over the code lengths, of the runs that have all of them; from rows of `Section.table`."""
        runs: dict[tuple[int, ...], dict[int, tuple[float, str]]] = {}
        for *run, length, value, one in rows[[*RUN, "bits", column, "id"]].itertuples(index=False):
            if length in bits:
                runs.setdefault(tuple(run), {})[length] = value, one
        complete = {run: list(parts.values()) for run, parts in sorted(runs.items()) if len(parts) == len(bits)}
        index = pd.MultiIndex.from_tuples(list(complete), names=RUN)
        values = pd.Series([sum(value for value, _ in parts) for parts in complete.values()], index, dtype=float)
        ids = {one for parts in complete.values() for _, one in parts}
        lacking = f"no seed with every length of {name}" if runs else f"no runs of {name}"
        return cls(name, values, tuple(sorted(ids)), "" if complete else lacking)


def side(
    section: Section,
    method: str,
    bits: Sequence[int],
    *,
    variant: str = "paper",
    trained: int | None = None,
    alone: bool = False,
) -> Side:
    """Mean mAP of a method over code lengths: of its one training, or of one for each length where each has its own.

    Args:
        section: the records.
        method: name.
        bits: the lengths.
        variant: "paper" or "released".
        trained: longest length of a progressive method's training; None for its longest.
        alone: of a progressive method, trainings for each length alone.
    """
    table, progressive = section.table, METHODS[method].progressive
    wanted = (table["bits"] if alone else trained or longest_trained(table).get(method, 0)) if progressive else 0
    rows = table[
        (table["method"] == method)
        & (table["variant"] == variant)
        & (table["training"] == ("once" if progressive else "each"))
        & (table["trained_bits"] == wanted)
    ]
    found = Side.of(row_title(method, variant) + (" trained for each length" if alone else ""), rows, "map", bits)
    return replace(found, values=found.values / len(bits))


def compared(
    label: str,
    one: Side,
    other: Side,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    shared: bool = False,
    tie: float = 0.0,
) -> Comparison:
    """The difference of two sides.

    Run by run if runs of one seed share something, else split by split if there are several splits, for these share
    their images; else nothing is paired.

    Args:
        label: as of `Comparison`, as are the ends of the range and `tie`.
        one: what is claimed to be higher.
        other: what is taken away.
        low: lower end.
        high: upper end.
        shared: runs of one split and seed share an embedding, a code or the epochs that train features.
        tie: distance from 0.
    """
    if missing := one.missing or other.missing:
        return Comparison(label, missing=missing)
    records = ((one.name, one.records), (other.name, other.records))
    made = partial(Comparison, label, low=low, high=high, tie=tie, records=records)
    if shared:
        differences = (one.values - other.values).dropna()
        return made(per_repetition(differences)) if len(differences) else Comparison(label, missing="no common seed")
    here, there = (half.values.index.get_level_values("split_seed") for half in (one, other))
    common = set(here) & set(there)
    if not common:
        return Comparison(label, missing="no common split")
    halves = one.values[here.isin(common)], other.values[there.isin(common)]
    if len(common) > 1:
        means = [half.groupby(level="split_seed").mean() for half in halves]
        return made(tuple((means[0] - means[1]).tolist()))
    return made(per_repetition(halves[0]), against=per_repetition(halves[1]))


def per_repetition(values: pd.Series[float]) -> tuple[float, ...]:
    """One value a repetition, of those of `Side.values`."""
    units = (values.index.get_level_values(level) for level in RUN[:2])
    return tuple(per_unit(zip(zip(*units, strict=True), values, strict=True)).tolist())


def with_lengths(bits: Sequence[int], compare: Callable[[Sequence[int]], Comparison]) -> list[Comparison]:
    """The comparison of means over lengths, with that at each of them beneath it; none without a length."""
    parts = (replace(compare([one]), label=f"{one} bits") for one in bits)
    return [replace(compare(bits), parts=tuple(parts))] if bits else []


def _lengths(section: Section) -> list[int]:
    """Code lengths of DPQ in bits, ascending, where it has runs: other methods may have more."""
    own = {length.bits for record in section.records if record.method == OWN for length in record.lengths}
    return sorted(own) or section.lengths


def better(section: Section, *others: str) -> list[Comparison]:
    """DPQ minus each other method; quantizers of DPQ's own embeddings are paired with the run that made these."""

    def compare(other: str, bits: Sequence[int]) -> Comparison:
        halves = side(section, OWN, bits), side(section, other, bits)
        label = "the label code" if other == "label-code" else row_title(other)
        return compared(label, *halves, POINT, shared=METHODS[other].source == OWN, tie=POINT)

    return _each(others, lambda other: with_lengths(_lengths(section), partial(compare, other)))


def _each(names: Iterable[str], compare: Callable[[str], list[Comparison]]) -> list[Comparison]:
    return [replace(comparison, key=name) for name in names for comparison in compare(name)]


def released(section: Section) -> list[Comparison]:
    """DPQ's variant after the released program minus DPQ."""

    def compare(bits: Sequence[int]) -> Comparison:
        halves = side(section, OWN, bits, variant="released"), side(section, OWN, bits)
        return compared("", *halves, -POINT, POINT)

    return with_lengths(_lengths(section), compare)


def as_if_alone(section: Section) -> list[Comparison]:
    """Prefixes of DPQ's longest code minus DPQ trained for their length alone, after the same feature epochs."""

    def compare(bits: Sequence[int]) -> Comparison:
        halves = side(section, OWN, bits), side(section, OWN, bits, alone=True)
        return compared("", *halves, -POINT, shared=True)

    return with_lengths(_lengths(section)[:-1], compare)


def flat(section: Section) -> list[Comparison]:
    """Shorter codes minus the longest, within the spread of DPQ's printed values; CIFAR-10 alone."""
    if section.first.protocol != "cifar10":
        return []
    printed = reported().query("dataset == 'cifar10' and method == 'DPQ'")
    spread, longest = round(float(printed["map"].max() - printed["map"].min()), 3), max(_lengths(section))
    label = f"within ±{spread:.3f}{_marks(printed['status'])}"
    averages = _averages(section)

    def compare(bits: Sequence[int]) -> Comparison:
        weights = dict.fromkeys(bits, 1 / len(bits)) | {longest: -1.0}
        return _with_queries(section, averages, Comparison(label, low=-spread, high=spread), weights)

    return with_lengths(_lengths(section)[:-1], compare)


def as_printed(section: Section) -> list[Comparison]:
    """DPQ minus its printed values; nothing where there are none."""
    if not _has_printed(section, METHODS[OWN].title):
        return []
    averages = _averages(section)

    def compare(bits: Sequence[int]) -> Comparison:
        value, marks = _printed(section.first.protocol, bits, METHODS[OWN].title)
        blank = Comparison(f"printed {value:.3f}{marks}", low=-POINT)
        return _with_queries(section, averages, blank, dict.fromkeys(bits, 1 / len(bits)), value)

    return with_lengths(_lengths(section), compare)


def gains_as_printed(section: Section, *others: str) -> list[Comparison]:
    """The gain of DPQ over other methods minus the printed gain; nothing where there is none.

    How the gain differs from query to query is not known; it is taken to differ as average precision does.
    """
    known = [other for other in others if _has_printed(section, METHODS[OWN].title, METHODS[other].title)]
    return _each(known, lambda other: with_lengths(_lengths(section), partial(_gain, section, other)))


def _gain(section: Section, other: str, bits: Sequence[int]) -> Comparison:
    value, marks = _printed(section.first.protocol, bits, METHODS[OWN].title, METHODS[other].title)
    gain = compared("", side(section, OWN, bits), side(section, other, bits), -POINT)
    label = METHODS[other].title + (f" (printed {value:.3f}{marks}{STATED})" if gain.values else "")
    values = tuple(one - value for one in gain.values)
    apart = [values] if gain.against else [(one,) for one in values]  # one split, or several
    error = QUERY_SD / math.sqrt(section.first.data.query)
    return replace(gain, label=label, values=values, draws=tuple(Draw(seeds, error) for seeds in apart if seeds))


def _printed(dataset: str, bits: Sequence[int], title: str, other: str | None = None) -> tuple[float, str]:
    """The mean over lengths of what is printed, or of the gain over another method, and the marks of all values."""
    own, less = ([reported_value(dataset, name, one) for one in bits] if name else [] for name in (title, other))
    known = [[one for one in several if one] for several in (own, less)]
    value = sum(one for one, _ in known[0]) - sum(one for one, _ in known[1])
    return value / len(bits), _marks(status for several in known for _, status in several)


def _marks(statuses: Iterable[str]) -> str:
    return "".join(dict.fromkeys(MARKS[status] for status in statuses))


def _has_printed(section: Section, *titles: str) -> bool:
    """Whether there are printed values at all lengths that ours may be compared with."""
    dataset = section.first.protocol
    values = [reported_value(dataset, title, bits) for title in titles for bits in _lengths(section)]
    return dataset not in UNKNOWN_CUT and all(one is not None and one[1] != OTHER_DATA for one in values)


def _averages(section: Section) -> dict[str, NDArray[np.float64]]:
    """AP of every query at every length, [T, Q], by record; of DPQ's records for which it is committed."""
    folder = section.output / section.experiment / "runs"
    own = [record for record in section.records if record.method == OWN and record.variant == "paper"]
    found = {record.id: committed_average_precision(folder / f"{record.id}.json", record) for record in own}
    return {one: average for one, average in found.items() if average is not None}


def _with_queries(
    section: Section,
    averages: Mapping[str, NDArray[np.float64]],
    blank: Comparison,
    weights: Mapping[int, float],
    less: float = 0.0,
) -> Comparison:
    """A comparison of DPQ's own mAP at several lengths, with the chance in the draws of splits, seeds and queries.

    Args:
        section: the records.
        averages: of `_averages`.
        blank: label and range of the comparison.
        weights: by length, what its mAP counts; the effect is the sum.
        less: what is taken away from it.
    """
    halves = {bits: side(section, OWN, [bits]) for bits in weights}
    if missing := next((half.missing for half in halves.values() if half.missing), ""):
        return replace(blank, missing=missing)
    weighted = [weight * halves[bits].values for bits, weight in weights.items()]
    effect = pd.concat(weighted, axis=1).sum(axis=1, skipna=False).dropna() - less
    ids = tuple(sorted({one for half in halves.values() for one in half.records}))
    own = [record for record in section.records if record.id in ids]
    error, draws = QUERY_SD / math.sqrt(section.first.data.query), []
    for split, seeds in effect.groupby(level="split_seed"):
        found = [_profile(averages, record, weights) for record in own if record.config.split_seed == split]
        known = [one for one in found if one is not None]
        draws.append(Draw(tuple(seeds), np.mean(known, axis=0) if len(known) == len(found) else error))
    label = blank.label + (STATED if any(draw.queries is error for draw in draws) else "")
    records = ((halves[max(weights)].name, ids),)
    return replace(blank, label=label, values=per_repetition(effect), records=records, draws=tuple(draws))


def _profile(
    averages: Mapping[str, NDArray[np.float64]], record: Record, weights: Mapping[int, float]
) -> NDArray[np.float64] | None:
    """The effect at each query, [Q]; None where it is not committed, or lengths stand in several records."""
    places = {length.bits: place for place, length in enumerate(record.lengths)}
    if record.id not in averages or not set(weights) <= set(places):
        return None
    found: NDArray[np.float64] = sum(weight * averages[record.id][places[bits]] for bits, weight in weights.items())
    return found


def cheaper(section: Section, *others: str) -> list[Comparison]:
    """Seconds of DPQ's one training over the sum of another method's trainings, one for each length.

    Of runs that shared the machine with others nothing is concluded.
    """
    table = section.table[(section.table["beside"] == 0) & (section.table["variant"] == "paper")]
    own, longest, found = table[table["method"] == OWN], max(_lengths(section)), []
    once = own[own["trained_bits"] == longest]
    one = Side.of(f"{METHODS[OWN].title} alone on the machine", once, "train_seconds", [longest])
    for other in others:
        each = table[(table["method"] == other) & (table["training"] == "each")]
        rows = own[own["trained_bits"] == own["bits"]] if other == OWN else each
        name = f"{METHODS[other].title} trained for each length"
        two = Side.of(f"{name}, alone on the machine", rows, "train_seconds", _lengths(section))
        logs = [replace(half, values=half.values.map(math.log)) for half in (one, two)]
        # DPQ's own longest training stands on both sides.
        ratio = compared(METHODS[other].title, logs[0], logs[1], high=0.0, shared=other == OWN)
        found.append(replace(ratio, ratio=True, key=other))
    return found


def components(section: Section, *names: str) -> list[Comparison]:
    """DPQ minus DPQ with something left out, mean over the lengths."""
    return _each(names, partial(_component, section))


def _component(section: Section, name: str) -> list[Comparison]:
    title = ABLATIONS[name].title.partition(":")[0].partition(" (")[0]
    changed = [record for record, _ in section.pairs if record.ablation == name]
    if not changed:
        return [Comparison(title, missing=f"no runs with {title}")]
    longest = max(record.longest for record in changed)  # trainings for less are others
    changed = [record for record in changed if record.longest == longest]
    bits = sorted(set.intersection(*({length.bits for length in record.lengths} for record in changed)))
    ids = tuple(record.id for record in changed)

    def compare(bits: Sequence[int]) -> Comparison:
        index = pd.MultiIndex.from_tuples([(*record.unit, record.seed) for record in changed], names=RUN)
        means = [sum(record.at(one).map for one in bits) / len(bits) for record in changed]
        without = Side(title, pd.Series(means, index), ids)
        plain = side(section, OWN, bits, trained=longest)
        return compared(title, plain, without, POINT, shared=name in SAME_FEATURES, tie=POINT)

    return with_lengths(bits, compare)
