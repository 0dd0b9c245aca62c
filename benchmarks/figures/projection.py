"""Figure: the plane in which the codes of a run were laid out, by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.exhibits.exhibit import Projection
from benchmarks.figures.series import setting_line
from benchmarks.figures.style import legend_below, new_figure, panels
from benchmarks.report.statistics import row_title
from benchmarks.report.study import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 2
# Ten classes, each with a colour and a marker of its own; more go round the markers with the colours shifted.
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#CC79A7",
    "#8B7500",
    "#7F3C8D",
    "#888888",
)
MARKERS = ("o", "s", "^", "x", "v", "+", "D", "1", "*", "P")
FILLED = {"edgecolors": "white", "linewidths": 0.3}  # apart where they overlap


def projection_figure(section: Section) -> Figure | None:
    """One panel per code length, points by class; of the first run that has the exhibit."""
    shown = section.shown(Projection)
    if shown is None:
        return None
    record, exhibit = shown
    classes, labels, lengths = exhibit.classes, np.array(exhibit.labels), exhibit.lengths
    rows = -(-len(lengths) // COLUMNS)
    title = row_title(record.method, record.variant, "", 0)
    figure = new_figure(
        8.0,
        1.0 + 3.9 * rows + 0.2 * -(-len(classes) // 5),
        f"Codes laid out in a plane, {title}, seed {record.seed}, {len(labels)} images\n{setting_line(record)}",
    )
    drawn = panels(figure, len(lengths), COLUMNS)
    for place, (axes, length) in enumerate(zip(drawn, lengths, strict=True)):
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
        axes.set(title=f"{length.bits} bits", xticks=[], yticks=[])
        axes.set_ylabel("second axis (no unit)" if place % COLUMNS == 0 else "")
        axes.set_xlabel("first axis (no unit)")
    legend_below(figure, drawn[0], 5, markerscale=1.6)
    return figure
