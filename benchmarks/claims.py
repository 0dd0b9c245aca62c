"""The claims that are decided from records: those of the paper, and those that the field leaves unasked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.ablation_table import place_ablations
from benchmarks.aggregate import ablations_of, comparable, group_by_setting, records_of
from benchmarks.class_splits import is_class_split
from benchmarks.comparisons import (
    POINT,
    Setting,
    above,
    as_if_alone,
    as_printed,
    cheaper,
    components,
    flat,
    gain_as_printed,
    same_as_released,
)
from benchmarks.config import describe, load_experiment
from benchmarks.methods import METHODS
from benchmarks.verdicts import Comparison, reason_of, verdict_of

COMPONENTS = ("frozen", "two-step", "no-soft", "no-classification", "no-margin")


@dataclass(frozen=True)
class Claim:
    """One statement and the test that decides it.

    Attributes:
        key: short name, for links.
        text: the statement.
        test: what is compared and where the claim puts it, in words.
        compare: the comparisons in one setting.
        classes: "seen" for ordinary protocols, "unseen" for class splits, "any".
        paper: the paper claims it; else it is a control of ours.
    """

    key: str
    text: str
    test: str
    compare: Callable[[Setting], list[Comparison]]
    classes: str = "seen"
    paper: bool = True

    def applies_to(self, setting: Setting) -> bool:
        """Whether the setting's protocol is one that the claim is about."""
        unseen = is_class_split(setting.records[0])
        return self.classes == "any" or (self.classes == "unseen") == unseen


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

    @property
    def reason(self) -> str:
        """Why it is not decidable."""
        return reason_of(self.comparisons)


def _name(method: str) -> str:
    entry = METHODS[method]
    if method == "label-code":
        return "the label code"
    return entry.title + (f" on {entry.features}" if entry.features else "")


def _above(method: str, *, classes: str = "seen", paper: bool = True, where: str = "at every length") -> Claim:
    return Claim(
        f"better-than-{method}" + ("-unseen" if classes == "unseen" else ""),
        f"DPQ is better than {_name(method)} {where}",
        f"mAP of DPQ − mAP of {_name(method)}, each length; claimed: above 0",
        partial(above, other=method),
        classes,
        paper,
    )


def _cheaper(method: str) -> Claim:
    return Claim(
        f"less-time-than-{method}",
        f"One DPQ training takes less time than training {METHODS[method].title} for each length",
        "seconds of DPQ's training ÷ seconds of the four trainings, each counted whole; claimed: below 1",
        partial(cheaper, other=method),
    )


def _gain(method: str) -> Claim:
    return Claim(
        f"gain-over-{method}",
        f"The gain over {METHODS[method].title} is as large as printed",
        f"gain of DPQ over {METHODS[method].title} − the printed gain, each length; claimed: above −{POINT}",
        partial(gain_as_printed, other=method),
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
    *(_cheaper(method) for method in ("dqn", "dtq", "dpq")),
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
    *(_gain(method) for method in ("dqn", "dtq")),
    Claim(
        "released",
        "The released program's switches give the same mAP as the paper's text",
        f"mAP of the released variant − mAP of the paper's, each length; claimed: within ±{POINT}",
        same_as_released,
        paper=False,
    ),
    *(
        _above(method, paper=False, where="at every length: the learned codebooks are worth their training")
        for method in ("rq-dpq", "pq-dpq")
    ),
    _above("label-code", paper=False, where="at every length: codes carry more than the predicted class"),
    *(_above(method, classes="unseen", paper=False, where=UNSEEN) for method in ("pq", "rq", "dqn", "dtq")),
    *(_above(method, classes="unseen", paper=False, where=UNSEEN) for method in ("rq-dpq", "pq-dpq", "label-code")),
)


def setting_to_judge(output: Path, experiment: str) -> Setting | None:
    """The records of an experiment in its shipped setting on the whole protocol; None where DPQ has none."""
    groups = group_by_setting(records_of(output, experiment))
    key, group = next(iter(groups.items()))
    shipped = load_experiment(experiment)
    if not comparable(group[0]) or group[0]["config"]["training"] != asdict(shipped.training):
        return None
    own = [record for record in group if record["variant"] == "released" or _as_shipped(record, shipped)]
    ablated = place_ablations(ablations_of(output, experiment), groups).get(key, [])
    has_own = any(record["method"] == "dpq" for record in own)
    return Setting(experiment, own, ablated) if has_own else None


def _as_shipped(record: dict[str, Any], shipped: Any) -> bool:
    tables = METHODS[record["method"]].configs
    return bool(record["config"]["methods"] == describe(shipped.splits()[0], tables)["methods"])


def find(output: Path, experiments: Sequence[str]) -> list[Finding]:
    """Every claim in every setting that it is about, in the order of `CLAIMS`."""
    settings = [setting for name in experiments if (setting := setting_to_judge(output, name))]
    findings = (
        Finding(claim, setting.experiment, claim.compare(setting))
        for claim in CLAIMS
        for setting in settings
        if claim.applies_to(setting)
    )
    return [finding for finding in findings if finding.comparisons]
