"""Figures: loss terms by epoch, a panel per deep method; mAP against the time that training takes."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figures.series import Series, series_of, setting_line
from benchmarks.figures.style import legend_below, new_figure, new_panels, style_of
from benchmarks.records.record import Record
from benchmarks.report.intervals import per_unit
from benchmarks.report.study import Section
from benchmarks.setting.methods import METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OWN = ("dpq", "paper")
NO_LOSS = ("learning_rate", "codewords_revived")  # numbers of an epoch that are no loss terms
LOOKS = (("-", "o"), ("--", "s"), ("-.", "^"), (":", "D"), ((0, (5, 1, 1, 1, 1, 1)), "v"), ((0, (1, 3)), "X"))
WIDE = 20.0  # ratio of terms from which the axis is logarithmic


def training_figure(section: Section) -> Figure | None:
    """Weighted loss terms, a mean over each epoch: mean and range over repetitions; of the longest code."""
    series = series_of(section, whole=True)
    trained = [one for one in series if _logs(one)]
    if not trained:
        return None
    setting = setting_line(section.first, series, "bands are their range")
    title = f"Training: loss terms by epoch, of the longest code\n{setting}"
    columns = min(len(trained), 3)
    figure, drawn = new_panels(max(3.5 * columns, 5.0), 3.4, 0.8, title, len(trained), columns)
    for axes, one in zip(drawn, trained, strict=True):
        _panel(axes, one)
    return figure


def cost_figure(section: Section) -> Figure | None:
    """MAP of each row of whole codes, mean over lengths, against the seconds of all trainings that it takes.

    All lengths are those of DPQ where it has runs. Of codes of DPQ's embedding that is DPQ's training too. Hollow where
    a run had the machine not for itself. Rows without all lengths are left out; None below two rows.
    """
    every = series_of(section, whole=True)
    lengths = next((set(one.records) for one in every if (one.method, one.variant) == OWN), set(section.lengths))
    rows = [one for one in every if lengths <= set(one.records)]
    own = {one.method: _seconds(one, lengths) for one in rows if one.variant == "paper"}
    rows = [one for one in rows if METHODS[one.method].source in (None, "backbone", *own)]
    if len(rows) < 2:
        return None
    title = "mAP against training time, all lengths together; hollow: runs beside others"
    figure = new_figure(6.4, 5.0, f"{title}\n{setting_line(section.first)}")
    axes = figure.add_subplot(xlabel="seconds of training", ylabel="mAP, mean over lengths", xscale="log")
    for one in rows:
        seconds = _seconds(one, lengths) + own.get(METHODS[one.method].source or "", 0.0)
        look = one.look | {"linestyle": "none", "markeredgewidth": 1.2, "markeredgecolor": one.look["color"]}
        if any(record.environment.beside for records in one.records.values() for record in records):
            look["markerfacecolor"] = "white"
        axes.plot(max(seconds, 0.1), float(np.mean([one.interval(bits).mean for bits in lengths])), **look)
    legend_below(figure, axes, 2)
    return figure


def _seconds(one: Series, lengths: set[int]) -> float:
    """Of the trainings of these lengths, mean over repetitions."""
    runs = [record for bits in lengths for record in one.records[bits]]
    trained = {(record.repetition, record.longest): record.seconds.train for record in runs}
    return sum(trained.values()) / len({record.repetition for record in runs})


def _logs(one: Series) -> list[Record]:
    return [record for record in one.records[one.longest] if record.training_log]


def _terms(records: list[Record]) -> list[str]:
    """Names of the loss terms, in the order in which training meets them."""
    entries = [entry for record in records for epoch in record.training_log for entry in epoch.items()]
    return list(dict.fromkeys(name for name, v in entries if name not in NO_LOSS and not isinstance(v, tuple)))


def _panel(axes: Axes, one: Series) -> None:
    from matplotlib.ticker import MaxNLocator

    records = _logs(one)
    colour = style_of(one.method)[0]
    epochs = np.arange(1, len(records[0].training_log) + 1)
    shown = []
    for name, (line, marker) in zip(_terms(records), cycle(LOOKS), strict=False):
        runs = per_unit((r.unit, [epoch.get(name, np.nan) for epoch in r.training_log]) for r in records)
        if len(runs) > 1:
            axes.fill_between(epochs, runs.min(axis=0), runs.max(axis=0), color=colour, alpha=0.25, linewidth=0)
        axes.plot(epochs, runs.mean(axis=0), color=colour, linestyle=line, marker=marker, markersize=5, label=name)
        shown += runs[np.isfinite(runs) & (runs > 0)].tolist()
    if shown and max(shown) > WIDE * min(shown):
        axes.set_yscale("log")
    config = next(iter(records[0].config.methods.values()))
    if count := int(float(config.get("feature_epochs") or 0) * len(epochs)):  # before there are codes
        axes.axvspan(0.5, count + 0.5, color="0.9", label="features alone", zorder=0)
    axes.set(title=one.title, xlabel="epoch", ylabel="weighted loss term")
    axes.set_xlim(0.5, len(epochs) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
