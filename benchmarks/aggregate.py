"""Records to numbers: groups that may stand in one table, and means over their seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.class_splits import common_data, is_class_split
from benchmarks.config import load_experiment
from benchmarks.methods import METHODS
from benchmarks.records import digest, read_records
from benchmarks.reported_values import OTHER_DATA, UNKNOWN_CUT, reported_value
from dpq.errors import InputError

# How the lengths of a row were trained: one training for all, one for each, or the longest one's truncated codes.
TRAININGS = ("once", "each", "truncated")
ROW = ["method", "variant", "method_settings", "training", "trained_bits"]


def records_of(output: Path, experiment: str) -> list[dict[str, Any]]:
    """All records of an experiment but those of ablations.

    Raises:
        InputError: there are none.
    """
    records = [record for record in read_records(output, experiment) if "ablation" not in record]
    if not records:
        raise InputError(
            f"no records under {output / experiment / 'runs'}; make them with: python -m benchmarks run {experiment}"
        )
    return records


def ablations_of(output: Path, experiment: str) -> list[dict[str, Any]]:
    """The records of an experiment's ablations."""
    return [record for record in read_records(output, experiment) if "ablation" in record]


def comparable(record: dict[str, Any]) -> bool:
    """Whether a record may stand beside a paper: the whole published protocol, and its own queries."""
    whole = record["config"]["limit"] is None and not record["config"]["validation"]
    return whole and record["data"].get("published", True)


def row_title(method: str, variant: str, training: str, bits: int) -> str:
    """What a table or legend calls a row; `bits` is the longest length that was trained, 0 where it goes unsaid."""
    entry = METHODS[method]
    title = entry.title + (f" on {entry.features}" if entry.features else "")
    title += f" ({entry.plugin.package})" if entry.plugin else ""
    title += f", {variant} variant" if variant != "paper" else ""
    title += f", trained at {bits} bits" if bits else ""
    return title + (" and truncated" if training == "truncated" else "")


def setting_title(record: dict[str, Any]) -> str:
    """What a heading calls the setting of a record."""
    training = record["config"]["training"]
    return (
        f"{record['data']['variant']}: {training['epochs']} epochs, {record['backbone']['image_size']} pixels, "
        f"{training['evaluation_views']} views at evaluation"
    )


def setting_of(record: dict[str, Any]) -> dict[str, Any]:
    """What records of one table must share: all of the configuration but the method's own part, and the data.

    Class splits of the same images are one setting.
    """
    own = {"methods", "bits", "source"} | ({"split_seed"} if is_class_split(record) else set())
    config = {key: value for key, value in record["config"].items() if key not in own}
    # Frozen features have the network's own width; what the experiment asks for is in the configuration.
    backbone = {key: value for key, value in record["backbone"].items() if key != "embedding_dim"}
    return config | {"data": common_data(record), "backbone": backbone}


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
        first = item[1][0]
        return (not comparable(first), first["config"]["training"] != shipped, -len(item[1]), item[0])

    return dict(sorted(groups.items(), key=rank))


def entries_of(record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The code lengths of a record, each with how it was trained.

    The longest code of a method that is not progressive appears twice, as trained for its length and as the end of the
    truncated row.
    """
    if METHODS[record["method"]].progressive:
        yield from (("once", entry) for entry in record["lengths"])
        return
    yield "each", record["lengths"][-1]
    if len(record["lengths"]) > 1:
        yield from (("truncated", entry) for entry in record["lengths"])


def tidy(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row per record and code length; two for lengths that stand in two rows of a table."""
    rows = []
    for record in records:
        for training, entry in entries_of(record):
            rows.append(
                {
                    "method": record["method"],
                    "variant": record["variant"],
                    "method_settings": digest(_own_settings(record)),
                    "training": training,
                    # Where each length has a training of its own, the row has all of them.
                    "trained_bits": 0 if training == "each" else max(record["config"]["bits"]),
                    "split_seed": record["config"]["split_seed"],
                    "repetition": (record["config"]["split_seed"], record["seed"]),
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
                    **{f"map_at_{cut}": v for cut, v in entry.get("map_at", {}).items()},
                }
            )
    return pd.DataFrame(rows)


def _own_settings(record: dict[str, Any]) -> list[Any]:
    """What tells rows of one method apart; of other packages' methods the version too."""
    own = [record["config"]["methods"], record["config"].get("source")]
    return [*own, record["plugin"]] if "plugin" in record else own


def summarise(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Mean over seeds, one row per row of the table and code length, in the order of the registry.

    `seeds` is the number of repetitions: seeds, or class splits times seeds, and then `splits` counts the former.
    `map_sd` is the sample standard deviation (missing with one seed); `paper_map`, `paper_status` and
    `difference` are missing where no value is reported, on validation parts and subsets, for truncated codes, for
    quantizers of another method's embeddings and for methods of other packages.
    """
    table = tidy(records)
    table["method"] = pd.Categorical(table["method"], list(METHODS), ordered=True)
    table["training"] = pd.Categorical(table["training"], TRAININGS, ordered=True)
    keys = [*ROW, "bits"]
    numbers = [c for c in table.columns if c not in (*keys, "split_seed", "repetition", "id")]
    grouped = table.groupby(keys, sort=True, observed=True)
    summary = grouped[numbers].mean()
    summary.insert(0, "seeds", grouped["repetition"].nunique())
    if table["split_seed"].nunique() > 1:
        summary["splits"] = grouped["split_seed"].nunique().astype("Int64")  # empty where other settings have one
    summary.insert(2, "map_sd", grouped["map"].std())
    summary["records"] = grouped["id"].agg(lambda ids: " ".join(sorted(ids)))
    summary = summary.reset_index().astype({"method": str, "training": str})
    papers = [
        _paper_value(records[0], method, training, bits)
        for method, training, bits in zip(summary["method"], summary["training"], summary["bits"], strict=True)
    ]
    summary["paper_map"] = [p[0] if p else None for p in papers]
    summary["paper_status"] = [p[1] if p else None for p in papers]
    same = (summary["paper_status"] != OTHER_DATA) & (records[0]["protocol"] not in UNKNOWN_CUT)
    summary["difference"] = (summary["map"] - summary["paper_map"].astype(float)).where(same)
    return summary


def _paper_value(record: dict[str, Any], method: str, training: str, bits: int) -> tuple[float, str] | None:
    entry = METHODS[method]
    if not comparable(record) or training == "truncated" or entry.source in METHODS or entry.plugin:
        return None
    return reported_value(record["protocol"], entry.title, bits)


def rows_of(summary: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of a table: title, and its part of the summary."""
    longest = int(summary["bits"].max())
    for keys, part in summary.groupby(ROW, sort=False):
        method, variant, _, training, trained = map(str, keys)
        unsaid = training == "once" and int(trained) == longest  # trained for every length that the table has
        yield row_title(method, variant, training, 0 if unsaid else int(trained)), part
