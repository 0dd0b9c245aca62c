"""What DQN, DTQ, DVSQ and DSQ share: alternating estimation, and feature epochs that code lengths share."""

from dataclasses import replace

import pytest
import torch

from baselines.deep.dqn import DQN, DQNConfig
from baselines.deep.dsq import DSQ, DSQConfig
from baselines.deep.dtq import DTQ, DTQConfig
from baselines.deep.dvsq import DVSQ, DVSQConfig
from dpq import InputError
from dpq.learning.backbone import Backbone
from dpq.learning.entry import MethodContext
from dpq.learning.settings import Execution
from dpq.learning.training import Trainer
from dpq.method.label_vectors import orthonormal_label_vectors
from tests.dpq.conftest import BACKBONE

CPU = torch.device("cpu")


def on_backbone(kind, *given):
    return lambda config, bits: kind(
        Backbone(BACKBONE, 0, embedding_dim=16), *given, config, bits=bits, codebook_size=16
    )


def dsq(config, bits):
    def backbone(classes, embedding_dim, head):
        return Backbone(BACKBONE, classes, embedding_dim or 16, head=head)

    return DSQ(MethodContext(config, bits, 16, 4, orthonormal_label_vectors(4, 16), backbone))


KINDS = {
    "dqn": (on_backbone(DQN), DQNConfig(quantization=0.01)),
    "dtq": (on_backbone(DTQ), DTQConfig(quantization=0.01, codes_on="centre")),
    "dqn on seen": (on_backbone(DQN), DQNConfig(quantization=0.01, codes_on="seen")),
    "dtq on seen": (on_backbone(DTQ), DTQConfig(quantization=0.01, codes_on="seen")),
    "dvsq": (on_backbone(DVSQ, orthonormal_label_vectors(4, 16)), DVSQConfig(quantization=0.01, metric="plain")),
    "dsq": (dsq, DSQConfig(quantization=0.01)),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def make(request):
    kind, config = request.param

    def build(bits=8, **changes):
        torch.manual_seed(0)
        return kind(replace(config, **changes), bits)

    return build


def state(method):
    return {name: value.clone() for name, value in method.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("step", [6, 8, 11])  # 3 steps an epoch, 4 epochs: at a boundary and within
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_interrupted_equals_uninterrupted(make, split, training, tmp_path, monkeypatch, step, ema):
    training = replace(training, ema=ema)
    whole = make()
    log = whole.fit(split, training)
    original, calls = Trainer.step, iter(range(100))

    def interrupted(*arguments):
        if next(calls) == step:
            raise KeyboardInterrupt
        return original(*arguments)

    execution = Execution(CPU, tmp_path / "own.safetensors")
    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make().fit(split, training, execution=execution)
    monkeypatch.undo()
    resumed = make()
    assert resumed.fit(split, training, execution=execution).epochs == log.epochs
    assert equal(state(resumed), state(whole))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_lengths_that_share_feature_epochs_end_where_separate_ones_do(
    make, split, training, tmp_path, monkeypatch, ema
):
    training = replace(training, ema=ema)
    alone = make(bits=12)
    log = alone.fit(split, training)
    shared = tmp_path / "features.safetensors"
    make(bits=4).fit(split, training, execution=Execution(CPU, None, shared))
    steps = []
    original = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda *a: (steps.append(1), original(*a))[1])
    after = make(bits=12)
    assert (
        after.fit(split, training, execution=Execution(CPU, tmp_path / "own.safetensors", shared)).epochs == log.epochs
    )
    assert len(steps) == 6  # the second half of 12
    assert equal(state(after), state(alone))


def test_the_network_does_not_know_its_code_length_in_the_feature_epochs(make, split, training):
    states = []
    for bits in (4, 12):
        method = make(bits=bits, feature_epochs=1.0)
        method.fit(split, training)
        states.append(state(method.backbone))
    assert equal(*states)


def test_features_alone_still_end_with_codebooks(make, split, training):
    method = make(feature_epochs=1.0)
    method.fit(split, training)
    codes = method.encode(method.embed(split.images))
    assert len(codes.unique(dim=0)) > 4


def test_features_alone_end_with_codebooks_at_every_length_that_shares_them(make, split, training, tmp_path):
    shared = tmp_path / "features.safetensors"
    for bits in (4, 12):
        own = Execution(CPU, tmp_path / f"{bits}.safetensors", shared)
        method = make(bits=bits, feature_epochs=1.0)
        method.fit(split, training, execution=own)
        assert method.codebooks.abs().sum(dim=2).count_nonzero() > 4 * method.codebooks.shape[0]


def test_a_second_training_starts_without_the_first_ones_codes(make, split, training):
    method = make(quantization=0.01)
    method.fit(split, training)
    assert all("quantization" not in epoch for epoch in method.fit(split, training).epochs[:2])


def test_codes_stand_still_within_an_epoch_and_pull_embeddings(make, split, training):
    method = make(feature_epochs=0.0)
    log = method.fit(split, training)
    assert all("quantization" in epoch for epoch in log.epochs)
    rows = torch.tensor([5, 3])
    reconstructions = method._reconstructions[rows]
    error = method.quantization_error(reconstructions + 1.0, rows)
    assert error.item() == pytest.approx(16.0)


def test_the_quantization_weight_is_the_losses_weight(make, split, training):
    method = make(feature_epochs=0.0)
    method.fit(split, training)
    method.eval()
    inputs = torch.zeros(4, 3, 32, 32)
    rows = torch.arange(4)
    torch.manual_seed(0)
    terms = method.losses(inputs, split.labels[:4], rows, epoch=0)
    expected = 0.01 * method.quantization_error(method.backbone(inputs)[0], rows)
    assert terms["quantization"].item() == pytest.approx(expected.item())
    assert set(terms) & {"pairwise", "triplet", "margin", "classification"}


def test_codebooks_fit_the_final_features(make, split, training):
    method = make()
    method.fit(split, training)
    embeddings = method.embed(split.images)
    left = method.quantization_error(embeddings, torch.arange(len(split)))
    assert left < 0.5 * (embeddings - embeddings.mean(dim=0)).square().sum(dim=1).mean()


def test_codes_on_what_steps_have_seen_spare_a_pass_through_the_network(make, split, training, monkeypatch):
    method = make()
    calls, stepped, given = [], torch.zeros(len(split), 16), []
    embed, error, estimate = method.embed, method.quantization_error, method.next_codebooks

    def stepping(embeddings, rows):
        stepped[rows] = embeddings.detach()
        return error(embeddings, rows)

    monkeypatch.setattr(method, "embed", lambda *a, **k: (calls.append(1), embed(*a, **k))[1])
    monkeypatch.setattr(method, "quantization_error", stepping)
    monkeypatch.setattr(
        method, "next_codebooks", lambda x, *a: (given.append((x.clone(), stepped.clone())), estimate(x, *a))[1]
    )
    method.fit(split, training)  # 4 epochs, of which the third and the fourth have codes
    seen = method.codes_on == "seen"
    assert len(calls) == (2 if seen else 3)  # before the third, before the fourth, in the end
    (between, steps), (last, _) = given[-2:]
    assert torch.equal(between, steps) == seen
    assert torch.equal(last, method.targets(embed(split.images), split.labels))


def test_too_few_images_are_refused_before_training(make, split, training):
    with pytest.raises(InputError, match="got 10"):
        make().fit(split.take(torch.arange(10)), training)


def test_the_last_codebooks_are_of_the_averaged_network(make, split, training, monkeypatch):
    """What is fitted after the last epoch reads embeddings of the network that training ends with."""
    method, read = make(), []
    estimate = type(method).next_codebooks
    monkeypatch.setattr(type(method), "next_codebooks", lambda s, x, *more: (read.append(x), estimate(s, x, *more))[1])
    method.fit(split, replace(training, ema=0.9))
    assert torch.allclose(read[-1], method.targets(method.embed(split.images, views="centre"), split.labels), atol=1e-6)
