"""The page under a table: of every row the command that makes it again, and the records that it is the mean of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.ablation_table import ablation_rows, sections_of, summarise_ablations
from benchmarks.aggregate import rows_of, setting_title, summarise
from benchmarks.class_splits import held_out
from benchmarks.row_commands import checkout_of, command_of
from benchmarks.row_links import anchors_of
from benchmarks.table_details import as_markdown, device_of, short_commit
from dpq.errors import InputError

Records = Sequence[dict[str, Any]]

INTRODUCTION = """Of every row of [table.md](table.md): the command that makes it again, and the records behind it.

Commands are for the root of the repository. `DPQ_DATA_ROOT` names the folder of the data set, `DPQ_WEIGHTS` the file of
the backbone's weights. A run whose record is in the folder of results is not repeated: name another one with
`--output DIR`. A row of truncated codes is made by the trainings of all lengths."""


def make_row_page(output: Path, experiment: str) -> str:
    """The text of `<output>/<experiment>/rows.md`.

    Raises:
        InputError: there are no records; a record is of an ablation that is not known.
    """
    sections = [_section(key, *pair) for key, pair in sections_of(output, experiment).items()]
    return "\n\n".join([f"# {experiment}, row by row", INTRODUCTION, *sections]) + "\n"


def _section(key: str, records: Records, ablated: Records) -> str:
    rows = list(rows_of(summarise(records))) if records else []
    rows += ablation_rows(summarise_ablations(ablated, records)) if ablated else []
    by_id = {record["id"]: record for record in (*records, *ablated)}
    anchors = anchors_of(key, [title for title, _ in rows])
    parts = [_row(anchor, title, part, by_id) for anchor, (title, part) in zip(anchors, rows, strict=True)]
    first = (*records, *ablated)[0]
    listed = f"Setting `{key}` of [table.csv](table.csv)" if records else f"Setting `{key}`"
    return "\n\n".join([f"## {setting_title(first)}", f"{listed}: {_inputs(first)}.", *parts])


def _inputs(record: dict[str, Any]) -> str:
    """What a run of the record's setting reads."""
    backbone, data = record["backbone"], record["data"]
    fingerprint = data.get("fingerprint_of_all", data["fingerprint"])[:12]
    digest = f" (SHA-256 `{backbone['weights_sha256'][:12]}`)" if backbone["weights_sha256"] else ""
    return (
        f"data `{data['variant']}` (fingerprint `{fingerprint}`), backbone `{backbone['name']}`, weights "
        f"`{backbone['weights']}`{digest}"
    )


def _row(anchor: str, title: str, part: pd.DataFrame, by_id: dict[str, dict[str, Any]]) -> str:
    ids_at = {int(bits): ids.split() for bits, ids in zip(part["bits"], part["records"], strict=True)}
    records = sorted((by_id[one] for one in {one for ids in ids_at.values() for one in ids}), key=_place)
    lines = as_markdown(pd.DataFrame([_line(record, ids_at) for record in records]))
    return f'<a id="{anchor}"></a>\n\n### {title}\n\n{_how(records)}\n\n{lines}'


def _place(record: dict[str, Any]) -> tuple[int, int, int, str]:
    config = record["config"]
    return config["split_seed"], record["seed"], max(config["bits"]), record["id"]


def _line(record: dict[str, Any], ids_at: dict[int, list[str]]) -> dict[str, str]:
    """A record, with mAP at the lengths for which the row reads it."""
    identity, maps = record["id"], {entry["bits"]: entry["map"] for entry in record["lengths"]}
    return {
        "record": f"[{identity}](runs/{identity}.json)",
        **held_out(record),
        "seed": str(record["seed"]),
        **{f"{bits} bits": f"{maps[bits]:.4f}" if identity in ids else "" for bits, ids in ids_at.items()},
        "commit": short_commit(record),
        "device": device_of(record),
    }


def _how(records: Records) -> str:
    try:
        return _block(command_of(records))
    except InputError as error:
        return f"Today's code has no command for this row: {error}.\n\n{_block(checkout_of(records))}"


def _block(commands: str) -> str:
    return f"```bash\n{commands}\n```"
