"""Figures: precision against recall, and precision at K, a panel per code length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.figures.series import series_of, setting_line
from benchmarks.figures.style import dodged, legend_below, new_panels
from benchmarks.records.record import KS, Length, Record
from benchmarks.report.study import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2


def precision_recall_figure(section: Section) -> Figure:
    """Precision against recall at growing ranks, mean over repetitions; no truncated codes."""
    figure, drawn = _small_multiples(
        section, "Precision against recall", lambda _, length: length.pr, "recall", "precision", evenly=True
    )
    for axes in drawn:
        axes.set(xlim=(0, 1), ylim=(0, 1))
    return figure


def precision_at_k_figure(section: Section) -> Figure:
    """Precision at K = 1 to 1000, mean over repetitions; no truncated codes."""
    xlabel, ylabel = "first K ranks [images, log scale]", "precision at K"
    figure, drawn = _small_multiples(
        section, "Precision at K", lambda _, length: [(k, length.precision_at[str(k)]) for k in KS], xlabel, ylabel
    )
    for axes in drawn:
        axes.set_xscale("log")
        axes.set_xticks(KS, [str(k) for k in KS])
        axes.minorticks_off()
    return figure


def _small_multiples(
    section: Section,
    title: str,
    points: Callable[[Record, Length], Sequence[Any]],
    xlabel: str,
    ylabel: str,
    *,
    evenly: bool = False,
) -> tuple[Figure, list[Axes]]:
    """One panel per code length, one curve per method, through `points` [P, 2] of its records.

    Markers stand at all points, or `evenly` along the curve and beside those of the others.
    """
    series = series_of(section, whole=True)
    lengths = sorted({bits for one in series for bits in one.records})
    setting = setting_line(section.first, series, "curves are means")
    title = f"{title}\n{setting}"
    figure, drawn = new_panels(7.6, 2.9, 1.0, title, len(lengths), COLUMNS, ylabel, sharex=True, sharey=True)
    for place, (axes, bits) in enumerate(zip(drawn, lengths, strict=True)):
        axes.set_title(f"{bits} bits")
        for index, one in enumerate(series):
            x, y = one.values(bits, points).mean(axis=0).T if bits in one.records else np.empty((2, 0))
            if not evenly:  # side by side on the log axis, or the markers cover each other
                x = np.power(10, dodged(np.log10(x).tolist(), index, len(series), 0.2))
            axes.plot(x, y, markevery=(0.13 * index / len(series), 0.13) if evenly else None, **one.look)
        axes.set_xlabel(xlabel if place + COLUMNS >= len(lengths) else "")
    legend_below(figure, drawn[0], 4)
    return figure, drawn
