"""Figure: how flat each optimum is, by the trials of every study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.figures.series import setting_line
from benchmarks.figures.style import legend_below, new_panels, style_of
from benchmarks.report.study import Section
from benchmarks.setting.methods import METHODS
from benchmarks.tuning.space import is_choice
from benchmarks.tuning.study import TuningStudy, read_studies

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 5


def tuning_figure(section: Section) -> Figure | None:
    """A panel for each setting that was searched, with the value of every trial that has one; None without studies."""
    from matplotlib.ticker import NullFormatter

    studies = read_studies(section.output, section.experiment)
    studies = [study for study in studies if any(trial.value is not None for trial in study.trials)]
    panels = list(dict.fromkeys(path for study in studies for path in study.ranges))
    if not panels:
        return None
    counts = {len(study.trials) for study in studies}
    trials = f"{min(counts)} trials a method" if len(counts) == 1 else f"{min(counts)} to {max(counts)} trials a method"
    title = (
        f"Trials of tuning: mean mAP over code lengths on held-out training images, by each setting\n"
        f"{setting_line(section.first)}; {trials}; ringed: this setting, the first trial; large: the best"
    )
    figure, drawn = new_panels(11.0, 2.1, 1.0, title, len(panels), COLUMNS, "mAP", sharey=True)
    for axes, path in zip(drawn, panels, strict=True):
        searching = [study for study in studies if path in study.ranges]
        for study in searching:
            _scatter(axes, study, path)
        axes.set_xlabel(path.rpartition(".")[2].replace("_", " "))
        ranges: list[Any] = [study.ranges[path] for study in searching]
        if all(not is_choice(one) and len(one) == 3 for one in ranges):
            axes.set_xscale("log")
            axes.set_xlim(0.9 * min(one[0] for one in ranges), 1.1 * max(one[1] for one in ranges))
            axes.xaxis.set_minor_formatter(NullFormatter())
    for study in studies:
        colour, marker = style_of(study.method)
        drawn[0].scatter([], [], color=colour, marker=marker, label=METHODS[study.method].title)
    legend_below(figure, drawn[0], len(studies))
    return figure


def _scatter(axes: Axes, study: TuningStudy, path: str) -> None:
    """The trials of a study; choices stand beside each other in the order of their range."""
    colour, marker = style_of(study.method)
    range_, best = study.ranges[path], study.best
    for trial in study.trials:
        if trial.value is None or trial.same_as is not None:
            continue
        place: Any = range_.index(trial.settings[path]) if is_choice(range_) else trial.settings[path]
        own, size = trial.number == 1, 70 if best is trial else 18
        edge = "black" if own else colour
        axes.scatter([place], [trial.value], s=size, color=colour, marker=marker, edgecolors=edge)
    if is_choice(range_):
        axes.set_xticks(range(len(range_)), [str(value) for value in range_])
