import json
import re
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.commands import evaluate
from benchmarks.records.raw import read_raw, write_raw
from benchmarks.records.store import read_record
from benchmarks.running import runner
from benchmarks.running.environment import describe_environment
from benchmarks.running.plan import Run
from dpq.codes.additive import levels_for
from dpq.files.checkpoint import load_checkpoint, save_checkpoint
from dpq.learning.training import Trainer
from dpq.method.dpq import DPQMethod
from dpq.metrics import mean_average_precision

TIMES = ("created", "seconds", "images_per_second", "peak_memory_mb")


def metrics(path):
    return {key: value for key, value in read_record(path).raw.items() if key not in TIMES}


def test_a_run_writes_one_record_as_contracted(run_tiny):
    (path,) = run_tiny()
    record = read_record(path).raw
    assert path.stem == record["id"]
    assert set(record) >= {
        "schema_version", "id", "experiment", "protocol", "method", "variant", "seed", "created", "data", "backbone",
        "lengths", "float_map", "classification_accuracy", "queries_without_relevant", "seconds", "images_per_second",
        "peak_memory_mb", "environment", "config",
    }  # fmt: skip
    assert set(record["data"]) == {"name", "variant", "fingerprint", "train", "query", "database"}
    assert set(record["environment"]) >= {"python", "torch", "timm", "device", "cpu", "commit"}
    assert [entry["bits"] for entry in record["lengths"]] == [4, 8]
    for entry in record["lengths"]:
        assert set(entry) >= {
            "bits", "map", "map_at_r", "r", "map_ties_index", "precision_at", "pr", "distinct_codes",
            "reconstruction_mse", "bytes_per_image", "map_total", "map_capped", "map_bounds",
        }  # fmt: skip
        assert entry["map_bounds"][0] <= entry["map"] <= entry["map_bounds"][1]
        assert set(entry["precision_at"]) == {"1", "10", "100", "500", "1000"}
    assert record["lengths"][1]["reconstruction_mse"] < record["lengths"][0]["reconstruction_mse"]


def test_the_record_agrees_with_the_stored_codes(run_tiny):
    (path,) = run_tiny()
    record = read_record(path).raw
    with np.load(path.with_suffix(".npz")) as raw:
        relevant = raw["query_labels"] @ raw["database_labels"].T
        assert raw["codes"].dtype == np.uint8
        for levels, entry in enumerate(record["lengths"], 1):
            rebuilt = sum(raw["codebooks"][m][raw["codes"][:, m]] for m in range(levels))
            # Sums in another order split ties by rounding: rank the distinct reconstructions instead.
            distinct, inverse = np.unique(raw["codes"][:, :levels], axis=0, return_inverse=True)
            first = [int(np.flatnonzero(inverse.ravel() == u)[0]) for u in range(len(distinct))]
            scores = (raw["queries"] @ rebuilt[first].T)[:, inverse.ravel()]
            assert mean_average_precision(scores, relevant) == pytest.approx(entry["map"], abs=1e-6)
            assert entry["distinct_codes"] == len(distinct)


def test_a_finished_run_is_not_repeated(run_tiny, monkeypatch, capsys):
    (path,) = run_tiny()
    before = path.read_bytes()
    monkeypatch.setattr(DPQMethod, "fit", None)
    assert run_tiny() == [path]
    assert path.read_bytes() == before
    assert path.stem in capsys.readouterr().out


def test_force_gives_the_same_metrics_to_the_last_bit(run_tiny):
    (path,) = run_tiny()
    first, created = metrics(path), path.stat().st_mtime_ns
    run_tiny("--force")
    assert path.stat().st_mtime_ns > created
    assert metrics(path) == first


def test_another_setting_is_another_record(run_tiny):
    assert len(run_tiny()) == 1
    assert len(run_tiny("--epochs", "1")) == 2
    assert len(run_tiny("--seeds", "0,1")) == 3
    assert len(run_tiny("--variant", "released")) == 4


def test_another_way_of_evaluating_needs_no_new_training(run_tiny, monkeypatch):
    (path,) = run_tiny()
    monkeypatch.setattr(Trainer, "step", None)
    both = run_tiny("--views", "mirror")
    (mirrored,) = set(both) - {path}
    assert read_record(mirrored).raw["float_map"] != read_record(path).raw["float_map"]
    assert read_record(mirrored).raw["training_log"] == read_record(path).raw["training_log"]


def test_an_interrupted_run_goes_on_to_the_same_numbers(run_tiny, tmp_path, monkeypatch, capsys):
    (path,) = run_tiny()
    whole = metrics(path)
    path.unlink()
    path.with_suffix(".npz").unlink()
    (checkpoint,) = (tmp_path / "results/tiny/checkpoints").iterdir()
    checkpoint.unlink()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    for stage in ("reconstruction_errors", "write_raw", "write_record"):
        monkeypatch.setattr(runner, stage, interrupted)
        assert main(["run", "tiny", "--limit", "100", "--method", "dpq", "--output", str(tmp_path / "results")]) == 130
        assert "the same command goes on from there" in capsys.readouterr().err
        assert not path.exists()
        monkeypatch.undo()
        monkeypatch.setattr("benchmarks.setting.experiment.CONFIGS", tmp_path / "configs")
    run_tiny()
    assert metrics(path) == whole


def test_evaluate_renews_a_record_from_its_codes(run_tiny, capsys):
    (path,) = run_tiny()
    right = path.read_text()
    assert main(["evaluate", str(path)]) == 0
    assert path.read_text() == right
    assert "unchanged" in capsys.readouterr().out
    record = json.loads(right)
    record["lengths"][0]["map"] = 0.123  # outside of its bounds, which `evaluate` alone lets pass
    path.write_text(json.dumps(record, indent=1) + "\n")
    assert main(["evaluate", str(path)]) == 0
    assert path.read_text() == right
    assert "renewed" in capsys.readouterr().out


def test_codes_are_ranked_by_another_score_beside_that_of_the_record(run_tiny, capsys):
    (path,) = run_tiny()
    text, record, raw = path.read_text(), read_record(path), read_raw(path.with_suffix(".npz"))
    assert record.score == "inner"
    draw = np.random.default_rng(0).normal  # embeddings of this run are all but one point
    raw = replace(
        raw, codebooks=np.float32(draw(size=raw.codebooks.shape)), queries=np.float32(draw(size=raw.queries.shape))
    )
    write_raw(path.with_suffix(".npz"), raw)
    capsys.readouterr()
    assert main(["evaluate", str(path), "--score", "l2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    relevant = raw.query_labels @ raw.database_labels.T
    for length, line in zip(record.lengths, lines, strict=True):
        levels = range(levels_for(length.bits, record.config.codebook_size))
        there = sum(raw.codebooks[m].astype(np.float64)[raw.codes[:, m]] for m in levels)
        scores = [-np.square(query - there).sum(axis=1).round(9) for query in raw.queries]  # equal codes are ties
        slow = mean_average_precision(np.array(scores), relevant)
        assert float(line.partition("mAP ")[2].split()[0]) == pytest.approx(slow, abs=1e-4)
        assert line.endswith(f"(record, by inner: {length.map:.6f})")
    assert path.read_text() == text
    assert main(["evaluate", str(path), "--score", "cosine"]) == 2
    assert "choose one of inner, l2" in capsys.readouterr().err


def test_average_precisions_stay_with_the_raw_codes_and_evaluate_adds_them_to_older_files(run_tiny):
    (path,) = run_tiny()
    raw, text = read_raw(path.with_suffix(".npz")), path.read_text()
    maps = [length["map"] for length in json.loads(text)["lengths"]]
    assert raw.average_precision.shape == (len(maps), len(raw.queries))
    assert raw.average_precision.mean(axis=1, dtype=float) == pytest.approx(maps, abs=1e-7)
    for other in (None, raw.average_precision / 2):
        write_raw(path.with_suffix(".npz"), replace(raw, average_precision=other))
        assert main(["evaluate", str(path)]) == 0
        assert np.array_equal(read_raw(path.with_suffix(".npz")).average_precision, raw.average_precision)
        assert path.read_text() == text


def test_a_compact_file_stands_in_for_the_raw_codes(run_tiny, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "AGREES", 0.01)  # the embeddings of this run are all but one point
    (path,) = run_tiny()
    full, compact, text = path.with_suffix(".npz"), path.with_suffix(".npz.xz"), path.read_text()
    write_raw(full, replace(read_raw(full), average_precision=None, run=None))  # as older versions wrote them
    assert main(["evaluate", str(path), "--compact"]) == 0
    record = read_record(path)
    assert read_raw(compact).run == f"{record.id} {record.raw['created']}"
    full.unlink()
    capsys.readouterr()
    assert main(["evaluate", str(path)]) == 0
    printed = capsys.readouterr().out
    assert f"agrees with {compact.name}" in printed
    assert f"(record: {record.lengths[0].map:.6f})" in printed
    assert path.read_text() == text
    wrong = json.loads(text)
    wrong["lengths"][-1]["map"] = 0.123
    path.write_text(json.dumps(wrong))
    assert main(["evaluate", str(path)]) == 2
    assert f"does not give the mAP of {record.id}" in capsys.readouterr().err
    path.write_text(json.dumps(json.loads(text) | {"created": "2026-01-02"}))
    assert main(["evaluate", str(path)]) == 2
    assert "are of another run" in capsys.readouterr().err
    run_tiny("--force")
    assert not compact.exists()


def test_a_compact_file_that_does_not_give_the_numbers_is_not_written(run_tiny, capsys):
    (path,) = run_tiny()
    full, compact = path.with_suffix(".npz"), path.with_suffix(".npz.xz")
    raw = read_raw(full)
    write_raw(full, replace(raw, average_precision=raw.average_precision / 2))
    assert main(["evaluate", str(path), "--compact"]) == 2
    assert "evaluate the record from its full raw codes" in capsys.readouterr().err
    assert not compact.exists()


def test_codes_that_are_no_sums_are_evaluated_again_and_have_no_compact_file(run_tiny, capsys):
    (path,) = run_tiny("--method", "qinco")
    assert main(["evaluate", str(path)]) == 0
    assert f"{path}: unchanged" in capsys.readouterr().out
    assert main(["evaluate", str(path), "--compact"]) == 2
    error = capsys.readouterr().err
    assert "codes of qinco are no sums of codewords; it has no compact form" in error and error.count("\n") == 1
    assert not path.with_suffix(".npz.xz").exists()


def test_evaluate_refuses_raw_codes_of_another_run(run_tiny, capsys):
    (path,) = run_tiny()
    right, raw = path.read_text(), read_raw(path.with_suffix(".npz"))
    write_raw(path.with_suffix(".npz"), replace(raw, codes=raw.codes[1:], database_labels=raw.database_labels[1:]))
    capsys.readouterr()
    assert main(["evaluate", str(path)]) == 2
    assert "are of another run: 99 database images, the record has 100" in capsys.readouterr().err
    write_raw(path.with_suffix(".npz"), replace(raw, run=raw.run.replace("seed0", "seed1")))
    assert main(["evaluate", str(path)]) == 2
    assert "are of another run, dpq-paper-seed1-" in capsys.readouterr().err
    write_raw(path.with_suffix(".npz"), replace(raw, run=None))  # as older versions wrote them
    assert main(["evaluate", str(path)]) == 0
    assert path.read_text() == right


def test_dry_run_prints_plan_and_cost_and_writes_nothing(configs, tmp_path, capsys):
    output = tmp_path / "results"
    assert main(["run", "tiny", "--limit", "100", "--method", "dpq", "--dry-run", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "train   dpq-paper-seed0-" in printed
    assert "min training" in printed
    assert not output.exists()


def test_dry_run_counts_the_training_that_controls_need(configs, tmp_path, capsys):
    """And one epoch, in which codes start at once, is estimated like any other."""
    arguments = ["run", "tiny", "--limit", "100", "--epochs", "1", "--output", str(tmp_path / "results")]
    for methods, count in (("pq-dpq rq-dpq", 1), ("pq-dpq dpq dqn", 3), ("pq rq", 0)):
        assert main([*arguments, "--dry-run", "--method", *methods.split()]) == 0
        printed = capsys.readouterr().out
        assert f"{count} trainings on cpu" in printed if count else "no training" in printed


def test_a_control_of_a_shorter_source_is_another_record(run_all, tmp_path):
    assert run_all("--bits", "4", method="pq-dpq") == 0
    assert run_all(method="pq-dpq") == 0
    sources = {key: record["config"]["source"] for key, record in records_in(tmp_path).items()}
    assert sorted(source["bits"] for source in sources.values()) == [4, 8, 8]


def test_force_says_which_controls_stay(run_all, caplog):
    with caplog.at_level("INFO"):
        assert run_all("--force", method="dpq") == 0
    assert re.search("records of pq-dpq, rq-dpq, label-code.* stay as they are", caplog.text)


def test_validation_never_touches_queries_or_database(run_tiny):
    (path,) = run_tiny("--limit", "300", "--validation")
    record = read_record(path).raw
    assert record["data"]["variant"] == "digits-validation-limit300"
    assert record["data"]["train"] == 6 * 30
    assert record["data"]["query"] == 6 * 5


def test_table_and_figures_follow_a_run(run_tiny, tmp_path):
    run_tiny()
    output = tmp_path / "results"
    assert main(["table", "tiny", "--output", str(output)]) == 0
    assert main(["figures", "tiny", "--output", str(output)]) == 0
    written = {path.name for path in (output / "tiny").iterdir()}
    assert written >= {"table.md", "table.csv", "table.tex", "map.svg", "map.png", "precision_recall.svg"}
    first = (output / "tiny/map.svg").read_bytes()
    assert main(["figures", "tiny", "--output", str(output)]) == 0
    assert (output / "tiny/map.svg").read_bytes() == first


@pytest.fixture
def run_all(configs, tmp_path):
    """Run the paper's methods in `tiny`; returns the exit status."""

    def run(*arguments, method="paper"):
        only = ["--limit", "100", "--output", str(tmp_path / "results"), "--method", *method.split()]
        return main(["run", "tiny", *only, *arguments])

    return run


def records_in(tmp_path):
    return {path.stem: read_record(path).raw for path in (tmp_path / "results/tiny/runs").glob("*.json")}


def test_all_methods_train_as_often_as_they_need_and_never_twice(run_all, tmp_path, monkeypatch, caplog):
    assert run_all() == 0
    records = records_in(tmp_path)
    trained = {}
    for record in records.values():
        trained.setdefault(record["method"], []).append([entry["bits"] for entry in record["lengths"]])
    once, each = [[4, 8]], [[4], [4, 8]]
    assert {name: sorted(lengths) for name, lengths in trained.items()} == {
        "pq": each, "rq": once, "dqn": each, "dtq": each, "dpq": once, "pq-dpq": each, "rq-dpq": once,
        "label-code": once,
    }  # fmt: skip
    by_method = {record["method"]: record for record in records.values()}
    assert by_method["pq-dpq"]["float_map"] == by_method["dpq"]["float_map"] == by_method["rq-dpq"]["float_map"]
    assert by_method["pq"]["float_map"] == by_method["rq"]["float_map"]  # score and features are the same
    lengths = {name: record["embedding_mean_squared_norm"] for name, record in by_method.items()}
    assert lengths["pq"] == lengths["rq"] == pytest.approx(1)
    assert lengths["pq-dpq"] == lengths["rq-dpq"] == lengths["dpq"]  # which are not scaled
    assert by_method["dqn"]["classification_accuracy"] is None
    assert {name: by_method[name]["score"] for name in ("pq", "pq-dpq", "dqn", "dtq")} == {
        "pq": "l2", "pq-dpq": "inner", "dqn": "inner", "dtq": "l2",
    }  # fmt: skip
    assert [by_method[name]["backbone"]["embedding_dim"] for name in ("dpq", "dqn", "dtq")] == [16, 16, 64]
    monkeypatch.setattr(Run, "build", None)
    with caplog.at_level("INFO"):
        assert run_all() == 0
    assert "nothing to do" in caplog.text


def test_the_label_code_reads_dpqs_classifier(run_all, tmp_path):
    assert run_all(method="label-code dpq") == 0
    by_method = {record["method"]: record for record in records_in(tmp_path).values()}
    assert by_method["label-code"]["classification_accuracy"] == by_method["dpq"]["classification_accuracy"]
    assert by_method["label-code"]["backbone"]["embedding_dim"] == 11  # the class order and the confidence


def test_a_control_trains_its_source_when_that_is_not_there(run_all, tmp_path):
    assert run_all(method="rq-dpq") == 0
    (alone,) = records_in(tmp_path).values()
    assert run_all("--force", method="dpq rq-dpq") == 0
    after = records_in(tmp_path)
    assert {record["method"] for record in after.values()} == {"dpq", "rq-dpq"}
    assert after[alone["id"]]["lengths"] == alone["lengths"]


def test_forced_runs_repeat_to_the_last_bit(run_all, tmp_path):
    def values():
        return {key: record["lengths"] for key, record in records_in(tmp_path).items()}

    assert run_all(method="dtq pq-dpq dpq") == 0
    before = values()
    assert run_all("--force", method="dtq pq-dpq dpq") == 0
    assert values() == before


def test_the_released_variant_is_that_of_the_methods_that_have_one(run_all, tmp_path, capsys):
    assert run_all("--variant", "released") == 0
    assert {record["method"] for record in records_in(tmp_path).values()} == {"dpq", "dtq"}
    dtq = next(r for r in records_in(tmp_path).values() if r["method"] == "dtq")
    assert dtq["config"]["methods"]["dtq"]["orthogonality"] == 0
    assert dtq["score"] == "inner"
    capsys.readouterr()
    assert run_all("--variant", "released", method="pq") == 2
    assert re.search("pq has no released variant; .*dtq, dpq have one", capsys.readouterr().err)


def test_collapsed_embeddings_are_said_recorded_and_tabulated(run_tiny, monkeypatch, tmp_path, caplog):
    predict = DPQMethod.predict

    def collapsed(self, images, **options):
        embeddings, logits = predict(self, images, **options)
        return embeddings[:1].repeat(len(embeddings), 1), logits

    (healthy,) = run_tiny()
    assert "warnings" not in read_record(healthy).raw
    monkeypatch.setattr(DPQMethod, "predict", collapsed)
    (path,) = run_tiny("--force")
    signs = read_record(path).raw["warnings"]
    assert any("embeddings collapsed" in sign for sign in signs)
    assert "level 1 uses 1 of 16 codewords" in signs
    assert f"{path.stem}: embeddings collapsed" in caplog.text
    assert main(["table", "tiny", "--output", str(tmp_path / "results")]) == 0
    table = (tmp_path / "results/tiny/table.md").read_text(encoding="utf-8")
    assert "Warnings of the runs" in table
    assert f"- {path.stem}: " in table


def elsewhere(monkeypatch, **changes):
    """From here on, runs are in another environment."""
    real = describe_environment
    monkeypatch.setattr(runner, "describe_environment", lambda device: real(device) | changes)


def stopped_after_an_epoch(monkeypatch, call):
    def save(*arguments):
        save_checkpoint(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("dpq.learning.training.save_checkpoint", save)
        assert main(call) == 130


def test_a_record_names_where_each_part_of_its_training_ran(run_tiny, tmp_path, monkeypatch):
    call = ["run", "tiny", "--limit", "100", "--method", "dpq", "--output", str(tmp_path / "results")]
    elsewhere(monkeypatch, threads=7, processes=3)
    stopped_after_an_epoch(monkeypatch, call)
    elsewhere(monkeypatch, threads=1)
    (path,) = run_tiny()
    record = read_record(path)
    assert record.raw["environment"]["threads"] == 1
    assert [part["threads"] for part in record.raw["environment"]["earlier"]] == [7]
    assert record.environment.processor.endswith(
        "7 threads, 3 processes; then " + record.environment.places[1].computed
    )


def test_embeddings_and_codebooks_from_elsewhere_are_named_too(run_tiny, tmp_path, monkeypatch):
    elsewhere(monkeypatch, threads=7)
    (path,) = run_tiny()
    assert "earlier" not in read_record(path).raw["environment"]
    elsewhere(monkeypatch, threads=1, commit="b" * 40)
    paths = run_tiny("--method", "dpq", "rq-dpq")
    (quantized,) = [read_record(one) for one in paths if one.stem.startswith("rq-dpq")]
    assert [part["threads"] for part in quantized.raw["environment"]["earlier"]] == [7]
    assert len(quantized.environment.commits) == 2


def test_a_checkpoint_that_does_not_say_where_it_was_made_is_of_an_unknown_place(run_tiny, tmp_path, monkeypatch):
    call = ["run", "tiny", "--limit", "100", "--method", "dpq", "--output", str(tmp_path / "results")]
    stopped_after_an_epoch(monkeypatch, call)
    (checkpoint,) = (tmp_path / "results/tiny/checkpoints").iterdir()
    tensors, state = load_checkpoint(checkpoint)
    del state["environments"]
    save_checkpoint(checkpoint, tensors, state)
    (path,) = run_tiny()
    assert read_record(path).raw["environment"]["earlier"] == ["unknown"]
    assert "unknown, " in read_record(path).environment.short_commit
