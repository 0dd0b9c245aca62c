"""The claims that are decided from records, those of the paper and those that the field leaves unasked, and their page.

The page, `results/CLAIMS.md`, has every claim with its test, effects, intervals and verdict; nothing in it is written
by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import attrgetter

from benchmarks.report.comparisons import POINT, above, as_if_alone, as_printed, cheaper, components, flat
from benchmarks.report.details import as_markdown
from benchmarks.report.intervals import interval_of_mean
from benchmarks.report.statistics import row_title
from benchmarks.report.study import Section, Study
from benchmarks.report.verdicts import OPEN, RULE, Comparison, reason_of, verdict_of
from benchmarks.setting.experiment import describe, load_experiment
from benchmarks.setting.methods import METHODS

HEADINGS = {"The paper's claims": True, "What the paper leaves out": False}  # whether the paper claims it
NOT_ASKED = "–"  # the claim is not about this protocol
COMPONENTS = ("frozen", "two-step", "no-soft", "no-classification", "no-margin")


@dataclass(frozen=True)
class Claim:
    """One statement and the test that decides it."""

    key: str  # short name, for links
    text: str  # the statement
    test: str  # what is compared and where the claim puts it, in words
    compare: Callable[[Section], list[Comparison]]  # in one setting
    unseen: bool = False  # it is about classes that training has not seen
    paper: bool = True  # the paper claims it; else it is a control of ours


@dataclass(frozen=True)
class Finding:
    """A claim decided in one setting."""

    claim: Claim
    experiment: str
    comparisons: Sequence[Comparison]

    @property
    def verdict(self) -> str:
        """One of `HOLDS`, `FAILS`, `OPEN`."""
        return verdict_of(self.comparisons)


def _above(method: str, *, unseen: bool = False, paper: bool = True, where: str = "at every length") -> Claim:
    name = "the label code" if method == "label-code" else row_title(method)
    return Claim(
        f"better-than-{method}" + ("-unseen" if unseen else ""),
        f"DPQ is better than {name} {where}",
        f"mAP of DPQ − mAP of {name}, each length; claimed: above 0",
        partial(above, other=method),
        unseen,
        paper,
    )


UNSEEN = "on classes that training has not seen"

CLAIMS = (
    *(_above(method) for method in ("dqn", "dtq", "pq")),
    Claim(
        "one-training",
        "One training serves all lengths without loss against training for that length alone",
        f"mAP of the prefix of DPQ's longest code − mAP of DPQ trained for that length; claimed: above −{POINT}",
        as_if_alone,
    ),
    *(
        Claim(
            f"less-time-than-{method}",
            f"One DPQ training takes less time than training {METHODS[method].title} for each length",
            "seconds of DPQ's training ÷ seconds of the four trainings, each counted whole; claimed: below 1",
            partial(cheaper, other=method),
        )
        for method in ("dqn", "dtq", "dpq")
    ),
    Claim(
        "components",
        "Every component helps",
        "mAP without the component − mAP of DPQ, mean over the lengths; claimed: below 0 for each",
        partial(components, names=COMPONENTS),
    ),
    Claim(
        "flat",
        "mAP is nearly flat in code length on CIFAR-10",
        "mAP of each shorter code − mAP of the longest; claimed: no further from 0 than the printed values spread",
        flat,
    ),
    Claim(
        "printed",
        "DPQ reaches the printed mAP",
        f"mAP of DPQ − printed mAP, each length; claimed: above −{POINT}",
        as_printed,
    ),
    *(
        Claim(
            f"gain-over-{method}",
            f"The gain over {METHODS[method].title} is as large as printed",
            f"gain of DPQ over {METHODS[method].title} − the printed gain, each length; claimed: above −{POINT}",
            partial(as_printed, other=method),
        )
        for method in ("dqn", "dtq")
    ),
    Claim(
        "released",
        "The released program's switches give the same mAP as the paper's text",
        f"mAP of the released variant − mAP of the paper's, each length; claimed: within ±{POINT}",
        partial(above, variant="released", low=-POINT, high=POINT),
        paper=False,
    ),
    *(
        _above(method, paper=False, where="at every length: the learned codebooks are worth their training")
        for method in ("rq-dpq", "pq-dpq")
    ),
    _above("label-code", paper=False, where="at every length: codes carry more than the predicted class"),
    *(_above(method, unseen=True, paper=False, where=UNSEEN) for method in ("pq", "rq", "dqn", "dtq")),
    *(_above(method, unseen=True, paper=False, where=UNSEEN) for method in ("rq-dpq", "pq-dpq", "label-code")),
)


def section_to_judge(study: Study) -> Section | None:
    """The records of the shipped setting on the whole protocol; None where DPQ has none."""
    section, shipped = study.sections[0], load_experiment(study.experiment)
    if not section.first.comparable or section.first.config.training != shipped.training:
        return None
    split = shipped.splits()[0]
    sources = [record.config.source for record in section.records if record.config.source]
    longest = max((source.bits for source in sources), default=0)  # of the trainings whose embeddings are quantized
    own = [
        r
        for r in section.records
        if r.variant == "released"
        or r.raw["config"]["methods"] == describe(split, METHODS[r.method].configs)["methods"]
        if r.config.source is None or r.config.source.bits == longest
    ]
    return replace(section, records=own) if any(record.method == "dpq" for record in own) else None


def find(studies: Sequence[Study]) -> list[Finding]:
    """Every claim in every experiment that it is about, in the order of `CLAIMS`."""
    sections = [section for study in studies if (section := section_to_judge(study))]
    findings = (
        Finding(claim, section.experiment, claim.compare(section))
        for claim in CLAIMS
        for section in sections
        if claim.unseen == section.first.has_unseen_classes
    )
    return [finding for finding in findings if finding.comparisons]


def make_claims_page(findings: Sequence[Finding]) -> str:
    """The page of all claims, from findings in their order."""
    parts = ["# Does it hold up?", RULE]
    for heading, paper in HEADINGS.items():
        if chosen := [finding for finding in findings if finding.claim.paper == paper]:
            parts += [f"## {heading}", verdict_table(findings, paper=paper)]
            parts += [_details(claim, found) for claim, found in groupby(chosen, attrgetter("claim"))]
    return "\n\n".join(parts) + "\n"


def verdict_table(findings: Sequence[Finding], *, paper: bool, prefix: str = "") -> str:
    """Claims by settings, each cell a verdict.

    Args:
        findings: of all settings.
        paper: the paper's claims, or the controls.
        prefix: of links to the page, where the table stands elsewhere.
    """
    chosen = [finding for finding in findings if finding.claim.paper == paper]
    settings = list(dict.fromkeys(finding.experiment for finding in chosen))
    rows = {
        finding.claim.text: {"claim": f"[{finding.claim.text}]({prefix}#{finding.claim.key})"}
        | dict.fromkeys(settings, NOT_ASKED)
        for finding in chosen
    }
    for finding in chosen:
        rows[finding.claim.text][finding.experiment] = _bold(finding.verdict)
    return as_markdown(list(rows.values()))


def _bold(verdict: str) -> str:
    return verdict if verdict == OPEN else f"**{verdict}**"


def _details(claim: Claim, findings: Iterable[Finding]) -> str:
    parts = [f'<a id="{claim.key}"></a>\n\n### {claim.text}', f"Test: {claim.test}."]
    for finding in findings:
        reason = f" ({why})" if (why := reason_of(finding.comparisons)) else ""
        parts.append(f"In `{finding.experiment}`: {_bold(finding.verdict)}{reason}.")
        if known := [comparison for comparison in finding.comparisons if comparison.values]:
            parts.append(as_markdown([_row(c, finding) for c in known]))
    return "\n\n".join(parts)


def _row(comparison: Comparison, finding: Finding) -> dict[str, str]:
    interval = interval_of_mean(comparison.values)
    effect, *ends = (f"{math.exp(v):.2f}" if comparison.ratio else f"{v:+.4f}" for v in interval.known)
    return {
        "compared": comparison.label,
        "n": str(interval.n),
        "effect": effect,
        "95 % interval": " to ".join(ends),
        "verdict": comparison.verdict(len(finding.comparisons)),
        "records": "; ".join(
            " ".join([name, *(f"[{k}]({finding.experiment}/runs/{one}.json)" for k, one in enumerate(ids, 1))])
            for name, ids in comparison.records
        ),
    }
