"""The page under a table: of every row the command that makes it again, and the records that it is the mean of."""

from __future__ import annotations

import pandas as pd

from benchmarks.report.details import as_markdown, split_of
from benchmarks.report.pages.anchors import anchored_rows
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


def _section(section: Section) -> str:
    parts = [_row(section, anchor, title, part) for anchor, title, part in anchored_rows(section)]
    backbone, data = section.first.backbone, section.first.data
    listed = (
        f"Setting `{section.key}`{f', {section.reading},' if section.other else ''}"
        f"{' of [table.csv](table.csv)' if section.records else ''}: data `{data.variant}` "
        f"({section.fingerprints}), backbone `{backbone.name}`, weights `{backbone.weights}`"
        f"{f' (SHA-256 `{backbone.weights_sha256[:12]}`)' if backbone.weights_sha256 else ''}."
    )
    return "\n\n".join([f"## {section.heading}", listed, *parts])


def _row(section: Section, anchor: str, title: str, part: pd.DataFrame) -> str:
    by_id = {record.id: record for record in section.every}
    ids_at = {int(bits): ids.split() for bits, ids in zip(part["bits"], part["records"], strict=True)}
    records = [by_id[one] for one in {one for ids in ids_at.values() for one in ids}]
    records.sort(key=lambda r: (r.repetition, r.longest, r.id))
    lines = as_markdown(
        [
            {
                "record": f"[{r.id}](runs/{r.id}.json)",
                **split_of(r, section),
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
