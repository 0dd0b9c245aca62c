"""Tables in Markdown, CSV and LaTeX, made from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.aggregate import TITLES, group_by_setting, summarise
from benchmarks.config import CONFIGS
from benchmarks.records import read_records
from benchmarks.reported_values import MARKS, MEANINGS, marked, reported_methods, reported_value
from dpq.errors import InputError
from dpq.files import write_atomically

KS = (1, 10, 100, 500, 1000)
VIEWS = {
    "centre": "centre crop.",
    "mirror": "mean embedding of the centre crop and its mirror image, for queries and database of every method "
    "(the papers' crops at evaluation differ).",
}
DENOMINATORS = {
    "hits": "divided by the relevant images inside the cut",
    "total": "divided by all relevant images",
    "capped": "divided by the smaller of the cut and all relevant images",
}


def make_tables(output: Path, experiment: str) -> dict[str, str]:
    """The files of an experiment's table, by name.

    Raises:
        InputError: there are no records.
    """
    records = read_records(output, experiment)
    if not records:
        raise InputError(
            f"no records under {output / experiment / 'runs'}; make them with: python -m benchmarks run {experiment}"
        )
    groups = group_by_setting(records)
    sections = [_markdown_section(group) for group in groups.values()]
    notes = CONFIGS / f"{experiment}.md"  # what a reader must know of the result, written by hand
    if notes.is_file():
        sections.append("Notes:\n\n" + notes.read_text(encoding="utf-8").strip())
    summaries = [summarise(group).assign(setting=key) for key, group in groups.items()]
    latex = [_latex(group) for group in groups.values()]
    return {
        "table.md": f"# {experiment}\n\n" + "\n\n".join(sections) + "\n",
        "table.csv": pd.concat(summaries).to_csv(index=False, float_format="%.6f", lineterminator="\n"),
        "table.tex": "\n\n".join(latex) + "\n",
    }


def write_tables(output: Path, experiment: str) -> list[Path]:
    """Write `table.md`, `table.csv` and `table.tex` of an experiment."""
    paths = []
    for name, text in make_tables(output, experiment).items():
        paths.append(output / experiment / name)
        write_atomically(paths[-1], text)
    return paths


def check_tables(output: Path, experiment: str) -> None:
    """Refuse tables that are not what the records give.

    Raises:
        InputError: names the first file that differs.
    """
    for name, text in make_tables(output, experiment).items():
        path = output / experiment / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            raise InputError(
                f"{path} is not what the records give; renew it with: python -m benchmarks table {experiment}"
            )


def _value(mean: float, deviation: float, seeds: int) -> str:
    return f"{mean:.3f}" if seeds < 2 else f"{mean:.3f} ± {deviation:.3f}"


def main_table(records: list[dict[str, Any]]) -> pd.DataFrame:
    """MAP by method and length: our rows, under each the paper's and the difference, then the other papers' rows."""
    summary = summarise(records)
    lengths = sorted(summary["bits"].unique())
    rows: list[dict[str, str]] = []
    for keys, part in summary.groupby(["method", "variant", "method_settings"], sort=True):
        method, variant = str(keys[0]), str(keys[1])
        by_bits = part.set_index("bits")
        seeds = int(part["seeds"].iloc[0])
        name = f"{TITLES[method]}, {variant} variant"

        def cells(make: Any, by_bits: pd.DataFrame = by_bits) -> dict[str, str]:
            return {f"{b} bits": make(by_bits.loc[b]) if b in by_bits.index else "" for b in lengths}

        rows.append(
            {"method": name, "source": f"ours, n = {seeds}"}
            | cells(lambda r: _value(r["map"], r["map_sd"], r["seeds"]))
        )
        if part["paper_map"].notna().any():
            rows.append({"method": "", "source": "paper"} | cells(lambda r: _paper_cell(r)))
            rows.append({"method": "", "source": "difference"} | cells(lambda r: _difference(r["difference"])))
        rows.append({"method": "", "source": "exact search, float features"} | cells(lambda r: f"{r['float_map']:.3f}"))
    return pd.DataFrame(rows + _other_papers(records, [int(b) for b in lengths]))


def _paper_cell(row: pd.Series[Any]) -> str:
    return "missing" if pd.isna(row["paper_map"]) else f"{row['paper_map']:.3f}{MARKS[row['paper_status']]}"


def _difference(value: float) -> str:
    return "" if pd.isna(value) else f"{value:+.3f}"


def _other_papers(records: list[dict[str, Any]], lengths: list[int]) -> list[dict[str, str]]:
    config, dataset = records[0]["config"], records[0]["protocol"]
    if config["limit"] is not None or config["validation"]:
        return []
    ours = {TITLES[record["method"]] for record in records}
    return [
        {"method": name, "source": "paper"} | {f"{b} bits": marked(reported_value(dataset, name, b)) for b in lengths}
        for name in reported_methods(dataset)
        if name not in ours
    ]


def _detail_tables(records: list[dict[str, Any]]) -> str:
    summary = summarise(records)
    names = summary["method"].map(TITLES) + ", " + summary["variant"]
    precision = pd.DataFrame({"method": names, "bits": summary["bits"]})
    for k in KS:
        precision[f"P@{k}"] = summary[f"precision_at_{k}"].map("{:.3f}".format)
    ties = pd.DataFrame({"method": names, "bits": summary["bits"]})
    for title, column in {
        "mAP": "map",
        "÷ all relevant": "map_total",
        "÷ min(cut, relevant)": "map_capped",
        "worst tie order": "map_worst",
        "best tie order": "map_best",
        "argsort order": "map_ties_index",
    }.items():
        ties[title] = summary[column].map("{:.4f}".format)
    ties["distinct codes"] = summary["distinct_codes"].map("{:.0f}".format)
    ties["reconstruction error"] = summary["reconstruction_mse"].map("{:.3f}".format)
    runs = pd.DataFrame(
        [
            {
                "run": f"[{r['id']}](runs/{r['id']}.json)",
                "seed": r["seed"],
                "train s": f"{r['seconds']['train']:.0f}",
                "encode images/s": f"{r['images_per_second']['encode']:.0f}",
                "class. accuracy": f"{r['classification_accuracy']:.3f}",
                "device": _device(r["environment"]),
                "commit": r["environment"]["commit"][:10] + r["environment"]["commit"][40:],
            }
            for r in sorted(records, key=lambda r: r["id"])
        ]
    )
    return "\n\n".join(
        [
            "Precision at K:",
            precision.to_markdown(index=False, disable_numparse=True),
            "Ties, denominators and reconstruction (mean squared distance of the database embeddings):",
            ties.to_markdown(index=False, disable_numparse=True),
            "Runs (one training each serves all lengths):",
            runs.to_markdown(index=False, disable_numparse=True),
        ]
    )


def _device(environment: dict[str, Any]) -> str:
    if environment["device"] != "cpu":
        return str(environment["device"])
    return f"{environment['cpu']}, {environment['threads']} threads"


def _describe(record: dict[str, Any]) -> str:
    data, backbone, config = record["data"], record["backbone"], record["config"]
    training = config["training"]
    cut = "the whole database" if record["cut"] is None else f"the first {record['cut']} ranks"
    lines = [
        f"- Data: `{data['variant']}`, {data['train']:,} training, {data['query']:,} query, {data['database']:,} "
        f"database images (fingerprint `{data['fingerprint'][:12]}`).",
        f"- Backbone: `{backbone['name']}` at {backbone['image_size']} pixels, weights `{backbone['weights']}`, "
        f"{backbone['embedding_dim']}-d embedding; label vectors: {config['label_vectors']['source']}.",
        f"- Training: {training['epochs']} epochs, batch {training['batch_size']}, {training['optimizer']}, "
        f"learning rate {training['learning_rate']:g}, precision {training['precision']}. Evaluation: "
        + VIEWS[training["evaluation_views"]],
        f"- mAP over {cut}, expected value over tie orders, {DENOMINATORS[record['ap_denominator']]}; "
        "n is the number of seeds, ± the standard deviation over them.",
    ]
    if config["validation"]:
        lines.insert(0, "- **Validation part of the training set, for choosing settings; not the protocol's queries.**")
    if config["limit"] is not None:
        lines.insert(0, f"- **A subset of about {config['limit']} images a split; not comparable with any paper.**")
    return "\n".join(lines)


def _marks_note(text: str) -> str:
    notes = [f"{MARKS[status]} {meaning}." for status, meaning in MEANINGS.items() if MARKS[status] in text]
    if data_note := ("The papers used the original CIFAR-10 pixels." if "cifar10-jpeg" in text else ""):
        notes.append(data_note)
    return "Values of the papers carry their status: " + " ".join(notes) if notes else ""


def _markdown_section(records: list[dict[str, Any]]) -> str:
    described = _describe(records[0])
    table = main_table(records).to_markdown(index=False, disable_numparse=True)
    parts = [described, "mAP:", table, _marks_note(described + table), _detail_tables(records)]
    return "\n\n".join(part for part in parts if part)


def _latex(records: list[dict[str, Any]]) -> str:
    table = main_table(records)
    for mark, command in {"†": r"$^\dagger$", "‡": r"$^\ddagger$", "§": r"$^\S$", "±": r"$\pm$"}.items():
        table = table.map(lambda cell, m=mark, c=command: cell.replace(m, c))
    data, backbone = records[0]["data"], records[0]["backbone"]
    caption = (
        f"mAP on {data['variant']} ({data['train']} train, {data['query']} query, {data['database']} database), "
        f"{backbone['name']} at {backbone['image_size']} pixels; evaluation: "
        f"{VIEWS[records[0]['config']['training']['evaluation_views']]} "
    )
    notes = [
        f"{command}: {MEANINGS[s]}."
        for s, command in _LATEX_MARKS.items()
        if command in "".join(table.to_numpy().ravel())
    ]
    caption = (caption + " ".join(notes)).replace("_", r"\_")
    return str(table.to_latex(index=False, escape=False, caption=caption.strip(), position="t", column_format="llrrrr"))


_LATEX_MARKS = {"checked": r"$^\dagger$", "derived": r"$^\ddagger$", "unverified": r"$^\S$"}
