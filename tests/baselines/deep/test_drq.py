from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from baselines.deep.drq import DRQ, DRQConfig, recurrent_sums
from dpq import InputError
from dpq.codes.additive import decode
from dpq.learning.backbone import Backbone
from dpq.learning.entry import MethodContext
from dpq.learning.settings import Execution
from dpq.learning.training import Trainer
from dpq.method.label_vectors import orthonormal_label_vectors
from tests.dpq.conftest import BACKBONE

OWN = 6  # dimensions of label vectors


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(bits=12, **changes):
    torch.manual_seed(0)

    def backbone(classes, embedding_dim=0, head="tanh"):
        return Backbone(BACKBONE, classes, embedding_dim, dropout=0.5, head=head)

    config = DRQConfig(**({"embedding_dim": 16} | changes))
    return DRQ(MethodContext(config, bits, 16, 4, orthonormal_label_vectors(4, OWN), backbone))


def batch(split):
    return torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)), split.labels[:8], torch.arange(8)


@pytest.mark.parametrize("scales", [[1.0, 0.5, 0.2], [1.0, -0.7, 0.3]])
def test_sums_against_a_loop(scales):
    x, codebook = normal(5, 4), normal(8, 4, seed=1)
    soft, hard = recurrent_sums(x, torch.tensor(scales)[:, None, None] * codebook)
    for n in range(5):
        residual, soft_sum, hard_sum = x[n], torch.zeros(4), torch.zeros(4)
        for level, scale in enumerate(scales):
            words = [scale * c for c in codebook]
            cosines = torch.stack([F.cosine_similarity(residual, word, dim=0) for word in words])
            shares = cosines.exp() / cosines.exp().sum()
            soft_sum = soft_sum + sum(share * word for share, word in zip(shares, words, strict=True))
            chosen = words[int(cosines.argmax())]
            hard_sum, residual = hard_sum + chosen, residual - chosen
            assert torch.allclose(soft[level, n], soft_sum, atol=1e-5)
            assert torch.allclose(hard[level, n], hard_sum, atol=1e-5)


def test_the_sums_are_what_codes_decode_to():
    method, x = make(), normal(20, 16)
    method.scales.data = torch.tensor([0.6, -0.3])
    hard = recurrent_sums(x, method.codebooks)[1]
    assert torch.allclose(decode(method.assign(x), method.codebooks), hard[-1], atol=1e-6)


def test_levels_are_multiples_of_one_codebook_and_a_prefix_is_the_shorter_code():
    method, x = make(), normal(50, 16)
    method.scales.data = torch.tensor([0.6, -0.3])
    codebooks, whole = method.codebooks, method.encode(x)
    for level, scale in enumerate((1.0, 0.6, -0.3)):
        assert torch.allclose(codebooks[level], scale * codebooks[0])
    for levels in (1, 2):
        shorter = make(4 * levels)
        shorter.codebook.data, shorter.scales.data = method.codebook.data, method.scales.data[: levels - 1]
        assert torch.equal(shorter.encode(x), whole[:, :levels])
        assert torch.equal(method.encode(x, bits=4 * levels), whole[:, :levels])


def test_embeddings_are_two_layers_side_by_side_without_bounds():
    method, inputs = make(), torch.rand(3, 3, 32, 32)
    method.eval()
    embeddings, logits = method(inputs)
    first = method.backbone(inputs)[0]
    assert embeddings.shape == (3, 16)
    assert logits.shape == (3, 0)
    assert torch.equal(embeddings[:, :10], first)
    assert torch.equal(embeddings[:, 10:], method.backbone.further[0](first.clamp(min=0)))
    one = make(embedding_dim=0)
    assert one(inputs)[0].shape == (3, OWN)
    assert one.codebooks.shape == (3, 16, OWN)
    with pytest.raises(InputError, match="one 6 wide; got 6: give more, or 0"):
        make(embedding_dim=OWN)


def quarters(method, training):
    method.training_config = replace(training, epochs=4)
    return method


def test_stages_have_the_losses_of_the_paper(split, training):
    method = quarters(make(tau=2.0, nu=0.5), training)
    assert [method.phase(epoch) for epoch in range(4)] == [0, 0, 1, 2]
    method.eval()
    method.codebook.data, method.scales.data = normal(16, 16), torch.tensor([0.5, 0.25])
    inputs, labels, rows = batch(split)
    x = method(inputs)[0]
    soft, hard = recurrent_sums(x, method.codebooks)
    features = method.losses(inputs, labels, rows, epoch=0)
    assert list(features) == ["margin", "triplet"]
    first = method.losses(inputs, labels, rows, epoch=2)
    assert list(first) == [*features, "first_soft", "first_hard", "first_joint"]
    assert first["first_soft"].item() == pytest.approx(2 * F.mse_loss(x, soft[0]).item(), rel=1e-5)
    assert first["first_hard"].item() == pytest.approx(2 * F.mse_loss(x, hard[0]).item(), rel=1e-5)
    assert first["first_joint"].item() == pytest.approx(F.mse_loss(soft[0], hard[0]).item(), rel=1e-5)
    every = method.losses(inputs, labels, rows, epoch=3)
    assert list(every) == [*first, "further_soft", "further_hard", "further_joint"]
    expected = 2 * sum(F.mse_loss(x, hard[level]).item() for level in (1, 2))
    assert every["further_hard"].item() == pytest.approx(expected, rel=1e-5)
    assert every["further_joint"].item() == pytest.approx(F.mse_loss(soft[2], hard[2]).item(), rel=1e-5)


def test_the_margin_sees_the_second_layer_and_the_triplets_both(split, training):
    method = quarters(make(), training)
    terms = method.losses(*batch(split), epoch=0)
    second = method.backbone.further[0].weight
    first = method.backbone.embedding.weight
    assert all(g.any() for g in torch.autograd.grad(terms["margin"], [first, second], retain_graph=True))
    assert all(g.any() for g in torch.autograd.grad(terms["triplet"], [first, second], retain_graph=True))
    x = torch.zeros(8, 16).requires_grad_()
    tanh = normal(8, 16).requires_grad_()
    method.forward = lambda *_: (tanh, x)
    margin = method.losses(*batch(split), epoch=0)["margin"]
    (gradient,) = torch.autograd.grad(margin, [tanh])
    assert not gradient[:, :10].any()
    assert gradient[:, 10:].any()


@pytest.mark.parametrize("reached", ["codebooks", "features"])
def test_the_quantization_loss_reaches_what_it_should(split, training, reached):
    method = quarters(make(quantization_gradient=reached), training)
    network = list(method.backbone.parameters())
    for epoch in (2, 3):
        terms = method.losses(*batch(split), epoch=epoch)
        loss = sum(value for name, value in terms.items() if name not in ("margin", "triplet"))
        found = torch.autograd.grad(loss, [method.codebook, method.scales, *network], allow_unused=True)
        assert found[0].any()
        assert (found[1] is not None and found[1].any()) == (epoch == 3)
        assert any(g is not None and g.any() for g in found[2:]) == (reached == "features")
        features = terms["margin"] + terms["triplet"]
        assert not any(
            g is not None for g in torch.autograd.grad(features, [method.codebook, method.scales], allow_unused=True)
        )


def test_codes_start_where_they_leave_less_than_one_level(split, training):
    method = make(feature_epochs=1.0)
    method.fit(split, training)
    x = method.embed(split.images)
    codes = method.encode(x)
    left = [(x - decode(codes, method.codebooks, m)).square().sum(dim=1).mean() for m in (1, 2, 3)]
    assert left[0] > left[1] > left[2]
    assert left[2] < 0.5 * (x - x.mean(dim=0)).square().sum(dim=1).mean()


def test_a_code_of_one_level_has_no_scalar(split, training):
    method = make(bits=4)
    log = method.fit(split, training)
    assert method.codebooks.shape == (1, 16, 16)
    assert log.epochs[-1]["further_hard"] == 0


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_interrupted_equals_uninterrupted(split, training, tmp_path, monkeypatch, ema):
    training = replace(training, ema=ema)
    whole = make()
    log = whole.fit(split, training)
    assert whole.backbone.further[0].weight.any()
    original, calls = Trainer.step, iter(range(100))

    def interrupted(*arguments):
        if next(calls) == 10:  # 3 steps an epoch
            raise KeyboardInterrupt
        return original(*arguments)

    execution = Execution(checkpoint=tmp_path / "own.safetensors")
    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make().fit(split, training, execution=execution)
    monkeypatch.undo()
    resumed = make()
    assert resumed.fit(split, training, execution=execution).epochs == log.epochs
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


def test_several_labels_and_none_train(split, training):
    labels = split.labels | split.labels.roll(1, dims=1)
    labels[:5] = False
    log = make().fit(replace(split, labels=labels), training)
    assert all(value == value for epoch in log.epochs for value in epoch.values())


def test_the_released_form_turns_every_switch_and_keeps_the_weights():
    released = DRQConfig(tau=0.5, quantization_gradient="features").released()
    assert released == DRQConfig(tau=0.5, quantization_gradient="codebooks", negatives="others")
