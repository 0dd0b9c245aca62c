import math

import pytest
import torch
from torch.nn import functional as F

from baselines.deep.pqnet import asymmetric_triplet_loss, soft_quantized
from dpq.codes.additive import decode, encode


def labels_of(classes, count):
    return F.one_hot(torch.tensor(classes), count).bool()


def codebooks_of(generator, dim=5, cut=2):
    codebooks = torch.randn(2, 6, dim, generator=generator, dtype=torch.float64)
    codebooks[0, :, cut:], codebooks[1, :, :cut] = 0, 0
    return codebooks


def slow_loss(x, s, labels, margin):
    terms = []
    for a in range(len(x)):
        for p in range(len(x)):
            for n in range(len(x)):
                positive = a != p and (labels[a] & labels[p]).any()
                negative = labels[a].any() and labels[n].any() and not (labels[a] & labels[n]).any()
                if positive and negative:
                    terms.append(math.log1p(math.exp(margin + float(x[a] @ s[n]) - float(x[a] @ s[p]))))
    return sum(terms) / max(len(terms), 1)


@pytest.mark.parametrize("margin", [0.0, 0.7])
def test_against_a_loop_over_triplets(margin):
    generator = torch.Generator().manual_seed(0)
    x, s = torch.randn(2, 9, 4, generator=generator, dtype=torch.float64)
    several = torch.rand(9, 4, generator=generator) < 0.3  # some without any
    assert not several.any(dim=1).all()
    for labels in (labels_of([0, 1, 2] * 3, 3), several):
        expected = slow_loss(x, s, labels, margin)
        assert float(asymmetric_triplet_loss(x, s, labels, margin)) == pytest.approx(expected)


def test_without_a_triplet_there_is_no_loss_and_a_finite_gradient():
    x = torch.randn(4, 3, requires_grad=True)
    for labels in (labels_of([0, 0, 0, 0], 1), labels_of([0, 1, 2, 3], 4), torch.zeros(4, 2, dtype=torch.bool)):
        loss = asymmetric_triplet_loss(x, x, labels)
        loss.backward()
        assert loss == 0
        assert not x.grad.any()


def test_images_without_a_label_change_nothing():
    x, s = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    labels = labels_of([0, 1, 2] * 2, 3)
    labels[[1, 4]] = False
    kept = torch.tensor([0, 2, 3, 5])
    expected = float(asymmetric_triplet_loss(x[kept], s[kept], labels[kept]))
    assert float(asymmetric_triplet_loss(x, s, labels)) == pytest.approx(expected)


def test_soft_quantization_against_a_loop():
    generator = torch.Generator().manual_seed(1)
    x, codebooks = torch.randn(7, 5, generator=generator, dtype=torch.float64), codebooks_of(generator)
    for row, soft in zip(x, soft_quantized(x, codebooks, 3.0), strict=True):
        expected = torch.zeros(5, dtype=torch.float64)
        for words, part in ((codebooks[0], slice(0, 2)), (codebooks[1], slice(2, 5))):
            weights = [math.exp(-3.0 * float((row[part] - word[part]).square().sum())) for word in words]
            for weight, word in zip(weights, words, strict=True):
                expected += weight / sum(weights) * word
        assert torch.allclose(soft, expected)


def test_soft_quantization_tends_to_the_code_as_alpha_grows():
    generator = torch.Generator().manual_seed(2)
    x, codebooks = torch.randn(50, 5, generator=generator, dtype=torch.float64), codebooks_of(generator)
    hard = decode(encode(x, codebooks), codebooks)
    gaps = [float((soft_quantized(x, codebooks, alpha) - hard).norm()) for alpha in (1, 10, 100, 1e6)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-9
    assert torch.allclose(soft_quantized(x, codebooks, 0.0), codebooks.mean(dim=1).sum(dim=0))
