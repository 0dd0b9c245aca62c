"""Figure: how flat each optimum is, by the trials of every study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.figures.style import legend_below, new_panels, style_of
from benchmarks.report.study import Section
from benchmarks.setting.methods import METHODS
from benchmarks.tuning.space import is_choice
from benchmarks.tuning.study import TuningStudy, read_studies

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4


def tuning_figure(section: Section) -> Figure | None:
    """A panel for each setting that was searched, with the value of every trial that has one; None without studies."""
    studies = read_studies(section.output, section.experiment)
    studies = [study for study in studies if any(trial.value is not None for trial in study.trials)]
    panels = list(dict.fromkeys(path for study in studies for path in study.ranges))
    if not panels:
        return None
    first = studies[0]
    counts = {len(study.trials) for study in studies}
    trials = f"{min(counts)} trials a method" if len(counts) == 1 else f"{min(counts)} to {max(counts)} trials a method"
    title = (
        f"Trials of tuning: mean mAP over code lengths on held-out training images, by each setting\n"
        f"{first.data.variant}, {trials}; ringed: the experiment's own setting, large: the best"
    )
    figure, drawn = new_panels(10.0, 2.3, 1.0, title, len(panels), COLUMNS, "mAP", sharey=True)
    for axes, path in zip(drawn, panels, strict=True):
        searching = [study for study in studies if path in study.ranges]
        for study in searching:
            _scatter(axes, study, path)
        axes.set_title(path if path.startswith("training.") else path.removeprefix("method."))
        ranges = [study.ranges[path] for study in searching]
        if all(not is_choice(one) and len(one) == 3 for one in ranges):
            axes.set_xscale("log")
    shown = max(drawn, key=lambda axes: len(axes.get_legend_handles_labels()[0]))
    legend_below(figure, shown, len(studies))
    return figure


def _scatter(axes: Axes, study: TuningStudy, path: str) -> None:
    """The trials of a study; choices stand beside each other in the order of their range."""
    colour, marker = style_of(study.method)
    range_, best = study.ranges[path], study.best
    for trial in study.trials:
        if trial.value is None or trial.same_as is not None:
            continue
        place = range_.index(trial.settings[path]) if is_choice(range_) else trial.settings[path]
        own, size = trial.number == 1, 70 if best is trial else 18
        label = METHODS[study.method].title if best is trial else None
        edge = "black" if own else colour
        axes.scatter([place], [trial.value], s=size, color=colour, marker=marker, edgecolors=edge, label=label)
    if is_choice(range_):
        axes.set_xticks(range(len(range_)), [str(value) for value in range_])
