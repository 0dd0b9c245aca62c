"""Figures of differences in mAP: what each ablation does to DPQ's, and of any two sides."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.figures.series import setting_line
from benchmarks.figures.style import new_figure, reach, style_of
from benchmarks.report.intervals import Interval, interval_of_mean, per_unit
from benchmarks.report.statistics import mean_difference
from benchmarks.report.study import Section
from benchmarks.report.verdicts import POINT, Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAR = 4.0  # times the median reach of the differences; beyond it they get a panel of a larger scale


@dataclass(frozen=True)
class Difference:
    """One ablation: what it is called and its difference in mAP."""

    title: str
    interval: Interval

    @property
    def reach(self) -> float:
        """How far from zero it extends."""
        return max(map(abs, self.interval.known))


def ablations_figure(section: Section) -> Figure | None:
    """A line per ablation: mean paired difference over seeds and code lengths, with its 95 % interval.

    Where some differences are far larger than most, a second panel has the scale of the others.
    """
    found = differences(section)
    if not found:
        return None
    bars = "; bars are 95 % intervals for the mean" if any(one.interval.n > 1 for one in found) else ""
    title = "Ablations of DPQ: difference in mAP to DPQ of the same seeds, mean over code lengths"
    figure = new_figure(8.4, 1.3 + 0.42 * len(found), f"{title}\n{setting_line(section.first)}{bars}")
    near = FAR * median(one.reach for one in found)
    far = max(one.reach for one in found) > near
    whole, *close = figure.subplots(1, 2 if far else 1, squeeze=False, sharey=True)[0]
    _forest(whole, found)
    if far:
        _forest(close[0], found)
        _cut(close[0], found, 1.15 * max(one.reach for one in found if one.reach <= near))
        whole.set_title("all")
        close[0].set_title("close-up (arrow: lies beyond)")
    whole.set_yticks(range(len(found)), [f"{textwrap.fill(one.title, 36)} (n = {one.interval.n})" for one in found])
    whole.set_ylim(len(found) - 0.5, -0.5)
    return figure


def effects_figure(title: str, effects: Mapping[str, Comparison]) -> Figure:
    """A line per difference of two sides, by what it is of, with its 95 % interval; what is missing has none."""
    known = {label: comparison for label, comparison in effects.items() if comparison.values}
    figure = new_figure(6.4, 1.4 + 0.32 * len(known), title)
    axes = figure.subplots()
    _forest(axes, [Difference(label, comparison.interval) for label, comparison in known.items()])
    axes.axvspan(-POINT, POINT, color="grey", alpha=0.2, linewidth=0)  # less than this counts as a tie
    axes.set_xlabel(f"difference in mAP; grey: within ±{POINT}")
    axes.set_yticks(range(len(known)), [f"{label} (n = {comparison.n})" for label, comparison in known.items()])
    axes.set_ylim(len(known) - 0.5, -0.5)
    return figure


def differences(section: Section) -> list[Difference]:
    """Paired differences by ablation, in the order of the table; none for runs whose DPQ is not there."""
    found = []
    for title, part in section.ablation_rows:
        ids = set(" ".join(part["records"]).split())
        pairs = [(r.unit, mean_difference(r, plain)) for r, plain in section.pairs if r.id in ids]
        if pairs:
            found.append(Difference(title, interval_of_mean(per_unit(pairs).tolist())))
    return found


def _forest(axes: Axes, found: Sequence[Difference]) -> None:
    colour, marker = style_of("dpq")
    look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 6, "capsize": 3, "capthick": 1.5}
    axes.axvline(0, color="black", linewidth=1)
    for row, one in enumerate(found):
        axes.errorbar([one.interval.mean], [row], xerr=reach([one.interval]), elinewidth=1.5, **look)
    axes.set_xlabel("difference in mAP")
    axes.grid(axis="y", visible=False)


def _cut(axes: Axes, found: Sequence[Difference], limit: float) -> None:
    """End the axis at `limit` on both sides, with an arrow and the number for what lies beyond."""
    axes.set_xlim(-limit, limit)
    for row, one in enumerate(found):
        mean = one.interval.mean
        if abs(mean) > limit:
            side = np.sign(mean)
            axes.plot([0.97 * side * limit], [row], marker="<" if side < 0 else ">", color=style_of("dpq")[0])
            axes.annotate(
                f"{mean:+.3f}".replace("-", "−"),
                (0.97 * side * limit, row),
                xytext=(-2 * side, 5),  # above, for its interval may reach in
                textcoords="offset points",
                ha="left" if side < 0 else "right",
                va="bottom",
                fontsize=8,
            )
