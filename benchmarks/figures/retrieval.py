"""Figures: precision against recall, and precision at K, of the longest code; the other lengths hardly differ."""

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


def precision_recall_figure(section: Section) -> Figure:
    """Precision against recall at growing ranks, mean over repetitions."""
    figure, axes = _curves(section, "Precision against recall", lambda _, length: length.pr, evenly=True)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall", ylabel="precision")
    return figure


def precision_at_k_figure(section: Section) -> Figure:
    """Precision at K = 1 to 1000, mean over repetitions."""
    figure, axes = _curves(section, "Precision at K", lambda _, length: [(k, length.precision_at[str(k)]) for k in KS])
    axes.set(xscale="log", xlabel="first K ranks [images, log scale]", ylabel="precision at K")
    axes.set_xticks(KS, [str(k) for k in KS])
    axes.minorticks_off()
    return figure


def _curves(
    section: Section, title: str, points: Callable[[Record, Length], Sequence[Any]], *, evenly: bool = False
) -> tuple[Figure, Axes]:
    """One curve per method, through `points` [P, 2] of its records; no truncated codes.

    Markers stand at all points, or `evenly` along the curve and beside those of the others.
    """
    longest = max(section.lengths)
    series = [one for one in series_of(section, whole=True) if longest in one.records]
    setting = setting_line(section.first, series, "curves are means")
    figure, (axes,) = new_panels(6.4, 4.2, 0.8, f"{title}, codes of {longest} bits\n{setting}", 1, 1)
    for index, one in enumerate(series):
        x, y = one.values(longest, points).mean(axis=0).T
        if not evenly:  # side by side on the log axis, or the markers cover each other
            x = np.power(10, dodged(np.log10(x).tolist(), index, len(series), 0.2))
        axes.plot(x, y, markevery=(0.13 * index / len(series), 0.13) if evenly else None, **one.look)
    legend_below(figure, axes, 2)
    return figure, axes
