"""Figures, SVG and PNG, made from records and exhibits alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.figures.ablations import ablations_figure
from benchmarks.figures.data import data_figure
from benchmarks.figures.gallery import gallery_figure
from benchmarks.figures.lengths import every_row_figure, map_figure
from benchmarks.figures.levels import levels_figure
from benchmarks.figures.projection import projection_figure
from benchmarks.figures.retrieval import precision_at_k_figure, precision_recall_figure
from benchmarks.figures.style import SUFFIXES, files_of, style
from benchmarks.figures.ties import ties_figure
from benchmarks.figures.training import cost_figure, training_figure
from benchmarks.figures.tuning import tuning_figure
from benchmarks.records.record import BUDGETS
from benchmarks.report.study import Section, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# How a figure is drawn, None where there is nothing to draw it from, and what it shows; in the order of the page.
FIGURES: dict[str, tuple[Callable[[Section], Figure | None], str]] = {
    "map": (
        map_figure,
        "mAP against code length, with 95 % intervals over repetitions; lines join equal n; dotted: as printed.",
    ),
    "every_row": (every_row_figure, "mAP against code length of every row of the table, truncated codes among them."),
    "cost": (
        cost_figure,
        "mAP against the seconds of training that all lengths take; hollow: beside other runs.",
    ),
    "data": (data_figure, "mAP of DPQ on several copies of the same images, with 95 % intervals; all else is equal."),
    "ablations": (ablations_figure, "What each change to DPQ does to mAP, with 95 % intervals, paired over seeds."),
    "precision_recall": (precision_recall_figure, "Precision and recall of the longest codes."),
    "precision_at_k": (precision_at_k_figure, "Precision among the first K, by the longest codes."),
    "levels": (levels_figure, "Reconstruction error and use of the codewords, level by level."),
    "training": (training_figure, "Loss terms of the deep methods, epoch by epoch."),
    "tuning": (tuning_figure, "Every trial of every study, by each setting that was searched: how flat an optimum is."),
    "ties": (
        ties_figure,
        "mAP of the same codes by argsort in three orders of the database, the exact value, and its bounds.",
    ),
    "projection": (projection_figure, "t-SNE of the reconstructions at each code length."),
    "gallery": (
        gallery_figure,
        "Queries, drawn by a seed, and their ten nearest images at each length; wrong ones are framed.",
    ),
}


def figure_files() -> set[str]:
    """Names of all files that figures are written to."""
    return {name + suffix for name in FIGURES for suffix in SUFFIXES}


def make_figures(study: Study) -> dict[str, bytes]:
    """The files of all figures of an experiment's first setting, by name; the same records give the same bytes.

    Each is of one reading, the first that it can be drawn from, and says which where records are tuned.

    Raises:
        InputError: a damaged exhibit, or matplotlib is not installed.
    """
    files: dict[str, bytes] = {}
    with style(study.experiment):
        for name, (draw, _) in FIGURES.items():
            for section in study.readings:
                figure = draw(section) if section.records else None
                if figure is not None:
                    if section.other or section.reading == BUDGETS:
                        figure.suptitle(f"{figure.get_suptitle()}\n{section.reading}")
                    files |= files_of(name, figure)
                    break
    return files
