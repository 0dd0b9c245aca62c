"""Figure: the plane in which the codes of a run were laid out, by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.exhibits.exhibit import Projection
from benchmarks.figures.series import setting_line
from benchmarks.figures.style import legend_below, new_panels
from benchmarks.report.statistics import row_title
from benchmarks.report.study import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 2
# Ten classes, each with a colour and a marker of its own; more go round the markers with the colours shifted.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#000000", "#E69F00", "#56B4E9", "#CC79A7", "#8B7500", "#7F3C8D", "#888888"]
MARKERS = "os^xv+D1*P"
FILLED = {"edgecolors": "white", "linewidths": 0.3}  # apart where they overlap


def projection_figure(section: Section) -> Figure | None:
    """One panel per code length, points by class; of the first run that has the exhibit."""
    shown = section.shown(Projection)
    if shown is None:
        return None
    record, exhibit = shown
    classes, labels, lengths = exhibit.classes, np.array(exhibit.labels), exhibit.lengths
    said = f"{row_title(record.method, record.variant)}, seed {record.seed}, {len(labels)} images"
    title, rest = f"Codes laid out in a plane, {said}\n{setting_line(record)}", 1.0 + 0.2 * -(-len(classes) // 5)
    figure, drawn = new_panels(8.0, 3.9, rest, title, len(lengths), COLUMNS, "second axis (no unit)")
    for axes, length in zip(drawn, lengths, strict=True):
        points = np.array(length.points)
        for index, name in enumerate(classes):
            shift, place_of_marker = divmod(index, len(MARKERS))
            marker = MARKERS[place_of_marker]
            x, y = points[labels == index].T
            axes.scatter(
                x,
                y,
                s=24,
                **(FILLED if marker in "os^vD*P" else {"linewidths": 1.2}),
                color=COLOURS[(index + shift) % len(COLOURS)],
                marker=marker,
                alpha=0.75,
                rasterized=True,  # thousands of points are megabytes of SVG
                label=name,
            )
        axes.set(title=f"{length.bits} bits", xticks=[], yticks=[], xlabel="first axis (no unit)")
    legend_below(figure, drawn[0], 5, markerscale=1.6)
    return figure
