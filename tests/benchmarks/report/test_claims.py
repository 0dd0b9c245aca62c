import math

import pytest
from scipy import stats

from benchmarks.records.store import write_record
from benchmarks.report.claims import CLAIMS, COMPONENTS, find, make_claims_page
from benchmarks.report.comparisons import above, as_if_alone, as_printed, cheaper, components, flat
from benchmarks.report.intervals import interval_of_mean
from benchmarks.report.study import Study
from benchmarks.report.verdicts import FAILS, HOLDS, OPEN
from benchmarks.setting.ablations import ABLATIONS
from tests.benchmarks.made_up import each, run, section

OWN = [(0.70, 0.72), (0.71, 0.73), (0.73, 0.74)]
OTHER = [(0.60, 0.71), (0.62, 0.72), (0.61, 0.70)]


@pytest.fixture
def records():
    return [run("dpq", k, maps) for k, maps in enumerate(OWN)] + [
        one for k, maps in enumerate(OTHER) for one in each("dqn", k, maps, seconds=50.0)
    ]


@pytest.fixture
def setting(records):
    return section(records)


def test_better_is_a_paired_test_at_every_length(setting):
    for k, comparison in enumerate(above(setting, "dqn")):
        one, other = [maps[k] for maps in OWN], [maps[k] for maps in OTHER]
        expected = stats.ttest_rel(one, other).confidence_interval(0.95)
        assert comparison.label == f"{(8, 16)[k]} bits"
        interval = interval_of_mean(comparison.values)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
        assert [len(ids) for _, ids in comparison.records] == [3, 3]
        assert comparison.low == 0


def test_truncated_codes_are_never_compared(records):
    truncated = [r for r in records if not (r["method"] == "dqn" and r["lengths"][-1]["bits"] == 8)]
    eight, sixteen = above(section(truncated), "dqn")
    assert eight.missing == "no runs of DQN"
    assert len(sixteen.values) == 3


def test_only_common_seeds_are_paired(setting, records):
    more = [*records, run("dpq", 7, (0.9, 0.9))]
    assert above(section(more), "dqn")[0].values == above(setting, "dqn")[0].values


def test_without_a_common_seed_there_is_nothing_to_compare():
    (eight,) = above(section([run("dpq", 0, (0.7,), (8,)), run("rq", 1, (0.2,), (8,))]), "rq")
    assert (eight.values, eight.missing) == ((), "no common seed")


def test_seeds_of_one_class_split_are_averaged():
    records = [
        run("dpq", seed, (0.5 + 0.1 * split + 0.01 * seed,), (8,), split) for split in range(3) for seed in range(2)
    ]
    records += [run("rq", seed, (0.4,), (8,), split) for split in range(3) for seed in range(2)]
    for record in records:
        record["data"] |= {"seen": ["cat"], "unseen": [f"class {record['config']['split_seed']}"]}
    (comparison,) = above(section(records), "rq")
    assert comparison.values == pytest.approx((0.105, 0.205, 0.305))


def test_a_prefix_against_training_for_its_length_alone(setting, records):
    alone = [run("dpq", seed, (0.705,), (8,)) for seed in range(3)]
    (eight,) = as_if_alone(section([*records, *alone]))
    assert eight.values == pytest.approx((-0.005, 0.005, 0.025))
    assert eight.low == -0.01
    (missing,) = as_if_alone(setting)
    assert missing.missing == "no runs of DPQ, trained at 8 bits"


def test_time_is_a_ratio_of_one_training_to_the_sum_of_all(setting, records):
    (ratio,) = cheaper(setting, "dqn")
    assert ratio.ratio
    assert [math.exp(v) for v in ratio.values] == pytest.approx([1.0, 1.0, 1.0])
    slow = [r if r["method"] == "dpq" else r | {"seconds": r["seconds"] | {"train": 200.0}} for r in records]
    (ratio,) = cheaper(section(slow), "dqn")
    assert [math.exp(v) for v in ratio.values] == pytest.approx([0.25] * 3)
    assert ratio.verdict() == HOLDS


def test_time_needs_a_training_for_every_length(records):
    fewer = [r for r in records if r["method"] == "dpq" or max(r["config"]["bits"]) == 16]
    (ratio,) = cheaper(section(fewer), "dqn")
    assert ratio.missing == "no runs of DQN trained for each length"


def test_training_dpq_for_each_length_counts_the_longest_one_too(records):
    alone = [run("dpq", seed, (0.7,), (8,), seconds=60.0) for seed in range(3)]
    (ratio,) = cheaper(section([*records, *alone]), "dpq")
    assert [math.exp(v) for v in ratio.values] == pytest.approx([100 / 160] * 3)


def test_a_component_is_compared_with_the_run_that_it_was_taken_from(records):
    base = {r["seed"]: r["id"] for r in records if r["method"] == "dpq"}
    ablated = [run("dpq", s, (0.6, 0.7), id=f"no-soft-{s}", ablation="no-soft", ablation_of=base[s]) for s in range(3)]
    stray = run("dpq", 9, (0.1, 0.1), id="no-soft-9", ablation="no-soft", ablation_of="nowhere")
    no_soft, frozen = components(section(records, [*ablated, stray]), ("no-soft", "frozen"))
    assert no_soft.values == pytest.approx([0.65 - sum(maps) / 2 for maps in OWN])
    assert no_soft.verdict() == HOLDS
    assert frozen.missing == f"no runs with {ABLATIONS['frozen'].title}"


def test_flat_means_within_the_spread_of_the_printed_values(setting, records):
    (eight,) = flat(setting)
    assert (eight.low, eight.high) == (-0.02, 0.02)
    assert eight.values == pytest.approx((-0.02, -0.02, -0.01))
    assert flat(section([r | {"protocol": "digits"} for r in records])) == []


def test_printed_values_are_those_of_the_paper(setting):
    eight, sixteen = as_printed(setting)
    assert eight.values == pytest.approx([m[0] - 0.814 for m in OWN])
    assert eight.label == "8 bits, printed 0.814†"
    assert sixteen.values == pytest.approx([m[1] - 0.833 for m in OWN])
    gain = as_printed(setting, "dqn")[0]
    assert gain.values == pytest.approx([a[0] - b[0] - (0.814 - 0.527) for a, b in zip(OWN, OTHER, strict=True)])


@pytest.mark.parametrize(("dataset", "method"), [("imagenet100", "DPQ"), ("nuswide21", "DTQ"), ("digits", "DPQ")])
def test_no_printed_value_that_ours_cannot_be_compared_with(records, dataset, method):
    other = section([r | {"protocol": dataset} for r in records])
    tested = as_printed(other) if method == "DPQ" else as_printed(other, method.lower())
    assert {c.missing for c in tested} == {f"no printed value of {method}"}


def put(folder, *records):
    for record in records:
        write_record(folder / "cifar10/runs" / f"{record['id']}.json", record)


def found_in(folder):
    return find([Study.read(folder, "cifar10")])


def verdicts(folder):
    return {finding.claim.key: finding.verdict for finding in found_in(folder)}


def test_verdicts_follow_the_records(records, tmp_path):
    put(tmp_path, *records)
    found = verdicts(tmp_path)
    assert found["better-than-dqn"] == OPEN  # 16 bits: 0.01, 0.01, 0.04
    assert found["better-than-dtq"] == OPEN
    assert found["printed"] == FAILS
    put(tmp_path, *[one for k in range(3) for one in each("dtq", k, (0.1 + k / 100, 0.1))])
    assert verdicts(tmp_path)["better-than-dtq"] == HOLDS
    put(tmp_path, *[one for k in range(3) for one in each("dtq", k, (0.9 + k / 100, 0.1))])
    assert verdicts(tmp_path)["better-than-dtq"] == FAILS


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
    before = make_claims_page(found_in(tmp_path))
    tuned = run("dpq", 3, (0.9, 0.9), id="tuned")
    tuned["config"]["methods"] = {"dpq": tuned["config"]["methods"]["dpq"] | {"tau": 7.0}}
    put(tmp_path, tuned)
    assert make_claims_page(found_in(tmp_path)) == before


def test_claims_about_unseen_classes_are_asked_there_alone(records, tmp_path):
    put(tmp_path, *records)
    assert not any(key.endswith("-unseen") for key in verdicts(tmp_path))
    unseen = [r | {"data": r["data"] | {"seen": ["cat"], "unseen": ["dog"]}} for r in records]
    put(tmp_path / "other", *unseen)
    found = verdicts(tmp_path / "other")
    assert found
    assert all(key.endswith("-unseen") for key in found)


def test_the_page_names_every_claim_its_test_and_its_records(records, tmp_path):
    put(tmp_path, *records)
    page = make_claims_page(found_in(tmp_path))
    for claim in (c for c in CLAIMS if not c.unseen):
        assert f"### {claim.text}\n\nTest: {claim.test}." in page
        assert page.count(f'<a id="{claim.key}"></a>') == 1
        assert f"](#{claim.key})" in page
    for record in records:
        assert f"(cifar10/runs/{record['id']}.json)" in page
    assert "not decidable here (no runs of DTQ)" in page


def test_keys_are_unique_and_components_are_ablations():
    assert len({claim.key for claim in CLAIMS}) == len(CLAIMS)
    assert set(COMPONENTS) <= set(ABLATIONS)
