"""Figure: mAP against code length."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from benchmarks.figures.series import Series, series_of, setting_line
from benchmarks.figures.style import LINES, dodged, draw_intervals, legend_below, narrowest, new_figure, style_of
from benchmarks.report.intervals import Interval
from benchmarks.report.study import MOST, Section
from benchmarks.setting.methods import METHODS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BIG_GAP = 0.1  # mAP; the axis is broken where no curve lies in more of it than that
BIG_SHARE = 0.25  # and than this share of the whole range
CLOSE = "dpq"  # this method and those on its embedding are drawn larger


def map_figure(section: Section) -> Figure:
    """Of all rows where they are `MOST` at most, else of `Section.main_titles`."""
    return _figure(section, _chosen(section))


def every_row_figure(section: Section) -> Figure | None:
    """Of all rows, where `map_figure` leaves some out."""
    series = series_of(section)
    return _figure(section, series) if len(series) > len(_chosen(section)) else None


def _chosen(section: Section) -> list[Series]:
    series = series_of(section)
    titles = [one.title for one in series] if len(series) <= MOST else section.main_titles
    return [one for one in series if one.title in titles]


def _figure(section: Section, series: Sequence[Series]) -> Figure:
    """Mean over repetitions with 95 % intervals; the papers' values dotted.

    The axis is broken at a big gap. DPQ and the methods on its embedding, which lie close together, have a panel of
    their own as well.
    """
    printed = section.summary.dropna(subset="paper_map").drop_duplicates(["method", "bits"])
    printed = printed[printed["method"].isin({one.method for one in series})]
    extents = [(min(reached), max(reached)) for reached in map(_extent, series)]
    extents += [(float(part.min()), float(part.max())) for _, part in printed.groupby("method")["paper_map"]]
    close = [one for one in series if CLOSE in (one.method, METHODS[one.method].source)]
    ranges, columns = _ranges(extents), 2 if len(close) > 1 else 1
    setting = setting_line(section.first, series, "bars are 95 % intervals for the mean")
    figure = new_figure(9.2 if columns == 2 else 5.6, 6.6, f"mAP against code length\n{setting}")
    spans = [high - low for low, high in ranges]
    ratios = [max(span, 0.3 * max(spans)) for span in spans]
    grid = figure.add_gridspec(len(ranges), columns, height_ratios=ratios)
    stacked = [figure.add_subplot(grid[row, 0]) for row in range(len(ranges))]
    for axes, (low, high) in zip(stacked, ranges, strict=True):
        _draw(axes, series, printed)
        axes.set_ylim(low, high)
    _mark_break(stacked)
    stacked[-1].set_xlabel("code length [bits]")
    if columns == 2:
        axes = figure.add_subplot(grid[:, 1], xlabel="code length [bits]", ylabel="mAP")
        axes.set_title("Close-up: DPQ and its controls")
        _draw_close(axes, close, printed.iloc[:0])
    legend_below(figure, stacked[0], columns)
    return figure


def _extent(one: Series) -> list[float]:
    """Everything that a curve reaches: means and ends of intervals."""
    return [value for bits in one.records for value in one.interval(bits).known]


def _draw_close(axes: Axes, series: Sequence[Series], printed: pd.DataFrame) -> None:
    """All that is reached but a lone point, further below the others than they span: that is said at the edge."""
    _draw(axes, series, printed)
    points = [(one.interval(bits), bits, one) for one in series for bits in one.records]
    lowest, bits, its = min(points, key=lambda point: point[0].mean)
    others = [value for interval, _, _ in points if interval is not lowest for value in interval.known]
    low, high = min(others, default=lowest.mean), max(others, default=lowest.mean)
    if lone := low - max(lowest.known) > high - low > 0:
        edge = axes.get_xaxis_transform()
        axes.text(bits, 0.01, f"\u2193 {lowest.mean:.3f}", transform=edge, ha="center", color=its.look["color"])
    axes.set_ylim(*_padded(low if lone else min(*lowest.known, low), max(*lowest.known, high)))


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.06 * (high - low) or 0.01
    return low - margin, high + margin


def _ranges(extents: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Ranges of the panels, from the top: one, or two on either side of the biggest gap between curves' extents."""
    ordered = sorted(extents)
    bottom, top = ordered[0][0], max(high for _, high in ordered)
    reached = accumulate((high for _, high in ordered), max)  # the top of all curves that start as low or lower
    gaps = [(low - below, below, low) for below, (low, _) in zip(reached, ordered[1:], strict=False)]
    gap, below, above = max(gaps, default=(0.0, bottom, bottom))
    if gap <= max(BIG_GAP, BIG_SHARE * (top - bottom)):
        return [_padded(bottom, top)]
    return [_padded(above, top), _padded(bottom, below)]


def _mark_break(stacked: Sequence[Axes]) -> None:
    """Slanted strokes where the axis is broken; one label for all of it."""
    stacked[0].set_ylabel("mAP" if len(stacked) == 1 else "mAP (axis broken)")
    for above, below in pairwise(stacked):
        above.tick_params(labelbottom=False, bottom=False)
        for axes, y, edge in ((above, 0, "bottom"), (below, 1, "top")):
            axes.spines[edge].set_visible(False)
            axes.plot(
                [0, 1],
                [y, y],
                transform=axes.transAxes,
                marker=[(-1, -0.6), (1, 0.6)],
                markersize=10,
                linestyle="none",
                color="black",
                clip_on=False,
                label="_break",
            )


def _join_equal(axes: Axes, places: Sequence[float], intervals: Sequence[Interval], one: Series) -> None:
    """Lines between neighbours that are means over equally many repetitions."""
    for (x, left), (next_x, right) in pairwise(zip(places, intervals, strict=True)):
        if left.n == right.n:
            ends = [x, next_x], [left.mean, right.mean]
            axes.plot(*ends, color=one.look["color"], linestyle=LINES[one.training], label=f"_{one.title}")


def _draw(axes: Axes, series: Sequence[Series], printed: pd.DataFrame) -> None:
    lengths = sorted({bits for one in series for bits in one.records})
    for index, one in enumerate(series):
        places = dodged(list(one.records), index, len(series), 0.45 * narrowest(lengths))
        intervals = [one.interval(bits) for bits in one.records]
        line = LINES[one.training] if len({interval.n for interval in intervals}) == 1 else "none"
        draw_intervals(axes, places, intervals, linestyle=line, **one.look)
        if line == "none" != LINES[one.training]:
            _join_equal(axes, places, intervals, one)
    for name, part in printed.groupby("method", sort=False):
        colour, marker = style_of(str(name))
        axes.plot(
            part["bits"],
            part["paper_map"],
            color=colour,
            marker=marker,
            markersize=4.5,
            markerfacecolor="white",
            markeredgewidth=1,
            linewidth=1,
            linestyle=":",
            label=f"{METHODS[str(name)].title}, as printed",
        )
    axes.set_xticks(lengths)
