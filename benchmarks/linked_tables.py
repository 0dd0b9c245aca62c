"""The tables of the results page: every number of ours leads to the row that holds its records."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import pandas as pd

from benchmarks import ablation_table, tables
from benchmarks.aggregate import rows_of, summarise
from benchmarks.row_links import anchors_of, linked
from benchmarks.table_details import as_markdown

Records = Sequence[dict[str, Any]]


class Links:
    """Where the rows of one setting stand on the page of rows.

    Args:
        page: path of that page, from the page that links to it.
        key: digest of the setting.
        plain: its records but those of ablations.
        ablated: those of ablations.
    """

    def __init__(self, page: str, key: str, plain: Records, ablated: Records) -> None:
        titles = [title for title, _ in rows_of(summarise(plain))] if plain else []
        if ablated:
            summary = ablation_table.summarise_ablations(ablated, plain)
            titles += [title for title, _ in ablation_table.ablation_rows(summary)]
        self._targets: dict[str, list[str]] = {}
        for title, anchor in zip(titles, anchors_of(key, titles), strict=True):
            self._targets.setdefault(title, []).append(f"{page}#{anchor}")

    def main_table(self, plain: list[dict[str, Any]]) -> str:
        """The table of methods, in Markdown; printed values are no links."""
        return self._linked(tables.main_table(plain), "method")

    def ablation_table(self, plain: Records, ablated: Records) -> str:
        """The table of ablations, in Markdown."""
        return self._linked(ablation_table.ablation_table(ablated, plain), "ablation")

    def _linked(self, table: pd.DataFrame, title: str) -> str:
        """Rows under a title belong to it; rows of one title come in the order of the page."""
        remaining = {name: list(targets) for name, targets in self._targets.items()}
        target, rows = "", []
        for row in table.to_dict("records"):
            if row[title]:
                targets = remaining.get(row[title], [""])
                target = targets.pop(0) if len(targets) > 1 else targets[0]
            of_paper = row.get("source") in ("paper", "difference")
            rows.append(row if of_paper or not target else {name: _cell(name, row[name], target) for name in row})
        return as_markdown(pd.DataFrame(rows))


def _cell(column: Hashable, cell: str, target: str) -> str:
    return linked(cell, target) if str(column).endswith(" bits") or column == "exact search" else cell
