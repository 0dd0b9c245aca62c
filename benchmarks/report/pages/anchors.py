"""Where the page of rows has each row of a setting's tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from benchmarks.records.record import BUDGETS, TUNED
from benchmarks.report.study import Section


def anchored_rows(section: Section) -> list[tuple[str, str, pd.DataFrame]]:
    """Anchor, title and part of the summary of every row."""
    rows = [*section.rows, *section.ablation_rows]
    reading = f"{TUNED} " if section.reading == BUDGETS else ""  # of the same setting as the other one
    anchors = anchors_of(section.key[1:], [reading + title for title, _ in rows])
    return [(anchor, *row) for anchor, row in zip(anchors, rows, strict=True)]


def anchor_of(setting_key: str, title: str) -> str:
    """Where a page has the row of this title; the key is the digest of its setting."""
    words = re.sub(r"[^a-z0-9]+", "-", title.lower().replace("'", "")).strip("-")
    return f"{setting_key[:6]}-{words}"


def anchors_of(setting_key: str, titles: Sequence[str]) -> list[str]:
    """The anchors of all rows of a setting, in their order; rows of one title are told apart by a number."""
    anchors, seen = [], Counter[str]()
    for title in titles:
        anchor = anchor_of(setting_key, title)
        seen[anchor] += 1
        anchors.append(anchor if seen[anchor] == 1 else f"{anchor}-{seen[anchor]}")
    return anchors
