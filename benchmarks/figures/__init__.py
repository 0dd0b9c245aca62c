"""Figures, SVG and PNG, made from records and exhibits alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures.ablations import ablations_figure
from benchmarks.figures.gallery import gallery_figure
from benchmarks.figures.lengths import map_figure
from benchmarks.figures.levels import levels_figure
from benchmarks.figures.projection import projection_figure
from benchmarks.figures.retrieval import precision_at_k_figure, precision_recall_figure
from benchmarks.figures.style import SUFFIXES, files_of, style
from benchmarks.figures.ties import ties_figure
from benchmarks.figures.training import training_figure
from benchmarks.study import Section, Study
from dpq.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Each gives None where there is nothing to draw it from.
FIGURES: dict[str, Callable[[Section], Figure | None]] = {
    "map": map_figure,
    "precision_recall": precision_recall_figure,
    "precision_at_k": precision_at_k_figure,
    "levels": levels_figure,
    "training": training_figure,
    "projection": projection_figure,
    "gallery": gallery_figure,
    "ablations": ablations_figure,
    "ties": ties_figure,
}


def figure_files() -> set[str]:
    """Names of all files that figures are written to."""
    return {name + suffix for name in FIGURES for suffix in SUFFIXES}


def make_figures(study: Study) -> dict[str, bytes]:
    """The files of all figures of an experiment's first setting, by name; the same records give the same bytes.

    Raises:
        InputError: a damaged exhibit, or matplotlib is not installed.
    """
    files: dict[str, bytes] = {}
    with style(study.experiment):
        for name, draw in FIGURES.items():
            figure = draw(study.sections[0])
            if figure is not None:
                files |= files_of(name, figure)
    return files


def draw_figures(study: Study) -> list[Path]:
    """Write what `make_figures` gives, and remove figures that have nothing to be drawn from any more.

    Raises:
        InputError: as `make_figures`; the folder cannot be written.
    """
    files = make_figures(study)
    folder = study.output / study.experiment
    for name, content in files.items():
        write_atomically(folder / name, content)
    for stale in figure_files() - files.keys():
        (folder / stale).unlink(missing_ok=True)
    return [folder / name for name in files]
