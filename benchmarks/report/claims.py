"""The claims that are decided from records, those of the paper and those that the field leaves unasked, and their page.

The page, `results/CLAIMS.md`, has every claim with its rule, effects, intervals and verdicts; nothing in it is written
by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter

import pandas as pd

from benchmarks.records.record import TERMS
from benchmarks.records.reported import MARKS, MEANINGS
from benchmarks.report.comparisons import (
    QUERY_SD,
    STATED,
    as_if_alone,
    as_printed,
    better,
    cheaper,
    components,
    flat,
    gains_as_printed,
    released,
)
from benchmarks.report.details import as_markdown
from benchmarks.report.pages.anchors import anchored_rows
from benchmarks.report.study import Section, Study, sections_to_judge
from benchmarks.report.verdicts import DECIDED, NOT_RUN, POINT, RULE, Comparison, effect_of, reason_of

HEADINGS = {"The paper's claims": True, "What the paper leaves out": False}  # whether the paper claims it
NOT_ASKED = "–"  # the claim is not about this protocol
COMPONENTS = ("frozen", "two-step", "no-soft", "no-classification", "no-margin")
# When the rule of a claim was last changed, UTC. It is compared with when records were made, so a changed rule needs a
# new time.
MEANS_FIRST = "2026-11-27T18:30:00+00:00"
BETTER = f"claimed above +{POINT}"


@dataclass(frozen=True)
class Claim:
    """One statement, or one of each of several things, and the test that decides it."""

    key: str  # short name, for links
    text: str  # the statement; of several, its beginning, which the label of a comparison ends
    test: str  # what is compared and where the claim puts it, in words
    compare: Callable[[Section], list[Comparison]]  # in one setting
    unseen: bool = False  # it is about classes that training has not seen
    paper: bool = True  # the paper claims it; else it is a control of ours
    since: str = MEANS_FIRST  # when its rule was written


@dataclass(frozen=True)
class Finding:
    """A claim, or one of its parts, decided in one setting."""

    claim: Claim
    section: Section  # all records of the setting
    comparison: Comparison

    @property
    def experiment(self) -> str:
        """Name of the setting, and its reading where that is not equal terms."""
        section = self.section
        return section.experiment if section.reading == TERMS else f"{section.experiment}, {section.reading}"

    @property
    def verdict(self) -> str:
        """One of the five of `benchmarks.report.verdicts`."""
        return self.comparison.verdict

    @property
    def text(self) -> str:
        """The statement."""
        label = self.comparison.label
        return f"{self.claim.text} {label.partition(' (printed')[0]}" if self.comparison.key else self.claim.text

    @property
    def anchor(self) -> str:
        """Where the page has it."""
        return "-".join(filter(None, [self.claim.key, self.comparison.key]))

    @property
    def created(self) -> list[str]:
        """When its records were made, ascending."""
        ids = {one for _, ids in self.comparison.records for one in ids}
        return sorted(record.created for record in self.section.every if record.id in ids)


CLAIMS = (
    Claim(
        "better-than",
        "DPQ is better than",
        f"mAP of DPQ − that of the other; {BETTER}",
        lambda section: better(section, "dqn", "dtq", "pq"),
    ),
    Claim(
        "one-training",
        "One training serves all lengths without loss against training for each alone",
        f"mAP of prefixes of DPQ's longest code − that of DPQ trained for these lengths; claimed above −{POINT}",
        as_if_alone,
    ),
    Claim(
        "less-time-than",
        "One DPQ training takes less time than training for each length of",
        "seconds of DPQ's training ÷ seconds of those for each length, of runs alone on the machine; claimed below 1",
        lambda section: cheaper(section, "dqn", "dtq", "dpq"),
    ),
    Claim(
        "component",
        "DPQ as a whole is better than with",
        f"mAP of DPQ − that of DPQ so changed; {BETTER}",
        lambda section: components(section, *COMPONENTS),
    ),
    Claim(
        "flat",
        "mAP is nearly flat in code length on CIFAR-10",
        "mAP of shorter codes − that of the longest; claimed no further from 0 than the printed values spread",
        flat,
    ),
    Claim("printed", "DPQ reaches the printed mAP", f"mAP of DPQ − printed mAP; claimed above −{POINT}", as_printed),
    Claim(
        "gain-over",
        "DPQ reaches its printed gain over",
        f"gain of DPQ over the other − the printed gain; claimed above −{POINT}",
        lambda section: gains_as_printed(section, "dqn", "dtq"),
    ),
    Claim(
        "learned",
        "A code with learned codebooks is better than k-means on the same features:",
        f"mAP of DPQ − that of k-means on its embedding; {BETTER}",
        lambda section: better(section, "rq-dpq", "pq-dpq"),
        paper=False,
    ),
    Claim(
        "label-code",
        "A code with learned codebooks is better than a label code",
        f"mAP of DPQ − that of codes of the class that its classifier predicts; {BETTER}",
        lambda section: [replace(one, label="", key="") for one in better(section, "label-code")],
        paper=False,
    ),
    Claim(
        "released",
        "The released program's switches give the same mAP as the paper's text",
        f"mAP of the released variant − that of the paper's; claimed within ±{POINT}",
        released,
        paper=False,
    ),
    Claim(
        "unseen",
        "On unseen classes DPQ is better than",
        f"mAP of DPQ − that of the other; {BETTER}",
        lambda section: better(section, "pq", "rq", "dqn", "dtq", "rq-dpq", "pq-dpq", "label-code"),
        unseen=True,
        paper=False,
    ),
)


def find(studies: Sequence[Study]) -> list[Finding]:
    """Every claim in every setting that it is about, in the order of `CLAIMS`; at equal budgets only what was run."""
    judged = [section for study in studies for section in sections_to_judge(study)]
    whole = {(one.experiment, one.reading): one for study in studies for one in study.readings}
    return [
        Finding(claim, whole[section.experiment, section.reading], comparison)
        for claim in CLAIMS
        for section in judged
        if claim.unseen == section.first.has_unseen_classes
        for comparison in claim.compare(section)
        if section.reading == TERMS or comparison.verdict != NOT_RUN
    ]


def make_claims_page(findings: Sequence[Finding]) -> str:
    """The page of all claims, from findings in their order."""
    parts = []
    for heading, paper in HEADINGS.items():
        if chosen := [finding for finding in findings if finding.claim.paper == paper]:
            parts.append(f"## {heading}")
            parts += [_details(claim, list(found)) for claim, found in groupby(chosen, attrgetter("claim"))]
    text = "\n\n".join(parts)
    stated = f"{STATED} average precision taken to differ between queries by {QUERY_SD}, not committed for each."
    notes = [f"{MARKS[status]} {meaning}." for status, meaning in MEANINGS.items() if MARKS[status] in text]
    notes += [stated] if STATED in text else []
    return "\n\n".join(["# Does it hold up?", RULE, text, *([" ".join(notes)] if notes else [])]) + "\n"


def verdict_table(findings: Sequence[Finding], *, paper: bool, prefix: str = "") -> str:
    """Claims by settings, each cell a verdict; under it, in a line, those that have no runs in any setting.

    Args:
        findings: of all settings.
        paper: the paper's claims, or the controls.
        prefix: of links to the page, where the table stands elsewhere.
    """
    chosen = [finding for finding in findings if finding.claim.paper == paper]
    settings = list(dict.fromkeys(finding.experiment for finding in chosen))
    rows = {
        finding.anchor: {"claim": f"[{finding.text}]({prefix}#{finding.anchor})"} | dict.fromkeys(settings, NOT_ASKED)
        for finding in chosen
    }
    for finding in chosen:
        rows[finding.anchor][finding.experiment] = _bold(finding.verdict)
    run = {finding.anchor for finding in chosen if finding.verdict != NOT_RUN}
    table = as_markdown([row for anchor, row in rows.items() if anchor in run])
    waiting = {finding.anchor: finding for finding in chosen if finding.anchor not in run}
    return "\n\n".join(filter(None, [table if run else "", _waiting(list(waiting.values()), prefix)]))


def _waiting(findings: Sequence[Finding], prefix: str) -> str:
    """What has no runs, each claim once, with its parts as links."""
    said = []
    for claim, parts in groupby(findings, attrgetter("claim")):
        several = list(parts)
        links = ", ".join(f"[{one.comparison.label or claim.text}]({prefix}#{one.anchor})" for one in several)
        said.append(f"{claim.text.removesuffix(':')}: {links}" if several[0].comparison.key else links)
    return f"Not run in any setting: {'; '.join(said)}." if said else ""


def _bold(verdict: str) -> str:
    return f"**{verdict}**" if verdict in DECIDED else verdict


def _details(claim: Claim, findings: Sequence[Finding]) -> str:
    several = " …" if any(finding.comparison.key for finding in findings) else ""
    anchors = dict.fromkeys(finding.anchor for finding in findings)
    marked = "".join(f'<a id="{anchor}"></a>' for anchor in anchors)
    parts = [
        f"{marked}\n\n### {claim.text.removesuffix(':')}{several}",
        f"Effect: {claim.test}. {_dates(claim, findings)}",
    ]
    known = [finding for finding in findings if finding.verdict != NOT_RUN]
    if known:
        table = pd.DataFrame([_row(finding) for finding in known])
        parts.append(as_markdown(table if table[""].any() else table.drop(columns="")))
    parts += _not_run([finding for finding in findings if finding.verdict == NOT_RUN])
    if known:
        lines = "\n".join(_folded(finding) for finding in known)
        parts.append(f"<details><summary>Lengths and runs</summary>\n\n{lines}\n\n</details>")
    return "\n\n".join(parts)


def _not_run(findings: Sequence[Finding]) -> list[str]:
    """What is lacking and where, said once; that there are no runs goes without saying."""
    lacking: dict[str, list[str]] = {}
    for finding in findings:
        why = reason_of(finding.comparison)
        said = [finding.comparison.label, "" if why.startswith("no runs") else f"({why})"]
        lacking.setdefault(finding.experiment, []).append(" ".join(filter(None, said)))
    places: dict[str, list[str]] = {}
    for experiment, labels in lacking.items():
        places.setdefault(", ".join(filter(None, labels)), []).append(f"`{experiment}`")
    said = [f"{', '.join(where)}{f': {what}' if what else ''}" for what, where in places.items()]
    return [f"Not run in {'; '.join(said)}."] if said else []


def _dates(claim: Claim, findings: Sequence[Finding]) -> str:
    """When the rule was written, and when the runs were made that it judges."""
    made = sorted(one for finding in findings for one in finding.created)
    rule = f"Rule of {claim.since[:10]}"
    if not made:
        return f"{rule}, before any run."
    first, last = made[0], made[-1]
    runs = f"runs of {first[:10]}" + (f" to {last[:10]}" if last[:10] != first[:10] else "")
    if claim.since <= first:
        return f"{rule}, before its {runs}."
    return f"{rule}, **after** {'its' if last < claim.since else 'some of its'} {runs}."


def _row(finding: Finding) -> dict[str, str]:
    comparison = finding.comparison
    effect, interval = effect_of(comparison)
    reason = f" ({why})" if (why := reason_of(comparison)) else ""
    return {
        "": comparison.label,
        "setting": finding.experiment,
        "n": comparison.n,
        "effect": effect,
        "interval": interval,
        "verdict": _bold(finding.verdict) + reason,
    }


def _folded(finding: Finding) -> str:
    """What was compared, with links to its runs, and the effect at each length."""
    sign = " ÷ " if finding.comparison.ratio else " − "
    sides = sign.join(_links(finding.section, *half) for half in finding.comparison.records)
    known = [part for part in finding.comparison.parts if part.values]
    lengths = "/".join(part.label.removesuffix(" bits") for part in known)
    effects = ", ".join(" ".join(effect_of(part)).strip() for part in known)
    return f"- `{finding.experiment}`, {sides}" + (f", {lengths} bits: {effects}" if known else "")


def _links(section: Section, name: str, ids: Sequence[str]) -> str:
    """A side of a comparison, as links to the rows of commands and records that it is made of."""
    places: dict[str, str] = {}
    for anchor, _, part in anchored_rows(section):
        for one in " ".join(part["records"]).split():
            places.setdefault(one, f"{section.experiment}/rows.md#{anchor}")
    first, *more = dict.fromkeys(places[one] for one in ids)
    return " ".join([f"[{name}]({first})", *(f"[{k}]({place})" for k, place in enumerate(more, 2))])
