"""The part of a table that compares DPQ with itself, one thing changed.

Ablated records name the run that they are an ablation of, so a difference is taken between two runs of one seed that
have everything else in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmarks.report.details import as_markdown, row_by_length, with_deviation
from benchmarks.report.statistics import rows_of, summarise
from benchmarks.report.study import Section

_MISSING = " (where there is none, no run of DPQ with the same seed, setting and code lengths is recorded)"


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
    rows: list[dict[str, str]] = []
    for title, part in rows_of(summarise(own)) if own else ():
        rows += _block(title, "", part.assign(pairs=0), lengths)
    for title, part in section.ablation_rows:
        rows += _block(title, f"`{part['switch'].iloc[0]}`", part, lengths)
    return pd.DataFrame(rows)


def _block(title: str, switch: str, part: pd.DataFrame, lengths: Sequence[int]) -> list[dict[str, str]]:
    def value(r: pd.Series[Any]) -> str:
        return with_deviation(r["map"], r["map_sd"], r["seeds"])

    def difference(r: pd.Series[Any]) -> str:
        return with_deviation(r["difference"], r["difference_sd"], r["pairs"], "+") if r["pairs"] else ""

    n, pairs = part["seeds"].max(), part["pairs"].max()
    exact = {"exact search": f"{part['float_map'].mean():.3f}"}
    rows = [row_by_length(part, lengths, value, ablation=title, switch=switch, what=f"mAP, n = {n}") | exact]
    if pairs:
        what = f"difference, n = {pairs}"
        rows.append(row_by_length(part, lengths, difference, ablation="", switch="", what=what) | {"exact search": ""})
    return rows
