"""`results/README.md`: the page that is cited; made from records, verdicts and the notes of the experiments."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import pandas as pd

from benchmarks.report.claims import HEADINGS, Claim, Finding, verdict_table
from benchmarks.report.details import as_markdown
from benchmarks.report.generated import BENCH_PAGE
from benchmarks.report.pages.anchors import anchored_rows
from benchmarks.report.pages.comparison import COMPARISON_PAGE
from benchmarks.report.study import Section, Study
from benchmarks.report.tables import RESULTS_CSV, about_tuning, headline, marks_note
from benchmarks.report.verdicts import NOT_RUN, effect_of
from benchmarks.setting.experiment import UNPUBLISHED, known_experiments, read_notes

CLAIMS_PAGE, ERRATA_PAGE = "CLAIMS.md", "ERRATA.md"
ERRATA = Path(__file__).parents[2] / "errata.md"
# What a reader comes with, and the claims that answer it.
QUESTIONS = {
    "Do features or codes carry the gain?": ("learned", "label-code"),
    "Is it better than its rivals, and as good as printed?": ("better-than", "printed"),
    "Does one training for all lengths cost anything?": ("one-training",),
    "Which components matter?": ("component",),
    "And on classes that training has not seen?": ("unseen",),
}
SHOWN = ("map", "data", "ablations")  # figures that stand on the page
PAPER = (
    "Gao et al., *Beyond Product Quantization: Deep Progressive Quantization for Image Retrieval*, IJCAI 2019, "
    "[arXiv 1906.06698](https://arxiv.org/abs/1906.06698)"
)


def make_results_page(
    studies: Sequence[Study], findings: Sequence[Finding], files: Sequence[str], captions: Mapping[str, str]
) -> str:
    """The page.

    Args:
        studies: the experiments, in the order of the page.
        findings: claims decided in them.
        files: paths of the figures and other pages that there are, below the folder of results.
        captions: what a figure shows, by the stem of its file, in the order of the page.
    """
    experiments = [study.experiment for study in studies]
    parts = [
        "# Does Deep Progressive Quantization hold up?",
        f"What came of reproducing {PAPER}. Every number here is made from committed records and leads to them; every "
        f"verdict follows one rule, [stated with all tests and intervals]({CLAIMS_PAGE}).",
        _answers(findings),
        _figures(experiments[0], files, captions, ["map"]),
        *(
            f"## {heading}\n\n{_verdicts([finding for finding in findings if finding.claim.paper == paper], paper)}"
            for heading, paper in HEADINGS.items()
            if any(finding.claim.paper == paper for finding in findings)
        ),
        f"[All methods in one order]({COMPARISON_PAGE}), and how far it is beyond chance. "
        f"[Every row of every record]({RESULTS_CSV}), for programs.",
        "## What was run",
        _runs(studies),
        _not_run(experiments),
    ]
    tables = [_experiment(study, files, captions, first=study is studies[0]) for study in studies]
    parts += [*tables, marks_note("\n".join(tables))]
    pages = ", ".join(f"[{name}]({name}/rows.md)" for name in experiments)
    parts += ["## Rerunning a row", _RERUN.format(pages=pages)]
    if BENCH_PAGE in files:
        times = f"[Time and memory of the parts, beside the usual ways to do the same]({BENCH_PAGE})"
        parts += ["## Speed and memory", f"{times}, on generated data."]
    errata = f"What changed in published numbers, and why: [errata]({ERRATA_PAGE})."
    parts += ["## Errata", errata, "## How to cite", _CITE]
    return "\n\n".join(parts) + "\n"


def make_errata_page() -> str:
    """The page of what changed in published numbers."""
    return f"# Errata\n\n{ERRATA.read_text(encoding='utf-8').strip()}\n"


def _verdicts(findings: Sequence[Finding], paper: bool) -> str:
    """Claims about classes that training has seen, and about others, in tables of their own settings."""
    kinds = [[one for one in findings if one.claim.unseen == unseen] for unseen in (False, True)]
    return "\n\n".join(verdict_table(some, paper=paper, prefix=CLAIMS_PAGE) for some in kinds if some)


def _answers(findings: Sequence[Finding]) -> str:
    """The questions of a reader, each answered by the verdicts of the first setting that has runs for it."""
    lines = []
    for question, keys in QUESTIONS.items():
        chosen: dict[str, Finding] = {}
        for finding in (one for one in findings if one.claim.key in keys):
            known = chosen.get(finding.anchor)
            if known is None or known.verdict == NOT_RUN != finding.verdict:
                chosen[finding.anchor] = finding
        said = [_said(claim, list(found)) for claim, found in groupby(chosen.values(), attrgetter("claim"))]
        lines += [f"- **{question}** {' '.join(said)}"] if said else []
    return "\n".join(lines)


def _said(claim: Claim, findings: Sequence[Finding]) -> str:
    """What a claim says of each thing, with effect, interval and setting; last of what nothing was run."""
    parts = []
    for finding in findings:
        if finding.verdict != NOT_RUN:
            mean, interval = effect_of(finding.comparison)
            effect = f"{mean} {interval}".strip().replace("[", "(").replace("]", ")")
            label = finding.comparison.label.partition(" (printed")[0]
            where = f"[{effect}]({CLAIMS_PAGE}#{finding.anchor}) in `{finding.experiment}`"
            parts.append(f"{label} **{finding.verdict}**, {where}".strip())
    lacking = [finding for finding in findings if finding.verdict == NOT_RUN]
    named = [f"[{one.comparison.label}]({CLAIMS_PAGE}#{one.anchor})" for one in lacking if one.comparison.label]
    if named:
        parts.append(f"{NOT_RUN} ({', '.join(named)})")
    elif lacking:
        parts.append(f"[{NOT_RUN}]({CLAIMS_PAGE}#{lacking[0].anchor})")
    return f"{claim.text.removesuffix(':')}: {'; '.join(parts)}."


def _runs(studies: Sequence[Study]) -> str:
    rows = []
    for section in (section for study in studies for section in study.sections):
        runs, used = section.every, {record.method for record in section.records}
        ablations = {record.ablation for record in section.ablated}
        seeds = sorted({record.seed for record in runs})
        unseen, splits = section.first.has_unseen_classes, len(section.splits)
        drawn = f", {splits} {'class ' if unseen else ''}split{'s' if splits > 1 else ''}"
        rows.append(
            {
                "setting": f"[{section.experiment}](#{section.experiment})",
                "what": section.heading,
                "methods": f"{len(used)}" + (f"; {len(ablations)} ablations of DPQ" if ablations else ""),
                "runs": str(len(runs)),
                "repetitions": (f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}")
                + (drawn if unseen or splits > 1 else ""),
                "hours": f"{sum(r.seconds.train for r in runs) / 3600:.1f}",
                "device": "; ".join(sorted({r.environment.processor for r in runs})),
            }
        )
    return as_markdown(rows)


def _not_run(experiments: Sequence[str]) -> str:
    missing = [f"`{name}`" for name in known_experiments() if name not in (*experiments, *UNPUBLISHED)]
    return f"Not reproduced: no results of {', '.join(missing)} are committed." if missing else ""


def _experiment(study: Study, files: Sequence[str], captions: Mapping[str, str], *, first: bool) -> str:
    name, page = study.experiment, f"{study.experiment}/rows.md"
    parts = [f'<a id="{name}"></a>\n\n## {name}']
    for section in study.readings:
        parts.append(f"### {section.heading}\n\n{_counts(section)}.")
        if section.records:
            parts += [_link_rows(section, headline(section), "method", page), about_tuning(section, "")]
    others = [section.heading for section in study.sections[len(study.readings) :]]
    shown = [
        stem for stem in captions if stem in SHOWN and not (first and stem == "map")
    ]  # that is on the first screen
    more = [
        f"[{stem.replace('_', ' ')}]({name}/{stem}.png)"
        for stem in captions
        if stem not in SHOWN and f"{name}/{stem}.png" in files
    ]
    parts += [
        _figures(name, files, captions, shown),
        f"[Whole tables]({name}/table.md)"
        + (" and [notes]" + f"({name}/table.md#notes)" if read_notes(name) else "")
        + (f", also of {'; '.join(others)}" if others else "")
        + f". [Commands and records]({page})."
        + (f" Figures: {', '.join(more)}." if more else ""),
    ]
    return "\n\n".join(part for part in parts if part)


def _counts(section: Section) -> str:
    data = section.first.data
    return f"{data.train:,} training, {data.query:,} query, {data.database:,} database images"


def _figures(name: str, files: Sequence[str], captions: Mapping[str, str], stems: Sequence[str]) -> str:
    return "\n\n".join(
        f"[![{stem}, {name}]({name}/{stem}.png)]({name}/{stem}.svg)\n\n*{captions[stem]}*"
        for stem in stems
        if f"{name}/{stem}.png" in files
    )


def _link_rows(section: Section, table: pd.DataFrame, title: str, page: str) -> str:
    """A table in Markdown whose numbers, but for printed ones, lead to the rows of a page.

    Args:
        section: what the table is of.
        table: rows under a title belong to it; rows of one title come in the order of the page.
        title: name of the column of titles.
        page: path of the page of rows, from the page that links to it.
    """
    remaining: dict[str, list[str]] = {}
    for anchor, name, _ in anchored_rows(section):
        remaining.setdefault(name, []).append(f"{page}#{anchor}")
    target, rows = "", []
    for row in table.to_dict("records"):
        if row[title]:
            targets = remaining.get(row[title], [""])
            target = targets.pop(0) if len(targets) > 1 else targets[0]
        if target and row.get("source") not in ("paper", "difference"):
            numbers = [name for name in row if str(name).endswith(" bits") or name == "exact search"]
            row |= {name: linked(row[name], target) for name in numbers}
        rows.append(row)
    return as_markdown(rows)


def linked(cell: str, href: str) -> str:
    """A cell of a Markdown table whose number is a link; what makes it bold stays outside, an empty one stays empty."""
    return re.sub(r"^(\*\*)?(.+?)(\*\*)?$", rf"\1[\2]({href})\3", cell)


_RERUN = (
    "The exact command of every row, with its records: {pages}. Tables, figures and this page are made again from the "
    "records by `nox -s results`; `nox -s results -- --check` says whether they are what the records give, byte for "
    "byte, with the versions in `constraints.txt`."
)

_CITE = """Cite this suite ([CITATION.cff](../CITATION.cff)) with the commit that you read, and the paper beside it. A
number is cited best by its record, whose name holds method, seed and a digest of the whole setting."""
