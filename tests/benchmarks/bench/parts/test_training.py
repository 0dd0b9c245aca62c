from dataclasses import replace

import pytest
import torch

from benchmarks.bench.parts import training
from benchmarks.bench.plain import timm_step
from benchmarks.bench.report import Options, as_written, render
from benchmarks.bench.setting import (
    bare_backbone,
    bare_step,
    generated_split,
    prepared_trainer,
    setting,
)
from benchmarks.bench.steps import OUTSIDE, PARTS, step_parts

CPU = torch.device("cpu")
OPTIONS = Options(CPU, 1, quick=True)


@pytest.fixture(scope="module")
def report():
    return training.measure(OPTIONS)


@pytest.fixture(scope="module")
def trainer():
    return prepared_trainer("dpq", setting(OPTIONS), generated_split(256), CPU)


def rows_of(report, title):
    return next(rows for name, rows in report.tables.items() if name.startswith(title))


def test_the_report_has_every_method_beside_the_bare_backbone_and_the_promises(report):
    steps = {row["step"]: row for row in rows_of(report, "Steps")}
    assert list(steps) == ["dpq", "dqn", "dtq", training.BARE, training.UPDATED, training.TIMM]
    assert steps[training.BARE]["time / bare"] == "1.00 (1.00 to 1.00)"
    assert [(promise.bound, promise.side) for promise in report.promises] == [(1.10, "at most"), (1.3, "at most")]
    page = render(as_written(report, OPTIONS))
    assert "A whole training step" in page
    assert "times that of timm's loop" in page


def test_parts_of_a_step_sum_up_to_the_whole(report):
    rows = rows_of(report, "Parts")
    for name in training.METHODS:
        own = [row for row in rows if row["step"] == name]
        assert [row["part"] for row in own] == list(PARTS)
        assert sum(float(row["share"].rstrip("%")) for row in own) == pytest.approx(100, abs=0.3)
    assert set(PARTS) - set(OUTSIDE) == {"backbone, forward", "backbone, backward"}


def test_an_epoch_is_its_steps_and_its_codes(report):
    epochs = {row["epoch"]: row for row in rows_of(report, "Epochs")}
    for row in epochs.values():
        parts = row["steps"] + row["embeddings"] + row["codebooks and codes"]
        assert row["epoch / bare"] == pytest.approx(parts, abs=0.002)
    first, mean = (
        next(row for kind, row in epochs.items() if kind.startswith(begins)) for begins in ("the first", "mean")
    )
    assert epochs["features alone"]["embeddings"] == epochs[training.TYPICAL]["embeddings"] == 0
    assert 0 < mean["embeddings"] < first["embeddings"]
    assert report.promises[1].measured == epochs[training.TYPICAL]["epoch / bare"]


def test_a_step_is_the_training_loops_and_updates_everything(trainer):
    step = training.whole_step(trainer)
    method = trainer.method
    learning = [method.backbone.body.conv1[0].weight, method.backbone.embedding.weight, method.quantizer.codebooks]
    before = [value.detach().clone() for value in learning]
    step()
    assert not any(torch.equal(value, old) for value, old in zip(learning, before, strict=True))


def test_what_a_gpu_replays_is_the_same_work_here():
    ways = [training.Way("32", True), training.Way("32", False)]
    experiment = setting(OPTIONS)
    experiment = replace(experiment, training=replace(experiment.training, dropout=0.0))  # which would draw on and on
    works, trainers = training._works(experiment, generated_split(64), CPU, ways)
    assert len(works) == 2 * len((*training.METHODS, training.BARE, training.UPDATED)) + 1
    for work in works.values():
        work()
    one, other = ([*trainers[way, "dpq"].method.parameters()] for way in ways)
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


@pytest.mark.parametrize("capture", [True, False])
def test_the_bare_backbone_is_updated_where_that_is_asked_for(capture, monkeypatch):
    bodies = []

    def kept(*arguments):
        bodies.append(bare_backbone(*arguments))
        return bodies[-1]

    monkeypatch.setattr("benchmarks.bench.setting.bare_backbone", kept)
    for update in (True, False):
        work = bare_step(setting(OPTIONS), CPU, update=update, capture=capture)
        before = [value.detach().clone() for value in bodies[-1][0].parameters()]
        work()
        moved = [not torch.equal(*pair) for pair in zip(before, bodies[-1][0].parameters(), strict=True)]
        assert any(moved) == update


def test_timms_loop_learns():
    experiment = setting(OPTIONS)
    step = timm_step(experiment, generated_split(experiment.training.batch_size), CPU)
    losses = []
    backward = torch.Tensor.backward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", lambda loss: (losses.append(float(loss.detach())), backward(loss)))
        for _ in range(12):
            step()
    assert losses[-1] < losses[0]
    assert not torch.backends.cudnn.benchmark


def test_hooks_are_gone_after_the_parts_are_known(trainer):
    parts = step_parts(trainer, training.whole_step(trainer), 1)
    assert list(parts) == list(PARTS) and all(value > 0 for value in parts.values())
    body = trainer.method.backbone.body
    assert not body._forward_hooks and not body._forward_pre_hooks
    assert not trainer.optimizers[0]._optimizer_step_pre_hooks


def test_without_a_compiler_the_rest_is_measured(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda _body: torch.nn.Module())
    rows, notes = training._precisions(OPTIONS, *bare_backbone(setting(OPTIONS), CPU, 2), training.PRECISIONS)
    assert [row["precision"] for row in rows] == ["32", "bf16"]
    assert "NotImplementedError" in notes[0]
