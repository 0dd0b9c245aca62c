"""The part of the project's README that is made from records: the picture and the shortest table of the main result."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.records.reported import marked, reported_value
from benchmarks.report.comparisons import per_repetition, side
from benchmarks.report.details import as_markdown
from benchmarks.report.intervals import interval_of_mean
from benchmarks.report.statistics import row_title
from benchmarks.report.study import Section, Study
from benchmarks.report.tables import marks_note
from benchmarks.setting.methods import METHODS
from dpq.errors import InputError

BEGIN, END = "<!-- from records, by: nox -s results -->", "<!-- end -->"
SHOWN = ("dpq", "dqn", "dtq", "pq")


def with_main_result(text: str, studies: Sequence[Study]) -> str:
    """The README with what stands between its marks made anew, from the first study.

    Raises:
        InputError: the marks are not there, once each and in their order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise InputError(f"the README has to have {BEGIN!r} and then {END!r}, once each; put them back")
    section = studies[0].readings[0]
    first, name = section.first, section.experiment
    setting = (
        f"mAP in the setting `{name}` on `{first.data.variant}`: {first.backbone.name} at {first.backbone.image_size} "
        f"pixels, {first.data.database:,} database images; in brackets 95 % intervals over seeds."
    )
    table = as_markdown(_rows(section))
    picture = f"[![mAP against code length](results/{name}/map.png)](results/README.md)"
    parts = [begin, picture, setting, table, marks_note(setting + table), end]
    return before + "\n\n".join(filter(None, parts)) + after


def _rows(section: Section) -> list[dict[str, str]]:
    """A row of ours and one of print for each method that is shown, where there are any."""
    rows = []
    for method in SHOWN:
        values = {bits: reported_value(section.first.protocol, METHODS[method].title, bits) for bits in section.lengths}
        ours = {f"{bits} bits": _ours(section, method, bits) for bits in section.lengths}
        printed = {f"{bits} bits": marked(value) if value else "" for bits, value in values.items()}
        for source, cells in (("ours", ours), ("paper", printed)):
            if any(cells.values()):
                rows.append({"method": row_title(method), "source": source} | cells)
    return rows


def _ours(section: Section, method: str, bits: int) -> str:
    found = side(section, method, [bits])
    if found.missing:
        return ""
    interval = interval_of_mean(per_repetition(found.values))
    if interval.low is None:
        return f"{interval.mean:.3f}"
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
