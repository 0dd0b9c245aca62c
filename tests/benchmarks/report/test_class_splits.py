"""Queries of unseen classes from end to end, and tables that average over class splits."""

import csv
from statistics import mean, stdev

import pytest

from benchmarks.__main__ import main
from benchmarks.figures.ablations import differences
from benchmarks.figures.series import series_of, setting_line
from benchmarks.records.store import as_record, read_record
from benchmarks.report.comparisons import better, components
from benchmarks.report.details import detail_tables
from benchmarks.report.study import sections_of
from benchmarks.report.tables import describe_setting, main_table
from benchmarks.report.verdicts import UNCLEAR
from dpq.protocols import PROTOCOLS
from dpq.protocols.cifar_unseen import load_cifar_unseen, unseen_classes
from tests.benchmarks.conftest import TINY, make_record
from tests.dpq.protocols.test_cifar import MINI, files, write_folder


@pytest.fixture
def run(configs, tmp_path, monkeypatch):
    """Run `unseen`, a tiny experiment of two class splits; returns the exit status."""
    root = write_folder(tmp_path / "data" / "cifar10-jpeg", files()).parent
    monkeypatch.setenv("DPQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(
        PROTOCOLS, "cifar10-unseen", lambda root, cache, options, seed: load_cifar_unseen(MINI, root, cache(), seed)
    )
    text = TINY.replace('"digits"', '"cifar10-unseen"\nsplit_seeds = [0, 2]').replace("size = 50", "size = 10")
    (configs / "unseen.toml").write_text(text)

    def start(*arguments):
        output = str(tmp_path / "results")
        return main(["run", "unseen", "--data-root", str(root), "--output", output, *arguments])

    return start


def records(tmp_path):
    return [read_record(path) for path in sorted((tmp_path / "results/unseen/runs").glob("*.json"))]


def test_every_split_is_run_and_the_table_averages_over_them(run, tmp_path, caplog):
    assert run("--method", "rq", "dpq", "label-code") == 0
    made = records(tmp_path)
    assert sorted((r.method, r.config.split_seed) for r in made) == [
        (method, seed) for method in ("dpq", "label-code", "rq") for seed in (0, 2)
    ]
    for record in made:
        assert record.data.unseen == unseen_classes(MINI, record.config.split_seed)
        assert (record.data.train, record.data.query, record.data.database) == (21, 6, 15)
        assert record.classification_accuracy is None
        assert record.queries_without_relevant == 0
    label_code = next(r for r in made if r.method == "label-code")
    assert label_code.backbone.embedding_dim == 8  # the seven seen classes and the confidence

    output = ["--output", str(tmp_path / "results")]
    assert main(["table", "unseen", *output]) == main(["figures", "unseen", *output]) == 0
    text = (tmp_path / "results/unseen/table.md").read_text()
    assert text.count("ours, n = 2 in 2 class splits") == 3
    assert "bird, dog, frog (split 0); automobile, deer, truck (split 2)" in text
    assert "n is the number of class splits times seeds" in text
    assert "| paper" not in text
    assert "Values of the papers" not in text
    rows = list(csv.DictReader((tmp_path / "results/unseen/table.csv").open()))
    assert {(row["seeds"], row["splits"]) for row in rows} == {("2", "2")}
    for row in rows:
        of_row = [record for record in made if record.id in row["records"]]
        values = [length.map for r in of_row for length in r.lengths if str(length.bits) == row["bits"]]
        assert float(row["map"]) == pytest.approx(sum(values) / 2, abs=1e-6)

    with caplog.at_level("INFO"):
        assert run("--method", "rq", "dpq", "label-code") == 0
    assert caplog.text.count("nothing to do") == 1


def test_one_split_can_be_run_alone(run, tmp_path):
    assert run("--method", "rq", "--split-seeds", "1") == 0
    (record,) = records(tmp_path)
    assert record.data.unseen == unseen_classes(MINI, 1)
    assert main(["table", "unseen", "--output", str(tmp_path / "results")]) == 0
    assert "| ours, n = 1 " in (tmp_path / "results/unseen/table.md").read_text()


def test_a_split_that_is_not_there_is_refused_before_the_others_are_run(run, tmp_path, capsys):
    assert run("--method", "rq", "--split-seeds", "0,3") == 2
    assert "class splits 0 to 2; got 3" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_drawn_splits_of_all_classes_stand_in_one_row(configs, tmp_path):
    output = ["--output", str(tmp_path / "results")]
    assert main(["run", "tiny", "--limit", "100", "--method", "rq", "--split-seeds", "0,1", *output]) == 0
    assert main(["table", "tiny", *output]) == main(["figures", "tiny", *output]) == 0
    assert (tmp_path / "results/tiny/table.md").read_text().count("ours, n = 2 in 2 splits") == 1
    rows = list(csv.DictReader((tmp_path / "results/tiny/table.csv").open()))
    assert {(row["seeds"], row["splits"], row["runs"]) for row in rows} == {("2", "2", "0:0 1:0")}


BOTH = ("dpq", "rq")


def class_split(split, seed, maps, method="dpq"):
    record = make_record(method, seed=seed, maps=maps) | {"protocol": "cifar10-unseen"}
    record |= {"id": f"{method}-split{split}-seed{seed}"}
    unseen = list(unseen_classes(MINI, split))
    own = {"fingerprint": str(split), "fingerprint_of_all": "a", "seen": [], "unseen": unseen}
    return record | {"data": record["data"] | own, "config": record["config"] | {"split_seed": split}}


def ablation(split, seed, maps):
    record = class_split(split, seed, maps)
    record["config"]["methods"]["dpq"] |= {"train_backbone": False}
    return record | {"id": f"frozen-{record['id']}", "ablation": "frozen", "ablation_of": record["id"]}


def sections(*records):
    return sections_of([as_record(record) for record in records])


def test_n_counts_splits_each_a_mean_over_its_seeds_and_the_deviation_is_over_them():
    """By hand: 8 bits are the split's number in tenths, 16 bits the mean over seeds, which is the same in each."""
    (found,) = sections(
        *(class_split(split, seed, (split / 10, seed / 10)) for split in (0, 1, 2) for seed in (0, 1, 2))
    )
    for row, deviation in zip(found.summary.to_dict("records"), (0.1, 0.0), strict=True):
        assert (row["seeds"], row["splits"]) == (3, 3)
        assert row["map"] == pytest.approx(0.1)
        assert row["map_sd"] == pytest.approx(deviation, abs=1e-12)
        assert len(row["records"].split()) == 9
    assert main_table(found).iloc[0]["source"] == "ours, n = 3 in 3 class splits"
    assert "n is the number of class splits, each a mean over its seeds" in describe_setting(found)


def test_splits_whose_databases_and_coarse_classes_differ_are_one_setting():
    made = [class_split(split, 0, (0.5, 0.5)) for split in (0, 1)]
    for split, record in enumerate(made):
        record["data"] |= {"database": 14740 + split, "coarse": ["fish", "trees"][split:]}
    (found,) = sections(*made)
    assert main_table(found).iloc[0]["source"] == "ours, n = 2 in 2 class splits"


def test_table_figure_and_claim_agree_on_what_a_repetition_is():
    """Two class splits of two seeds each, and a third of one: n is 3, however many runs a split has."""
    maps = {(0, 0): 0.50, (0, 1): 0.60, (1, 0): 0.70, (1, 1): 0.90, (2, 0): 0.66}
    by_hand = [0.55, 0.80, 0.66]
    (found,) = sections(
        *(class_split(split, seed, (m, m)) for (split, seed), m in maps.items()),
        *(class_split(split, seed, (0.25, 0.25), "rq") for split, seed in maps),
        *(ablation(split, seed, (m - 0.25, m - 0.25)) for (split, seed), m in maps.items()),
    )
    row = found.summary[found.summary["method"] == "dpq"].iloc[0]
    dpq = next(one for one in series_of(found) if one.method == "dpq")
    claims = (better(found, "rq")[0], components(found, "frozen")[0])
    assert (row["seeds"], row["map"], row["map_sd"]) == (3, pytest.approx(mean(by_hand)), pytest.approx(stdev(by_hand)))
    assert dpq.values(8, lambda _, length: length.map).tolist() == pytest.approx(by_hand)
    assert claims[0].values == pytest.approx([value - 0.25 for value in by_hand])
    assert claims[1].values == pytest.approx([0.25] * 3)
    assert claims[0].interval.n == dpq.interval(8).n == row["seeds"]
    assert setting_line(found.first, [dpq]).endswith("n = 3 class splits (each a mean over seeds)")
    assert [one.interval.n for one in differences(found)] == found.ablations.query("bits == 8")["seeds"].tolist()


def test_one_class_split_is_one_repetition_for_table_figure_and_claim():
    (found,) = sections(*(class_split(0, seed, (m, m), method) for seed, m in enumerate((0.5, 0.6)) for method in BOTH))
    row = found.summary[found.summary["method"] == "dpq"].iloc[0]
    (dpq,) = (one for one in series_of(found) if one.method == "dpq")
    (claim,) = better(found, "rq")
    assert row["seeds"] == dpq.interval(8).n == claim.interval.n == 1
    assert row["map"] == pytest.approx(dpq.interval(8).mean) == pytest.approx(0.55)
    assert claim.verdict == UNCLEAR


def test_class_splits_of_other_images_are_other_settings():
    one, other = class_split(0, 0, (0.1, 0.2)), class_split(1, 0, (0.3, 0.4))
    other["data"]["fingerprint_of_all"] = "b"
    assert len(sections(one, other)) == 2


def draw(split, seed, maps, method="dpq", **changes):
    """A run on another draw of the images, all classes of which are searched."""
    record = make_record(method, seed=seed, maps=maps) | {"id": f"{method}-split{split}-seed{seed}"} | changes
    return record | {
        "data": record["data"] | {"fingerprint": f"f{split}"},
        "config": record["config"] | {"split_seed": split},
    }


def frozen(split, seed, maps):
    record = draw(split, seed, maps)
    record["config"]["methods"]["dpq"] |= {"train_backbone": False}
    return record | {"id": f"frozen-{record['id']}", "ablation": "frozen", "ablation_of": record["id"]}


BY_SPLIT = "n = 3 in 3 splits", "3 splits (each a mean over seeds)"
DRAWS = [  # mAP by split and seed, and by hand the value of each repetition
    ({(0, seed): 0.5 + seed / 10 for seed in range(5)}, [0.5, 0.6, 0.7, 0.8, 0.9], "n = 5", "5 seeds"),
    (
        {(0, 0): 0.5, (1, 0): 0.7, (2, 0): 0.6},
        [0.5, 0.7, 0.6],
        *BY_SPLIT,
    ),
    (
        {(0, 0): 0.5, (0, 1): 0.6, (1, 0): 0.7, (1, 1): 0.9, (2, 0): 0.6, (2, 1): 0.7},
        [0.55, 0.8, 0.65],
        *BY_SPLIT,
    ),
    (
        {(0, seed): 0.5 + seed / 10 for seed in range(5)} | {(1, 0): 0.6, (2, 0): 0.5},
        [0.7, 0.6, 0.5],
        *BY_SPLIT,
    ),
]


@pytest.mark.parametrize(("maps", "by_hand", "counted", "drawn"), DRAWS)
def test_table_figure_and_claim_agree_on_the_repetitions_of_drawn_splits(maps, by_hand, counted, drawn):
    (found,) = sections(
        *(draw(*repetition, (m, m)) for repetition, m in reversed(maps.items())),
        *(draw(*repetition, (m / 2, 0.25), "rq") for repetition, m in maps.items()),
        *(frozen(*repetition, (m - 0.25, m - 0.25)) for repetition, m in maps.items()),
    )
    row = found.summary[found.summary["method"] == "dpq"].iloc[0]
    dpq = next(one for one in series_of(found) if one.method == "dpq")
    n = len(by_hand)
    assert (row["seeds"], row["map"], row["map_sd"]) == (n, pytest.approx(mean(by_hand)), pytest.approx(stdev(by_hand)))
    assert dpq.values(8, lambda _, length: length.map).tolist() == pytest.approx(by_hand)
    assert dpq.interval(8).n == n
    claim, frozen_out = better(found, "rq")[0].parts[0], components(found, "frozen")[0]
    assert (claim.interval.n, claim.interval.mean) == (n, pytest.approx(mean(by_hand) / 2))
    assert (frozen_out.interval.n, frozen_out.interval.mean) == (n, pytest.approx(0.25))
    assert bool(claim.against) == (len({split for split, _ in maps}) == 1)  # of several splits, each is a pair
    assert [one.interval.n for one in differences(found)] == [n]
    assert found.ablations["seeds"].tolist() == found.ablations["pairs"].tolist() == [n, n]
    assert main_table(found)["source"].tolist().count(f"ours, {counted}") == 2
    assert setting_line(found.first, [dpq]).endswith(f"n = {drawn}")
    splits = {split for split, _ in maps}
    assert ("runs" in found.summary) == (len(splits) > 1)
    if len(splits) > 1:
        assert row["splits"] == len(splits)
        assert row["runs"] == " ".join(f"{split}:{seed}" for split, seed in sorted(maps))
        assert "n is the number of seeds, or of splits in rows that have several" in describe_setting(found)
        assert "fingerprints `f0` (split 0), `f1` (split 1), `f2` (split 2)" in describe_setting(found)
    assert "classes that training has not seen" not in describe_setting(found)


def test_methods_are_compared_in_the_splits_that_they_have_in_common():
    """RQ has the first split alone: there its seeds are what repeats, for its row and for what it is compared in."""
    (found,) = sections(
        *(draw(0, seed, (0.5 + seed / 10,) * 2) for seed in (0, 1)),
        draw(1, 0, (0.9, 0.9)),
        *(draw(0, seed, (0.25, 0.25), "rq") for seed in (0, 1)),
    )
    counted = dict(zip(found.summary["method"], found.summary["seeds"], strict=True))
    assert counted == {"rq": 2, "dpq": 2}
    (claim,) = better(found, "rq")
    assert (claim.values, claim.against) == (pytest.approx((0.5, 0.6)), pytest.approx((0.25, 0.25)))
    sources = [source for source in main_table(found)["source"] if source.startswith("ours")]
    assert sorted(sources) == ["ours, n = 2 in 1 split", "ours, n = 2 in 2 splits"]
    assert "seeds, or splits where there are several" in setting_line(found.first, series_of(found))


def test_the_lowest_split_names_the_setting_whatever_is_drawn_later():
    (one,) = sections(draw(0, 0, (0.5, 0.5)))
    (several,) = sections(draw(2, 0, (0.5, 0.5)), draw(0, 0, (0.5, 0.5)), draw(1, 3, (0.5, 0.5)))
    assert several.key == one.key
    (ablated,) = sections(draw(0, 0, (0.5, 0.5)), *(frozen(split, 0, (0.4, 0.4)) for split in (0, 1)))
    assert ablated.ablations["pairs"].tolist() == [1, 1]
    assert ablated.ablations["seeds"].tolist() == [2, 2]


def test_two_sets_of_images_under_one_name_are_other_settings():
    """Both are split 0, so one of them is of other images, and nothing says of which split 1 is."""
    other = draw(0, 1, (0.5, 0.5))
    other["data"]["fingerprint"] = "other"
    assert len(sections(draw(0, 0, (0.5, 0.5)), other, draw(1, 0, (0.5, 0.5)))) == 3


def test_draws_of_other_sizes_are_other_settings():
    other = draw(1, 0, (0.5, 0.5))
    other["data"]["database"] += 1
    assert len(sections(draw(0, 0, (0.5, 0.5)), other)) == 2


def test_runs_of_several_splits_say_which():
    (found,) = sections(draw(0, 0, (0.5, 0.5)), draw(1, 0, (0.5, 0.5)))
    header = next(line for line in detail_tables(found).splitlines() if line.startswith("| run "))
    assert [cell.strip() for cell in header.split("|")[1:4]] == ["run", "split", "seed"]
