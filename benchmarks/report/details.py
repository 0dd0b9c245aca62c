"""The tables under the main one: cost, precision, ties, runs, settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from benchmarks.exhibits.exhibit import Ties
from benchmarks.records.record import KS, Record
from benchmarks.report.statistics import COLUMNS, row_title
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


def detail_tables(section: Section) -> str:
    """Cost, precision at K, ties and reconstruction, and the runs, each under a line that says what it is."""
    summary = pd.concat([part.assign(name=title) for title, part in section.rows])
    rows = pd.DataFrame({"method": summary["name"], "bits": summary["bits"]})
    further = {c: f"mAP@{c.removeprefix('map_at_')}" for c in summary.columns if c.startswith("map_at_")}
    further |= {c: c for c in COLUMNS if c not in (*MAPS, *OTHERS)}
    shown = {column: (title, "{:.4f}") for column, title in (MAPS | further).items()} | OTHERS
    precision = {f"P@{k}": summary[f"precision_at_{k}"].map("{:.3f}".format) for k in KS}
    ties = {title: summary[column].map(form.format) for column, (title, form) in shown.items()}
    return "\n\n".join(
        [
            "Cost of one seed (feature epochs that trainings of several lengths share are run once and counted for "
            "each; for PQ and RQ, training is k-means alone and encoding includes the network):",
            as_markdown(cost_table(section)),
            "Precision at K:",
            as_markdown(rows.assign(**precision)),
            "Ties, denominators and reconstruction (mean squared distance of the database embeddings):",
            as_markdown(rows.assign(**ties)),
            "Runs:",
            as_markdown(_runs_table(section.records)),
            *_warnings(section.records),
        ]
    )


def _warnings(records: Sequence[Record]) -> list[str]:
    """What the runs themselves saw go wrong."""
    lines = [f"- {record.id}: {'; '.join(record.warnings)}." for record in records if record.warnings]
    return ["Warnings of the runs:\n\n" + "\n".join(lines)] if lines else []


def cost_table(section: Section) -> list[dict[str, Any]]:
    """Trainings and their seconds for all lengths of a row, and encoding speed."""
    rows = []
    for title, part in section.rows:
        seconds, each = part["train_seconds"], (part["training"] == "each").all()
        rows.append(
            {
                "method": title,
                "trainings": len(part) if each else 1,
                "train s": f"{seconds.sum() if each else seconds.mean():.1f}",
                "encode images/s": f"{part['encode_per_second'].mean():.0f}",
            }
        )
    return rows


def _runs_table(records: Sequence[Record]) -> list[dict[str, Any]]:
    order = list(METHODS)
    ranked = sorted(records, key=lambda r: (order.index(r.method), r.variant, r.repetition, r.longest))
    return [
        {
            "run": f"[{r.id}](runs/{r.id}.json)",
            **held_out(r),
            "seed": r.seed,
            "train s": f"{r.seconds.train:.1f}",
            "encode images/s": f"{r.images_per_second.encode:.0f}",
            "class. accuracy": "" if r.classification_accuracy is None else f"{r.classification_accuracy:.3f}",
            "device": r.environment.processor,
            "commit": r.environment.short_commit,
        }
        for r in ranked
    ]


def held_out(record: Record) -> dict[str, str]:
    """The column of a table of runs that tells class splits apart; none for other records."""
    return {} if record.data.unseen is None else {"held out": ", ".join(record.data.unseen)}


def method_settings(section: Section) -> str:
    """What each method adds to the shared setting, once per method and variant."""
    by_id = {record.id: record for record in section.records}
    lines = []
    for title, part in section.rows:
        if part["training"].iloc[0] == "truncated":
            continue
        record = by_id[part["records"].iloc[0].split()[0]]
        settings = dict(next(iter(record.config.methods.values())))
        if record.config.source is not None:
            settings = {
                "score": record.score,
                "embedding": f"of the training at {record.config.source.bits} bits",
            }
        if record.plugin is not None:
            settings = {"package": record.plugin.title} | settings | dict(record.config.methods[record.method])
        lines.append(f"- {title}: " + ", ".join(f"{key} {value}" for key, value in settings.items()) + ".")
    return "\n".join(lines)


def ties_section(section: Section) -> str:
    """What the order of the database does to mAP by argsort, beside the exact value; empty without exhibits of ties."""
    rows = [row for record, exhibit in section.ties for row in _ties_rows(record, exhibit)]
    if not rows:
        return ""
    return (
        "Ties: mAP of the same codes when equal scores stay in the order of the database, as a stable argsort leaves "
        "them, for three such orders; beside it the exact value (expected over all orders) and its bounds:\n\n"
        + as_markdown(rows)
    )


def _ties_rows(record: Record, exhibit: Ties) -> list[dict[str, str]]:
    name = row_title(record.method, record.variant, "", 0)
    return [
        {
            "codes": f"[{name}, seed {record.seed}]({record.experiment}/runs/{record.id}.json)",
            "bits": str(measured.bits),
            **{order: f"{value:.4f}" for order, value in measured.orders.items()},
            "exact": f"{length.map:.4f}",
            "worst order": f"{length.map_bounds[0]:.4f}",
            "best order": f"{length.map_bounds[1]:.4f}",
            "distinct codes": str(length.distinct_codes),
        }
        for measured, length in zip(exhibit.lengths, record.lengths, strict=True)
    ]
