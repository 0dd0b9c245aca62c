"""Each switch takes away what it says, and nothing else."""

from dataclasses import replace

import pytest
import torch

from dpq import InputError
from dpq.learning.augment import to_input
from dpq.learning.settings import Augmentation, Execution
from dpq.learning.training import Trainer

TERMS = {"margin", "classification", "soft", "hard", "joint"}


@pytest.fixture
def one_batch(make_dpq, split, training):
    """Loss terms of one batch with codebooks started, and the gradient of some of them, for given switches."""

    def run(only=None, **switches):
        method = make_dpq(**switches)
        method.training_config = training
        method.quantizer.initialise(method.embed(split.images), seed=0)
        method.train()
        torch.manual_seed(0)
        inputs = to_input(split.images[:32], 32, method.backbone.preprocessing, Augmentation())
        terms = method.losses(inputs, split.labels[:32], torch.arange(32), epoch=3)
        sum(value for name, value in terms.items() if only is None or name in only).backward()
        gradients = {name: p.grad for name, p in method.named_parameters() if p.grad is not None and p.grad.any()}
        return {name: value.item() for name, value in terms.items()}, gradients

    return run


def close(one, other):
    return one.keys() == other.keys() and all(torch.allclose(one[k], other[k], rtol=1e-4, atol=1e-7) for k in one)


@pytest.mark.parametrize(
    ("switch", "gone"),
    [
        ({"margin": 0.0}, {"margin"}),
        ({"classification": 0.0}, {"classification"}),
        ({"soft_terms": False}, {"soft", "joint"}),
    ],
)
def test_terms_that_are_switched_off_are_absent_and_the_gradient_is_that_of_the_others(one_batch, switch, gone):
    whole, every = one_batch()
    _, of_the_others = one_batch(only=TERMS - gone)
    terms, gradients = one_batch(**switch)
    assert set(whole) == TERMS
    assert terms == {name: value for name, value in whole.items() if name not in gone}
    assert close(gradients, of_the_others)
    assert not close(gradients, every)


def test_an_objective_without_a_feature_loss_is_refused(make_dpq):
    with pytest.raises(InputError, match="margin and classification are both 0"):
        make_dpq(margin=0.0, classification=0.0)


def snapshot(method):
    return {name: value.clone() for name, value in method.state_dict().items()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def of(names, prefix):
    return {name for name in names if name.startswith(prefix)}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("multipliers", ["none", "released"])
def test_a_frozen_backbone_keeps_every_tensor_and_its_heads_learn(make_dpq, split, training, optimizer, multipliers):
    training = replace(training, optimizer=optimizer)
    method = make_dpq(train_backbone=False, multipliers=multipliers)
    before = snapshot(method)
    method.fit(split, training, seed=0)
    moved = changed(before, snapshot(method))
    assert any("running_mean" in name for name in before)
    assert moved == {
        "backbone.embedding.weight",
        "backbone.embedding.bias",
        "backbone.classifier.weight",
        "backbone.classifier.bias",
        "quantizer.codebooks",
    }
    trained = make_dpq(multipliers=multipliers)
    trained.fit(split, training, seed=0)
    assert of(changed(before, snapshot(trained)), "backbone.body")


def test_a_frozen_backbone_gives_its_evaluation_features_in_training_too(make_dpq, split, training):
    method = make_dpq(train_backbone=False)
    method.backbone.dropout.p = 0.5
    inputs = to_input(split.images[:32], 32, method.backbone.preprocessing, training.augmentation)
    body = method.backbone.body
    features = body.eval()(inputs)
    method.train()
    method.training_config = training
    method.embed(split.images)  # restores the mode it found
    assert torch.equal(body(inputs), features)
    assert not torch.equal(method.backbone(inputs)[0], method.backbone(inputs)[0])  # dropout above it still acts
    trained = make_dpq().train()
    assert not torch.allclose(trained.backbone.body(inputs), features)


def test_two_steps_share_the_feature_epochs_and_then_only_codebooks_move(make_dpq, split, training, monkeypatch):
    ends = {}
    save = Trainer._save

    def remember(self):
        save(self)
        ends.setdefault(self.method.config.two_step, []).append(snapshot(self.method))

    monkeypatch.setattr(Trainer, "_save", remember)
    together, apart = make_dpq(), make_dpq(two_step=True)
    together.fit(split, training, seed=0)
    log = apart.fit(split, training, seed=0)
    assert len(ends[True]) == len(ends[False]) == training.epochs
    for feature_epoch in (0, 1):
        assert not changed(ends[True][feature_epoch], ends[False][feature_epoch])
    assert of(changed(ends[True][0], ends[True][1]), "backbone.body")
    assert changed(ends[True][1], ends[True][2]) == changed(ends[True][2], ends[True][3]) == {"quantizer.codebooks"}
    assert of(changed(ends[False][2], ends[False][3]), "backbone")
    assert [set(epoch) & TERMS for epoch in log.epochs] == [{"margin", "classification"}] * 2 + [
        {"soft", "hard", "joint"}
    ] * 2
    assert log.epochs[3]["hard"] < log.epochs[2]["hard"]


def test_codebooks_of_two_steps_learn_from_embeddings_as_evaluation_gives_them(make_dpq, split, training):
    training = replace(training, augmentation=Augmentation(flip=False, shift=0.0), batch_size=96)
    method = make_dpq(two_step=True)
    method.backbone.dropout.p = 0.5
    method.fit(split, training, seed=0)
    expected = method.embed(split.images)
    assert torch.allclose(method._seen, expected, atol=1e-5)


def test_a_second_fit_of_two_steps_trains_the_network_again(make_dpq, split, training):
    method = make_dpq(two_step=True)
    method.fit(split, training, seed=0)
    before = snapshot(method)
    method.fit(split, training, seed=0)
    assert of(changed(before, snapshot(method)), "backbone.body")


def test_two_steps_need_feature_epochs(make_dpq, split, training):
    with pytest.raises(InputError, match=r"feature_epochs = 0\.2 of 4 epochs leaves none"):
        make_dpq(two_step=True, feature_epochs=0.2).fit(split, training)


@pytest.mark.parametrize("last_step", [4, 6, 9, 10])  # 3 steps an epoch, features in the first 6
@pytest.mark.parametrize("switch", ["two_step", "frozen"])
def test_interrupted_equals_uninterrupted(make_dpq, split, training, tmp_path, monkeypatch, switch, last_step):
    switches = {"two_step": True} if switch == "two_step" else {"train_backbone": False}
    whole = make_dpq(**switches)
    log = whole.fit(split, training, seed=0)
    step = Trainer.step

    def interrupted(self, rows, geometry, number):
        if number == last_step:
            raise KeyboardInterrupt
        return step(self, rows, geometry, number)

    execution = Execution(checkpoint=tmp_path / "last.safetensors")
    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_dpq(**switches).fit(split, training, 0, execution)
    monkeypatch.undo()
    resumed = make_dpq(seed=5, **switches)  # its own weights must not matter
    assert resumed.fit(split, training, 0, execution).epochs == log.epochs
    assert not changed(snapshot(whole), snapshot(resumed))
