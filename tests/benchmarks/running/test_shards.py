"""Shards of a reproduction: each run in one of them, and together what one machine leaves."""

import pytest

from benchmarks.__main__ import main
from benchmarks.records.store import read_record, write_record
from benchmarks.running.plan import plan, take_shard
from benchmarks.setting.building import read_ingredients
from benchmarks.setting.experiment import load_experiment
from benchmarks.setting.methods import METHODS
from dpq.protocols import load_protocol
from tests.benchmarks.children import NO_RESULTS, results

METHODS_RUN = ["pq", "rq", "dpq"]
COUNTS = [1, 2, 3, 5, 40]


def arguments(output, *more):
    few = ["--limit", "100", "--epochs", "1", "--seeds", "0"]
    return ["run", "tiny", "--method", *METHODS_RUN, *few, "--output", str(output), *more]


@pytest.fixture
def runs(configs, tmp_path):
    experiment, dataset = load_experiment("tiny"), load_protocol("digits", None)
    read = read_ingredients(experiment, dataset)
    methods = [name for name in METHODS if METHODS[name].paper]
    return plan(experiment, read, methods=methods, seeds=[0, 1, 2], variant="paper", output=tmp_path / "results")


@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize("count", COUNTS)
def test_every_run_is_in_one_shard_and_in_the_order_of_the_whole(runs, count, turn):
    parts = [take_shard(runs, (index, count), turn) for index in range(1, count + 1)]
    assert sorted((run for part in parts for run in part), key=runs.index) == runs
    assert all(part == sorted(part, key=runs.index) for part in parts)


@pytest.mark.parametrize("count", COUNTS)
def test_runs_that_share_a_training_or_its_files_are_in_one_shard(runs, count):
    where = {run: index for index in range(1, count + 1) for run in take_shard(runs, (index, count))}
    for run in runs:
        if run.source:
            assert where[run] == where[run.source]
        alike = [other for other in runs if other.features and other.features == run.features]
        assert {where[other] for other in alike} <= {where[run]}
    assert len({where[run] for run in runs if METHODS[run.method].source == "backbone"}) == 1


def test_shards_are_dealt_evenly_and_take_turns_at_what_comes_first(runs):
    def trainings(index, turn=0):
        return sum(METHODS[run.method].source is None for run in take_shard(runs, (index, 3), turn))

    assert [trainings(index) for index in (1, 2, 3)] == [5, 5, 5]
    only = [run for run in runs if run.method == "dpq" and run.seed == 0]
    assert [bool(take_shard(only, (2, 3), turn)) for turn in range(3)] == [False, True, False]


def test_what_is_done_already_does_not_move_the_others(runs):
    before = take_shard(runs, (2, 3))
    for run in runs[:5]:
        run.record.parent.mkdir(parents=True, exist_ok=True)
        run.record.write_text("{}")
    assert take_shard(runs, (2, 3)) == before


def test_shards_leave_what_the_whole_leaves(configs, tmp_path):
    assert main(arguments(tmp_path / "whole")) == 0
    for index in (2, 1):
        assert main(arguments(tmp_path / "shards", "--shard", f"{index}/2")) == 0
    assert results(tmp_path / "shards") == results(tmp_path / "whole")
    for path in tmp_path.glob("shards/tiny/runs/*.json"):  # the table shows times
        times = {key: read_record(tmp_path / "whole/tiny/runs" / path.name).raw[key] for key in NO_RESULTS}
        write_record(path, read_record(path).raw | times)
    for output in ("whole", "shards"):
        assert main(["table", "tiny", "--output", str(tmp_path / output)]) == 0
    for suffix in ("md", "csv", "tex"):
        table = f"tiny/table.{suffix}"
        assert (tmp_path / "shards" / table).read_bytes() == (tmp_path / "whole" / table).read_bytes()


def test_a_shard_without_runs_is_no_error(configs, tmp_path, caplog):
    caplog.set_level("INFO")
    assert main(arguments(tmp_path / "results", "--shard", "9/9")) == 0
    assert "shard 9/9 has none" in caplog.text
    assert not list(tmp_path.glob("results/**/*.json"))


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "-1/2"])
def test_a_shard_that_is_none_is_refused(configs, tmp_path, capsys, text):
    assert main(arguments(tmp_path / "results", f"--shard={text}")) == 2
    assert "expected i/n with i from 1 to n" in capsys.readouterr().err
