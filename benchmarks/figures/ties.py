"""Figure: what the order among equal distances does to mAP."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.figures.material import Material, Record, Series, repetition_of, series_of, setting_line
from benchmarks.figures.style import dodged, legend_below, new_figure, panels, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
MARKS = ("<", "x", ">", "+", "1")
WIDTH = 0.8  # of the step between two lengths, for the bar of one


@dataclass(frozen=True)
class Ties:
    """One method: its row of the table, the seed, and by code length the record's entry and argsort's mAP by order."""

    row: Series
    seed: int
    lengths: dict[int, tuple[Record, dict[str, float]]]


def ties_figure(material: Material) -> Figure | None:
    """Worst and best order of ties, the exact expectation, and argsort's value in several orders of the database."""
    found = ties_of(material)
    if not found:
        return None
    columns = min(COLUMNS, len(found))
    title = f"mAP and the order of ties, lowest seed\n{setting_line(material.records)}"
    figure = new_figure(max(3.3 * columns, 6.4), 1.3 + 2.9 * -(-len(found) // columns), title)
    drawn = panels(figure, len(found), columns)
    for place, (axes, ties) in enumerate(zip(drawn, found, strict=True)):
        _panel(axes, ties)
        axes.set_ylabel("mAP" if place % columns == 0 else "")
    legend_below(figure, drawn[0], 3)
    return figure


def ties_of(material: Material) -> list[Ties]:
    """One a method and variant, of the lowest repetition that has exhibits.

    That is the row of codes trained for their length, unless more lengths of truncated ones have an exhibit.
    """
    made = {record["id"]: exhibit for record, exhibit in material.exhibits("ties")}
    found: dict[tuple[str, str], Ties] = {}
    for row in series_of(material.records):
        having = [r for records in row.records.values() for r in records if r["id"] in made]
        if not having:
            continue
        lowest = min(map(repetition_of, having))
        lengths = {
            bits: _length(record, made[record["id"]], bits)
            for bits, records in sorted(row.records.items())
            for record in records
            if record["id"] in made and repetition_of(record) == lowest
        }
        known = found.get((row.method, row.variant))
        if known is None or len(lengths) > len(known.lengths):
            found[row.method, row.variant] = Ties(row, lowest[1], lengths)
    return list(found.values())


def _length(record: Record, exhibit: Record, bits: int) -> tuple[Record, dict[str, float]]:
    entry = next(entry for entry in record["lengths"] if entry["bits"] == bits)
    return entry, next(length["orders"] for length in exhibit["lengths"] if length["bits"] == bits)


def _panel(axes: Axes, ties: Ties) -> None:
    colour = style_of(ties.row.method)[0]
    entries = [entry for entry, _ in ties.lengths.values()]
    orders = [order for _, order in ties.lengths.values()]
    places = list(range(len(entries)))
    worst = [entry["map_bounds"][0] for entry in entries]
    heights = [entry["map_bounds"][1] - entry["map_bounds"][0] for entry in entries]
    axes.use_sticky_edges = False  # the ends of bars stay off the frame
    axes.bar(places, heights, WIDTH, bottom=worst, color="0.88", edgecolor=colour, label="worst to best order of ties")
    axes.hlines(
        [entry["map"] for entry in entries],
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
