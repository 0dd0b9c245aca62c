"""Figure: how each cost grows, on logarithmic axes, with the fitted exponents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.figures.style import new_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS, ONCE = "Medians", "Seconds"  # titles of the tables that a figure is drawn from
# Costs are no methods, so they share the palette and not the legend; markers tell them apart in grey.
LOOKS = {
    "evaluation": ("#0072B2", "o"),
    "encoding": ("#D55E00", "s"),
    "initialisation": ("#009E73", "^"),
    "training step": ("#000000", "D"),
    "whole run": ("#000000", "D"),
    "train": ("#009E73", "^"),
    "encode": ("#D55E00", "s"),
    "evaluate": ("#0072B2", "o"),
}
# What costs grow with; the last letter is the symbol.
LABELS = {
    "images": "images N",
    "levels": "levels M",
    "codewords": "codewords a level K",
    "batch": "images of a batch B",
    "classes": "classes L",
    "bits": "bits B",
    "seeds": "seeds S",
}


def growth_figure(report: Mapping[str, Any]) -> Figure:
    """Seconds as points, a dotted line of the fitted exponent; a panel for each size that grows."""
    drawn_from = next(table for table in report["tables"] if table["title"] in (POINTS, ONCE))
    curves = list(points_of(drawn_from["rows"]))
    grown = [size for size in LABELS if any(curve[1] == size for curve in curves)]
    title = f"How each cost grows: {drawn_from['title'].lower()}, and the power that fits them best (dotted)"
    figure, drawn = new_panels(9.2, 0, 7.2, title, len(grown), 2)
    for axes, size in zip(drawn, grown, strict=True):
        own = [curve for curve in curves if curve[1] == size]
        for cost, _, sizes, seconds in own:
            _draw(axes, cost, LABELS[size][-1], sizes, seconds)
        axes.set(xscale="log", yscale="log", xlabel=LABELS[size], ylabel="seconds")
        _mark_sizes(axes, sorted({one for curve in own for one in curve[2]}))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
    return figure


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Slope of the least-squares line through the logarithms, without the last digits, which are the processor's."""
    return round(float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0]), 6)


def points_of(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, list[int], list[float]]]:
    """Cost, what it grows with, sizes and seconds of each curve, from the rows of the table of medians."""
    for (cost, grown), own in groupby(rows, itemgetter("cost", "grows with")):
        sizes, seconds = zip(*map(itemgetter("size", "seconds"), own), strict=True)
        yield cost, grown, list(sizes), list(seconds)


def _draw(axes: Axes, cost: str, symbol: str, sizes: list[int], seconds: list[float]) -> None:
    colour, marker = LOOKS[cost]
    slope = exponent(sizes, seconds)
    fitted = np.exp(np.mean(np.log(seconds)) + slope * (np.log(sizes) - np.mean(np.log(sizes))))
    axes.plot(sizes, [float(f"{one:.6g}") for one in fitted], color=colour, linestyle=":", linewidth=1)
    title = f"{cost}, ${symbol}^{{{slope:.2f}}}$"
    axes.plot(sizes, seconds, color=colour, marker=marker, linestyle="none", label=title)


def _mark_sizes(axes: Axes, sizes: list[int]) -> None:
    """A tick for every other size where there are many, written out."""
    from matplotlib.ticker import NullFormatter, NullLocator

    shown = sizes[:: 1 + (len(sizes) > 5)]
    axes.set_xticks(shown, [f"{size:,}" for size in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
