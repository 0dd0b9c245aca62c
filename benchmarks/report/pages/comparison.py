"""`results/COMPARISON.md`: all methods of a setting in one order, and how far that order is beyond chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from benchmarks.report.comparisons import Side, compared, side
from benchmarks.report.details import as_markdown
from benchmarks.report.study import Section, Study
from benchmarks.report.verdicts import Comparison
from benchmarks.setting.methods import METHODS

COMPARISON_PAGE = "COMPARISON.md"
LEVEL = 0.05  # expected share of false discoveries among all that are called beyond chance
FEWEST = 3  # methods that a page about their order is worth

_HEAD = f"""# All methods beside each other

Methods by mAP, a mean over the code lengths that all of them have. Of every two methods of a setting the means are
compared: paired by seed where they share an embedding or a code, else by Welch's test. As there are many pairs, what is
called *beyond chance* is chosen so that at most {LEVEL:.0%} of such calls are expected to be false, however the pairs
depend on each other (Benjamini and Yekutieli, Annals of Statistics 2001). How large a difference is, it does not say:
the numbers do, and [claims](CLAIMS.md) ask for {{point}} at least. Other images, networks or budgets can have another
order."""


@dataclass(frozen=True)
class Place:
    """A method in the order of a section."""

    title: str
    mean: float  # of mAP, over lengths and repetitions
    n: int  # repetitions
    above: tuple[str, ...]  # titles of the methods that it is above beyond chance
    level: tuple[str, ...]  # of those that it is not told apart from
    unknown: bool  # one repetition of either side says nothing of any pair


def make_comparison_page(studies: Sequence[Study], point: float) -> str:
    """The page; of every setting that has `FEWEST` methods or more, at each of its readings.

    Args:
        studies: in the order of the page.
        point: smallest effect of interest of the claims.
    """
    parts = [_HEAD.format(point=point)]
    for section in (section for study in studies for section in study.readings):
        if places := order_of(section):
            lengths = ", ".join(map(str, common_lengths(section)))
            heading = f"## {section.experiment}: {section.heading}\n\nMean mAP at {lengths} bits."
            parts += [heading, as_markdown([_row(place, rank) for rank, place in enumerate(places, 1)])]
    return "\n\n".join(parts) + "\n"


def _row(place: Place, rank: int) -> dict[str, str]:
    told = "one repetition: unknown" if place.unknown else ", ".join(place.level) or "none"
    return {
        "": str(rank),
        "method": place.title,
        "mAP": f"{place.mean:.3f}",
        "n": str(place.n),
        "above beyond chance": str(len(place.above)),
        "not told apart from": told,
    }


def common_lengths(section: Section) -> list[int]:
    """Code lengths in bits that every method of the section has, of whole codes."""
    table = section.table[(section.table["training"] != "truncated") & (section.table["variant"] == "paper")]
    by_method = [set(part["bits"]) for _, part in table.groupby("method")]
    return sorted(set.intersection(*by_method)) if by_method else []


def order_of(section: Section) -> list[Place]:
    """The methods of a section, highest mean mAP first; none where there are fewer than `FEWEST` to be compared."""
    bits = common_lengths(section)
    names = sorted({record.method for record in section.records if record.variant == "paper"}, key=list(METHODS).index)
    sides = {name: found for name in names if bits and not (found := side(section, name, bits)).missing}
    if len(sides) < FEWEST:
        return []
    ranked = sorted(sides, key=lambda name: -sides[name].values.mean())
    pairs = {pair: _compared(sides, *pair) for pair in combinations(ranked, 2)}
    beyond = beyond_chance(list(pairs.values()))
    told = dict(zip(pairs, beyond, strict=True))

    def place(name: str) -> Place:
        own = {other: told[pair] for pair in pairs if name in pair for other in pair if other != name}
        above = tuple(sides[o].name for o in ranked[ranked.index(name) + 1 :] if own[o])
        level = tuple(sides[o].name for o in ranked if o != name and own[o] is False)
        values = sides[name].values
        return Place(sides[name].name, float(values.mean()), len(values), above, level, set(own.values()) == {None})

    return [place(name) for name in ranked]


def _compared(sides: dict[str, Side], one: str, other: str) -> Comparison:
    sources = {METHODS[name].source or name for name in (one, other)}
    return compared("", sides[one], sides[other], shared=len(sources) == 1)


def beyond_chance(comparisons: Sequence[Comparison]) -> list[bool | None]:
    """Whether each difference is beyond chance, all of them considered; None of one that has no interval."""
    from scipy import stats

    values = [_p_value(one) for one in comparisons]
    known = [value for value in values if value is not None]
    adjusted = iter(stats.false_discovery_control(known, method="by") if known else [])
    return [None if value is None else bool(next(adjusted) < LEVEL) for value in values]


def _p_value(comparison: Comparison) -> float | None:
    """Of a difference of 0, by the test that the interval of the comparison inverts; None without an interval."""
    from scipy import stats

    one, other = comparison.values, comparison.against
    if len(one) < 2 or (other and len(other) < 2):
        return None
    if not any(np.var(each) for each in (one, other) if each):  # no spread at all
        return float(np.isclose(np.mean(one), np.mean(other) if other else 0.0))
    found = stats.ttest_ind(one, other, equal_var=False) if other else stats.ttest_1samp(one, 0.0)
    return float(found.pvalue)
