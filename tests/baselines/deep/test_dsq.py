from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from baselines.deep.dsq import DSQ, DSQConfig, centres_of
from dpq import InputError
from dpq.codes.additive import decode
from dpq.codes.icm import icm_encode
from dpq.learning.backbone import Backbone
from dpq.learning.entry import MethodContext
from tests.dpq.conftest import BACKBONE

DIM = 8


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(bits=8, classes=4, multi_label=False, **changes):
    torch.manual_seed(0)

    def backbone(classes, embedding_dim=0, head="tanh"):
        return Backbone(BACKBONE, classes, embedding_dim or DIM, head=head)

    vectors = torch.zeros(classes, DIM)
    return DSQ(MethodContext(DSQConfig(**changes), bits, 16, classes, vectors, backbone, multi_label=multi_label))


LABELS = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 1]]).bool()


def slow_centre(x, centres, labels):
    own = [c for c, has in zip(centres, labels, strict=True) if has]
    return sum(own) / len(own) if own else x


def test_an_image_is_pulled_to_the_mean_centre_of_its_labels():
    x, centres = normal(5, DIM), normal(3, DIM, seed=1)
    found = centres_of(x, centres, LABELS)
    for n in range(5):
        assert torch.allclose(found[n], slow_centre(x[n], centres, LABELS[n]), atol=1e-6)
    with pytest.raises(InputError, match="labels"):
        centres_of(x, centres, LABELS.float() / 2)


def test_centres_are_class_means_and_targets_lie_between():
    method, x = make(classes=3, quantization=0.1, supervised=0.3), F.normalize(normal(5, DIM), dim=1)
    targets = method.targets(x, LABELS)
    assert torch.allclose(method.centres[0], (x[0] + x[2]) / 2)
    assert torch.allclose(method.centres[1], (x[1] + x[4]) / 2)
    assert torch.allclose(method.centres[2], x[4])
    for n in range(5):
        phi = slow_centre(x[n], method.centres, LABELS[n])
        assert torch.allclose(targets[n], (0.1 * x[n] + 0.3 * phi) / 0.4, atol=1e-6)
    assert torch.equal(targets[3], x[3])  # of no class


def test_two_terms_are_one_with_the_target_and_a_constant():
    method, x = make(classes=3, quantization=0.1, supervised=0.3), F.normalize(normal(5, DIM), dim=1)
    targets = method.targets(x, LABELS)
    phi = centres_of(x, method.centres, LABELS)
    differences = []
    for seed in range(4):
        coded = normal(5, DIM, seed=seed)
        two = 0.1 * (x - coded).square().sum() + 0.3 * (phi - coded).square().sum()
        differences.append(float(two - 0.4 * (targets - coded).square().sum()))
    assert differences == pytest.approx([differences[0]] * 4, rel=1e-4)


def test_without_the_supervised_term_codes_are_of_the_features():
    method, x = make(classes=3, supervised=0.0), normal(5, DIM)
    assert torch.equal(method.targets(x, LABELS), x)


def test_features_have_unit_length_and_the_classifier_reads_them():
    method, inputs = make(), torch.rand(3, 3, 32, 32)
    embeddings, logits = method(inputs)
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(3))
    assert torch.equal(logits, method.backbone.further[0](embeddings))
    assert logits.shape == (3, 4)


def test_losses_and_what_their_gradients_reach(split):
    method = make(quantization=0.2, centre=0.3)
    method.eval()
    inputs, labels, rows = torch.rand(8, 3, 32, 32), split.labels[:8], torch.arange(8)
    assert list(method.losses(inputs, labels, rows, epoch=0)) == ["classification"]
    method.centres.copy_(normal(4, DIM))
    method._reconstructions = normal(8, DIM, seed=1)
    terms = method.losses(inputs, labels, rows, epoch=3)
    z, logits = method(inputs)
    classes = labels.int().argmax(dim=1)
    assert terms["classification"].item() == pytest.approx(F.cross_entropy(logits, classes).item())
    centre = 0.3 * sum((z[n] - method.centres[classes[n]]).square().sum() for n in range(8)) / 8
    assert terms["centre"].item() == pytest.approx(centre.item(), rel=1e-5)
    error = 0.2 * (z - method._reconstructions).square().sum(dim=1).mean()
    assert terms["quantization"].item() == pytest.approx(error.item(), rel=1e-5)
    head, own = method.backbone.embedding.weight, method.backbone.further[0].weight
    for name, term in terms.items():
        found = torch.autograd.grad(term, [head, own], retain_graph=True, allow_unused=True)
        assert found[0].any()
        assert (found[1] is not None) == (name == "classification")
    assert not method.centres.requires_grad


def test_training_images_are_coded_by_targets_and_others_by_features(split, training):
    method = make()
    log = method.fit(split, training)
    x = method.embed(split.images)
    targets = method.targets(x, split.labels)
    codes = icm_encode(targets, method.codebooks)
    assert torch.allclose(method._reconstructions, decode(codes, method.codebooks), atol=1e-5)
    assert torch.equal(method.encode(x), icm_encode(x, method.codebooks))
    last = log.epochs[-1]
    for name, coded in (("feature_error", x), ("target_error", targets)):
        left = (coded - decode(icm_encode(coded, method.codebooks), method.codebooks)).square().sum(dim=1).mean()
        assert last[name] == pytest.approx(left.item(), rel=1e-3, abs=1e-7)
    assert all("feature_error" not in epoch for epoch in log.epochs[:-1])


def test_several_labels_have_a_sigmoid_each_and_none_has_no_part(split, training):
    labels = split.labels | split.labels.roll(1, dims=1)
    labels[:5] = False
    method = make(multi_label=True)
    inputs = torch.rand(8, 3, 32, 32)
    loss = method.losses(inputs, labels[:8], torch.arange(8), epoch=0)["classification"]
    expected = F.binary_cross_entropy_with_logits(method(inputs)[1][5:], labels[5:8].float())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    log = method.fit(replace(split, labels=labels), training)
    assert all(value == value for epoch in log.epochs for value in epoch.values())
