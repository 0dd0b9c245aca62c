"""Figure: what the order among equal distances does to mAP."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.exhibits.exhibit import Ties
from benchmarks.figures.series import Series, series_of, setting_line
from benchmarks.figures.style import dodged, legend_below, new_panels, style_of
from benchmarks.records.record import Length
from benchmarks.report.study import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
MARKS = ("<", "x", ">", "+", "1")
WIDTH = 0.8  # of the step between two lengths, for the bar of one


@dataclass(frozen=True)
class Shown:
    """One method: its row of the table, the seed, and by code length what the record has and argsort's mAP by order."""

    row: Series
    seed: int
    lengths: dict[int, tuple[Length, Mapping[str, float]]]


def ties_figure(section: Section) -> Figure | None:
    """Worst and best order of ties, the exact expectation, and argsort's value in several orders of the database."""
    found = ties_of(section)
    if not found:
        return None
    columns = min(COLUMNS, len(found))
    title = f"mAP and the order of ties, lowest seed\n{setting_line(section.first)}"
    figure, drawn = new_panels(max(3.3 * columns, 6.4), 2.9, 1.3, title, len(found), columns, "mAP")
    for axes, ties in zip(drawn, found, strict=True):
        _panel(axes, ties)
    legend_below(figure, drawn[0], 3)
    return figure


def ties_of(section: Section) -> list[Shown]:
    """One a method and variant, of the lowest repetition that has exhibits.

    That is the row of codes trained for their length, unless more lengths of truncated ones have an exhibit.
    """
    made = {record.id: {one.bits: one.orders for one in exhibit.lengths} for record, exhibit in section.exhibits(Ties)}
    found: dict[tuple[str, str], Shown] = {}
    for row in series_of(section):
        having = [r for records in row.records.values() for r in records if r.id in made]
        if not having:
            continue
        lowest = min(record.repetition for record in having)
        lengths = {
            bits: (record.at(bits), made[record.id][bits])
            for bits, records in sorted(row.records.items())
            for record in records
            if record.id in made and record.repetition == lowest
        }
        known = found.get((row.method, row.variant))
        if known is None or len(lengths) > len(known.lengths):
            found[row.method, row.variant] = Shown(row, lowest[1], lengths)
    return list(found.values())


def _panel(axes: Axes, ties: Shown) -> None:
    colour = style_of(ties.row.method)[0]
    lengths = [length for length, _ in ties.lengths.values()]
    orders = [order for _, order in ties.lengths.values()]
    places = list(range(len(lengths)))
    worst = [length.map_bounds[0] for length in lengths]
    heights = [length.map_bounds[1] - length.map_bounds[0] for length in lengths]
    axes.use_sticky_edges = False  # the ends of bars stay off the frame
    axes.bar(places, heights, WIDTH, bottom=worst, color="0.88", edgecolor=colour, label="worst to best order of ties")
    axes.hlines(
        [length.map for length in lengths],
        [place - WIDTH / 2 for place in places],
        [place + WIDTH / 2 for place in places],
        color=colour,
        linewidth=2.2,
        label="exact (expected over orders)",
    )
    for index, (name, mark) in enumerate(zip(orders[0], MARKS, strict=False)):
        axes.plot(
            dodged(places, index, len(orders[0]), 0.75 * WIDTH),
            [order.get(name, float("nan")) for order in orders],
            linestyle="none",
            marker=mark,
            markeredgewidth=1.5,
            color="black",
            zorder=5,
            label=f"argsort, database {name}",
        )
    axes.set_xticks(places, [str(bits) for bits in ties.lengths])
    axes.set_title(textwrap.fill(f"{ties.row.title}, seed {ties.seed}", 38))
    axes.set_xlabel("code length [bits]")
