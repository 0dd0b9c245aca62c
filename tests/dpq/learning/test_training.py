from dataclasses import replace

import pytest
import torch

from dpq import InputError
from dpq.files.checkpoint import load_checkpoint, save_checkpoint
from dpq.inputs.training import keep_images
from dpq.learning.settings import Execution
from dpq.learning.training import Trainer
from dpq.protocols.base import Split
from dpq.seeds import derive_seed


def weights(method):
    return {name: value.clone() for name, value in method.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(make_dpq, split, training):
    first, again, other = make_dpq(), make_dpq(), make_dpq()
    first.fit(split, training, seed=1)
    again.fit(split, training, seed=1)
    other.fit(split, training, seed=2)
    assert equal(weights(first), weights(again))
    assert not equal(weights(first), weights(other))


def test_images_on_disk_are_never_all_in_memory(make_dpq, split, training, monkeypatch):
    monkeypatch.setattr("dpq.learning.on_embeddings.BATCH", 16)
    expected = make_dpq()
    expected.fit(split, training)
    stored = keep_images(split.images.numpy(), split.images.shape[-1], in_memory=0)
    read, sizes = type(stored).__getitem__, []
    monkeypatch.setattr(
        type(stored), "__getitem__", lambda self, rows: sizes.append(len(self.positions[rows])) or read(self, rows)
    )
    method = make_dpq()
    method.fit(Split(stored, split.labels), training)
    assert equal(weights(expected), weights(method))
    assert set(sizes) == {16, training.batch_size}  # of the 96, as batches are embedded and trained on


def test_images_of_another_package_are_taken_not_indexed(make_dpq, split, training, monkeypatch):
    monkeypatch.setattr("dpq.learning.on_embeddings.BATCH", 16)

    class Elsewhere:
        def __init__(self, images):
            self.images = images
            self.shape, self.dtype = images.shape, images.dtype

        def __len__(self):
            return len(self.images)

        def __getitem__(self, rows):
            assert len(self.images[rows]) <= training.batch_size, "all images in memory"
            return self.images[rows]

        def take(self, rows):
            return Elsewhere(self.images[rows])

    whole = Split(Elsewhere(split.images), split.labels)
    make_dpq().fit(whole, training)
    assert isinstance(whole.take(torch.arange(50)).images, Elsewhere)


def test_views_at_evaluation_do_not_change_training(make_dpq, split, training):
    centre, mirror = make_dpq(), make_dpq()
    centre.fit(split, replace(training, evaluation_views="centre"))
    mirror.fit(split, replace(training, evaluation_views="mirror"))
    assert equal(weights(centre), weights(mirror))


@pytest.mark.parametrize("stop", ["after an epoch", "within an epoch"])
@pytest.mark.parametrize("changes", [{}, {"optimizer": "sgd"}, {"ema": 0.9, "erasing": 0.5}], ids=str)
def test_interrupted_equals_uninterrupted(make_dpq, split, training, tmp_path, monkeypatch, stop, changes):
    training = replace(training, **changes)
    whole = make_dpq()
    log = whole.fit(split, training, seed=0)

    execution = Execution(checkpoint=tmp_path / "last.safetensors")
    last_step = 9 if stop == "after an epoch" else 10  # 3 steps an epoch
    step = Trainer.step

    def interrupted(self, rows, geometry, number):
        if number == last_step:
            raise KeyboardInterrupt
        return step(self, rows, geometry, number)

    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_dpq().fit(split, training, 0, execution)
    monkeypatch.undo()
    resumed = make_dpq(seed=5)  # its own weights must not matter
    resumed_log = resumed.fit(split, training, 0, execution)
    assert equal(weights(whole), weights(resumed))
    assert resumed_log.epochs == log.epochs


def test_a_finished_training_is_not_repeated(make_dpq, split, training, tmp_path, monkeypatch):
    execution = Execution(checkpoint=tmp_path / "last.safetensors")
    first = make_dpq()
    first.fit(split, training, 0, execution)
    monkeypatch.setattr(Trainer, "step", None)
    again = make_dpq(seed=5)
    again.fit(split, training, 0, execution)
    assert equal(weights(first), weights(again))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(make_dpq, split, training, tmp_path):
    execution = Execution(checkpoint=tmp_path / "last.safetensors")
    method = make_dpq()
    losses = method.losses
    seen = []

    def poisoned(inputs, labels, epoch, epochs):
        seen.append(None)
        terms = losses(inputs, labels, epoch, epochs)
        return terms | {"margin": terms["margin"] * float("nan")} if len(seen) == 5 else terms

    method.losses = poisoned
    with pytest.raises(InputError, match=r"became nan at step 5; the checkpoint of epoch 1 is kept"):
        method.fit(split, training, 0, execution)
    tensors, state = load_checkpoint(execution.checkpoint)
    assert state["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in tensors.values())


def test_training_lowers_the_loss_and_logs_every_term(make_dpq, split, training):
    log = make_dpq().fit(split, replace(training, epochs=8), seed=0)
    assert log.epochs[3]["margin"] < log.epochs[0]["margin"]
    assert log.epochs[3]["classification"] < log.epochs[0]["classification"]
    assert "hard" not in log.epochs[3]
    assert log.epochs[-1]["hard"] < log.epochs[4]["hard"]
    assert log.epochs[-1]["codewords_used"][0] > 1
    assert log.images_per_second > 0


def test_training_leaves_the_global_random_state_alone(make_dpq, split, training):
    method = make_dpq()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    method.fit(split, replace(training, epochs=1), seed=0)
    assert torch.equal(torch.rand(1), expected)


def test_cosine_schedule_warms_up_and_ends_near_zero(make_dpq, split, training):
    method = make_dpq()
    method.training_config = training
    trainer = Trainer(method, split, replace(training, epochs=10, warmup=0.2), 0, Execution())
    rates = []
    for step in range(30):
        trainer.schedules[0].step_update(step)
        rates.append(trainer.optimizers[0].param_groups[-1]["lr"])
    assert max(rates) == pytest.approx(training.learning_rate, rel=0.01)
    assert rates.index(max(rates)) == 6
    assert rates[0] < 0.2 * training.learning_rate
    assert rates[-1] < 0.02 * training.learning_rate


def test_exponential_schedule_is_continuous(make_dpq, split, training):
    method = make_dpq()
    method.training_config = training
    config = replace(training, schedule="exponential", decay_rate=0.9, decay_steps=10)
    trainer = Trainer(method, split, config, 0, Execution())
    for step in (0, 1, 5, 10, 20):
        trainer.schedules[0].step_update(step)
        rate = trainer.optimizers[0].param_groups[-1]["lr"]
        assert rate == pytest.approx(training.learning_rate * 0.9 ** (step / 10))


def test_a_damaged_checkpoint_is_refused(make_dpq, split, training, tmp_path):
    path = tmp_path / "last.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="damaged"):
        make_dpq().fit(split, training, 0, Execution(checkpoint=path))


def test_seeds_differ_by_axis_and_epoch_and_repeat():
    seeds = {derive_seed(s, axis, e) for s in range(3) for axis in ("order", "augment") for e in range(3)}
    assert len(seeds) == 18
    assert derive_seed(0, "order", 1) == derive_seed(0, "order", 1)


def test_bf16_keeps_losses_finite(make_dpq, split, training):
    log = make_dpq().fit(split, replace(training, epochs=2, precision="bf16"), seed=0)
    assert all(torch.isfinite(torch.tensor(epoch["margin"])) for epoch in log.epochs)


def test_a_spike_of_one_step_is_seen_said_and_kept_through_a_checkpoint(make_dpq, split, training, tmp_path, caplog):
    execution = Execution(checkpoint=tmp_path / "last.safetensors")
    method, seen = make_dpq(), []
    losses = method.losses

    def spiking(*arguments):
        seen.append(None)
        terms = losses(*arguments)
        # Its gradient stays as it was: the rest of the training is an ordinary one.
        return terms | {"margin": terms["margin"] + (1e6 if len(seen) == 2 else 0)}

    method.losses = spiking
    many = replace(training, epochs=2, batch_size=6)  # 16 steps: one spike is 16 times the mean
    epochs = method.fit(split, many, 0, execution).epochs
    assert len(epochs[0]["warnings"]) == 1
    assert "the loss of a step rose to 1e+06" in epochs[0]["warnings"][0]
    assert "warnings" not in epochs[1]
    assert "epoch 1: the loss of a step rose" in caplog.text
    assert load_checkpoint(execution.checkpoint)[1]["log"][0]["warnings"] == epochs[0]["warnings"]


def test_batches_of_one_class_are_said(make_dpq, split, training, caplog):
    ordinary = make_dpq().fit(split, replace(training, epochs=1), 0).epochs
    assert "warnings" not in ordinary[0]
    alike = replace(split, labels=split.labels[:1].repeat(len(split), 1))
    epochs = make_dpq().fit(alike, replace(training, epochs=1), 0).epochs
    steps = len(split) // training.batch_size
    assert epochs[0]["warnings"] == [f"{steps} of {steps} batches were of one class"]
    assert "batches were of one class" in caplog.text


def test_weights_that_the_last_step_broke_are_refused_and_not_kept(make_dpq, split, training, tmp_path):
    method = make_dpq()
    after = method.after_epoch

    def broken(epoch):
        if epoch.index + 1 == epoch.count:
            method.backbone.classifier.weight.data[0] = float("inf")
        return after(epoch)

    method.after_epoch = broken
    execution = Execution(checkpoint=tmp_path / "last.safetensors")
    with pytest.raises(
        InputError, match=r"backbone.classifier.weight holds NaN or infinity; the checkpoint of epoch \d"
    ):
        method.fit(split, training, 0, execution)
    assert load_checkpoint(execution.checkpoint)[1]["epoch"] == training.epochs - 1


def test_embeddings_that_are_not_finite_name_the_learning_rate(make_dpq, split):
    method = make_dpq()
    method.backbone.embedding.bias.data[0] = float("nan")
    with pytest.raises(InputError, match="the network's embeddings hold NaN or infinity; lower the learning rate"):
        method.embed(split.images)


def test_a_checkpoint_of_broken_weights_is_refused(make_dpq, split, training, tmp_path):
    execution = Execution(checkpoint=tmp_path / "last.safetensors")
    make_dpq().fit(split, training, 0, execution)
    tensors, state = load_checkpoint(execution.checkpoint)
    tensors["method.backbone.embedding.bias"][0] = float("nan")
    save_checkpoint(execution.checkpoint, tensors, state)
    with pytest.raises(InputError, match=r"backbone\.embedding\.bias holds NaN or infinity"):
        make_dpq().fit(split, training, 0, execution)


def test_codebooks_that_were_never_fitted_are_refused(make_dpq, split, training):
    method = make_dpq()
    method.feature_epochs = 2.0
    with pytest.raises(InputError, match="training never fitted the codebook of level 1"):
        method.fit(split, training)


def test_an_epoch_less_than_one_is_no_training(make_dpq, split, training):
    with pytest.raises(InputError, match="trains one epoch less than is asked for, and of 1 leaves none"):
        make_dpq(lost_epoch=True).fit(split, replace(training, epochs=1))
    assert len(make_dpq(lost_epoch=True).fit(split, replace(training, epochs=2)).epochs) == 1


def test_images_without_a_label_are_told_or_refused(make_dpq, split, training, caplog):
    labels = split.labels.clone()
    labels[:3] = False
    make_dpq().fit(Split(split.images, labels), replace(training, epochs=1))
    assert f"3 of {len(split)} training images have no label" in caplog.text
    with pytest.raises(InputError, match="no training image has a label"):
        make_dpq().fit(Split(split.images, torch.zeros_like(labels)), training)


def test_training_with_an_average_ends_with_it(make_dpq, split, training, monkeypatch):
    """Against a slow one: of the network after every step, and of codebooks after those of an epoch."""
    averages, step = {}, Trainer.step

    def watched(self, rows, crops, number):
        if number % self.steps == 0:
            averages.update({name: value for name, value in weights(self.method).items() if "codebooks" in name})
        terms = step(self, rows, crops, number)
        decay = min(0.7, 1 - (1 + number) ** (-2 / 3))  # as timm warms up
        for name, value in weights(self.method).items():
            before = averages.get(name, value)
            averages[name] = before * decay + value * (1 - decay) if value.is_floating_point() else value
        return terms

    monkeypatch.setattr(Trainer, "step", watched)
    method = make_dpq()
    method.fit(split, replace(training, ema=0.7))
    monkeypatch.undo()
    assert all(torch.allclose(value, averages[name], atol=1e-5) for name, value in weights(method).items())
    plain = make_dpq()
    plain.fit(split, training)
    assert not equal(weights(plain), weights(method))


def test_erasing_changes_training(make_dpq, split, training):
    plain, erased = make_dpq(), make_dpq()
    plain.fit(split, training)
    erased.fit(split, replace(training, erasing=0.5))
    assert not equal(weights(plain), weights(erased))
