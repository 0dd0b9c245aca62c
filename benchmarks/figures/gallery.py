"""Figure: some queries and the images that their codes bring nearest, at every length."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.exhibits.exhibit import Gallery, Nearest, Query
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
    title = row_title(record.method, record.variant, "", 0)
    figure = new_figure(
        columns * inches + 0.2,
        rows * inches + 0.8,
        f"Nearest database images, {title}, seed {record.seed}\n{setting_line(record)}",
    )
    axes = figure.add_subplot()
    axes.axis("off")
    for place, query in enumerate(queries):
        row, column = divmod(place, blocks)
        _block(axes, sprite, exhibit, query, (LEFT + column * (width + BETWEEN), row * height))
    axes.set(xlim=(-BETWEEN / 2, columns - BETWEEN / 2), ylim=(rows, 0), aspect="equal")
    figure.supxlabel(NOTE, fontsize=SMALL)
    return figure


def tile(sprite: NDArray[np.uint8], exhibit: Gallery, index: int) -> NDArray[np.uint8]:
    """Image `index` of a sprite [rows, columns, 3], uint8 [side, side, 3]."""
    side = exhibit.side
    row, column = divmod(index, exhibit.columns)
    return sprite[row * side : (row + 1) * side, column * side : (column + 1) * side]


def is_wrong(exhibit: Gallery, query: int, image: int) -> bool:
    """Whether two images of an exhibit have no class in common."""
    return not set(exhibit.images[query].labels) & set(exhibit.images[image].labels)


def _block(axes: Axes, sprite: NDArray[np.uint8], exhibit: Gallery, query: Query, corner: tuple[float, float]) -> None:
    """One query: itself at the left of `corner` with its classes, right of it the nearest, a row for each length."""
    left, top = corner
    _show(axes, tile(sprite, exhibit, query.image), left - LEFT, top)
    names = [exhibit.classes[label] for label in exhibit.images[query.image].labels]
    axes.text(
        left - LEFT + 0.5,
        top + 1.02,
        "\n".join(textwrap.wrap(", ".join(names), 14)),
        ha="center",
        va="top",
        fontsize=SMALL,
    )
    for row, length in enumerate(query.lengths):
        axes.text(left - 0.15, top + row + 0.5, _said(length), ha="right", va="center", fontsize=SMALL)
        for column, image in enumerate(length.nearest):
            _show(axes, tile(sprite, exhibit, image), left + column, top + row)
            if is_wrong(exhibit, query.image, image):
                _frame(axes, left + column, top + row)


def _said(length: Nearest) -> str:
    """What stands left of a row: the code length, and how many images are as near as the row's last."""
    return f"{length.bits} bits" + (f"\n{length.tied:,} tied" if length.tied > 1 else "")


def _show(axes: Axes, pixels: NDArray[np.uint8], x: float, y: float) -> None:
    edge = GAP / (1 + GAP) / 2
    extent = (x + edge, x + 1 - edge, y + 1 - edge, y + edge)
    axes.imshow(pixels, extent=extent, interpolation="nearest", aspect="equal")


def _frame(axes: Axes, x: float, y: float) -> None:
    """A frame that is seen in grey too, with a cross in a corner."""
    from matplotlib.patches import Rectangle

    edge = GAP / (1 + GAP) / 2
    side = 1 - 2 * edge
    axes.add_patch(Rectangle((x + edge, y + edge), side, side, fill=False, edgecolor=WRONG, linewidth=3, label="wrong"))
    axes.plot(x + 0.84, y + 0.84, marker="s", markersize=7, color="white", linestyle="none", zorder=5)
    axes.plot(x + 0.84, y + 0.84, marker="x", markersize=6, markeredgewidth=2, color=WRONG, linestyle="none", zorder=6)
