"""The part of a table that compares DPQ with itself, one thing changed; made from records alone.

Ablated records name the run that they are an ablation of, so a difference is taken between two runs of one seed that
have everything else in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.ablations import ABLATIONS
from benchmarks.aggregate import ablations_of, group_by_setting, records_of, rows_of, setting_of, summarise
from benchmarks.records import digest
from benchmarks.table_details import as_markdown, with_deviation
from dpq.errors import InputError

Records = Sequence[dict[str, Any]]
KEYS = ["ablation", "switch", "trained_bits", "config", "bits"]


def sections_of(output: Path, experiment: str) -> dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """The records and the ablated records of every section of a table, by the key of its setting.

    Raises:
        InputError: there are no records.
    """
    groups = group_by_setting(records_of(output, experiment))
    ablated = place_ablations(ablations_of(output, experiment), groups)
    return {key: (groups.get(key, []), ablated.get(key, [])) for key in groups | ablated}


def place_ablations(ablated: Records, groups: Mapping[str, Records]) -> dict[str, list[dict[str, Any]]]:
    """Ablated records by the key of the group that holds the run they are an ablation of.

    Where that run is not there, by their own setting, which may be a group of its own.
    """
    home = {record["id"]: key for key, records in groups.items() for record in records}
    placed: dict[str, list[dict[str, Any]]] = {}
    for record in ablated:
        key = home.get(record["ablation_of"]) or digest(setting_of(record))
        placed.setdefault(key, []).append(record)
    return placed


def summarise_ablations(ablated: Records, plain: Records) -> pd.DataFrame:
    """Mean over seeds, one row per ablation and code length, in the order of `ABLATIONS`.

    `difference` is the mean over the seeds that have a run of DPQ itself too, `pairs` their number;
    `difference_sd` is the sample standard deviation of the differences.

    Raises:
        InputError: a record is of an ablation that is not known.
    """
    base = {record["id"]: {entry["bits"]: entry["map"] for entry in record["lengths"]} for record in plain}
    table = pd.DataFrame([row for record in ablated for row in _rows(record, base.get(record["ablation_of"], {}))])
    table["ablation"] = pd.Categorical(table["ablation"], list(ABLATIONS), ordered=True)
    grouped = table.groupby(KEYS, sort=True, observed=True)
    summary = grouped.agg(
        seeds=("seed", "nunique"),
        map=("map", "mean"),
        map_sd=("map", "std"),
        difference=("difference", "mean"),
        difference_sd=("difference", "std"),
        pairs=("difference", "count"),
        float_map=("float_map", "mean"),
        records=("id", lambda ids: " ".join(sorted(ids))),
    )
    return summary.reset_index().astype({"ablation": str})


def _rows(record: dict[str, Any], before: Mapping[int, float]) -> list[dict[str, Any]]:
    name = record["ablation"]
    if name not in ABLATIONS:
        raise InputError(
            f"record {record['id']} is of the ablation {name!r}; known are {', '.join(ABLATIONS)}: remove the record"
        )
    return [
        {
            "ablation": name,
            "switch": _switch(record["config"], ABLATIONS[name].path),
            "trained_bits": max(record["config"]["bits"]),
            "config": digest(record["config"]),
            "bits": entry["bits"],
            "seed": record["seed"],
            "id": record["id"],
            "map": entry["map"],
            "float_map": record["float_map"],
            "difference": entry["map"] - before[entry["bits"]] if entry["bits"] in before else float("nan"),
        }
        for entry in record["lengths"]
    ]


def _switch(config: Mapping[str, Any], path: str) -> str:
    """The changed field and its value, as the record has them."""
    value: Any = config
    for part in path.split("."):
        value = value[part]
    return f"{part} = {value['source'] if isinstance(value, Mapping) else value}"


def ablation_rows(summary: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of a table of ablations: title, and its part of the summary."""
    longest = int(summary["trained_bits"].max())
    for (name, _, trained, _), part in summary.groupby(KEYS[:-1], sort=False):
        yield ABLATIONS[str(name)].title + (f", trained at {trained} bits" if trained != longest else ""), part


def ablation_section(ablated: Records, plain: Records) -> str:
    """The table of ablations under a line that says what it is."""
    summary = summarise_ablations(ablated, plain)
    compared = "; differences are to DPQ of the same seeds" if summary["pairs"].any() else ""
    missing = "" if (summary["pairs"] == summary["seeds"]).all() else _MISSING
    heading = f"Ablations of DPQ: mAP with one thing of the setting changed{compared}{missing}:"
    return f"{heading}\n\n{as_markdown(ablation_table(ablated, plain))}"


def ablation_table(ablated: Records, plain: Records) -> pd.DataFrame:
    """DPQ of the same seeds, then every ablation with its differences to it, as strings."""
    summary = summarise_ablations(ablated, plain)
    lengths = [int(bits) for bits in sorted(summary["bits"].unique())]
    wanted = {record["ablation_of"] for record in ablated}
    own = [record for record in plain if record["id"] in wanted]
    rows: list[dict[str, str]] = []
    for title, part in rows_of(summarise(own)) if own else ():
        rows += _block(title, "", part.assign(pairs=0), lengths)
    for title, part in ablation_rows(summary):
        rows += _block(title, f"`{part['switch'].iloc[0]}`", part, lengths)
    return pd.DataFrame(rows)


_MISSING = " (where there is none, no run of DPQ with the same seed, setting and code lengths is recorded)"


def _block(title: str, switch: str, part: pd.DataFrame, lengths: Sequence[int]) -> list[dict[str, str]]:
    by_bits = {int(entry["bits"]): entry for _, entry in part.iterrows()}

    def row(cells: Mapping[int, str], **first: str) -> dict[str, str]:
        return first | {f"{bits} bits": cells.get(bits, "") for bits in lengths}

    values = {b: with_deviation(r["map"], r["map_sd"], r["seeds"]) for b, r in by_bits.items()}
    what = f"mAP, n = {part['seeds'].max()}"
    exact = {"exact search": f"{part['float_map'].mean():.3f}"}
    rows = [row(values, ablation=title, switch=switch, what=what) | exact]
    if part["pairs"].any():
        differences = {
            b: with_deviation(r["difference"], r["difference_sd"], r["pairs"], "+")
            for b, r in by_bits.items()
            if r["pairs"]
        }
        what = f"difference, n = {part['pairs'].max()}"
        rows.append(row(differences, ablation="", switch="", what=what) | {"exact search": ""})
    return rows
