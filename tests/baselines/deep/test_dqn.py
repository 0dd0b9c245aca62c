import numpy as np
import pytest
import torch
from torch.nn import functional as F

from baselines.deep.dqn import pairwise_cosine_loss


def labels_of(classes, count):
    return F.one_hot(torch.tensor(classes), count).bool()


def slow_loss(z, labels):
    terms = []
    known = [i for i in range(len(z)) if labels[i].any()]
    for i in known:
        for j in known:
            cosine = z[i] @ z[j] / np.linalg.norm(z[i]) / np.linalg.norm(z[j])
            terms.append(((1 if (labels[i] & labels[j]).any() else -1) - cosine) ** 2)
    return np.mean(terms)


@pytest.mark.parametrize("seed", range(3))
def test_against_a_loop_over_pairs(seed):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    several = torch.rand(12, 4, generator=generator) < 0.4
    for labels in (labels_of([0, 1, 2, 3] * 3, 4), several):
        assert float(pairwise_cosine_loss(z, labels)) == pytest.approx(slow_loss(z.numpy(), labels.numpy()))


def test_perfect_embeddings_of_two_classes_have_no_loss_and_one_class_pulls_together():
    z = torch.tensor([[2.0, 0], [3, 0], [-1, 0]])
    assert float(pairwise_cosine_loss(z, labels_of([0, 0, 1], 2))) == pytest.approx(0)
    assert float(pairwise_cosine_loss(z, labels_of([0, 0, 0], 1))) == pytest.approx(4 * 4 / 9)


def test_the_length_of_embeddings_does_not_matter():
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    labels = labels_of([0, 1, 0, 1, 2, 2], 3)
    assert pairwise_cosine_loss(3 * z, labels) == pytest.approx(float(pairwise_cosine_loss(z, labels)), rel=1e-5)


def test_images_without_a_label_change_nothing():
    z, labels = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), labels_of([0, 1, 2] * 2, 3)
    some = labels.clone()
    some[[1, 4]] = False
    kept = torch.tensor([0, 2, 3, 5])
    assert float(pairwise_cosine_loss(z, some)) == pytest.approx(float(pairwise_cosine_loss(z[kept], labels[kept])))
    assert pairwise_cosine_loss(z, torch.zeros_like(labels)) == 0
