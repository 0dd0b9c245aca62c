"""The page under a table: of every row the command that makes it again, and the records that it is the mean of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from benchmarks.records.record import Record
from benchmarks.report.details import as_markdown, held_out
from benchmarks.report.pages.commands import checkout_of, command_of
from benchmarks.report.study import Section, Study
from dpq.errors import InputError

INTRODUCTION = """Of every row of [table.md](table.md): the command that makes it again, and the records behind it.

Commands are for the root of the repository. `DPQ_DATA_ROOT` names the folder of the data set, `DPQ_WEIGHTS` the file of
the backbone's weights. A run whose record is in the folder of results is not repeated: name another one with
`--output DIR`. A row of truncated codes is made by the trainings of all lengths."""


def make_row_page(study: Study) -> str:
    """The text of `<output>/<experiment>/rows.md`.

    Raises:
        InputError: a record is of an ablation that is not known.
    """
    sections = [_section(section) for section in study.sections]
    return "\n\n".join([f"# {study.experiment}, row by row", INTRODUCTION, *sections]) + "\n"


def link_rows(section: Section, table: pd.DataFrame, title: str, page: str) -> str:
    """A table in Markdown whose numbers, but for printed ones, lead to the rows of a page.

    Args:
        section: what the table is of.
        table: rows under a title belong to it; rows of one title come in the order of the page.
        title: name of the column of titles.
        page: path of the page of rows, from the page that links to it.
    """
    remaining: dict[str, list[str]] = {}
    for anchor, name, _ in _rows(section):
        remaining.setdefault(name, []).append(f"{page}#{anchor}")
    target, rows = "", []
    for row in table.to_dict("records"):
        if row[title]:
            targets = remaining.get(row[title], [""])
            target = targets.pop(0) if len(targets) > 1 else targets[0]
        if target and row.get("source") not in ("paper", "difference"):
            numbers = [name for name in row if str(name).endswith(" bits") or name == "exact search"]
            row |= {name: linked(row[name], target) for name in numbers}
        rows.append(row)
    return as_markdown(rows)


def linked(cell: str, href: str) -> str:
    """A cell of a Markdown table whose number is a link; what makes it bold stays outside, an empty one stays empty."""
    return re.sub(r"^(\*\*)?(.+?)(\*\*)?$", rf"\1[\2]({href})\3", cell)


def _rows(section: Section) -> list[tuple[str, str, pd.DataFrame]]:
    """Anchor, title and part of the summary of every row."""
    rows = [*section.rows, *section.ablation_rows]
    anchors = anchors_of(section.key, [title for title, _ in rows])
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


def _section(section: Section) -> str:
    by_id = {record.id: record for record in section.every}
    parts = [_row(anchor, title, part, by_id) for anchor, title, part in _rows(section)]
    backbone, data = section.first.backbone, section.first.data
    listed = (
        f"Setting `{section.key}`{' of [table.csv](table.csv)' if section.records else ''}: data `{data.variant}` "
        f"(fingerprint `{data.images[:12]}`), backbone `{backbone.name}`, weights `{backbone.weights}`"
        f"{f' (SHA-256 `{backbone.weights_sha256[:12]}`)' if backbone.weights_sha256 else ''}."
    )
    return "\n\n".join([f"## {section.title}", listed, *parts])


def _row(anchor: str, title: str, part: pd.DataFrame, by_id: dict[str, Record]) -> str:
    ids_at = {int(bits): ids.split() for bits, ids in zip(part["bits"], part["records"], strict=True)}
    records = [by_id[one] for one in {one for ids in ids_at.values() for one in ids}]
    records.sort(key=lambda r: (r.repetition, r.longest, r.id))
    lines = as_markdown(
        [
            {
                "record": f"[{r.id}](runs/{r.id}.json)",
                **held_out(r),
                "seed": str(r.seed),  # then mAP at the lengths for which the row reads the record
                **{f"{bits} bits": f"{r.at(bits).map:.4f}" if r.id in ids else "" for bits, ids in ids_at.items()},
                "commit": r.environment.short_commit,
                "device": r.environment.processor,
            }
            for r in records
        ]
    )
    tables = [record.raw for record in records]
    try:
        lost, commands = "", command_of(tables)
    except InputError as error:
        lost, commands = f"Today's code has no command for this row: {error}.\n\n", checkout_of(tables)
    return f'<a id="{anchor}"></a>\n\n### {title}\n\n{lost}```bash\n{commands}\n```\n\n{lines}'
