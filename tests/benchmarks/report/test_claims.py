import re
from dataclasses import replace

import pytest

from benchmarks.records.store import write_record
from benchmarks.report import study
from benchmarks.report.claims import CLAIMS, COMPONENTS, MEANS_FIRST, find, make_claims_page, verdict_table
from benchmarks.report.study import Study
from benchmarks.report.verdicts import FAILS, HOLDS, NOT_RUN, RULE, TIE, UNCLEAR
from benchmarks.setting.ablations import ABLATIONS
from benchmarks.setting.experiment import Tuned, load_experiment
from tests.benchmarks.made_up import each, run, tuned

OWN = [(0.70, 0.72), (0.71, 0.73), (0.73, 0.74)]
OTHER = [(0.60, 0.71), (0.62, 0.72), (0.61, 0.70)]


@pytest.fixture
def records():
    return [run("dpq", k, maps) for k, maps in enumerate(OWN)] + [
        one for k, maps in enumerate(OTHER) for one in each("dqn", k, maps, seconds=50.0)
    ]


def put(folder, *records):
    for record in records:
        write_record(folder / "cifar10/runs" / f"{record['id']}.json", record)


def found_in(folder):
    return find([Study.read(folder, "cifar10")])


def verdicts(folder):
    return {finding.anchor: finding.verdict for finding in found_in(folder)}


def test_verdicts_follow_the_records(records, tmp_path):
    put(tmp_path, *records)
    found = verdicts(tmp_path)
    assert found["better-than-dqn"] == HOLDS
    assert found["better-than-dtq"] == NOT_RUN
    assert found["printed"] == FAILS
    for maps, expected in (((0.1, 0.1), HOLDS), ((0.9, 0.9), FAILS), ((0.722, 0.722), UNCLEAR)):
        put(tmp_path, *[one for k in range(3) for one in each("dtq", k, [m + k / 1000 for m in maps])])
        assert verdicts(tmp_path)["better-than-dtq"] == expected
    put(tmp_path, *[run("rq-dpq", k, [m + 0.002 for m in maps]) for k, maps in enumerate(OWN)])
    assert verdicts(tmp_path)["learned-rq-dpq"] == TIE
    assert verdicts(tmp_path)["learned-pq-dpq"] == NOT_RUN


def test_equal_budgets_are_judged_beside_equal_terms(records, tmp_path, monkeypatch):
    """A third setting, which is neither the file's nor its winner, decides nothing."""
    winners = {
        "dpq": Tuned("a-study", training={"learning_rate": 3e-4}),
        "dqn": Tuned("a-study", training={"dropout": 0.1}),
    }
    monkeypatch.setattr(study, "load_experiment", lambda name: replace(load_experiment(name), tuned=winners))
    above = [tuned(run("dpq", k, [m + 0.1 for m in maps]), learning_rate=3e-4) for k, maps in enumerate(OWN)]
    level = [tuned(one, dropout=0.1) for k, maps in enumerate(OWN) for one in each("dqn", k, [m + 0.1 for m in maps])]
    strange = [tuned(one, dropout=0.4) for k in range(3) for one in each("dtq", k, (0.1, 0.1))]
    put(tmp_path, *records, *above, *level, *strange)
    found = {(one.experiment, one.anchor): one.verdict for one in found_in(tmp_path)}
    assert found["cifar10", "better-than-dqn"] == HOLDS
    assert found["cifar10, equal budgets", "better-than-dqn"] == UNCLEAR
    assert ("cifar10, equal budgets", "better-than-dtq") not in found
    page = verdict_table(found_in(tmp_path), paper=True)
    assert page.splitlines()[0].split("|")[2].strip() == "cifar10, equal budgets"
    assert "cifar10, equal budgets" in make_claims_page(found_in(tmp_path))


def test_subsets_changed_settings_and_changed_methods_decide_nothing(records, tmp_path):
    other = run("dpq", 0, (0.1, 0.1), id="limited")
    other["config"]["limit"] = 100
    put(tmp_path, other)
    assert verdicts(tmp_path) == {}
    longer = run("dpq", 0, (0.1, 0.1), id="longer")
    longer["config"]["training"] |= {"epochs": 99}
    put(tmp_path, longer)
    assert verdicts(tmp_path) == {}
    put(tmp_path, *records)
    before = [finding.comparison for finding in found_in(tmp_path)]
    tuned = run("dpq", 3, (0.9, 0.9), id="tuned")
    tuned["config"]["methods"] = {"dpq": tuned["config"]["methods"]["dpq"] | {"tau": 7.0}}
    put(tmp_path, tuned)
    assert [finding.comparison for finding in found_in(tmp_path)] == before


def unseen(records):
    return [r | {"data": r["data"] | {"seen": ["cat"], "unseen": ["dog"]}} for r in records]


def test_claims_about_unseen_classes_are_asked_there_alone(records, tmp_path):
    put(tmp_path, *records)
    assert not any(key.startswith("unseen") for key in verdicts(tmp_path))
    put(tmp_path / "other", *unseen(records))
    found = verdicts(tmp_path / "other")
    assert found
    assert all(key.startswith("unseen-") for key in found)


def test_the_page_has_every_claim_its_test_and_the_way_to_its_records(records, tmp_path):
    put(tmp_path, *records)
    findings = found_in(tmp_path)
    page = make_claims_page(findings)
    for claim in (c for c in CLAIMS if not c.unseen):
        assert f"### {claim.text.removesuffix(':')}" in page
        assert f"Effect: {claim.test}." in page
    table = verdict_table(findings, paper=True, prefix="CLAIMS.md")
    for finding in findings:
        assert page.count(f'<a id="{finding.anchor}"></a>') == 1
        assert finding.claim.paper == (f"](CLAIMS.md#{finding.anchor})" in table)
    anchor = re.search(r"\[DPQ\]\(cifar10/rows\.md#(\w+-dpq)\) − \[DQN\]\(cifar10/rows\.md#(\w+-dqn)\)", page)
    assert anchor
    assert "Not run in `cifar10`: DTQ, PQ on frozen features." in page
    assert "runs/" not in page  # a click further


def test_the_folded_lengths_are_outside_of_what_is_read_first(records, tmp_path):
    put(tmp_path, *records)
    page = make_claims_page(found_in(tmp_path))
    visible = re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)
    assert page.count("<details>") == page.count("</details>")
    assert re.search(r"8/16 bits: \+0\.103 \[\+0\.07\d, \+0\.1\d\d\], \+0\.020 \[", page)
    assert "16 bits" not in visible
    assert "| DQN " in visible


def test_what_is_printed_has_its_mark_and_the_page_says_what_it_means(records, tmp_path):
    put(tmp_path, *records)
    page = make_claims_page(found_in(tmp_path))
    for value in re.findall(r"printed \d\S*|within ±\d\S*", page.partition("## The paper")[2]):
        assert re.search(r"[‖†‡§¶]", value) or value.endswith("±0.01."), value
    for mark in "†◊":
        assert f"{mark} " in page.rpartition("</details>")[2]


def test_a_verdict_that_is_no_printed_number_needs_no_note(records, tmp_path):
    put(tmp_path, *unseen(records))
    assert make_claims_page(found_in(tmp_path)).endswith("</details>\n")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (["2026-11-25"] * 3, "**after** its runs of 2026-11-25."),
        (["2026-11-25", "2026-11-26", "2026-11-26"], "**after** its runs of 2026-11-25 to 2026-11-26."),
        (["2026-11-25", "2027-01-01", "2027-01-02"], "**after** some of its runs of 2026-11-25 to 2027-01-02."),
        (["2027-01-01"] * 3, "before its runs of 2027-01-01."),
    ],
)
def test_the_page_says_whether_a_rule_is_older_than_the_runs_that_it_judges(tmp_path, made, said):
    dates = [f"{day}T10:00:00+00:00" for day in made]
    put(tmp_path, *[run("dpq", k, maps, created=dates[k]) for k, maps in enumerate(OWN)])
    page = make_claims_page(found_in(tmp_path))
    assert f"Rule of {MEANS_FIRST[:10]}, {said}" in page.partition('<a id="printed"></a>')[2].partition("<a id")[0]
    assert f"Rule of {MEANS_FIRST[:10]}, before any run." in page.partition('<a id="one-training"></a>')[2]


def test_a_claim_has_the_time_of_its_own_rule(records, tmp_path):
    put(tmp_path, *records)
    findings = [replace(one, claim=replace(one.claim, since="2025-05-05T00:00:00+00:00")) for one in found_in(tmp_path)]
    assert "Rule of 2025-05-05, before its runs of 2026-01-01." in make_claims_page(findings)


def test_keys_are_unique_and_components_are_ablations():
    assert len({claim.key for claim in CLAIMS}) == len(CLAIMS)
    assert set(COMPONENTS) <= set(ABLATIONS)


def test_the_rule_names_every_verdict():
    for verdict in (HOLDS, FAILS, TIE, UNCLEAR, NOT_RUN):
        assert f"{verdict}**:" in RULE or f"- {verdict}:" in RULE
