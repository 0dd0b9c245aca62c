import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dpq.method.losses import adaptive_margin_loss, classification_loss, quantization_terms


def cosine(a, b):
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def margin_by_loops(x, vectors, labels, negatives):
    total, positives = 0.0, 0
    for image, row in zip(x, labels, strict=True):
        for i in np.flatnonzero(row):
            positives += 1
            for j in range(len(vectors)):
                if negatives == "wrong" and row[j]:
                    continue
                margin = 1 - cosine(vectors[i], vectors[j])
                total += max(0.0, margin - cosine(vectors[i], image) + cosine(vectors[j], image))
    return total / (len(vectors) * positives)


@pytest.mark.parametrize("negatives", ["wrong", "others"])
@pytest.mark.parametrize("multi", [False, True])
def test_margin_loss_against_loops(negatives, multi):
    rng = np.random.default_rng(0)
    x, vectors = rng.normal(size=(12, 5)), rng.normal(size=(4, 5))
    labels = rng.random((12, 4)) < 0.5 if multi else np.eye(4, dtype=bool)[rng.integers(4, size=12)]
    labels[0] = [True, False, False, False]
    got = adaptive_margin_loss(torch.tensor(x), torch.tensor(vectors), torch.tensor(labels), negatives)
    assert float(got) == pytest.approx(margin_by_loops(x, vectors, labels, negatives))


def test_negatives_differ_on_multi_label_data_only():
    generator = torch.Generator().manual_seed(0)
    x, vectors = torch.randn(6, 5, generator=generator), torch.randn(4, 5, generator=generator)
    single = torch.eye(4, dtype=torch.bool)[[0, 1, 2, 3, 0, 1]]
    double = single | single.roll(1, dims=1)

    def loss(labels, negatives):
        return float(adaptive_margin_loss(x, vectors, labels, negatives))

    assert loss(single, "wrong") == pytest.approx(loss(single, "others"))
    assert loss(double, "wrong") < loss(double, "others")


def test_margin_loss_is_zero_where_every_margin_is_kept():
    vectors = torch.eye(3)
    assert float(adaptive_margin_loss(5 * vectors, vectors, torch.eye(3, dtype=torch.bool))) == pytest.approx(0)


def test_margin_loss_of_a_batch_without_labels_is_zero():
    assert float(adaptive_margin_loss(torch.randn(2, 3), torch.eye(3), torch.zeros(2, 3, dtype=torch.bool))) == 0


def test_classification_loss_is_softmax_or_mean_sigmoid_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=generator)
    single = torch.eye(3, dtype=torch.bool)[[0, 1, 2, 1, 0]]
    picked = torch.log_softmax(logits, dim=1)[single]
    assert torch.allclose(classification_loss(logits, single, multi_label=False), -picked.mean())
    double = single | single.roll(1, dims=1)
    p = torch.sigmoid(logits)
    expected = -(double * p.log() + ~double * (1 - p).log()).mean()
    assert torch.allclose(classification_loss(logits, double, multi_label=True), expected, atol=1e-6)


@pytest.mark.parametrize("norm", ["sum", "mean"])
@pytest.mark.parametrize("joint_levels", ["last", "every"])
def test_quantization_terms_against_loops(norm, joint_levels):
    rng = np.random.default_rng(0)
    x, soft, hard = rng.normal(size=(7, 4)), rng.normal(size=(3, 7, 4)), rng.normal(size=(3, 7, 4))
    scale = 4 if norm == "mean" else 1

    def distance(a, b):
        return np.mean([np.sum((p - q) ** 2) for p, q in zip(a, b, strict=True)]) / scale

    terms = quantization_terms(*map(torch.tensor, (x, soft, hard)), joint_levels=joint_levels, norm=norm)
    levels = range(3) if joint_levels == "every" else [2]
    assert float(terms.soft) == pytest.approx(sum(distance(x, soft[m]) for m in range(3)))
    assert float(terms.hard) == pytest.approx(sum(distance(x, hard[m]) for m in range(3)))
    assert float(terms.joint) == pytest.approx(sum(distance(soft[m], hard[m]) for m in levels))
    total = sum(terms.weighted(tau=2.0, mu=0.5, nu=0.1).values())
    assert float(total) == pytest.approx(2 * float(terms.soft + 0.5 * terms.hard + 0.1 * terms.joint))


def test_margin_loss_has_a_gradient_that_lowers_it():
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    vectors, labels = torch.eye(6)[:3], F.one_hot(torch.arange(8) % 3, 3).bool()
    loss = adaptive_margin_loss(x, vectors, labels)
    (gradient,) = torch.autograd.grad(loss, x)
    assert adaptive_margin_loss(x - 0.1 * gradient, vectors, labels) < loss


@pytest.mark.parametrize("multi_label", [False, True])
def test_images_without_a_label_teach_no_class(multi_label):
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.eye(3, dtype=torch.bool)[[0, 1, 2, 1, 0]]
    labels[[1, 4]] = False
    kept = labels.any(dim=1)
    loss = classification_loss(logits, labels, multi_label)
    expected = classification_loss(logits.detach()[kept], labels[kept], multi_label)
    assert float(loss.detach()) == pytest.approx(float(expected))
    loss.backward()
    assert not logits.grad[~kept].any() and logits.grad[kept].all()
    nothing = logits.detach().requires_grad_()
    loss = classification_loss(nothing, torch.zeros_like(labels), multi_label)
    loss.backward()
    assert loss == 0 and not nothing.grad.any()


@pytest.mark.parametrize("multi_label", [False, True])
def test_smoothing_gives_all_classes_a_share_of_the_targets(multi_label):
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.eye(3, dtype=torch.bool)[[0, 1, 2, 1, 0]] | (torch.eye(3, dtype=torch.bool)[[1] * 5] & multi_label)
    if multi_label:
        targets, p = 0.8 * labels + 0.1, torch.sigmoid(logits)
        expected = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    else:
        expected = -((0.8 * labels + 0.2 / 3) * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()
    assert float(classification_loss(logits, labels, multi_label, 0.2)) == pytest.approx(float(expected), abs=1e-6)
    assert classification_loss(logits, labels, multi_label, 0.0) == classification_loss(logits, labels, multi_label)
