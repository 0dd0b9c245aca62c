"""Records of brought codes as rows, which stand apart from those of our own runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import pandas as pd

from benchmarks.records.record import KS, Brought

_RANKED = {
    "inner": "inner product with reconstructions",
    "l2": "distance to reconstructions",
    "symmetric": "inner product of reconstructed queries",
}
_EXACT = {"inner": "exact search by inner product", "l2": "exact search by distance"}


def ranked_by(record: Brought) -> str:
    """How the database was ranked."""
    if record.brought.kind == "binary":
        return "Hamming distance"
    return (_EXACT if record.brought.kind == "embeddings" else _RANKED)[record.score]


def brought_rows(records: Sequence[Brought]) -> pd.DataFrame:
    """One row per record and code length, by name: what brought.csv has."""
    return pd.DataFrame(
        [
            {
                "name": record.name,
                "ranked_by": ranked_by(record),
                "bits": length.bits,
                "map": length.map,
                "map_low": interval and interval[0],
                "map_high": interval and interval[1],
                "map_total": length.map_total,
                "map_capped": length.map_capped,
                "map_ties_index": length.map_ties_index,
                "map_worst": length.map_bounds[0],
                "map_best": length.map_bounds[1],
                **{f"map_at_{cut}": value for cut, value in length.map_at.items()},
                **({} if length.map_coarse is None else {"map_coarse": length.map_coarse}),
                **{f"precision_at_{k}": length.precision_at[str(k)] for k in KS},
                "distinct_codes": length.distinct_codes,
                "split_seed": record.split_seed,
                "fingerprint": record.data.fingerprint,
                "record": record.id,
            }
            for record in sorted(records, key=lambda record: (record.name, record.split_seed, record.id))
            for length, interval in zip(record.lengths, record.intervals, strict=True)
        ]
    )


def brought_lines(record: Brought) -> list[str]:
    """What a terminal shows of a record: a line for each length."""
    return [
        f"{record.name}, {row['bits']} bits, {row['ranked_by']}: mAP {_interval(row)}, "
        f"{row['map_worst']:.4f} to {row['map_best']:.4f} by the order of ties; precision at 10 "
        f"{row['precision_at_10']:.4f}"
        for _, row in brought_rows([record]).iterrows()
    ]


def brought_section(records: Sequence[Brought]) -> str:
    """The tables of brought codes in Markdown, one for each set of images and definition of mAP."""

    def common(record: Brought) -> tuple[str, str, str, int, str]:
        cut = record.cut or record.data.database
        return record.data.variant, record.data.fingerprint[:12], str(record.split_seed), cut, record.ap_denominator

    parts = []
    for (variant, images, split, cut, denominator), group in groupby(sorted(records, key=common), common):
        several = list(group)
        data = several[0].data
        rows = brought_rows(several)
        table = pd.DataFrame(
            {
                "name": rows["name"],
                "ranked by": rows["ranked_by"],
                "bits": rows["bits"].map("{}".format),
                "mAP": [_interval(row) for _, row in rows.iterrows()],
                "worst tie order": rows["map_worst"].map("{:.4f}".format),
                "best tie order": rows["map_best"].map("{:.4f}".format),
                **{f"P@{k}": rows[f"precision_at_{k}"].map("{:.3f}".format) for k in KS},
                "record": rows["record"].map("[json](runs/{0}.json)".format),
            }
        )
        parts.append(
            f"- Data: `{variant}`, split {split}, {data.query:,} query, {data.database:,} database images (fingerprint "
            f"`{images}`).\n- mAP over the first {cut:,} ranks, expected value over tie orders, denominator "
            f"`{denominator}`; in brackets Student's 95 % interval over the queries, of one set of codes: it says "
            "nothing of other trainings.\n\n" + str(table.to_markdown(index=False, disable_numparse=True))
        )
    return (
        "## Brought: codes that were made elsewhere and scored here\n\n**Nothing of how they were made is known to "
        "this project. No published page has them.**\n\n" + "\n\n".join(parts)
    )


def _interval(row: pd.Series) -> str:  # type: ignore[type-arg]
    unknown = pd.isna(row["map_low"])
    return f"{row['map']:.4f}" + ("" if unknown else f" [{row['map_low']:.4f}, {row['map_high']:.4f}]")
