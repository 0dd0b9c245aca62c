"""Links from the cells of a table to the rows of the page that `row_pages` makes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence


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


def linked(cell: str, href: str) -> str:
    """A cell of a Markdown table whose number is a link; what makes it bold stays outside, an empty one stays empty."""
    return re.sub(r"^(\*\*)?(.+?)(\*\*)?$", rf"\1[\2]({href})\3", cell)
