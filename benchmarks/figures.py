"""Figures, SVG and PNG, made from records alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.aggregate import TITLES, group_by_setting, summarise
from benchmarks.records import read_records
from dpq.errors import InputError
from dpq.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One colour and one marker per method, everywhere; Okabe and Ito's palette, told apart in grey by the markers.
STYLES = {"dpq": ("#0072B2", "o")}
LINES = {"paper": "-", "released": "--"}


def draw_figures(output: Path, experiment: str) -> list[Path]:
    """Draw mAP against code length and the precision-recall curves of an experiment's first setting.

    Raises:
        InputError: no records, or matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise InputError("figures need matplotlib; install it with: pip install '.[figures]'") from error
    records = read_records(output, experiment)
    if not records:
        raise InputError(
            f"no records under {output / experiment / 'runs'}; make them with: python -m benchmarks run {experiment}"
        )
    group = next(iter(group_by_setting(records).values()))
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


def _axes(title: str, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.4))
    axes = figure.add_subplot(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    return figure, axes


def _map_figure(records: Sequence[dict[str, Any]]) -> Figure:
    data = records[0]["data"]["variant"]
    figure, axes = _axes(f"mAP by code length, {data}", "code length [bits]", "mAP")
    summary = summarise(records)
    for keys, part in summary.groupby(["method", "variant", "method_settings"], sort=True):
        method, variant = str(keys[0]), str(keys[1])
        colour, marker = STYLES[method]
        label = f"{TITLES[method]}, {variant} variant"
        errors = part["map_sd"] if part["map_sd"].notna().all() else None
        axes.errorbar(
            part["bits"],
            part["map"],
            errors,
            color=colour,
            marker=marker,
            linestyle=LINES[variant],
            capsize=3,
            label=label,
        )
    papers = summary.dropna(subset="paper_map").drop_duplicates(["method", "bits"])
    for name, part in papers.groupby("method"):
        axes.plot(
            part["bits"],
            part["paper_map"],
            color="0.45",
            marker="x",
            linestyle=":",
            label=f"{TITLES[str(name)]}, as printed",
        )
    axes.set_xticks(sorted(summary["bits"].unique()))
    axes.legend()
    return figure


def _curves_figure(records: Sequence[dict[str, Any]]) -> Figure:
    first = sorted(records, key=lambda r: (r["method"], r["variant"], r["seed"]))[0]
    figure, axes = _axes(
        f"{TITLES[first['method']]}, {first['variant']} variant, seed {first['seed']}, {first['data']['variant']}",
        "recall (of all relevant images)",
        "precision",
    )
    greys = ("#000000", "#0072B2", "#D55E00", "#009E73")
    for entry, colour, line in zip(first["lengths"], greys, ("-", "--", "-.", ":"), strict=False):
        recall, precision = zip(*entry["pr"], strict=True)
        axes.plot(recall, precision, color=colour, linestyle=line, label=f"{entry['bits']} bits")
    axes.set_ylim(0, 1.02)
    axes.legend()
    return figure
