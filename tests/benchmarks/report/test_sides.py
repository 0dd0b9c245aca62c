import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.commands.results import published
from benchmarks.records.store import write_record
from benchmarks.report import comparisons
from benchmarks.report.claims import find
from benchmarks.report.sides import compare, read_numbers, read_side
from benchmarks.report.study import Study
from benchmarks.report.verdicts import FAILS, HOLDS, NOT_RUN, TIE, UNCLEAR
from dpq.errors import InputError
from tests.benchmarks.made_up import each, run, section, tuned
from tests.benchmarks.report.test_ablations import make_ablated

RESULTS = Path(__file__).parents[3] / "results"
OWN = [(0.70, 0.72), (0.71, 0.73), (0.73, 0.74)]
OTHER = [(0.60, 0.71), (0.62, 0.72), (0.61, 0.70)]
PAIRS = ("better-than", "learned", "label-code", "unseen")  # claims that DPQ is better than another method


def put(folder, *records, experiment="cifar10"):
    """Records in the folder of an experiment; the folder."""
    for record in records:
        record = record | {"experiment": experiment}
        write_record(folder / experiment / "runs" / f"{record['id']}.json", record)
    return folder


def of(method, maps=OWN, seeds=range(3), **changes):
    return [run(method, seed, one, **changes) for seed, one in zip(seeds, maps, strict=True)]


def asked(folder, one, other, **options):
    return compare(read_side(one, folder), read_side(other, folder), **options)


def refused(folder, one, other, **options):
    with pytest.raises(InputError) as caught:
        asked(folder, one, other, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    return put(tmp_path, *of("dpq"), *(one for k, maps in enumerate(OTHER) for one in each("dqn", k, maps)))


def csv(folder, *rows, name="theirs.csv", head="method,bits,seed,map"):
    path = folder / name
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return str(path)


def numbers(method, maps=OTHER, bits=(8, 16)):
    return [f"{method},{b},{seed},{m}" for seed, one in enumerate(maps) for b, m in zip(bits, one, strict=True)]


@pytest.fixture(scope="module")
def findings():
    return [
        finding
        for finding in find([Study.read(RESULTS, name) for name in published(RESULTS)])
        if finding.claim.key in PAIRS and finding.verdict != NOT_RUN
    ]


def test_verdicts_of_the_claims_come_out_of_the_same_records(findings):
    """What `benchmarks.report.claims` decides of the committed records, pair by pair."""
    known = {(one.experiment, one.comparison.key or one.claim.key) for one in findings}
    assert {("cifar10", "dqn"), ("cifar10-cpu", "rq-dpq"), ("cifar10-cpu", "label-code")} <= known
    for finding in findings:
        place, method = finding.experiment, finding.comparison.key or finding.claim.key
        answer = asked(RESULTS, f"{place}:dpq", f"{place}:{method}")
        assert answer.whole.comparison.verdict == finding.verdict, (place, method)
        found = [answer.whole.comparison, *(effect.comparison for effect in answer.lengths)]
        expected = [finding.comparison, *finding.comparison.parts]
        assert [(one.n, one.interval) for one in found] == [(one.n, one.interval) for one in expected]


def test_effects_are_those_of_the_claims_with_the_means_that_they_are_of(folder):
    answer = asked(folder, "cifar10:dpq", "cifar10:dqn")
    records = [*of("dpq"), *(one for k, maps in enumerate(OTHER) for one in each("dqn", k, maps))]
    (expected,) = comparisons.better(section(records), "dqn")
    assert answer.whole.comparison.interval == expected.interval
    assert [effect.comparison.interval for effect in answer.lengths] == [one.interval for one in expected.parts]
    assert [effect.label for effect in answer.lengths] == ["8 bits", "16 bits"]
    assert answer.lengths[0].means == pytest.approx((2.14 / 3, 0.61))
    assert answer.whole.means == pytest.approx((np.mean(OWN), np.mean(OTHER)))
    assert answer.paired == "not paired (Welch)"
    assert answer.sentence == "DPQ is better than DQN: holds"


def test_turned_around_it_does_not_hold_and_the_other_way_does(folder):
    answer = asked(folder, "cifar10:dqn", "cifar10:dpq")
    assert answer.whole.comparison.verdict == FAILS
    assert answer.sentence == "DQN is better than DPQ: does not hold; DPQ is better than DQN: holds"


def test_what_would_settle_it_is_said(tmp_path):
    rq = of("rq", [(m - 0.012, n - 0.012) for m, n in OWN])
    answer = asked(put(tmp_path, *of("dpq"), *rq), "cifar10:dpq", "cifar10:rq")
    assert answer.whole.comparison.verdict == UNCLEAR
    assert answer.sentence.endswith("(n > 50)")
    near = of("rq", [(m - 0.03, n - 0.03) for m, n in OWN])
    answer = asked(put(tmp_path / "near", *of("dpq"), *near), "cifar10:dpq", "cifar10:rq")
    needed = answer.whole.comparison.needed
    assert f"(n = {needed}): so many seeds" in answer.sentence.replace("above 0; ", "")


@pytest.mark.parametrize(
    ("one", "other", "how"),
    [
        ("dpq", "rq-dpq", "paired by seed"),
        ("dpq", "label-code", "paired by seed"),
        ("pq", "rq", "paired by seed"),
        ("dpq", "rq", "not paired (Welch)"),
        ("rq", "rq-dpq", "not paired (Welch)"),
    ],
)
def test_runs_are_paired_where_they_share_an_embedding(tmp_path, one, other, how):
    put(tmp_path, *of(one), *of(other, OTHER))
    if one == "pq":  # a training for each length
        put(tmp_path, *of("pq", [(m,) for m, _ in OWN], bits=(8,)))
    assert asked(tmp_path, f"cifar10:{one}", f"cifar10:{other}").paired == how


def test_an_embedding_of_another_training_pairs_nothing(tmp_path):
    """Of another folder, other settings of DPQ, or a training for other lengths."""
    put(tmp_path / "a", *of("dpq"))
    put(tmp_path / "b", *of("rq-dpq", OTHER))
    assert asked(tmp_path, f"{tmp_path}/a/cifar10", f"{tmp_path}/b/cifar10").paired == "not paired (Welch)"
    changed = of("rq-dpq", OTHER)
    for record in changed:
        record["config"]["methods"]["dpq"] = record["config"]["methods"]["dpq"] | {"tau": 7.0}
    put(tmp_path / "c", *of("dpq"), *changed)
    answer = asked(tmp_path / "c", "cifar10:dpq", "cifar10:rq-dpq")
    assert answer.paired == "not paired (Welch)"
    assert answer.warnings == ("the sides differ in methods.dpq.tau 0.01 and 7.0 (A and B)",)
    shorter = of("rq-dpq", OTHER)
    for record in shorter:
        record["config"]["source"] = {"method": "dpq", "bits": 8}
    put(tmp_path / "d", *of("dpq"), *shorter)
    assert asked(tmp_path / "d", "cifar10:dpq", "cifar10:rq-dpq").paired == "not paired (Welch)"


def test_a_paired_interval_is_of_common_seeds_alone_and_so_are_the_means(tmp_path):
    put(tmp_path, *of("dpq", [*OWN, (0.1, 0.1)], range(4)), *of("rq-dpq", OTHER))
    answer = asked(tmp_path, "cifar10:dpq", "cifar10:rq-dpq")
    pairs = [np.mean(side, axis=1) for side in (OWN, OTHER)]
    expected = stats.ttest_rel(*pairs).confidence_interval(0.95)
    assert answer.whole.comparison.interval.low == pytest.approx(expected.low)
    assert answer.whole.means == pytest.approx((np.mean(OWN), np.mean(OTHER)))


def test_several_splits_are_compared_split_by_split(tmp_path):
    own = [run("dpq", 0, (0.5 + 0.1 * k, 0.6), split_seed=k) for k in range(3)]
    theirs = [run("rq", 5, (0.4 + 0.02 * k, 0.5), split_seed=k) for k in range(2)]
    answer = asked(put(tmp_path, *own, *theirs), "cifar10:dpq", "cifar10:rq")
    assert answer.paired == "paired by split"
    assert answer.lengths[0].comparison.values == pytest.approx((0.1, 0.18))
    assert answer.lengths[0].means == pytest.approx((0.55, 0.41))


def test_rows_are_named_by_what_is_unusual(tmp_path):
    plain = of("dpq")
    released = of("dpq", OTHER, variant="released")
    ablated = make_ablated("no-margin", {"margin": 0.0}, seed=0, maps=(0.4, 0.5))
    put(tmp_path, *plain, *released, ablated | {"ablation_of": plain[0]["id"]}, *map(tuned, of("dpq", OTHER)))
    for row, title, count in (
        ("dpq", "DPQ", 3),
        ("dpq:released", "DPQ, released variant", 3),
        ("dpq:no-margin", "DPQ, no margin loss", 1),
        ("dpq:tuned", "DPQ, tuned", 3),
    ):
        given = read_side(f"cifar10:{row}", tmp_path)
        assert (given.title, len(given.records)) == (title, count)
    with pytest.raises(InputError, match=r"several methods; write one of cifar10:dpq, cifar10:dpq:no-margin, cifar10"):
        read_side("cifar10", tmp_path)
    with pytest.raises(InputError, match=r"cifar10 has no runs of rq; write one of cifar10:dpq"):
        read_side("cifar10:rq", tmp_path)


def test_ablations_after_the_same_feature_epochs_are_paired(tmp_path):
    def with_ablation(name, **field):
        plain = of("dpq")
        made = [make_ablated(name, field, seed=k, maps=maps) for k, maps in enumerate(OTHER)]
        made = [one | {"ablation_of": own["id"]} for one, own in zip(made, plain, strict=True)]
        for one, own in zip(made, plain, strict=True):
            one["config"]["training"] = own["config"]["training"]
        put(tmp_path / name, *plain, *made)
        return asked(tmp_path / name, "cifar10:dpq", f"cifar10:dpq:{name}").paired

    assert with_ablation("no-soft", soft_terms=False) == "paired by seed"
    assert with_ablation("no-margin", margin=0.0) == "not paired (Welch)"


def test_a_place_may_be_a_record_a_folder_of_records_or_that_of_an_experiment(folder, tmp_path):
    record = of("dpq")[0]["id"]
    for place in (
        f"{folder}/cifar10/runs/{record}.json",
        f"{folder}/cifar10/runs:dpq",
        f"{folder}/cifar10:dpq",
        "cifar10:dpq",
    ):
        assert record in {one.id for one in read_side(place, folder).records}
    answer = asked(folder, f"{folder}/cifar10/runs/{record}.json", "cifar10:dqn")
    assert answer.sides[0].short == record
    assert answer.whole.comparison.verdict == UNCLEAR  # one repetition has no interval


def test_runs_of_another_setting_stay_out_and_that_is_said(folder):
    other = run("dpq", 7, (0.1, 0.1), id="dpq-paper-seed7-of-a-subset")
    other["config"]["limit"] = 100
    put(folder, other)
    answer = asked(folder, "cifar10:dpq", "cifar10:dqn")
    assert answer.warnings == ("records of cifar10:dpq in other settings are left out: 1",)
    assert answer.whole.means == pytest.approx((np.mean(OWN), np.mean(OTHER)))


def test_of_several_settings_of_a_method_the_one_of_today_is_taken_as_by_the_claims(folder):
    for k, record in enumerate(of("dpq", OTHER, (7, 8, 9))):
        record["config"]["methods"] = {"dpq": record["config"]["methods"]["dpq"] | {"tau": 7.0}}
        put(folder, record | {"id": f"{record['id']}-older-{k}"})
    given = read_side("cifar10:dpq", folder)
    assert [record.seed for record in given.records] == [0, 1, 2]
    assert given.note == "records of cifar10:dpq in other settings are left out: 3"
    for record in of("dpq"):
        (folder / "cifar10/runs" / f"{record['id']}.json").unlink()
    last = run("dpq", 0, (0.5, 0.5))
    last["config"]["methods"] = {"dpq": last["config"]["methods"]["dpq"] | {"tau": 8.0}}
    put(folder, last)
    with pytest.raises(InputError, match=r"has dpq in several settings, which differ in dpq\.tau; give one record"):
        read_side("cifar10:dpq", folder)


def changed(path, value):
    def change(record):
        *folders, name = path.split(".")
        table = record
        for part in folders:
            table = table[part]
        table[name] = value
        return record

    return change


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("data.fingerprint", "e" * 64, "images (cifar10-jpeg ffffffffffff and cifar10-jpeg eeeeeeeeeeee)"),
        ("data.variant", "cifar100", "images (cifar10-jpeg ffffffffffff and cifar100 ffffffffffff)"),
        ("cut", 1000, "cut (the whole database and 1000 ranks)"),
        ("ap_denominator", "capped", "denominator of AP (hits and capped)"),
        ("config.limit", 100, "subset (all images and --limit 100)"),
        ("config.validation", True, "queries (the protocol's and held-out training images)"),
        ("config.split_seed", 4, "the draw of the images (splits 0 and 4)"),
    ],
)
def test_what_is_of_other_data_or_measured_otherwise_is_refused(tmp_path, monkeypatch, path, value, said):
    monkeypatch.setattr("benchmarks.records.store.check_measured", lambda record: None)
    put(tmp_path / "a", *of("dpq"))
    put(tmp_path / "b", *map(changed(path, value), of("rq", OTHER)))
    message = refused(tmp_path, f"{tmp_path}/a/cifar10", f"{tmp_path}/b/cifar10")
    assert "cannot be compared: other " in message
    assert f"other {said};" in message


def test_another_network_or_training_is_compared_under_a_warning(tmp_path):
    put(tmp_path / "a", *of("dpq"))
    put(
        tmp_path / "b",
        *(
            changed("config.training.epochs", 99)(changed("backbone.weights_sha256", "b" * 64)(r))
            for r in of("dpq", OTHER)
        ),
    )
    answer = asked(tmp_path, f"{tmp_path}/a/cifar10", f"{tmp_path}/b/cifar10")
    (warning,) = answer.warnings
    assert "training.epochs 14 and 99" in warning
    assert f"weights_sha256 {'a' * 64} and {'b' * 64}" in warning
    assert answer.sentence.startswith(f"{tmp_path}/a/cifar10:dpq is better than {tmp_path}/b/cifar10:dpq")


def test_equal_sides_are_refused(folder, tmp_path):
    assert "both have the run dpq-paper-seed0" in refused(folder, "cifar10:dpq", "cifar10:dpq")
    path = csv(folder, *numbers("x"), *numbers("y"))
    assert "both have the same numbers" in refused(folder, f"{path}:x", f"{path}:y")
    again = put(tmp_path / "again", *of("dpq", OTHER))  # the same runs with other numbers, of another machine perhaps
    assert asked(folder, "cifar10:dpq", f"{again}/cifar10").whole.comparison.verdict == HOLDS


def test_sides_without_a_length_or_a_seed_in_common_are_refused(tmp_path):
    put(tmp_path, *of("dpq", [(0.5,)] * 3, bits=(8,)), *of("rq", [(0.4,)] * 3, bits=(16,)))
    assert "no code length in common; cifar10:dpq has 8 bits, cifar10:rq has 16 bits" in refused(
        tmp_path, "cifar10:dpq", "cifar10:rq"
    )
    put(tmp_path / "b", run("dpq", 0, (0.7,), (8,)), run("rq-dpq", 1, (0.2,), (8,)))
    assert "no common seed" in refused(tmp_path / "b", "cifar10:dpq", "cifar10:rq-dpq")


def test_lengths_that_no_run_has_all_of_have_no_mean(tmp_path):
    own = [run("dpq", 0, (0.7, 0.8)), run("dpq", 1, (0.71, 0.81))]
    put(tmp_path, *own, *(run("dqn", seed, (0.5,), (bits,)) for seed, bits in ((0, 8), (1, 16))))
    answer = asked(tmp_path, "cifar10:dpq", "cifar10:dqn")
    assert answer.whole.means is None
    assert answer.sentence == "DPQ is better than DQN: not run (no seed with every length of DQN)"
    assert "no seed with every length of DQN" in answer.text
    assert answer.table["mean"] == {"missing": "no seed with every length of DQN"}


def test_numbers_of_others_stand_against_records(folder):
    path = csv(folder, *numbers("theirs"))
    answer = asked(folder, "cifar10:dpq", path)
    assert answer.whole.means == pytest.approx((np.mean(OWN), np.mean(OTHER)))
    assert (answer.paired, answer.titles) == ("not paired (Welch)", ("DPQ", "theirs"))
    (warning,) = answer.warnings
    assert warning.startswith(f"of {path}:theirs images, cut and denominator are not known")
    assert warning.endswith("cifar10-jpeg ffffffffffff, the whole database, hits, all images, the protocol's")
    paired = asked(folder, "cifar10:dpq", path, paired=True)
    assert paired.whole.comparison.interval.low == pytest.approx(
        stats.ttest_rel(*[np.mean(side, axis=1) for side in (OWN, OTHER)]).confidence_interval(0.95).low
    )
    assert "--paired is for numbers" in refused(folder, "cifar10:dpq", "cifar10:dqn", paired=True)


def test_numbers_of_others_stand_against_each_other(tmp_path):
    path = csv(tmp_path, *numbers("a", OWN), *numbers("b"))
    answer = asked(tmp_path, f"{path}:a", f"{path}:b")
    assert answer.whole.comparison.verdict == HOLDS
    assert answer.warnings == (
        f"of {path}:a and {path}:b images, cut and denominator are not known; the comparison holds only if they are "
        "the same",
    )


def test_numbers_say_their_split_where_there_are_several(tmp_path):
    own = [run("dpq", seed, (0.5 + k / 10,), (8,), split_seed=k) for k in range(2) for seed in range(2)]
    for record in own:
        record["data"] |= {"seen": ["cat"], "unseen": ["dog"]}
    put(tmp_path, *own)
    assert "has 2 splits; say in a column split_seed" in refused(
        tmp_path, "cifar10:dpq", csv(tmp_path, "x,8,0,0.4", "x,8,1,0.4")
    )
    path = csv(tmp_path, "x,8,0,0.4,0", "x,8,0,0.45,1", head="method,bits,seed,map,split_seed")
    for paired in (False, True):
        answer = asked(tmp_path, "cifar10:dpq", path, paired=paired)
        assert answer.lengths[0].comparison.values == pytest.approx((0.1, 0.15))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["x,8,0,91.2"], "row 2: map must be mAP as a share from 0 to 1, no percentage; got '91.2'"),
        (["x,8,0,0.5", "x,8,1,nan"], "row 3: map must be"),
        (["x,8,0,"], "got ''"),
        (["x,8.5,0,0.5"], "bits must be a whole number from 1 on; got '8.5'"),
        (["x,0,0,0.5"], "bits must be a whole number from 1 on"),
        (["x,8,-1,0.5"], "seed must be a whole number from 0 on"),
        (["x,8,inf,0.5"], "seed must be"),
        (["x,8,0,0.5", "x,8,0,0.6"], "row 3: a second number of one method, length and seed"),
        (["x,8,0,0.5,7,9"], "has more values in a row than columns"),
    ],
)
def test_numbers_that_are_none_are_refused_with_their_row(tmp_path, rows, said):
    with pytest.raises(InputError) as caught:
        read_numbers(Path(csv(tmp_path, *rows)))
    assert said in str(caught.value)


def test_a_csv_without_its_columns_or_rows_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no column seed; give a CSV with columns method, bits, seed, map"):
        read_numbers(Path(csv(tmp_path, "x,8,0.5", head="method,bits,map")))
    for path in (Path(csv(tmp_path, head="")), tmp_path / "none.csv"):
        with pytest.raises(InputError, match="cannot read"):
            read_numbers(path)
    with pytest.raises(InputError, match="no records in"):
        read_side(csv(tmp_path), tmp_path)


def test_numbers_are_read_with_spaces_and_marks_of_spreadsheets(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("\ufeffmethod, bits, seed, map, note\r\n mine , 8, 0, 0.5, fine\r\n".encode())
    (row,) = read_numbers(path).to_dict("records")
    assert (row["method"], row["bits"], row["seed"], row["map"]) == ("mine", 8, 0, 0.5)


def test_what_is_nowhere_is_refused(folder):
    for text in ("nope", "nope:dpq", ":", "", "cifar10/nope"):
        with pytest.raises(InputError, match="is no experiment"):
            read_side(text, folder)
    with pytest.raises(InputError, match="no records in digits; make some"):
        read_side("digits:dpq", folder)
    put(folder, run("dpq", 0, (0.5, 0.6), id="dpq-other"), experiment="cifar100")
    (folder / "cifar100/runs/dpq-other.json").rename(folder / "cifar10/runs/dpq-other.json")
    with pytest.raises(InputError, match="records of cifar10 and cifar100"):
        read_side(f"{folder}/cifar10:dpq", folder)


def test_text_and_json_say_the_same(folder):
    answer = asked(folder, "cifar10:dpq", "cifar10:dqn")
    lines = answer.text.splitlines()
    assert lines[:2] == ["A: cifar10:dpq (DPQ, 3 records)", "B: cifar10:dqn (DQN, 6 records)"]
    assert any(line.startswith("| mean ") and "+0.062" in line for line in lines)
    assert lines[-1] == "DPQ is better than DQN: holds"
    table = json.loads(json.dumps(answer.table))
    assert table["mean"]["effect"] == answer.whole.comparison.interval.mean
    assert (table["verdict"], table["b"]["title"], [one["bits"] for one in table["lengths"]]) == (HOLDS, "DQN", [8, 16])
    assert len(table["a"]["records"]) == 3


def test_a_tie_is_a_tie(tmp_path):
    put(tmp_path, *of("dpq"), *of("rq-dpq", [(m + 0.002, n + 0.001) for m, n in OWN]))
    assert asked(tmp_path, "cifar10:dpq", "cifar10:rq-dpq").whole.comparison.verdict == TIE
