"""Figure: what the same method reaches on several copies of the same images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.figures.series import Series, series_of, setting_line
from benchmarks.figures.style import dodged, draw_intervals, legend_below, narrowest, new_figure, style_of
from benchmarks.report.study import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHOD = "dpq"
MARKERS = "osD^"


def data_figure(section: Section) -> Figure | None:
    """Mean mAP of DPQ on each copy with 95 % intervals; None where there is one copy."""
    found = [(one, series) for one in (section, *section.beside) if (series := _series(one)) is not None]
    if len(found) < 2 or found[0][0] is not section:
        return None
    setting = setting_line(section.first, [series for _, series in found], "bars are 95 % intervals for the mean")
    _, _, rest = setting.partition(", ")  # every curve names its own images
    figure = new_figure(5.6, 4.2, f"DPQ on copies of the same images\n{rest}")
    axes = figure.add_subplot(xlabel="code length [bits]", ylabel="mAP")
    lengths = sorted({bits for _, series in found for bits in series.records})
    colour, _ = style_of(METHOD)
    for index, (one, series) in enumerate(found):
        places = dodged(list(series.records), index, len(found), 0.2 * narrowest(lengths))
        look = {"color": colour, "markerfacecolor": "white" if index else colour, "marker": MARKERS[index % 4]}
        intervals = [series.interval(bits) for bits in series.records]
        draw_intervals(axes, places, intervals, label=one.first.data.variant, linestyle="--" if index else "-", **look)
    axes.set_xticks(lengths)
    legend_below(figure, axes, 2)
    return figure


def _series(section: Section) -> Series | None:
    """The whole codes of the paper's variant."""
    every = series_of(section, whole=True) if section.records else []
    return next((one for one in every if (one.method, one.variant) == (METHOD, "paper")), None)
