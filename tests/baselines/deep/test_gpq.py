import math

import pytest
import torch
from torch.nn import functional as F

from baselines.deep.gpq import n_pair_loss, soft_cross_entropy
from baselines.deep.product import unit_parts
from dpq.codes.additive import decode
from tests.baselines.deep.test_product import build


def labels_of(classes, count):
    return F.one_hot(torch.tensor(classes), count).bool()


def slow_loss(x, q, labels):
    terms = []
    known = [i for i in range(len(x)) if labels[i].any()]
    for i in known:
        targets = {j: float((labels[i] & labels[j]).any()) for j in known}
        total = sum(targets.values())
        assert sum(value / total for value in targets.values()) == pytest.approx(1)
        log_sum = math.log(sum(math.exp(float(x[i] @ q[j])) for j in known))
        terms.append(sum(target / total * (log_sum - float(x[i] @ q[j])) for j, target in targets.items()))
    return sum(terms) / len(terms)


def test_n_pair_loss_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    x, q = torch.randn(2, 9, 4, generator=generator, dtype=torch.float64)
    several = torch.rand(9, 4, generator=generator) < 0.3  # some without any
    assert not several.any(dim=1).all()
    for labels in (labels_of([0, 1, 2] * 3, 3), several, labels_of([0] * 9, 1)):
        assert float(n_pair_loss(x, q, labels)) == pytest.approx(slow_loss(x, q, labels))


def test_without_a_label_there_is_no_loss_and_a_finite_gradient():
    x = torch.randn(4, 3, requires_grad=True)
    for labels in (torch.zeros(4, 2, dtype=torch.bool), labels_of([0, 0, 1, 1], 2) & torch.tensor([True, False])):
        loss = n_pair_loss(x, x, labels)
        loss.backward()
        assert loss.isfinite()
        assert x.grad.isfinite().all()
    assert n_pair_loss(x, x, torch.zeros(4, 2, dtype=torch.bool)) == 0


def test_cross_entropy_is_that_of_one_class_and_of_several_their_mean():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, 1, 2, 3, 1])
    expected = float(F.cross_entropy(logits, classes))
    assert float(soft_cross_entropy(logits, F.one_hot(classes, 4).bool())) == pytest.approx(expected)
    both = torch.tensor([[True, True, False, False]])
    mean = -logits[:1].log_softmax(dim=1)[0, :2].mean()
    assert float(soft_cross_entropy(logits[:1], both)) == pytest.approx(float(mean))


def test_parts_codewords_and_reconstructions_have_unit_parts():
    method = build("gpq", bits=12)
    x, logits = method.read(torch.randn(7, 15))
    assert logits.shape == (7, 4)
    assert torch.allclose(x.square().sum(dim=1), torch.full((7,), 3.0))
    assert torch.allclose(method.codebooks.norm(dim=2), torch.ones(3, 16))
    decoded = decode(method.encode(x.detach()), method.codebooks)
    assert torch.allclose(decoded.square().sum(dim=1), torch.full((7,), 3.0))
    assert torch.allclose(method.soft(x).square().sum(dim=1), torch.full((7,), 3.0))


def test_codewords_are_mixtures_of_prototypes_and_tend_to_the_nearest_one():
    method = build("gpq", alpha=1e6)
    prototypes, words = (
        F.normalize(p.detach() * method.mask[:, None], dim=2) for p in (method.prototypes, method.codewords)
    )
    nearest = (words @ prototypes.mT).argmax(dim=2)
    for level in range(2):
        assert torch.allclose(method.codebooks[level], prototypes[level][nearest[level]])


def test_soft_quantization_tends_to_the_code_as_alpha_grows():
    x = build("gpq").read(torch.randn(30, 15, generator=torch.Generator().manual_seed(0)))[0]
    gaps = []
    for alpha in (1.0, 20.0, 1e5):
        method = build("gpq", alpha=alpha)
        words = method.mixed().detach()
        method.mixed = lambda words=words: words
        gaps.append(float((method.soft(x) - decode(method.encode(x), method.codebooks)).norm()))
    assert gaps[-1] < 1e-3 < gaps[1]


def test_codes_are_the_largest_cosines_of_each_part_however_search_has_them():
    x = 3 * torch.randn(20, 15, generator=torch.Generator().manual_seed(0))
    for search in ("trained", "released"):
        method = build("gpq", search=search)
        embeddings, words = method.read(x)[0].detach(), method.codebooks
        expected = torch.stack(
            [
                F.cosine_similarity(x[:, None, part], words[level][None, :, part], dim=2).argmax(dim=1)
                for level, part in ((0, slice(0, 8)), (1, slice(8, 15)))
            ],
            dim=1,
        )
        assert torch.equal(method.encode(embeddings).long(), expected)
    assert torch.equal(embeddings, x)  # as released, of any length
    assert torch.equal(words, method.blocks(method.codewords).detach())


def test_class_logits_are_mean_cosines():
    method = build("gpq", beta=3.0)
    x = unit_parts(torch.randn(5, 15), method.mask)
    for label in range(4):
        cosines = [
            F.cosine_similarity(x[:, part], method.prototypes[level, label, part][None])
            for level, part in ((0, slice(0, 8)), (1, slice(8, 15)))
        ]
        assert torch.allclose(method.logits(x)[:, label], 9 * torch.stack(cosines).mean(dim=0), atol=1e-5)
