"""Figures, SVG and PNG, made from records alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.aggregate import group_by_setting, records_of, row_title, rows_of, summarise
from benchmarks.class_splits import held_out
from benchmarks.methods import METHODS
from dpq.errors import InputError
from dpq.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One colour and one marker per method, everywhere; Okabe and Ito's palette and a grey; markers tell them apart in grey.
STYLES = {
    "dpq": ("#0072B2", "o"),
    "dtq": ("#D55E00", "s"),
    "dqn": ("#009E73", "^"),
    "pq": ("#000000", "D"),
    "rq": ("#E69F00", "v"),
    "pq-dpq": ("#56B4E9", "P"),
    "rq-dpq": ("#CC79A7", "X"),
    "label-code": ("#999999", "*"),
}
LINES = {"once": "-", "each": "-", "truncated": "--"}


def draw_figures(output: Path, experiment: str) -> list[Path]:
    """Draw mAP against code length and the precision-recall curves of an experiment's first setting.

    Raises:
        InputError: no records, or matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise InputError("figures need matplotlib; install it with: pip install '.[figures]'") from error
    group = next(iter(group_by_setting(records_of(output, experiment)).values()))
    matplotlib.use("Agg")
    # Fixed identifiers and no date: the same records give the same file.
    with matplotlib.rc_context({"svg.hashsalt": experiment, "font.size": 9, "savefig.bbox": "tight"}):
        drawn = {"map": _map_figure(group), "precision_recall": _curves_figure(group)}
        return [path for name, figure in drawn.items() for path in _save(figure, output / experiment / name)]


def _save(figure: Figure, stem: Path) -> list[Path]:
    paths = []
    for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
        stream = io.BytesIO()
        figure.savefig(stream, format=suffix[1:], dpi=160, metadata=metadata)
        paths.append(stem.with_suffix(suffix))
        write_atomically(paths[-1], stream.getvalue())
    return paths


def _axes(title: str, xlabel: str, ylabel: str, size: tuple[float, float]) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    axes = figure.add_subplot(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    return figure, axes


def _map_figure(records: Sequence[dict[str, Any]]) -> Figure:
    data = records[0]["data"]["variant"]
    figure, axes = _axes(f"mAP by code length, {data}", "code length [bits]", "mAP", (5.2, 4.2))
    summary = summarise(records)
    for title, part in rows_of(summary):
        method, variant, training = str(part["method"].iloc[0]), part["variant"].iloc[0], part["training"].iloc[0]
        colour, marker = STYLES[method]
        axes.errorbar(
            part["bits"],
            part["map"],
            part["map_sd"] if part["map_sd"].notna().all() else None,
            color=colour,
            marker=marker,
            markerfacecolor=colour if variant == "paper" else "white",
            linestyle=LINES[training],
            linewidth=1.4,
            markersize=5,
            capsize=2,
            zorder=4 if method == "dpq" else 3,
            label=title,
        )
    papers = summary.dropna(subset="paper_map").drop_duplicates(["method", "bits"])
    for name, part in papers.groupby("method", sort=False):
        colour, marker = STYLES[str(name)]
        axes.plot(
            part["bits"],
            part["paper_map"],
            color=colour,
            marker=marker,
            markersize=4,
            markerfacecolor="white",
            linewidth=1,
            linestyle=":",
            label=f"{METHODS[str(name)].title}, as printed",
        )
    axes.set_xticks(sorted(summary["bits"].unique()))
    lines, titles = axes.get_legend_handles_labels()
    order = sorted(range(len(titles)), key=lambda i: "as printed" in titles[i])
    figure.legend(
        [lines[i] for i in order],
        [titles[i] for i in order],
        loc="upper left",
        bbox_to_anchor=(0.92, 0.9),
        frameon=False,
        fontsize=8,
    )
    return figure


def _curves_figure(records: Sequence[dict[str, Any]]) -> Figure:
    """Precision and recall of the paper's own method, or of the first there is, at every length."""
    own = [r for r in records if r["method"] == "dpq"] or list(records)
    first = min(own, key=lambda r: (r["variant"], r["config"]["split_seed"], r["seed"], -len(r["lengths"]), r["id"]))
    title = row_title(first["method"], first["variant"], "once", 0)
    figure, axes = _axes(
        ", ".join([title, f"seed {first['seed']}", first["data"]["variant"], *held_out(first).values()]),
        "recall (of all relevant images)",
        "precision",
        (4.6, 3.4),
    )
    colours = ("#000000", "#0072B2", "#D55E00", "#009E73")
    for entry, colour, line in zip(first["lengths"], colours, ("-", "--", "-.", ":"), strict=False):
        recall, precision = zip(*entry["pr"], strict=True)
        axes.plot(recall, precision, color=colour, linestyle=line, label=f"{entry['bits']} bits")
    axes.set_ylim(0, 1.02)
    axes.legend()
    return figure
