"""Tables in Markdown, CSV and LaTeX, made from records alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.ablation_table import ablation_section, sections_of, summarise_ablations
from benchmarks.aggregate import comparable, rows_of, setting_title, summarise
from benchmarks.class_splits import class_split_lines, is_class_split
from benchmarks.config import read_notes
from benchmarks.methods import BUILT_IN, METHODS, plugin_lines
from benchmarks.own_data import own_data_lines
from benchmarks.reported_values import MARKS, MEANINGS, marked, reported_methods, reported_value
from benchmarks.table_details import as_markdown, detail_tables, method_settings, with_deviation
from dpq.errors import InputError
from dpq.files import write_atomically
from dpq.registry import LAST

PRINTED_ONLY = {"ITQ-CCA": 10, "SQ": 40, "DVSQ": 60}  # places in tables among ours, whose entries say theirs
VIEWS = {
    "centre": "centre crop.",
    "mirror": "mean embedding of the centre crop and its mirror image, for queries and database of every method "
    "(the papers' crops at evaluation differ).",
    "ten-crop": "mean embedding of ten crops (centre, four corners, and their mirror images), for queries and database "
    "of every method.",
}
ABLATIONS_CSV = "ablations.csv"
DENOMINATORS = {
    "hits": "divided by the relevant images inside the cut",
    "total": "divided by all relevant images",
    "capped": "divided by the smaller of the cut and all relevant images",
}


def make_tables(output: Path, experiment: str) -> dict[str, str]:
    """The files of an experiment's table, by name; that of ablations where there are any.

    Raises:
        InputError: there are no records.
    """
    pairs = sections_of(output, experiment)
    groups = {key: records for key, (records, _) in pairs.items() if records}
    ablated = {key: records for key, (_, records) in pairs.items() if records}
    sections = [_markdown_section(*pair) for pair in pairs.values()]
    if len(sections) > 1:  # of different settings; which one a table is of must be seen at once
        titles = [setting_title((records or others)[0]) for records, others in pairs.values()]
        sections = [f"## {title}\n\n{section}" for title, section in zip(titles, sections, strict=True)]
    if notes := read_notes(experiment):
        sections.append(f"Notes:\n\n{notes}")
    summaries = [summarise(group).assign(setting=key) for key, group in groups.items()]
    latex = [_latex(group) for group in groups.values()]
    tables = {
        "table.md": f"# {experiment}\n\n" + "\n\n".join(sections) + "\n",
        "table.csv": _csv(summaries),
        "table.tex": "\n\n".join(latex) + "\n",
    }
    if ablated:
        summaries = [
            summarise_ablations(group, groups.get(key, [])).assign(setting=key) for key, group in ablated.items()
        ]
        tables[ABLATIONS_CSV] = _csv(summaries)
    return tables


def _csv(summaries: list[pd.DataFrame]) -> str:
    return str(pd.concat(summaries).to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def write_tables(output: Path, experiment: str) -> list[Path]:
    """Write `table.md`, `table.csv` and `table.tex` of an experiment, and `ablations.csv` where there are any."""
    paths = []
    tables = make_tables(output, experiment)
    for name, text in tables.items():
        paths.append(output / experiment / name)
        write_atomically(paths[-1], text)
    if ABLATIONS_CSV not in tables:  # of records that are gone
        (output / experiment / ABLATIONS_CSV).unlink(missing_ok=True)
    return paths


def check_tables(output: Path, experiment: str) -> None:
    """Refuse tables that are not what the records give.

    Raises:
        InputError: names the first file that differs.
    """
    tables: dict[str, str | None] = {ABLATIONS_CSV: None, **make_tables(output, experiment)}
    for name, text in tables.items():
        path = output / experiment / name
        if (path.read_text(encoding="utf-8") if path.is_file() else None) != text:
            raise InputError(
                f"{path} is not what the records give; renew it with: python -m benchmarks table {experiment}"
            )


def main_table(records: list[dict[str, Any]]) -> pd.DataFrame:
    """MAP by method and length, in the papers' order: our rows, under each the paper's and the difference.

    The best of our values at each length is bold, in Markdown.
    """
    summary = summarise(records)
    lengths = [int(bits) for bits in sorted(summary["bits"].unique())]
    best = summary.groupby("bits")["map"].max()
    blocks: list[tuple[int, list[dict[str, str]]]] = [
        (METHODS[str(part["method"].iloc[0])].order, _block(title, part, lengths, best))
        for title, part in rows_of(summary)
    ]
    if comparable(records[0]):
        ours = {METHODS[record["method"]].title for record in records if "plugin" not in record}
        dataset = records[0]["protocol"]
        places = {method.title: method.order for method in reversed(BUILT_IN.values())} | PRINTED_ONLY
        for name in reported_methods(dataset):
            if name not in ours:
                cells = {f"{b} bits": marked(reported_value(dataset, name, b)) for b in lengths}
                blocks.append((places.get(name, LAST), [{"method": name, "source": "paper"} | cells]))
    return pd.DataFrame([row for _, block in sorted(blocks, key=lambda b: b[0]) for row in block])


def _block(title: str, part: pd.DataFrame, lengths: list[int], best: pd.Series[Any]) -> list[dict[str, str]]:
    by_bits = {int(entry["bits"]): entry for _, entry in part.iterrows()}

    def row(method: str, source: str, cell: Callable[[pd.Series[Any]], str]) -> dict[str, str]:
        cells = {f"{b} bits": cell(by_bits[b]) if b in by_bits else "" for b in lengths}
        return {"method": method, "source": source} | cells

    def ours(r: pd.Series[Any]) -> str:
        value = with_deviation(r["map"], r["map_sd"], r["seeds"])
        return f"**{value}**" if r["map"] == best[r["bits"]] else value

    rows = [row(title, f"ours, {_seeds(part)}", ours)]
    if part["paper_map"].notna().any():
        rows.append(row("", "paper", _paper_cell))
        if part["difference"].notna().any():
            rows.append(row("", "difference", lambda r: _difference(r["difference"])))
    if (part["training"] != "truncated").all():
        rows.append(row("", "exact search, float features", lambda r: f"{r['float_map']:.3f}"))
    return rows


def _seeds(part: pd.DataFrame) -> str:
    fewest, most = int(part["seeds"].min()), int(part["seeds"].max())
    counted = f"n = {most}" if fewest == most else f"n = {fewest} to {most}"
    return f"{counted} in {part['splits'].max()} class splits" if "splits" in part else counted


def _paper_cell(row: pd.Series[Any]) -> str:
    return marked(None if pd.isna(row["paper_map"]) else (row["paper_map"], row["paper_status"]))


def _difference(value: float) -> str:
    return "" if pd.isna(value) else f"{value:+.3f}"


def order_notes(records: list[dict[str, Any]]) -> str:
    """Where two methods stand in another order than in their papers, length by length; empty where nowhere."""
    summary = summarise(records)
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


def describe_setting(records: list[dict[str, Any]]) -> str:
    """What records of one setting share, as a list: data, network, optimisation, metric."""
    record = records[0]
    data, backbone, config = record["data"], record["backbone"], record["config"]
    training = config["training"]
    cut = "the whole database" if record["cut"] is None else f"the first {record['cut']} ranks"
    repetitions = "class splits times seeds" if is_class_split(record) else "seeds"
    lines = [
        f"- Data: `{data['variant']}`, {data['train']:,} training, {data['query']:,} query, {data['database']:,} "
        f"database images (fingerprint `{data.get('fingerprint_of_all', data['fingerprint'])[:12]}`).",
        f"- Backbone of all methods: `{backbone['name']}` at {backbone['image_size']} pixels, weights "
        f"`{backbone['weights']}`, {config['backbone']['embedding_dim']}-d embedding (frozen features: the network's "
        f"pooled width); label vectors: {config['label_vectors']['source']}.",
        f"- Training of all deep methods: {_optimisation(training)}. Evaluation: {VIEWS[training['evaluation_views']]}",
        f"- mAP over {cut}, expected value over tie orders, {DENOMINATORS[record['ap_denominator']]}; "
        f"n is the number of {repetitions}, ± the standard deviation over them.",
    ]
    if config["validation"]:
        lines.insert(0, "- **Validation part of the training set, for choosing settings; not the protocol's queries.**")
    if not data.get("published", True):
        lines.insert(0, f"- **Not the published data: {_missing(data)}; not comparable with any paper.**")
    if config["limit"] is not None:
        lines.insert(0, f"- **A subset of about {config['limit']} images a split; not comparable with any paper.**")
    return "\n".join([*class_split_lines(records), *own_data_lines(record), *plugin_lines(records), *lines])


def _missing(data: dict[str, Any]) -> str:
    """What a copy of a published data set lacks."""
    lacking = [f"{count:,} of the {name} images" for name, count in data["missing"].items() if count]
    parts = [] if data["lists_as_published"] else ["its lists are others"]
    return " and ".join(parts + (["it lacks " + ", ".join(lacking)] if lacking else []))


def _optimisation(training: dict[str, Any]) -> str:
    rate = (
        f"learning rate {training['learning_rate']:g} ({training['schedule']} schedule, times "
        f"{training['head_multiplier']:g} for the heads, times {training['layer_decay']:g} for each earlier layer)"
    )
    return (
        f"{training['epochs']} epochs, batch {training['batch_size']}, {training['optimizer']}, {rate}, weight decay "
        f"{training['weight_decay']:g}, dropout {training['dropout']:g}, precision {training['precision']}, "
        f"augmentation: {_augmentation(training)}"
    )


def _augmentation(training: dict[str, Any]) -> str:
    augmentation = training["augmentation"]
    moves = f"random shifts of up to {augmentation['shift']:g} of the side"
    if augmentation["crop"] < 1:
        moves = f"crops of {augmentation['crop']:g} of the side with " + moves
    return ("mirroring, " if augmentation["flip"] else "") + moves


def marks_note(text: str) -> str:
    """What the marks of printed values in a text mean; empty where there is none."""
    notes = [f"{MARKS[status]} {meaning}." for status, meaning in MEANINGS.items() if MARKS[status] in text]
    if data_note := ("The papers used the original CIFAR-10 pixels." if "cifar10-jpeg" in text else ""):
        notes.append(data_note)
    return "Values of the papers carry their status: " + " ".join(notes) if notes else ""


def _markdown_section(records: list[dict[str, Any]], ablated: list[dict[str, Any]]) -> str:
    described = describe_setting(records or ablated)
    ablations = ablation_section(ablated, records) if ablated else ""
    if not records:
        return f"{described}\n\n{ablations}"
    table = as_markdown(main_table(records))
    marks = marks_note(described + table) if reported_methods(records[0]["protocol"]) else ""
    settings = "Settings of the methods:\n\n" + method_settings(records)
    parts = [described, "mAP:", table, marks, order_notes(records), ablations, detail_tables(records), settings]
    return "\n\n".join(part for part in parts if part)


def _latex(records: list[dict[str, Any]]) -> str:
    table = main_table(records)
    for mark, command in {**_LATEX_SIGNS, "±": r"$\pm$"}.items():
        table = table.map(lambda cell, m=mark, c=command: cell.replace(m, c))
    table = table.map(lambda cell: re.sub(r"\*\*(.*)\*\*", r"\\textbf{\1}", cell))
    data, backbone = records[0]["data"], records[0]["backbone"]
    caption = (
        f"mAP on {data['variant']} ({data['train']} train, {data['query']} query, {data['database']} database), "
        f"{backbone['name']} at {backbone['image_size']} pixels, {records[0]['config']['training']['epochs']} epochs; "
        f"evaluation: "
        f"{VIEWS[records[0]['config']['training']['evaluation_views']]} "
    )
    notes = [
        f"{command}: {MEANINGS[s]}."
        for s, command in _LATEX_MARKS.items()
        if command in "".join(table.to_numpy().ravel())
    ]
    caption = (caption + " ".join(notes)).replace("_", r"\_")
    columns = "ll" + "r" * (table.shape[1] - 2)
    return str(table.to_latex(index=False, escape=False, caption=caption.strip(), position="t", column_format=columns))


_LATEX_SIGNS = {"†": r"$^\dagger$", "‡": r"$^\ddagger$", "§": r"$^\S$", "¶": r"$^\P$"}
_LATEX_MARKS = {status: _LATEX_SIGNS[mark] for status, mark in MARKS.items() if mark}
