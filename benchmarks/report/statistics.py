"""Records to numbers: one row per run and code length, and means over repetitions.

What one repetition is, says `Record.unit`; runs of one are averaged before anything is counted. Two records may hold
the same training, as a call for fewer code lengths leaves one of its own: then one of them stands for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from statistics import fmean
from typing import Any, TypeVar

import pandas as pd

from benchmarks.records.record import Length, Record, key_of
from benchmarks.records.reported import OTHER_DATA, UNKNOWN_CUT, reported_value
from benchmarks.setting.ablations import ABLATIONS
from benchmarks.setting.methods import METHODS
from dpq.errors import InputError

T = TypeVar("T")

# How the lengths of a row were trained: one training for all, one for each, or the longest one's truncated codes.
TRAININGS = ("once", "each", "truncated")
ROW = ["method", "variant", "method_settings", "training", "trained_bits"]
ABLATION_ROW = ["ablation", "switch", "trained_bits", "config"]
# What tables have of a code length beside precision at K and mAP at further cuts, in the order of table.csv: a further
# metric is a line here.
COLUMNS: dict[str, Callable[[Length], float]] = {
    **{name: attrgetter(name) for name in ("map", "map_total", "map_capped", "map_ties_index", "reconstruction_mse")},
    "map_worst": lambda length: length.map_bounds[0],
    "map_best": lambda length: length.map_bounds[1],
    "distinct_codes": lambda length: length.distinct_codes,
}


OPTIONAL = ("map_coarse", "map_asymmetric")  # what not every record has


def row_title(method: str, variant: str = "paper", training: str = "", bits: int = 0) -> str:
    """What a table or legend calls a row; `bits` is the longest length that was trained, 0 where it goes unsaid."""
    entry = METHODS[method]
    title = entry.title + (f" on {entry.features}" if entry.features else "")
    title += f" ({entry.plugin.package})" if entry.plugin else ""
    title += f", {variant} variant" if variant != "paper" else ""
    title += f", trained at {bits} bits" if bits else ""
    return title + (" and truncated" if training == "truncated" else "")


def entries_of(record: Record) -> Iterator[tuple[str, Length]]:
    """The code lengths of a record, each with how it was trained.

    The longest code of a method that is not progressive appears twice, as trained for its length and as the end of the
    truncated row.
    """
    if METHODS[record.method].progressive:
        yield from (("once", length) for length in record.lengths)
        return
    yield "each", record.lengths[-1]
    if len(record.lengths) > 1:
        yield from (("truncated", length) for length in record.lengths)


Entry = tuple[Record, str, Length]  # a code length of a record, and how it was trained


def entries(records: Sequence[Record]) -> list[Entry]:
    """What records measured, each length of a training once, in their order."""
    found = [(record, training, length) for record in records for training, length in entries_of(record)]
    return once(found, lambda one: one[0], lambda one: (one[1], _trained_bits(*one[:2]), one[2].bits))


def _trained_bits(record: Record, training: str) -> int:
    """The longest code of the training; 0 where each length has its own, and a row all of them."""
    return 0 if training == "each" else record.longest


def once(items: Sequence[T], record_of: Callable[[T], Record], what: Callable[[T], Any] = lambda _: None) -> list[T]:
    """One of all items that are `what` of one repetition, in their order: that whose record has most code lengths."""
    chosen: dict[tuple[str, Any], T] = {}
    for item in sorted(items, key=lambda item: (-len(record_of(item).lengths), record_of(item).id)):
        chosen.setdefault((record_of(item).repeats, what(item)), item)
    return [item for item in items if chosen[record_of(item).repeats, what(item)] is item]


def tidy(records: Sequence[Record]) -> pd.DataFrame:
    """One row per repetition and code length; two for lengths that stand in two rows of a table."""
    return pd.DataFrame(
        [
            {
                "method": record.method,
                "variant": record.variant,
                "method_settings": settings_key(record),
                "training": training,
                "trained_bits": _trained_bits(record, training),
                "split_seed": record.config.split_seed,
                "run": record.repetition,
                "seed": record.seed,
                "unit": record.unit[1],
                "id": record.id,
                "float_map": record.float_map,
                "train_seconds": record.seconds.train,
                "encode_per_second": record.images_per_second.encode,
                "beside": record.environment.beside,
                "bits": length.bits,
                **{name: value(length) for name, value in COLUMNS.items()},
                **{f"precision_at_{k}": value for k, value in length.precision_at.items()},
                **{f"map_at_{cut}": value for cut, value in length.map_at.items()},
                **{name: value for name in OPTIONAL if (value := getattr(length, name)) is not None},
            }
            for record, training, length in entries(records)
        ]
    )


def settings_key(record: Record, *, untuned: bool = False) -> str:
    """Stands for what tells rows of one method apart; of other packages' methods the version too.

    Of tuned runs that is what a study chose; `untuned` ones have the key of the row that they started from.
    """
    config = record.raw["config"]
    methods = record.raw["tuned"]["shared"]["methods"] if untuned and record.tuned else config["methods"]
    chosen = [config["training"], config["label_vectors"]] if record.tuned and not untuned else []
    return key_of([methods, config.get("source"), *chosen, *([record.raw["plugin"]] if record.plugin else [])])


def summarise(records: Sequence[Record]) -> pd.DataFrame:
    """Means over repetitions, one row per row of the table and code length, in the order of the registry.

    `seeds` is the number of repetitions: seeds, or splits where there are several or classes are held out. Where a
    table has several splits, `splits` counts those of the row, and `runs` lists its runs as split:seed. `map_sd` is the
    sample standard deviation (missing with one repetition); `paper_map`, `paper_status` and `difference` are missing
    where no value is reported, on validation parts and subsets, for truncated codes, for quantizers of another method's
    embeddings and for methods of other packages.
    """
    table = tidy(records)
    table["method"] = pd.Categorical(table["method"], list(METHODS), ordered=True)
    table["training"] = pd.Categorical(table["training"], TRAININGS, ordered=True)
    keys = [*ROW, "bits"]
    numbers = [c for c in table.columns if c not in (*keys, "split_seed", "run", "seed", "unit", "id")]
    runs, repetitions = _grouped(table, keys, numbers)
    summary: pd.DataFrame = repetitions[numbers].mean()
    summary.insert(0, "seeds", repetitions.size())
    if table["split_seed"].nunique() > 1:
        summary["splits"] = runs["split_seed"].nunique().astype("Int64")  # empty where other settings have one
        if table["seed"].nunique() > 1 or not records[0].has_unseen_classes:
            summary["runs"] = runs["run"].agg(lambda each: " ".join("{}:{}".format(*run) for run in sorted(set(each))))
    summary.insert(2, "map_sd", repetitions["map"].std())
    summary["records"] = runs["id"].agg(lambda ids: " ".join(sorted(ids)))
    summary = summary.reset_index().astype({"method": str, "training": str})
    papers = [
        _paper_value(records[0], method, training, bits)
        for method, training, bits in zip(summary["method"], summary["training"], summary["bits"], strict=True)
    ]
    summary["paper_map"] = [p[0] if p else None for p in papers]
    summary["paper_status"] = [p[1] if p else None for p in papers]
    same = (summary["paper_status"] != OTHER_DATA) & (records[0].protocol not in UNKNOWN_CUT)
    summary["difference"] = (summary["map"] - summary["paper_map"].astype(float)).where(same)
    summary["beside"] = summary.pop("beside")  # last: older columns stay where they were
    return summary


def _grouped(table: pd.DataFrame, keys: list[str], numbers: list[str]) -> tuple[Any, Any]:
    """Runs, and numbers of repetitions, each the mean of its runs; by the rows and lengths of a summary."""
    several = table.groupby(keys, observed=True)["split_seed"].transform("nunique") > 1
    table = table.assign(unit=table["unit"].mask(several, 0))  # as `benchmarks.report.intervals.repetitions`
    units = [*keys, "split_seed", "unit"]
    means = table.groupby(units, observed=True)[numbers].transform("mean")
    repetitions = table.assign(**means).drop_duplicates(units)
    return table.groupby(keys, sort=True, observed=True), repetitions.groupby(keys, sort=True, observed=True)


def _paper_value(record: Record, method: str, training: str, bits: int) -> tuple[float, str] | None:
    entry = METHODS[method]
    if not record.comparable or training == "truncated" or entry.source in METHODS or entry.plugin:
        return None
    return reported_value(record.protocol, entry.title, bits)


def rows_of(summary: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of a table: title, and its part of the summary."""
    longest = longest_trained(summary)
    for keys, part in summary.groupby(ROW, sort=False):
        method, variant, _, training, trained = map(str, keys)
        unsaid = training == "once" and int(trained) == longest[method]
        yield row_title(method, variant, training, 0 if unsaid else int(trained)), part


def longest_trained(table: pd.DataFrame) -> dict[str, int]:
    """Bits of the longest code that was trained of each method, by rows of `tidy` or `summarise`."""
    return {str(method): int(part["bits"].max()) for method, part in table.groupby("method", observed=True)}


def mean_difference(one: Record, other: Record) -> float:
    """How much higher the mAP of one record is than that of another, mean over the lengths that both have."""
    before = {length.bits: length.map for length in other.lengths}
    return fmean(length.map - before[length.bits] for length in one.lengths if length.bits in before)


def summarise_ablations(ablated: Sequence[Record], plain: Sequence[Record]) -> pd.DataFrame:
    """Means over repetitions, one row per ablation and code length, in the order of `ABLATIONS`.

    `difference` is the mean over the repetitions that have a run of DPQ itself too, `pairs` their number;
    `difference_sd` is the sample standard deviation of the differences.

    Raises:
        InputError: a record is of an ablation that is not known.
    """
    before = {(record.id, length.bits): length.map for record in plain for length in record.lengths}
    changed = [(record, length) for record, _, length in entries(ablated)]
    lowest = min(record.config.split_seed for record, _ in changed)
    table = tidy(ablated).assign(
        switch=[_switch(record) for record, _ in changed],
        ablation=pd.Categorical([record.ablation for record, _ in changed], list(ABLATIONS), ordered=True),
        config=[key_of(_without_repetition(record, lowest)) for record, _ in changed],
        difference=[length.map - before.get((r.ablation_of or "", length.bits), math.nan) for r, length in changed],
    )
    runs, repetitions = _grouped(table, [*ABLATION_ROW, "bits"], ["map", "difference", "float_map"])
    summary: pd.DataFrame = repetitions.agg(
        seeds=("map", "count"),
        map=("map", "mean"),
        map_sd=("map", "std"),
        difference=("difference", "mean"),
        difference_sd=("difference", "std"),
        pairs=("difference", "count"),
        float_map=("float_map", "mean"),
    )
    summary["records"] = runs["id"].agg(lambda ids: " ".join(sorted(ids)))
    return summary.reset_index().astype({"ablation": str})


def _without_repetition(record: Record, lowest: int) -> dict[str, Any]:
    """The configuration of an ablation, but for code lengths, and with the lowest split for all."""
    own = ("bits", "split_seed") if record.has_unseen_classes else ("bits",)
    config = record.raw["config"] | {"split_seed": lowest}
    return {key: value for key, value in config.items() if key not in own}


def _switch(record: Record) -> str:
    """The changed field and its value, as the record has them."""
    if record.ablation not in ABLATIONS:
        of, known = f"record {record.id} is of the ablation {record.ablation!r}", ", ".join(ABLATIONS)
        raise InputError(f"{of}; known are {known}: remove the record")
    value: Any = record.raw["config"]
    for part in ABLATIONS[record.ablation].path.split("."):
        value = value[part]
    return f"{part} = {value['source'] if isinstance(value, Mapping) else value}"


def ablation_rows(summary: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of a table of ablations: title, and its part of the summary."""
    longest = int(summary["trained_bits"].max())
    for (name, _, trained, _), part in summary.groupby(ABLATION_ROW, sort=False):
        yield ABLATIONS[str(name)].title + (f", trained at {trained} bits" if trained != longest else ""), part
