"""Records to numbers: groups that may stand in one table, and means over their seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from benchmarks.config import load_experiment
from benchmarks.records import digest
from benchmarks.reported_values import reported_value

TITLES = {"dpq": "DPQ"}


def setting_of(record: dict[str, Any]) -> dict[str, Any]:
    """What records of one table must share: all of the configuration but the method's own part."""
    config = {key: value for key, value in record["config"].items() if key not in ("methods", "bits")}
    return config | {"data": record["data"], "backbone": record["backbone"]}


def group_by_setting(records: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Records by the digest of their setting.

    Full data come before subsets, the experiment's own training setting before changed ones, large groups before
    small ones.
    """
    shipped = asdict(load_experiment(records[0]["experiment"]).training) if records else None
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(digest(setting_of(record)), []).append(record)

    def rank(item: tuple[str, list[dict[str, Any]]]) -> tuple[bool, bool, int, str]:
        config = item[1][0]["config"]
        subset = config["limit"] is not None or config["validation"]
        return (subset, config["training"] != shipped, -len(item[1]), item[0])

    return dict(sorted(groups.items(), key=rank))


def tidy(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row per record and code length."""
    rows = []
    for record in records:
        for entry in record["lengths"]:
            rows.append(
                {
                    "method": record["method"],
                    "variant": record["variant"],
                    "method_settings": digest(record["config"]["methods"]),
                    "seed": record["seed"],
                    "id": record["id"],
                    "float_map": record["float_map"],
                    "train_seconds": record["seconds"]["train"],
                    "encode_per_second": record["images_per_second"]["encode"],
                    **{
                        k: entry[k]
                        for k in ("bits", "map", "map_total", "map_capped", "map_ties_index", "reconstruction_mse")
                    },
                    "map_worst": entry["map_bounds"][0],
                    "map_best": entry["map_bounds"][1],
                    "distinct_codes": entry["distinct_codes"],
                    **{f"precision_at_{k}": v for k, v in entry["precision_at"].items()},
                }
            )
    return pd.DataFrame(rows)


def summarise(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Mean over seeds, one row per method, variant, method settings and code length.

    `map_sd` is the sample standard deviation (missing with one seed); `paper_map`, `paper_status` and
    `difference` are missing where no value is reported, and on validation parts and subsets.
    """
    table = tidy(records)
    keys = ["method", "variant", "method_settings", "bits"]
    numbers = [c for c in table.columns if c not in (*keys, "seed", "id")]
    grouped = table.groupby(keys, sort=True)
    summary = grouped[numbers].mean()
    summary.insert(0, "seeds", grouped["seed"].nunique())
    summary.insert(2, "map_sd", grouped["map"].std())
    summary["records"] = grouped["id"].agg(lambda ids: " ".join(sorted(ids)))
    summary = summary.reset_index()
    config, dataset = records[0]["config"], records[0]["protocol"]
    comparable = config["limit"] is None and not config["validation"]
    papers = [
        reported_value(dataset, TITLES[method], bits) if comparable else None
        for method, bits in zip(summary["method"], summary["bits"], strict=True)
    ]
    summary["paper_map"] = [p[0] if p else None for p in papers]
    summary["paper_status"] = [p[1] if p else None for p in papers]
    summary["difference"] = summary["map"] - summary["paper_map"].astype(float)
    return summary
