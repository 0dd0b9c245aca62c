"""Figure: some queries and the images that their codes bring nearest, at every length."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.exhibits.exhibit import Gallery, Query
from benchmarks.exhibits.store import exhibit_path, read_sprite
from benchmarks.figures.series import setting_line
from benchmarks.figures.style import DPI, SMALL, new_figure
from benchmarks.report.statistics import row_title
from benchmarks.report.study import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WRONG = "#D55E00"
TILE = 72  # pixels of a tile in the PNG, about
GAP = 0.14  # of a tile, between two
EDGE = GAP / (1 + GAP) / 2  # of the place of a tile, around it
LEFT = 3.0  # tiles left of the nearest: the query and the code length
BETWEEN = 0.9  # tiles between two columns of queries
STACKED = 4  # more queries than that stand in two columns
NOTE = (
    "Thick frame with a cross: no class in common with the query. Nearest first; ties are in the order of the database."
    "\nTied: database images that are as near as the last one shown."
)


def gallery_figure(section: Section) -> Figure | None:
    """A block per query, a row per code length; of the first run that has the exhibit."""
    shown = section.shown(Gallery)
    if shown is None:
        return None
    record, exhibit = shown
    sprite = read_sprite(exhibit_path(section.output, section.experiment, record.id, "gallery"), exhibit)
    queries, blocks = exhibit.queries, 1 if len(exhibit.queries) <= STACKED else 2
    height = max(len(query.lengths) for query in queries) + 0.5
    width = LEFT + max(len(length.nearest) for query in queries for length in query.lengths)
    rows, columns = height * -(-len(queries) // blocks), blocks * (width + BETWEEN)
    inches = exhibit.side * max(1, round(TILE / exhibit.side)) / DPI * (1 + GAP)
    title = f"Nearest database images, {row_title(record.method, record.variant)}, seed {record.seed}"
    figure = new_figure(columns * inches + 0.2, rows * inches + 0.8, f"{title}\n{setting_line(record)}")
    axes = figure.add_subplot()
    axes.axis("off")
    for place, query in enumerate(queries):
        row, column = divmod(place, blocks)
        _block(axes, sprite, exhibit, query, (LEFT + column * (width + BETWEEN), row * height))
    axes.set(xlim=(-BETWEEN / 2, columns - BETWEEN / 2), ylim=(rows, 0), aspect="equal")
    figure.supxlabel(NOTE, fontsize=SMALL)
    return figure


def _block(axes: Axes, sprite: NDArray[np.uint8], exhibit: Gallery, query: Query, corner: tuple[float, float]) -> None:
    """One query: itself at the left of `corner` with its classes, right of it the nearest, a row for each length."""
    left, top = corner
    _show(axes, sprite, exhibit, query.image, left - LEFT, top)
    labels = exhibit.images[query.image].labels
    names = textwrap.fill(", ".join(exhibit.classes[label] for label in labels), 14)
    axes.text(left - LEFT + 0.5, top + 1.02, names, ha="center", va="top", fontsize=SMALL)
    for row, length in enumerate(query.lengths):
        said = f"{length.bits} bits" + (f"\n{length.tied:,} tied" if length.tied > 1 else "")
        axes.text(left - 0.15, top + row + 0.5, said, ha="right", va="center", fontsize=SMALL)
        for column, image in enumerate(length.nearest):
            _show(axes, sprite, exhibit, image, left + column, top + row)
            if set(labels).isdisjoint(exhibit.images[image].labels):
                _frame(axes, left + column, top + row)


def _show(axes: Axes, sprite: NDArray[np.uint8], exhibit: Gallery, index: int, x: float, y: float) -> None:
    """Image `index` of a sprite [rows, columns, 3]."""
    side, (row, column) = exhibit.side, divmod(index, exhibit.columns)
    pixels = sprite[row * side : (row + 1) * side, column * side : (column + 1) * side]
    extent = (x + EDGE, x + 1 - EDGE, y + 1 - EDGE, y + EDGE)
    axes.imshow(pixels, extent=extent, interpolation="nearest", aspect="equal")


def _frame(axes: Axes, x: float, y: float) -> None:
    """A frame that is seen in grey too, with a cross in a corner."""
    from matplotlib.patches import Rectangle

    side = 1 - 2 * EDGE
    axes.add_patch(Rectangle((x + EDGE, y + EDGE), side, side, fill=False, edgecolor=WRONG, linewidth=3, label="wrong"))
    axes.plot(x + 0.84, y + 0.84, marker="s", markersize=7, color="white", linestyle="none", zorder=5)
    axes.plot(x + 0.84, y + 0.84, marker="x", markersize=6, markeredgewidth=2, color=WRONG, linestyle="none", zorder=6)
