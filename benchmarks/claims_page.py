"""`results/CLAIMS.md`: every claim with its test, effects, intervals and verdict; nothing in it is written by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from benchmarks.claims import Claim, Finding, find
from benchmarks.table_details import as_markdown
from benchmarks.verdicts import OPEN, RULE, Comparison

NOT_ASKED = "–"  # the claim is not about this protocol


def make_claims_page(output: Path, experiments: Sequence[str]) -> str:
    """The page from the records of some experiments."""
    findings = find(output, experiments)
    by_claim: dict[str, list[Finding]] = {}
    for finding in findings:
        by_claim.setdefault(finding.claim.text, []).append(finding)
    parts = ["# Does it hold up?", RULE]
    for heading, paper in (("The paper's claims", True), ("What the paper leaves out", False)):
        chosen = {text: found for text, found in by_claim.items() if found[0].claim.paper == paper}
        if chosen:
            parts += [f"## {heading}", verdict_table(findings, paper=paper)]
            parts += [_details(found[0].claim, found) for found in chosen.values()]
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
    return as_markdown(pd.DataFrame(list(rows.values())))


def _bold(verdict: str) -> str:
    return verdict if verdict == OPEN else f"**{verdict}**"


def _details(claim: Claim, findings: Sequence[Finding]) -> str:
    parts = [f'<a id="{claim.key}"></a>\n\n### {claim.text}', f"Test: {claim.test}."]
    for finding in findings:
        reason = f" ({finding.reason})" if finding.reason else ""
        parts.append(f"In `{finding.experiment}`: {_bold(finding.verdict)}{reason}.")
        known = [comparison for comparison in finding.comparisons if comparison.values]
        if known:
            parts.append(as_markdown(pd.DataFrame([_row(c, len(finding.comparisons), finding) for c in known])))
    return "\n\n".join(parts)


def _row(comparison: Comparison, comparisons: int, finding: Finding) -> Mapping[str, str]:
    interval = comparison.interval
    assert interval is not None
    missing = interval.low is None or interval.high is None
    return {
        "compared": comparison.label,
        "n": str(interval.n),
        "effect": _shown(comparison, interval.mean),
        "95 % interval": ""
        if missing
        else f"{_shown(comparison, interval.low)} to {_shown(comparison, interval.high)}",
        "verdict": comparison.verdict(comparisons),
        "records": "; ".join(_links(name, ids, finding.experiment) for name, ids in comparison.records),
    }


def _shown(comparison: Comparison, value: float | None) -> str:
    assert value is not None
    return f"{math.exp(value):.2f}" if comparison.ratio else f"{value:+.4f}"


def _links(name: str, identities: Sequence[str], experiment: str) -> str:
    numbered = (f"[{k}]({experiment}/runs/{identity}.json)" for k, identity in enumerate(identities, 1))
    return f"{name} {' '.join(numbered)}"
