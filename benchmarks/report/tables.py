"""Tables in Markdown, CSV and LaTeX, made from records alone."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from operator import attrgetter
from typing import Any

import pandas as pd

from benchmarks.brought.table import brought_rows, brought_section
from benchmarks.records.record import BUDGETS, Data, Record
from benchmarks.records.reported import MARKS, MEANINGS, marked, reported_methods, reported_value
from benchmarks.report.details import (
    ablation_section,
    as_markdown,
    detail_tables,
    mean_map,
    row_by_length,
)
from benchmarks.report.readings import chosen, reading_notes
from benchmarks.report.statistics import COLUMNS, tidy
from benchmarks.report.study import Section, Study
from benchmarks.setting.experiment import read_notes
from benchmarks.setting.methods import METHODS
from dpq.learning.entry import LAST
from dpq.learning.settings import TrainingConfig

PRINTED_ONLY = {"ITQ-CCA": 10, "SQ": 38, "DVSQ": 60}  # places in tables among ours, whose entries say theirs
VIEWS = {
    "centre": "centre crop.",
    "mirror": "mean embedding of the centre crop and its mirror image, for queries and database of every method "
    "(the papers' crops at evaluation differ).",
    "ten-crop": "mean embedding of ten crops (centre, four corners, and their mirror images), for queries and database "
    "of every method.",
}
ABLATIONS_CSV, BROUGHT_CSV, RESULTS_CSV = "ablations.csv", "brought.csv", "results.csv"
SOMETIMES = (ABLATIONS_CSV, BROUGHT_CSV)  # files that not all records give
LAYOUTS = {"classes": "drawn class by class", "splits": "those of its folders", "manifest": "those of its manifest"}
_COARSE = "mAP of coarse classes (`map_coarse` in table.csv): images of one coarse class are relevant to each other."
_SYMMETRIC = (
    "Codes of signs are ranked by Hamming distance, as their papers do (queries replaced by their reconstructions); "
    "below it by the inner product with real queries (`map_asymmetric` in table.csv)."
)
_TUNED = "**Equal budgets: each method at the setting that a study of its own chose, on held-out training images.**"
DENOMINATORS = {
    "hits": "divided by the relevant images inside the cut",
    "total": "divided by all relevant images",
    "capped": "divided by the smaller of the cut and all relevant images",
}
# Columns of results.csv that say of which run a row is, beside those of `tidy`; its first columns; and what it cost.
_OF_A_RUN: dict[str, Callable[[Record], Any]] = {
    **{name: attrgetter(name) for name in ("experiment", "reading", "ablation", "cut", "ap_denominator")},
    "data": attrgetter("data.variant"),
    "fingerprint": attrgetter("data.fingerprint"),
    "backbone": attrgetter("backbone.name"),
    "image_size": attrgetter("backbone.image_size"),
    "epochs": attrgetter("config.training.epochs"),
    "encode_seconds": attrgetter("seconds.encode"),
    "evaluate_seconds": attrgetter("seconds.evaluate"),
    "device": attrgetter("environment.processor"),
    "created": attrgetter("created"),
    "record": lambda record: f"{record.experiment}/runs/{record.id}.json",
}
_FIRST = (
    *("experiment", "setting", "reading", "method", "variant", "ablation", "method_settings", "training"),
    *("trained_bits", "split_seed", "seed", "bits", *COLUMNS),
)
_COST = ("float_map", "train_seconds", "encode_per_second", "beside")


def make_tables(study: Study) -> dict[str, str]:
    """The files of an experiment's table, by name; those of ablations and of brought codes where there are any."""
    parts = [_markdown(section) for section in study.sections]
    if len(parts) > 1:  # of different settings; which one a table is of must be seen at once
        parts = [f"## {section.heading}\n\n{part}" for section, part in zip(study.sections, parts, strict=True)]
    if study.brought:
        parts.append(brought_section(study.brought))
    if notes := read_notes(study.experiment):
        parts.append(f'<a id="notes"></a>\n\nNotes:\n\n{notes}')
    with_records = [section for section in study.sections if section.records]
    tuned = any(section.reading == BUDGETS for section in with_records)
    summaries = [
        section.summary.assign(setting=section.key, **({"reading": section.reading} if tuned else {}))
        for section in with_records
    ]
    tables = {"table.md": f"# {study.experiment}\n\n" + "\n\n".join(parts) + "\n"}
    if summaries:
        tables["table.csv"] = _csv(summaries)
        tables["table.tex"] = "\n\n".join(map(_latex, with_records)) + "\n"
    if study.brought:
        tables[BROUGHT_CSV] = _csv([brought_rows(study.brought)])
    if ablated := [section.ablations.assign(setting=section.key) for section in study.sections if section.ablated]:
        tables[ABLATIONS_CSV] = _csv(ablated)
    return tables


def _csv(summaries: list[pd.DataFrame]) -> str:
    return str(pd.concat(summaries).to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def every_length(studies: Sequence[Study]) -> pd.DataFrame:
    """One row per training and code length of all records, as `tidy` has them, with what its run was.

    A length that stands in two rows of a table has two. What the columns hold, docs/tables.md says.
    """
    parts = []
    for section in (section for study in studies for section in study.sections):
        by_id = {record.id: record for record in section.every}
        measured = tidy(section.every).drop(columns=["run", "unit"])
        runs = [by_id[one] for one in measured.pop("id")]
        told = {name: [value(run) for run in runs] for name, value in _OF_A_RUN.items()}
        parts.append(measured.assign(setting=section.key, **told))
    table = pd.concat(parts, ignore_index=True).astype({"ablation": "string", "cut": "Int64"})
    rest = [column for column in table if column not in (*_FIRST, *_OF_A_RUN, *_COST)]
    return table[[*_FIRST, *rest, *_COST, *(name for name in _OF_A_RUN if name not in _FIRST)]]


def make_results_csv(studies: Sequence[Study]) -> str:
    """The text of `RESULTS_CSV`."""
    return _csv([every_length(studies)])


def main_table(section: Section) -> pd.DataFrame:
    """MAP by method and length, in the papers' order: our rows, under each the paper's and the difference.

    The best of our values at each length is bold, in Markdown, unless it is a mean over fewer repetitions than others.
    """
    first, lengths = section.first, section.lengths
    best = {bits: _best(part) for bits, part in section.summary.groupby("bits")}
    kind = "class split" if first.has_unseen_classes else "split"
    blocks: list[tuple[int, list[dict[str, str]]]] = [
        (METHODS[str(part["method"].iloc[0])].order, _block(title, part, lengths, best, kind))
        for title, part in section.rows
    ]
    if first.comparable:
        ours = {METHODS[record.method].title for record in section.records if record.plugin is None}
        places = {method.title: method.order for method in reversed(METHODS.own.values())} | PRINTED_ONLY
        for name in reported_methods(first.protocol):
            if name not in ours:
                cells = {f"{b} bits": marked(reported_value(first.protocol, name, b)) for b in lengths}
                blocks.append((places.get(name, LAST), [{"method": name, "source": "paper"} | cells]))
    return pd.DataFrame([row for _, block in sorted(blocks, key=lambda b: b[0]) for row in block])


def headline(section: Section) -> pd.DataFrame:
    """`main_table` of `Section.main_titles` and of methods in print, without exact search and differences."""
    table, ours = main_table(section), {method.title for method in METHODS.own.values()}
    titles = table["method"].replace("", pd.NA).ffill()
    printed = titles.isin(ours) & ~titles.isin([title for title, _ in section.rows])
    shown = table["source"].str.match("ours|paper") & (titles.isin(section.main_titles) | printed)
    return table[shown].reset_index(drop=True)


def _best(part: pd.DataFrame) -> float:
    """The highest mAP of one length; none where a mean over more repetitions cannot be compared with it."""
    top = part.sort_values("map").iloc[-1]
    return float(top["map"]) if top["seeds"] == part["seeds"].max() else math.nan


def short_table(section: Section) -> str:
    """MAP of our methods alone, by length, from the rows that `main_table` shows; empty without records.

    Quantizers of DPQ's embedding and truncated codes are left out where there are others.
    """
    controls = [
        METHODS[str(part["method"].iloc[0])].source == "dpq" or part["training"].iloc[0] == "truncated"
        for _, part in section.rows
    ]
    shown = [
        row_by_length(part, section.lengths, mean_map, mAP=title)
        for (title, part), control in zip(section.rows, controls, strict=True)
        if not control or all(controls)
    ]
    return as_markdown(shown) if shown else ""


def _block(
    title: str, part: pd.DataFrame, lengths: list[int], best: Mapping[Any, float], kind: str
) -> list[dict[str, str]]:
    def ours(r: pd.Series[Any]) -> str:
        return f"**{mean_map(r)}**" if r["map"] == best[r["bits"]] else mean_map(r)

    def printed(r: pd.Series[Any]) -> str:
        return marked(None if pd.isna(r["paper_map"]) else (r["paper_map"], r["paper_status"]))

    def difference(r: pd.Series[Any]) -> str:
        return "" if pd.isna(r["difference"]) else f"{r['difference']:+.3f}"

    fewest, most = int(part["seeds"].min()), int(part["seeds"].max())
    counted = f"n = {most}" if fewest == most else f"n = {fewest} to {most}"
    if "splits" in part:
        few, many = int(part["splits"].min()), int(part["splits"].max())
        counted += f" in {many if few == many else f'{few} to {many}'} {kind}" + ("s" if many > 1 else "")
    real = "map_asymmetric" in part and bool(part["map_asymmetric"].notna().all())
    by = ", by reconstructed queries" if real else ""
    rows = [row_by_length(part, lengths, ours, method=title, source=f"ours, {counted}{by}")]
    if real:
        by_real = {"method": "", "source": "ours, by real queries"}
        rows.append(row_by_length(part, lengths, lambda r: f"{r['map_asymmetric']:.3f}", **by_real))
    if part["paper_map"].notna().any():
        rows.append(row_by_length(part, lengths, printed, method="", source="paper"))
        if part["difference"].notna().any():
            rows.append(row_by_length(part, lengths, difference, method="", source="difference"))
    if (part["training"] != "truncated").all():
        first = {"method": "", "source": "exact search, float features"}
        rows.append(row_by_length(part, lengths, lambda r: f"{r['float_map']:.3f}", **first))
    return rows


def order_notes(section: Section) -> str:
    """Where two methods stand in another order than in their papers, length by length; empty where nowhere."""
    summary = section.summary
    known = summary[summary["difference"].notna() & (summary["variant"] == "paper")]
    notes = []
    for bits, part in known.groupby("bits"):
        ranked = sorted(zip(part["map"], part["paper_map"], part["method"], strict=True), reverse=True)
        for (above, above_printed, one), (below, below_printed, other) in combinations(ranked, 2):
            if above_printed < below_printed:
                notes.append(
                    f"at {bits} bits {METHODS[one].title} above {METHODS[other].title} ({above:.3f} and {below:.3f}; "
                    f"in print {above_printed:.3f} and {below_printed:.3f})"
                )
    return "Order of methods unlike the papers': " + "; ".join(notes) + "." if notes else ""


def describe_setting(section: Section) -> str:
    """What records of one setting share, as a list: data, network, optimisation, metric."""
    first, records = section.first, section.records or section.ablated
    data, backbone, config = first.data, first.backbone, first.shared
    packages = ", ".join(sorted({record.plugin.title for record in records if record.plugin}))
    splits = {r.config.split_seed: ", ".join(r.data.unseen) for r in records if r.data.unseen is not None}
    listed = "; ".join(f"{classes} (split {seed})" for seed, classes in sorted(splits.items()))
    cut = "the whole database" if first.cut is None else f"the first {first.cut} ranks"
    copies = f" Copies of others, left out: {data.copies_left_out:,}." if data.copies_left_out else ""
    uncommon = {
        f"**Queries and database are of classes that training has not seen:** {listed}. The numbers of images are "
        "those of one split.": bool(splits),
        _own_images(data): data.layout is not None,
        f"**Has methods that this project does not ship: of {packages}. No published page has them.**": bool(packages),
        f"**A subset of about {config.limit} images a split; not comparable with any paper.**": bool(config.limit),
        f"**Not the published data: {_missing(data)}; not comparable with any paper.**": not data.published,
        "**Validation part of the training set, for choosing settings; not the protocol's queries.**": (
            config.validation
        ),
    }
    before = ", but for what is tuned" if section.reading == BUDGETS else ""
    lines = [
        *(line for line, said in uncommon.items() if said),
        f"Data: `{data.variant}`, {data.train:,} training, {data.query:,} query, {data.database:,} database images "
        f"({section.fingerprints}).{copies}",
        f"Backbone of all methods: `{backbone.name}` at {backbone.image_size} pixels, weights `{backbone.weights}`, "
        f"{config.backbone.embedding_dim}-d embedding ({_own_widths(records)}frozen features: the network's pooled "
        f"width); label vectors: {config.label_vectors.source}.",
        *([_TUNED] if section.reading == BUDGETS else []),
        f"Training of all deep methods{before}: {_optimisation(config.training)}. Evaluation: "
        f"{VIEWS[config.training.evaluation_views]}",
        f"mAP over {cut}, expected value over tie orders, {DENOMINATORS[first.ap_denominator]}; "
        f"n is the number of {_counted(section)}, ± the standard deviation over them.",
        *([_COARSE] if data.coarse else []),
        *([_SYMMETRIC] if any(record.score == "symmetric" for record in records) else []),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _own_widths(records: Sequence[Record]) -> str:
    """The methods that train an embedding of another width than the experiment's: their settings' or the code's."""
    widths: dict[str, set[int]] = {}
    for record in records:
        dim, shared = record.backbone.embedding_dim, record.config.backbone.embedding_dim
        if METHODS[record.method].source is None and dim != shared:
            widths.setdefault(METHODS[record.method].title, set()).add(dim)
    return "".join(f"{title}: {'/'.join(map(str, sorted(dims)))}-d; " for title, dims in sorted(widths.items()))


def _counted(section: Section) -> str:
    """What n counts."""
    if not section.first.has_unseen_classes:
        by_split = "seeds, or of splits in rows that have several, each a mean over its seeds"
        return by_split if len(section.splits) > 1 else "seeds"
    several = len({record.seed for record in section.every}) > 1
    return "class splits, each a mean over its seeds" if several else "class splits times seeds"


def _own_images(data: Data) -> str:
    """That the images are somebody's own, and what was wrong with them."""
    counted = {
        "Images that could not be read": sum(data.missing.values()),
        "Queries that are in the database too": data.queries_in_database,
    }
    said = "".join(f" {what}: {count:,}." for what, count in counted.items() if count)
    splits = LAYOUTS[data.layout or "classes"]
    return f"**Own images of {len(data.classes)} classes; splits: {splits}; not comparable with any paper.**{said}"


def _missing(data: Data) -> str:
    """What a copy of a published data set lacks."""
    lacking = [f"{count:,} of the {name} images" for name, count in data.missing.items() if count]
    parts = [] if data.lists_as_published else ["its lists are others"]
    return " and ".join(parts + (["it lacks " + ", ".join(lacking)] if lacking else []))


def _optimisation(training: TrainingConfig) -> str:
    augmentation = training.augmentation
    moves = f"random shifts of up to {augmentation.shift:g} of the side"
    if augmentation.crop < 1:
        moves = f"crops of {augmentation.crop:g} of the side with " + moves
    return (
        f"{training.epochs} epochs, batch {training.batch_size}, {training.optimizer}, "
        f"learning rate {training.learning_rate:g} ({training.schedule} schedule, times "
        f"{training.head_multiplier:g} for the heads, times {training.layer_decay:g} for each earlier layer), weight "
        f"decay {training.weight_decay:g}, dropout {training.dropout:g}, precision {training.precision}, "
        f"augmentation: {'mirroring, ' if augmentation.flip else ''}{moves}"
    )


# What images are, by the name of the data.
_PIXELS = {
    "cifar10-jpeg": "The papers used the original CIFAR-10 pixels.",
    "cifar10-restored": "Of `cifar10-restored`, 59,889 of the 60,000 images have the original CIFAR-10 pixels; 111 "
    "(105 ships, 6 horses) are decoded from JPEG re-encodings.",
    "cifar100-restored": "All images of `cifar100-restored` have the original CIFAR-100 pixels.",
}


def marks_note(text: str) -> str:
    """What the marks of printed values in a text mean, and what its images are; empty where there is neither."""
    notes = [f"{MARKS[status]} {meaning}." for status, meaning in MEANINGS.items() if MARKS[status] in text]
    pixels = [said for name, said in _PIXELS.items() if f"`{name}`" in text]
    return ("Values of the papers carry their status: " if notes else "") + " ".join(notes + pixels)


def _markdown(section: Section) -> str:
    described = describe_setting(section)
    ablations = ablation_section(section) if section.ablated else ""
    if not section.records:
        return f"{described}\n\n{ablations}"
    table = as_markdown(main_table(section))
    notes = [marks_note(described + table), order_notes(section)]
    parts = [described, "mAP:", table, about_tuning(section, "../"), *notes, ablations, detail_tables(section)]
    return "\n\n".join(part for part in parts if part)


def about_tuning(section: Section, results: str) -> str:
    """Under a table at equal budgets: what tuning gained, and what it chose; empty at equal terms.

    `results` is the way from the page to the folder of results.
    """
    rows, notes = chosen(section, results), reading_notes(section)
    parts = [notes, "What each study chose, in brackets what all share:", as_markdown(rows)] if rows else []
    return "\n\n".join(part for part in parts if part)


def _latex(section: Section) -> str:
    table = main_table(section)
    signs = str.maketrans({**_LATEX_SIGNS, "±": r"$\pm$"})
    table = table.map(lambda cell: re.sub(r"\*\*(.*)\*\*", r"\\textbf{\1}", cell.translate(signs)))
    first = section.first
    data, backbone, training = first.data, first.backbone, first.shared.training
    budgets = ", where not tuned; equal budgets: each method at the setting that its own study chose"
    caption = (
        f"mAP on {data.variant} ({data.train} train, {data.query} query, {data.database} database), "
        f"{backbone.name} at {backbone.image_size} pixels, {training.epochs} epochs"
        f"{budgets if section.reading == BUDGETS else ''}; "
        f"evaluation: {VIEWS[training.evaluation_views]} "
    )
    printed = "".join(table.to_numpy().ravel())
    notes = [f"{_LATEX_SIGNS[MARKS[s]]}: {said}." for s, said in MEANINGS.items() if _LATEX_SIGNS[MARKS[s]] in printed]
    caption = (caption + " ".join(notes)).replace("_", r"\_")
    columns = "ll" + "r" * (table.shape[1] - 2)
    return str(table.to_latex(index=False, escape=False, caption=caption.strip(), position="t", column_format=columns))


_LATEX_SIGNS = {"‖": r"$^\parallel$", "†": r"$^\dagger$", "‡": r"$^\ddagger$", "§": r"$^\S$", "¶": r"$^\P$"}
