"""The tables under the main one: cost, precision, ties, runs, settings."""

from __future__ import annotations

from typing import Any

import pandas as pd

from benchmarks.aggregate import rows_of, summarise
from benchmarks.class_splits import held_out
from benchmarks.methods import METHODS, named

KS = (1, 10, 100, 500, 1000)


def as_markdown(table: pd.DataFrame) -> str:
    """A table in Markdown, its cells as they are."""
    return str(table.to_markdown(index=False, disable_numparse=True))


def with_deviation(mean: float, deviation: float, seeds: int, sign: str = "") -> str:
    """A mean and, of several seeds, the deviation over them; `sign` "+" writes the mean with its sign."""
    return f"{mean:{sign}.3f}" if seeds < 2 else f"{mean:{sign}.3f} ± {deviation:.3f}"


def detail_tables(records: list[dict[str, Any]]) -> str:
    """Cost, precision at K, ties and reconstruction, and the runs, each under a line that says what it is."""
    parts = list(rows_of(summarise(records)))
    summary = pd.concat([part.assign(name=title) for title, part in parts])
    columns = pd.DataFrame({"method": summary["name"], "bits": summary["bits"]})
    precision, ties = columns.copy(), columns.copy()
    for k in KS:
        precision[f"P@{k}"] = summary[f"precision_at_{k}"].map("{:.3f}".format)
    for title, column in {
        "mAP": "map",
        "÷ all relevant": "map_total",
        "÷ min(cut, relevant)": "map_capped",
        "worst tie order": "map_worst",
        "best tie order": "map_best",
        "argsort order": "map_ties_index",
    }.items():
        ties[title] = summary[column].map("{:.4f}".format)
    for column in [c for c in summary.columns if c.startswith("map_at_")]:
        ties[f"mAP@{column.removeprefix('map_at_')}"] = summary[column].map("{:.4f}".format)
    ties["distinct codes"] = summary["distinct_codes"].map("{:.0f}".format)
    ties["reconstruction error"] = summary["reconstruction_mse"].map("{:.3f}".format)
    return "\n\n".join(
        [
            "Cost of one seed (feature epochs that trainings of several lengths share are run once and counted for "
            "each; for PQ and RQ, training is k-means alone and encoding includes the network):",
            as_markdown(cost_table(parts)),
            "Precision at K:",
            as_markdown(precision),
            "Ties, denominators and reconstruction (mean squared distance of the database embeddings):",
            as_markdown(ties),
            "Runs:",
            as_markdown(_runs_table(records)),
            *_warnings(records),
        ]
    )


def _warnings(records: list[dict[str, Any]]) -> list[str]:
    """What the runs themselves saw go wrong."""
    lines = [f"- {r['id']}: {'; '.join(r['warnings'])}." for r in records if r.get("warnings")]
    return ["Warnings of the runs:\n\n" + "\n".join(lines)] if lines else []


def cost_table(rows: list[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """Trainings and their seconds for all lengths of a row, and encoding speed."""
    return pd.DataFrame(
        [
            {
                "method": title,
                "trainings": len(part) if (part["training"] == "each").all() else 1,
                "train s": f"{_training_seconds(part):.1f}",
                "encode images/s": f"{part['encode_per_second'].mean():.0f}",
            }
            for title, part in rows
        ]
    )


def _training_seconds(part: pd.DataFrame) -> float:
    seconds = part["train_seconds"]
    return float(seconds.sum() if (part["training"] == "each").all() else seconds.mean())


def _runs_table(records: list[dict[str, Any]]) -> pd.DataFrame:
    order = list(METHODS)
    ranked = sorted(
        records,
        key=lambda r: (
            order.index(r["method"]),
            r["variant"],
            r["config"]["split_seed"],
            r["seed"],
            max(r["config"]["bits"]),
        ),
    )
    return pd.DataFrame(
        [
            {
                "run": f"[{r['id']}](runs/{r['id']}.json)",
                **held_out(r),
                "seed": r["seed"],
                "train s": f"{r['seconds']['train']:.1f}",
                "encode images/s": f"{r['images_per_second']['encode']:.0f}",
                "class. accuracy": ""
                if r["classification_accuracy"] is None
                else f"{r['classification_accuracy']:.3f}",
                "device": device_of(r),
                "commit": short_commit(r),
            }
            for r in ranked
        ]
    )


def device_of(record: dict[str, Any]) -> str:
    """What a record was made on."""
    environment = record["environment"]
    if environment["device"] != "cpu":
        return str(environment["device"])
    threads = environment["threads"]
    return f"{environment['cpu']}, {threads} thread" + ("s" if threads > 1 else "")


def short_commit(record: dict[str, Any]) -> str:
    """The first ten digits of the commit that a record was made at, and what `-dirty` says of it."""
    commit: str = record["environment"]["commit"]
    return commit[:10] + commit[40:]


def method_settings(records: list[dict[str, Any]]) -> str:
    """What each method adds to the shared setting, once per method and variant."""
    lines = []
    for title, part in rows_of(summarise(records)):
        if part["training"].iloc[0] == "truncated":
            continue
        record = next(r for r in records if r["id"] == part["records"].iloc[0].split()[0])
        settings = next(iter(record["config"]["methods"].values()))
        if METHODS[record["method"]].source in METHODS:
            trained = record["config"]["source"]["bits"]
            settings = {"score": record["score"], "embedding": f"of the training at {trained} bits"}
        if "plugin" in record:
            settings = {"package": named(record["plugin"])} | settings | record["config"]["methods"][record["method"]]
        lines.append(f"- {title}: " + ", ".join(f"{key} {value}" for key, value in settings.items()) + ".")
    return "\n".join(lines)
