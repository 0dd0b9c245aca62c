"""How figures look: one colour and one marker per method everywhere, and files that are the same for the same data."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from benchmarks.report.intervals import Interval
from benchmarks.setting.methods import METHODS
from dpq.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Methods that name no style (the others': Okabe and Ito's palette and a grey): one colour, a marker by the name.
UNSTYLED = ("#8C510A", "hp<>d")
LINES = {"once": "-", "each": "-", "truncated": "--", "ended": "none"}
SUFFIXES = (".svg", ".png")
DPI = 160
SMALL = 8  # points, the smallest print


@contextmanager
def style(experiment: str) -> Iterator[None]:
    """Draw and save inside: matplotlib's own defaults and the figures' settings, whatever the reader's are.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        with _without_backend():
            from matplotlib import style as styles
    except ImportError as error:
        raise InputError("figures need matplotlib; install it with: pip install '.[figures]'") from error
    settings = {
        "svg.hashsalt": experiment,  # identifiers that are drawn anew for every file otherwise
        "svg.fonttype": "path",
        "font.family": "DejaVu Sans",  # comes with matplotlib
        "font.size": 9,
        "axes.titlesize": 9,
        "figure.titlesize": 10,
        "legend.fontsize": SMALL,
        "legend.frameon": False,
        "legend.handlelength": 3,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.alpha": 0.3,
        "lines.linewidth": 1.4,
        "lines.markersize": 6.5,
        "lines.markeredgewidth": 0.5,
        "figure.constrained_layout.h_pad": 0.08,
        "figure.constrained_layout.w_pad": 0.08,
        "savefig.bbox": "tight",
    }
    with styles.context(settings, after_reset=True):
        yield


@contextmanager
def _without_backend() -> Iterator[None]:
    """Inside, the environment names no backend: a notebook's may not be installed here, and files need none."""
    named = os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure of so many inches whose parts make room for each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title)
    return figure


def new_panels(
    width: float, height: float, rest: float, title: str, count: int, columns: int, ylabel: str = "", **shared: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of so many axes, row by row.

    Args:
        width: inches of the figure.
        height: inches of a row.
        rest: inches above and below all rows.
        title: of the figure.
        count: of the axes.
        columns: that they stand in.
        ylabel: of those in the first column.
        shared: for `Figure.subplots`.
    """
    rows = -(-count // columns)
    figure = new_figure(width, rest + height * rows, title)
    grid = figure.subplots(rows, min(columns, count), squeeze=False, **shared)
    for axes in grid.flat[count:]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel)
    return figure, list(grid.flat[:count])


def legend_below(figure: Figure, axes: Axes, columns: int, note: str = "", **look: Any) -> None:
    """One legend for all panels, of the curves of one, those in print last, under a note.

    `look` is for `Figure.legend`.
    """
    entries = zip(*axes.get_legend_handles_labels(), strict=True)
    handles, titles = zip(*sorted(entries, key=lambda entry: "as printed" in entry[1]), strict=True)
    figure.legend(
        handles,
        titles,
        loc="outside lower center",
        ncols=columns,
        title=note or None,
        title_fontsize=SMALL,
        **look,
    )


def style_of(method: str) -> tuple[str, str]:
    """Colour and marker of a method; markers tell methods apart in grey."""
    colour, markers = UNSTYLED
    return METHODS[method].style or (colour, markers[zlib.crc32(method.encode()) % len(markers)])


def look_of(method: str, variant: str, title: str, training: str = "") -> dict[str, Any]:
    """Arguments of a method's curve, DPQ in front.

    Its markers are hollow where it is not the paper's variant, half filled where its trainings ended at one length.
    """
    colour, marker = style_of(method)
    return {
        "color": colour,
        "marker": marker,
        "fillstyle": "left" if training == "ended" else "full",
        "markerfacecolor": colour if variant == "paper" else "white",
        "markerfacecoloralt": "white",
        "markeredgewidth": 0.5 if variant == "paper" and training != "ended" else 1.2,
        "zorder": 4 if method == "dpq" else 3,
        "label": title,
    }


def narrowest(lengths: Sequence[int]) -> int:
    """The smallest step from one code length to the next, ascending; a byte where there is one length."""
    return min((b - a for a, b in pairwise(lengths)), default=8)


def dodged(values: Sequence[float], index: int, count: int, width: float) -> list[float]:
    """Places of the `index`-th of `count` curves, beside each other within `width`."""
    return [value + width * ((index + 0.5) / count - 0.5) for value in values]


def reach(intervals: Sequence[Interval]) -> list[list[float]] | None:
    """Error bars of intervals, [2, N]: how far they reach below and above the mean; None where there are none."""
    if all(i.low is None for i in intervals):
        return None
    below = [i.mean - i.low if i.low is not None else 0.0 for i in intervals]
    return [below, [i.high - i.mean if i.high is not None else 0.0 for i in intervals]]


def draw_intervals(axes: Axes, places: Sequence[float], intervals: Sequence[Interval], **look: Any) -> None:
    """A curve of means, with bars to the ends of their intervals."""
    means = [i.mean for i in intervals]
    axes.errorbar(places, means, reach(intervals), elinewidth=1, capsize=2, capthick=1, **look)


def files_of(name: str, figure: Figure) -> dict[str, bytes]:
    """The SVG and PNG of a figure, by file name; the same figure gives the same bytes."""
    files = {}
    for suffix, metadata in zip(SUFFIXES, ({"Date": None}, {"Software": None}), strict=True):
        stream = io.BytesIO()
        figure.savefig(stream, format=suffix[1:], dpi=DPI, metadata=metadata)
        files[name + suffix] = stream.getvalue()
    return files
