"""The tables under the main one: ablations, cost, precision, ties, runs, settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from benchmarks.exhibits.exhibit import Ties
from benchmarks.records.record import KS, Record
from benchmarks.report.statistics import COLUMNS, row_title, rows_of, summarise
from benchmarks.report.study import Section
from benchmarks.setting.methods import METHODS

# Column of a summary: its title in the table of ties, and how it is written; others have their name as title.
MAPS = {
    "map": "mAP",
    "map_total": "÷ all relevant",
    "map_capped": "÷ min(cut, relevant)",
    "map_worst": "worst tie order",
    "map_best": "best tie order",
    "map_ties_index": "argsort order",
}
_MISSING = " (where there is none, no run of DPQ with the same seed, setting and code lengths is recorded)"
OTHERS = {"distinct_codes": ("distinct codes", "{:.0f}"), "reconstruction_mse": ("reconstruction error", "{:.3f}")}


def as_markdown(rows: pd.DataFrame | Sequence[dict[Any, str]]) -> str:
    """A table in Markdown, its cells as they are."""
    return str(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


def with_deviation(mean: float, deviation: float, n: int, sign: str = "") -> str:
    """A mean and, of several repetitions, the deviation over them; `sign` "+" writes the mean with its sign."""
    return f"{mean:{sign}.3f}" if n < 2 else f"{mean:{sign}.3f} ± {deviation:.3f}"


def row_by_length(
    part: pd.DataFrame, lengths: Sequence[int], cell: Callable[[pd.Series[Any]], str], **first: str
) -> dict[str, str]:
    """A row of a table: its first cells, then at every length what `cell` says of the summary's row; else nothing."""
    cells = {row["bits"]: cell(row) for _, row in part.iterrows()}
    return first | {f"{bits} bits": cells.get(bits, "") for bits in lengths}


def ablation_section(section: Section) -> str:
    """The table of ablations under a line that says what it is."""
    summary = section.ablations
    compared = "; differences are to DPQ of the same seeds" if summary["pairs"].any() else ""
    missing = "" if (summary["pairs"] == summary["seeds"]).all() else _MISSING
    heading = f"Ablations of DPQ: mAP with one thing of the setting changed{compared}{missing}:"
    return f"{heading}\n\n{as_markdown(ablation_table(section))}"


def ablation_table(section: Section) -> pd.DataFrame:
    """DPQ of the same seeds, then every ablation with its differences to it, as strings."""
    lengths = [int(bits) for bits in sorted(section.ablations["bits"].unique())]
    wanted = {record.ablation_of for record in section.ablated}
    own = [record for record in section.records if record.id in wanted]
    blocks = [(title, "", part.assign(pairs=0)) for title, part in rows_of(summarise(own))] if own else []
    blocks += [(title, f"`{part['switch'].iloc[0]}`", part) for title, part in section.ablation_rows]
    rows: list[dict[str, str]] = []
    for title, switch, part in blocks:
        first = {"ablation": title, "switch": switch, "what": f"mAP, n = {part['seeds'].max()}"}
        exact = {"exact search": f"{part['float_map'].mean():.3f}"}
        rows.append(row_by_length(part, lengths, mean_map, **first) | exact)
        if pairs := part["pairs"].max():
            first = {"ablation": "", "switch": "", "what": f"difference, n = {pairs}"}
            rows.append(row_by_length(part, lengths, _difference, **first) | {"exact search": ""})
    return pd.DataFrame(rows)


def mean_map(row: pd.Series[Any]) -> str:
    """MAP of a summary's row, with its deviation."""
    return with_deviation(row["map"], row["map_sd"], row["seeds"])


def _difference(row: pd.Series[Any]) -> str:
    return with_deviation(row["difference"], row["difference_sd"], row["pairs"], "+") if row["pairs"] else ""


def detail_tables(section: Section) -> str:
    """Cost, precision at K, ties and reconstruction, and the runs, each under a line that says what it is."""
    summary = pd.concat([part.assign(name=title) for title, part in section.rows])
    rows = pd.DataFrame({"method": summary["name"], "bits": summary["bits"]})
    further = {c: f"mAP@{c.removeprefix('map_at_')}" for c in summary.columns if c.startswith("map_at_")}
    further |= {"map_coarse": "mAP of coarse classes"} if "map_coarse" in summary.columns else {}
    further |= {c: c for c in COLUMNS if c not in (*MAPS, *OTHERS)}
    shown = {column: (title, "{:.4f}") for column, title in (MAPS | further).items()} | OTHERS
    precision = {f"P@{k}": summary[f"precision_at_{k}"].map("{:.3f}".format) for k in KS}
    ties = {title: summary[column].map(form.format) for column, (title, form) in shown.items()}
    order = list(METHODS)
    ranked = sorted(section.records, key=lambda r: (order.index(r.method), r.variant, r.repetition, r.longest))
    runs: list[dict[str, Any]] = [
        {
            "run": f"[{r.id}](runs/{r.id}.json)",
            **split_of(r, section),
            "seed": r.seed,
            "train s": f"{r.seconds.train:.1f}",
            "encode images/s": f"{r.images_per_second.encode:.0f}",
            "class. accuracy": "" if r.classification_accuracy is None else f"{r.classification_accuracy:.3f}",
            "device": r.environment.described,
            "commit": r.environment.short_commit,
        }
        for r in ranked
    ]
    shared = any(r.environment.beside for r in section.records)
    warnings = [f"- {record.id}: {'; '.join(record.warnings)}." for record in section.records if record.warnings]
    return "\n\n".join(
        [
            "Cost of one seed (feature epochs that trainings of several lengths share are run once and counted for "
            "each; for PQ and RQ, training is k-means alone and encoding includes the network"
            + ("; runs that shared the machine with others took longer than alone):" if shared else "):"),
            as_markdown(cost_table(section)),
            "Precision at K:",
            as_markdown(rows.assign(**precision)),
            "Ties, denominators and reconstruction (mean squared distance of the database embeddings):",
            as_markdown(rows.assign(**ties)),
            "Runs:",
            as_markdown(runs),
            *(["Warnings of the runs:\n\n" + "\n".join(warnings)] if warnings else []),
            "Settings of the methods:\n\n" + _method_settings(section),
        ]
    )


def cost_table(section: Section) -> list[dict[str, Any]]:
    """Trainings and their seconds for all lengths of a row, and encoding speed."""
    rows = []
    shared = any(record.environment.beside for record in section.records)
    for title, part in section.rows:
        seconds, each = part["train_seconds"], (part["training"] == "each").all()
        row = {"method": title, "trainings": len(part) if each else 1}
        row["train s"] = f"{seconds.sum() if each else seconds.mean():.1f}"
        row["encode images/s"] = f"{part['encode_per_second'].mean():.0f}"
        rows.append(row | ({"runs beside": f"{part['beside'].mean():.0f}"} if shared else {}))
    return rows


def split_of(record: Record, section: Section) -> dict[str, str]:
    """The column of a table of runs that tells splits apart; none where there is one draw."""
    if record.data.unseen is not None:
        return {"held out": ", ".join(record.data.unseen)}
    return {"split": str(record.config.split_seed)} if len(section.splits) > 1 else {}


def _method_settings(section: Section) -> str:
    """What each method adds to the shared setting, once per method and variant."""
    by_id = {record.id: record for record in section.records}
    lines = []
    for title, part in section.rows:
        if part["training"].iloc[0] == "truncated":
            continue
        record = by_id[part["records"].iloc[0].split()[0]]
        settings = dict(next(iter(record.config.methods.values())))
        if record.config.source is not None:
            embedding = f"of the training at {record.config.source.bits} bits"
            own = dict(record.config.methods.get(METHODS[record.method].table or "", {}))
            own.pop("normalise", None)  # of frozen features alone
            settings = own | {"score": record.score, "embedding": embedding}
        if record.plugin is not None:
            settings = {"package": record.plugin.title} | settings | dict(record.config.methods[record.method])
        lines.append(f"- {title}: " + ", ".join(f"{key} {value}" for key, value in settings.items()) + ".")
    return "\n".join(lines)


def ties_section(section: Section) -> str:
    """What the order of the database does to mAP by argsort, beside the exact value; empty without exhibits of ties."""
    rows = [
        {
            "codes": f"[{row_title(record.method, record.variant)}, seed {record.seed}]"
            f"({record.experiment}/runs/{record.id}.json)",
            "bits": str(measured.bits),
            **{order: f"{value:.4f}" for order, value in measured.orders.items()},
            "exact": f"{length.map:.4f}",
            "worst order": f"{length.map_bounds[0]:.4f}",
            "best order": f"{length.map_bounds[1]:.4f}",
            "distinct codes": str(length.distinct_codes),
        }
        for record, exhibit in section.exhibits(Ties)
        for measured, length in zip(exhibit.lengths, record.lengths, strict=True)
    ]
    if not rows:
        return ""
    return (
        "Ties: mAP of the same codes when equal scores stay in the order of the database, as a stable argsort leaves "
        "them, for three such orders; beside it the exact value (expected over all orders) and its bounds:\n\n"
        + as_markdown(rows)
    )
