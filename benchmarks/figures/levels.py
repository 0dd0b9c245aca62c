"""Figure: what each level of the codes adds, and how its codewords are used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from benchmarks.figures.series import Series, series_of, setting_line
from benchmarks.figures.style import dodged, draw_intervals, legend_below, new_panels
from benchmarks.records.record import Record
from benchmarks.report.intervals import interval_of_mean
from benchmarks.report.study import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Their levels are parts of the vector, coded side by side, where those of the others are steps on the whole of it.
PRODUCT = ("pq", "pq-dpq", "dqn")
NO_EMBEDDING = ("label-code",)  # reconstructs a class and a confidence, no embedding
NOTE = (
    "Longest code of each method. Dashed: product quantizers, whose levels are parts of the vector. Errors are of each "
    "method's own embedding;\nthose of DPQ and of PQ and RQ on DPQ's embedding are of the same one."
)


def levels_figure(section: Section) -> Figure:
    """Three panels: reconstruction error after each level, codewords used, perplexity; 95 % intervals."""
    series = series_of(section, whole=True)
    size = section.first.config.codebook_size
    setting = setting_line(section.first, series, "bars are 95 % intervals")
    figure, (error, used, perplexity) = new_panels(10.4, 5.0, 0, f"Levels of the codes\n{setting}", 3, 3, sharex=True)
    ends = []
    for index, one in enumerate(series):
        place = index, len(series)
        if one.method not in NO_EMBEDDING:
            ends.append(_curve(error, one, _relative_errors, *place))
        ends.append(_curve(used, one, attrgetter("codewords_used"), *place))
        _curve(perplexity, one, attrgetter("codeword_perplexity"), *place)
    error.set(ylabel="mean squared error / mean squared norm", yscale="log", title="Reconstruction error after a level")
    used.set(ylabel=f"codewords used (of {size})", title="Codewords in use, database")
    perplexity.set(ylabel=f"perplexity [codewords] (at most {size})", title="Perplexity of the codewords")
    for axes in (used, perplexity):
        axes.axhline(size, color="black", linewidth=0.8)
        axes.set_ylim(0, 1.05 * size)
    for axes in (error, used, perplexity):
        axes.set_xlabel("level")
        axes.set_xticks(range(1, max(ends) + 1))
    legend_below(figure, used, 4, NOTE)
    return figure


def _relative_errors(record: Record) -> list[float]:
    """Of each recorded length, in the order of the record."""
    return [length.reconstruction_mse / record.embedding_mean_squared_norm for length in record.lengths]


def _curve(axes: Axes, one: Series, values: Callable[[Record], Sequence[float]], index: int, count: int) -> int:
    """Draw one method's values of all levels, or of those that a recorded length ends with; returns the last level."""
    found = one.values(one.longest, lambda record, _: values(record))
    intervals = [interval_of_mean(column) for column in found.T.tolist()]
    record = one.records[one.longest][0]
    step = record.config.codebook_size.bit_length() - 1  # bits of a level
    levels = [length.bits // step for length in record.lengths]
    if len(intervals) != len(levels):
        levels = list(range(1, len(intervals) + 1))
    line = "--" if one.method in PRODUCT else "-"
    draw_intervals(axes, dodged(levels, index, count, 0.4), intervals, linestyle=line, **one.look)
    return levels[-1]
