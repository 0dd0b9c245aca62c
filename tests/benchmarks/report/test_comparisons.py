import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.records.raw import COMPACT, RawResult, run_of, write_raw
from benchmarks.report import comparisons
from benchmarks.report.comparisons import (
    QUERY_SD,
    SAME_FEATURES,
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
from benchmarks.report.verdicts import FAILS, HOLDS, NOT_RUN, TIE, UNCLEAR
from benchmarks.setting.ablations import ABLATIONS
from dpq.errors import InputError
from tests.benchmarks.made_up import each, run, section

OWN = [(0.70, 0.72), (0.71, 0.73), (0.73, 0.74)]
OTHER = [(0.60, 0.71), (0.62, 0.72), (0.61, 0.70)]
PRINTED = (0.814, 0.833)  # of DPQ at 8 and 16 bits


def means(maps):
    return [sum(one) / len(one) for one in maps]


@pytest.fixture
def records():
    return [run("dpq", k, maps) for k, maps in enumerate(OWN)] + [
        one for k, maps in enumerate(OTHER) for one in each("dqn", k, maps, seconds=50.0)
    ]


@pytest.fixture
def setting(records):
    return section(records)


def test_better_is_welchs_test_of_means_over_lengths_and_then_of_each_length(setting):
    (found,) = better(setting, "dqn")
    assert (found.label, found.key, found.n, found.low, found.tie) == ("DQN", "dqn", "3 and 3", 0.01, 0.01)
    assert [part.label for part in found.parts] == ["8 bits", "16 bits"]
    samples = [(means(OWN), means(OTHER)), *([[m[k] for m in side] for side in (OWN, OTHER)] for k in (0, 1))]
    for comparison, (one, other) in zip([found, *found.parts], samples, strict=True):
        expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
        assert (comparison.interval.low, comparison.interval.high) == pytest.approx((expected.low, expected.high))
    assert [(name, len(ids)) for name, ids in found.records] == [("DPQ", 3), ("DQN", 6)]


def test_a_quantizer_of_dpqs_embedding_is_paired_with_the_run_that_made_it():
    made = [run("dpq", k, maps) for k, maps in enumerate(OWN)] + [
        run("rq-dpq", k, maps) for k, maps in enumerate(OTHER)
    ]
    (found,) = better(section(made), "rq-dpq")
    expected = stats.ttest_rel(means(OWN), means(OTHER)).confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))
    assert (found.n, found.against) == ("3", ())


def test_a_seed_counts_in_the_mean_over_lengths_with_all_of_them_alone(records):
    fewer = [r for r in records if r["id"] != "dqn-paper-seed2-16bits-0"]
    (found,) = better(section(fewer), "dqn")
    assert (found.n, [part.n for part in found.parts]) == ("3 and 2", ["3 and 3", "3 and 2"])
    assert found.against == pytest.approx(means(OTHER[:2]))


def test_truncated_codes_are_never_compared(records):
    truncated = [r for r in records if not (r["method"] == "dqn" and r["lengths"][-1]["bits"] == 8)]
    (found,) = better(section(truncated), "dqn")
    assert (found.verdict, found.missing) == (NOT_RUN, "no seed with every length of DQN")
    assert [part.missing for part in found.parts] == ["no runs of DQN", ""]
    assert len(found.parts[1].against) == 3


def test_runs_that_share_nothing_need_no_common_seed(records):
    shifted = [r | {"seed": r["seed"] + 10} if r["method"] == "dqn" else r for r in records]
    assert better(section(shifted), "dqn")[0].interval == better(section(records), "dqn")[0].interval
    more = [*records, run("dpq", 7, (0.9, 0.9))]
    assert better(section(more), "dqn")[0].n == "4 and 3"


def test_what_has_to_be_paired_and_cannot_is_not_compared():
    (found,) = better(section([run("dpq", 0, (0.7,), (8,)), run("rq-dpq", 1, (0.2,), (8,))]), "rq-dpq")
    assert (found.values, found.missing) == ((), "no common seed")
    (found,) = better(section([run("dpq", 0, (0.7,), (8,)), run("rq", 0, (0.2,), (8,), split_seed=1)]), "rq")
    assert (found.values, found.missing) == ((), "no common split")


@pytest.mark.parametrize("unseen", [True, False])
def test_several_splits_are_paired_each_a_mean_over_its_seeds(unseen):
    records = [
        run("dpq", seed, (0.5 + 0.1 * split + 0.01 * seed,), (8,), split) for split in range(3) for seed in range(2)
    ]
    records += [run("rq", 5, (0.4 + 0.02 * split,), (8,), split) for split in range(3)]
    for record in records:
        if unseen:
            record["data"] |= {"seen": ["cat"], "unseen": [f"class {record['config']['split_seed']}"]}
    (found,) = better(section(records), "rq")
    assert found.values == pytest.approx((0.105, 0.185, 0.265))
    assert (found.against, found.n) == ((), "3")


def test_of_a_split_that_one_side_alone_has_nothing_counts(records):
    more = [*records, run("dpq", 0, (0.1, 0.1), split_seed=1)]
    assert better(section(more), "dqn")[0].interval == better(section(records), "dqn")[0].interval


def test_a_single_class_split_is_one_repetition():
    records = [run(name, seed, (0.5,), (8,)) for name in ("dpq", "rq") for seed in range(3)]
    for record in records:
        record["data"] |= {"seen": ["cat"], "unseen": ["dog"]}
    (found,) = better(section(records), "rq")
    assert (found.n, found.verdict) == ("1 and 1", UNCLEAR)


def test_changing_the_sides_of_a_comparison_negates_it(setting):
    one, other = (comparisons.side(setting, name, (8, 16)) for name in ("dpq", "dqn"))
    for shared in (True, False):
        found = comparisons.compared("", one, other, shared=shared)
        turned = comparisons.compared("", other, one, shared=shared)
        assert (turned.interval.mean, turned.interval.low) == pytest.approx(
            (-found.interval.mean, -found.interval.high)
        )


def test_a_prefix_against_training_for_its_length_alone_is_paired(setting, records):
    alone = [run("dpq", seed, (0.705,), (8,)) for seed in range(3)]
    (found,) = as_if_alone(section([*records, *alone]))
    assert found.values == found.parts[0].values == pytest.approx((-0.005, 0.005, 0.025))
    assert (found.low, found.tie) == (-0.01, 0.0)
    (missing,) = as_if_alone(setting)
    assert missing.missing == "no runs of DPQ trained for each length"


def test_prefixes_of_several_lengths_count_as_one_comparison_of_their_mean():
    bits = (8, 16, 24)
    made = [run("dpq", k, (0.5, 0.6, 0.7), bits) for k in range(2)]
    made += [run("dpq", k, (m + k / 100,), (b,)) for k in range(2) for m, b in ((0.5, 8), (0.58, 16))]
    (found,) = as_if_alone(section(made))
    assert found.values == pytest.approx((0.01, 0.0))
    assert [part.values for part in found.parts] == [pytest.approx((0.0, -0.01)), pytest.approx((0.02, 0.01))]


def test_with_one_code_length_there_are_no_shorter_ones():
    made = section([run("dpq", k, (0.8 + k / 100,), (8,)) for k in range(2)])
    assert as_if_alone(made) == flat(made) == []
    assert as_printed(made)[0].n == "2"
    assert better(made, "pq")[0].verdict == NOT_RUN


def test_the_released_variant_is_another_training(records):
    made = [run("dpq", k, maps, variant="released") for k, maps in enumerate(OWN[:2])]
    (found,) = released(section([*records, *made]))
    assert (found.n, found.low, found.high, found.tie) == ("2 and 3", -0.01, 0.01, 0.0)


def test_time_is_a_ratio_of_one_training_to_the_sum_of_all(setting, records):
    (ratio,) = cheaper(setting, "dqn")
    assert ratio.ratio
    assert math.exp(ratio.interval.mean) == pytest.approx(1.0)
    slow = [r if r["method"] == "dpq" else r | {"seconds": r["seconds"] | {"train": 200.0}} for r in records]
    (ratio,) = cheaper(section(slow), "dqn")
    assert math.exp(ratio.interval.mean) == pytest.approx(0.25)
    assert ratio.verdict == HOLDS


def test_time_needs_a_training_for_every_length_and_the_machine(records):
    fewer = [r for r in records if r["method"] == "dpq" or max(r["config"]["bits"]) == 16]
    (ratio,) = cheaper(section(fewer), "dqn")
    assert ratio.missing == "no seed with every length of DQN trained for each length, alone on the machine"
    shared = [r | {"environment": r["environment"] | {"beside": 1}} for r in records]
    assert cheaper(section(shared), "dqn")[0].missing == "no runs of DPQ alone on the machine"


def test_training_dpq_for_each_length_counts_the_longest_one_too_and_is_paired(records):
    alone = [run("dpq", seed, (0.7,), (8,), seconds=60.0) for seed in range(3)]
    (ratio,) = cheaper(section([*records, *alone]), "dpq")
    assert [math.exp(v) for v in ratio.values] == pytest.approx([100 / 160] * 3)
    assert (ratio.key, ratio.n) == ("dpq", "3")


def ablated(records, name, maps):
    base = {r["seed"]: r["id"] for r in records if r["method"] == "dpq"}
    return [run("dpq", s, m, id=f"{name}-{s}", ablation=name, ablation_of=base[s]) for s, m in enumerate(maps)]


def test_a_component_that_leaves_the_features_is_compared_with_the_run_that_it_was_taken_from(records):
    stray = run("dpq", 9, (0.1, 0.1), id="no-soft-9", ablation="no-soft", ablation_of="nowhere")
    changed = [*ablated(records, "no-soft", [(0.6, 0.7)] * 3), stray]
    no_soft, frozen = components(section(records, changed), "no-soft", "frozen")
    assert no_soft.values == pytest.approx([mean - 0.65 for mean in means(OWN)])
    assert (no_soft.label, no_soft.key, no_soft.verdict) == ("no soft terms", "no-soft", HOLDS)
    assert [part.label for part in no_soft.parts] == ["8 bits", "16 bits"]
    assert (frozen.verdict, frozen.missing) == (NOT_RUN, "no runs with frozen backbone")


def test_a_component_that_changes_the_features_is_another_training(records):
    maps = [(0.6, 0.7), (0.61, 0.72)]
    (found,) = components(section(records, ablated(records, "no-margin", maps)), "no-margin")
    expected = stats.ttest_ind(means(OWN), means(maps), equal_var=False).confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))
    assert found.n == "3 and 2"


def test_each_component_has_a_verdict_of_its_own(records):
    changed = [*ablated(records, "no-soft", OWN), *ablated(records, "two-step", [(0.1, 0.1)] * 3)]
    found = components(section(records, changed), "no-soft", "two-step")
    assert [one.verdict for one in found] == [TIE, HOLDS]


def test_ablations_of_the_same_features_are_known():
    assert set(SAME_FEATURES) < set(ABLATIONS)
    assert not {"no-margin", "no-classification", "frozen", "words"} & set(SAME_FEATURES)


def test_flat_means_within_the_spread_of_the_printed_values(setting, records):
    (found,) = flat(setting)
    assert (found.low, found.high, found.label) == (-0.02, 0.02, f"within ±0.020†{STATED}")
    assert found.values == pytest.approx((-0.02, -0.02, -0.01))
    assert found.records == (("DPQ", tuple(f"dpq-paper-seed{k}-16bits-0" for k in range(3))),)
    assert flat(section([r | {"protocol": "digits"} for r in records])) == []


def test_printed_values_are_those_of_the_paper_with_their_marks(setting):
    (found,) = as_printed(setting)
    assert found.values == pytest.approx([mean - sum(PRINTED) / 2 for mean in means(OWN)])
    assert (found.label, found.low, found.verdict) == (f"printed 0.823†{STATED}", -0.01, FAILS)
    eight, sixteen = found.parts
    assert eight.values == pytest.approx([m[0] - 0.814 for m in OWN])
    assert sixteen.values == pytest.approx([m[1] - 0.833 for m in OWN])


def test_a_printed_gain_is_a_difference_of_printed_values(setting):
    (found,) = gains_as_printed(setting, "dqn")
    gain = sum(PRINTED) / 2 - (0.527 + 0.551) / 2
    assert found.interval.mean == pytest.approx(means([means(OWN)])[0] - means([means(OTHER)])[0] - gain)
    assert found.parts[0].interval.mean == pytest.approx(0.7133333 - 0.61 - (0.814 - 0.527))
    assert found.label == f"DQN (printed {gain:.3f}†{STATED})"
    assert gains_as_printed(setting, "dtq")[0].label == "DTQ"


def test_a_printed_gain_has_the_marks_of_all_that_went_into_it(records):
    dtq = [one for k, maps in enumerate(OTHER) for one in each("dtq", k, maps)]
    assert gains_as_printed(section([*records, *dtq]), "dtq")[0].label == f"DTQ (printed 0.036†§{STATED})"


def test_no_printed_value_that_ours_cannot_be_compared_with(records):
    assert as_printed(section([r | {"protocol": "imagenet100"} for r in records])) == []
    assert as_printed(section([r | {"protocol": "digits"} for r in records])) == []
    assert gains_as_printed(section([r | {"protocol": "nuswide21"} for r in records]), "dtq") == []


def test_where_queries_are_not_known_a_stated_deviation_stands_for_them(setting):
    (found,) = as_printed(setting)
    (draw,) = found.draws
    assert draw.error == QUERY_SD / math.sqrt(1000)
    assert draw.seeds == pytest.approx(found.values)
    assert found.interval.high - found.interval.low > 2 * 1.9 * draw.error


def put_compact(folder, record, averages):
    """The compact file of a record, with these average precisions [T, Q] alone meant."""
    rng = np.random.default_rng(0)
    labels = rng.random((averages.shape[1], 2)) < 0.5
    raw = RawResult(
        codes=rng.integers(16, size=(9, 2), dtype=np.uint8),
        codebooks=np.ones((2, 16, 3), np.float32),
        queries=np.ones((averages.shape[1], 3), np.float32),
        query_labels=labels,
        database_labels=rng.random((9, 2)) < 0.5,
        average_precision=averages.astype(np.float32),
        run=run_of(record),
    )
    path = folder / "cifar10/runs" / f"{record['id']}{COMPACT}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_raw(path, raw)


def in_folder(folder, records):
    return replace(section(records), output=folder)


def test_committed_average_precision_of_each_query_enters(tmp_path):
    """Two seeds, three queries: what seeds share stands for the draw of queries, in printed values and along a code."""
    each_query = np.array([[0.2, 0.5, 0.8], [0.3, 0.5, 0.85]])
    made = []
    for seed in range(2):
        averages = each_query + seed / 100
        record = run("dpq", seed, averages.astype(np.float32).mean(axis=1).tolist())
        record["data"] |= {"query": 3}
        put_compact(tmp_path, record, averages)
        made.append(record)
    (found,) = as_printed(in_folder(tmp_path, made))
    assert found.label == "printed 0.823†"
    assert found.draws[0].queries == pytest.approx(each_query.mean(axis=0) + 0.005)
    assert found.parts[1].draws[0].queries == pytest.approx(each_query[1] + 0.005)
    (along,) = flat(in_folder(tmp_path, made))
    assert along.label == "within ±0.020†"
    assert along.draws[0].queries == pytest.approx([-0.1, 0.0, -0.05])

    lacking = run("dpq", 2, (0.5, 0.6))
    lacking["data"] |= {"query": 3}
    (found,) = as_printed(in_folder(tmp_path, [*made, lacking]))
    assert (found.label, found.draws[0].queries) == (f"printed 0.823†{STATED}", QUERY_SD / math.sqrt(3))


def test_a_compact_file_of_another_record_is_refused(tmp_path):
    record = run("dpq", 0, (0.5, 0.6))
    record["data"] |= {"query": 3}
    put_compact(tmp_path, record, np.array([[0.2, 0.5, 0.8], [0.3, 0.5, 0.85]]))
    with pytest.raises(InputError, match="is not of the record beside it"):
        as_printed(in_folder(tmp_path, [record]))


def test_several_splits_and_their_seeds_enter_by_themselves():
    made = [run("dpq", seed, (0.8 + split / 100 + seed / 1000,), (8,), split) for split in (0, 1) for seed in (0, 1)]
    (found,) = as_printed(section(made))
    assert [draw.seeds for draw in found.draws] == [pytest.approx((-0.014, -0.013)), pytest.approx((-0.004, -0.003))]
    assert (found.n, found.interval.n) == ("2", 2)
    gain = gains_as_printed(section([*made, *(run("dqn", 0, (0.5,), (8,), split) for split in (0, 1))]), "dqn")[0]
    assert (gain.n, len(gain.draws), gain.against) == ("2", 2, ())
