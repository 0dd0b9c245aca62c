import numpy as np
import pytest
import torch
from torch.nn import functional as F

from baselines.deep.dtq import DTQ, DTQConfig, group_hard_triplet_loss, squared_distances
from baselines.quantizers.pq import product_kmeans
from dpq import InputError
from dpq.codes.additive import decode
from dpq.learning.backbone import Backbone
from tests.dpq.conftest import BACKBONE


def labels_of(classes, count):
    return F.one_hot(torch.tensor(classes), count).bool()


def every_violation(z, labels, margin):
    """For each anchor and positive, the losses of all negatives that violate the margin."""
    found = {}
    for a in range(len(z)):
        for p in range(len(z)):
            if p == a or not (labels[a] & labels[p]).any():
                continue
            values = [
                margin + np.sum((z[a] - z[p]) ** 2) - np.sum((z[a] - z[n]) ** 2)
                for n in range(len(z))
                if not (labels[a] & labels[n]).any()
            ]
            if violating := [v for v in values if v > 0]:
                found[a, p] = violating
    return found


@pytest.mark.parametrize("seed", range(3))
def test_one_violating_negative_is_drawn_for_each_anchor_and_positive(seed):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    labels = labels_of([0, 0, 0, 1, 1, 1, 2, 2, 2], 3) | (torch.rand(9, 3, generator=generator) < 0.1)
    found = every_violation(z.numpy(), labels.numpy(), margin=1.0)
    torch.manual_seed(seed)
    losses = [float(group_hard_triplet_loss(z, labels, 1.0)) for _ in range(2000)]
    assert min(losses) >= np.mean([min(v) for v in found.values()]) - 1e-9
    assert max(losses) <= np.mean([max(v) for v in found.values()]) + 1e-9
    # Uniform over the violating ones: the mean loss is the mean of means.
    expected = np.mean([np.mean(v) for v in found.values()])
    assert np.mean(losses) == pytest.approx(expected, abs=4 * np.std(losses) / 2000**0.5)
    assert len(set(losses)) > 100


def test_no_violation_or_no_triplet_is_no_loss():
    far = torch.tensor([[0.0], [0.0], [10.0], [10.0]])
    assert float(group_hard_triplet_loss(far, labels_of([0, 0, 1, 1], 2), 5.0)) == 0
    assert float(group_hard_triplet_loss(far, labels_of([0, 0, 0, 0], 1), 5.0)) == 0
    assert float(group_hard_triplet_loss(far[:2], labels_of([0, 1], 2), 5.0)) == 0


def test_the_gradient_pulls_positives_and_pushes_negatives():
    z = torch.tensor([[0.0], [1.0], [1.5]], requires_grad=True)
    loss = group_hard_triplet_loss(z, labels_of([0, 0, 1], 2), 1.0)
    # Triplets: anchor 0 has no violation (1 + 1 < 2.25); anchor 1: 1 + 1 - 0.25.
    assert loss.item() == pytest.approx(1.75)
    (gradient,) = torch.autograd.grad(loss, z)
    assert gradient.flatten().tolist() == pytest.approx([-2.0, 3.0, -1.0])


def test_squared_distances():
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(squared_distances(x), torch.cdist(x, x).square())
    assert (squared_distances(torch.full((3, 5), 1e4)) >= 0).all()


def test_the_released_form_turns_every_switch_and_keeps_the_weights():
    released = DTQConfig(margin=7.0).released()
    assert released == DTQConfig(
        margin=7.0, quantization=0.0, orthogonality=0.0, score="inner", start="product", unused="kept"
    )


def make(levels=2, dim=16, **changes):
    torch.manual_seed(0)
    return DTQ(Backbone(BACKBONE, 0, embedding_dim=dim), DTQConfig(**changes), bits=4 * levels, codebook_size=16)


def moving(name, seed, count=600, dim=16):
    """Embeddings [N, D], and those of the next epoch, which have moved away from where codewords are."""
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(count, dim, generator=generator)
    if name == "random":
        return random, 0.2 * random + 1.0
    if name == "clustered":
        middles = 3 * torch.randn(5, dim, generator=generator)[torch.randint(5, (count,), generator=generator)]
        spread = torch.rand(count, 1, generator=generator) * random
        return middles + spread, middles.roll(1, dims=1) + 0.5 * spread
    copies = random[(torch.rand(count, generator=generator) ** 3 * 300).long()]
    return copies, copies.roll(1, dims=1)


def used_and_error(method, embeddings, codebooks):
    """Codewords in use, of each level, and mean squared error of the codes that the method then gives."""
    method._codebooks.copy_(codebooks)
    codes = method.assign(embeddings)
    error = (embeddings - decode(codes, codebooks)).square().sum(dim=1).mean()
    return [len(level.unique()) for level in codes.T], float(error)


@pytest.mark.parametrize("levels", [1, 2, 4])
@pytest.mark.parametrize("name", ["random", "clustered", "copies"])
def test_no_codeword_is_dead_after_fitting(name, levels):
    moves, keeps = make(levels), make(levels, unused="kept")
    used, errors = [], []
    for seed in range(3):
        before, now = moving(name, seed)
        first = moves.first_codebooks(before, seed)
        following = moves.next_codebooks(now, first, seed)
        for codebooks, embeddings in ((first, before), (following, now)):
            assert used_and_error(moves, embeddings, codebooks)[0] == [16] * levels
        kept, error = used_and_error(keeps, now, keeps.next_codebooks(now, first, seed))
        used += kept
        errors.append((used_and_error(moves, now, following)[1], error))
        assert torch.equal(following, moves.next_codebooks(now, first, seed))
    assert min(used) < 16
    ours, theirs = map(sum, zip(*errors, strict=True))
    assert ours < theirs


def test_codebooks_start_from_either_k_means():
    x = moving("clustered", 0)[0]
    product, residual = make(start="product", unused="kept"), make(unused="kept")
    start = product_kmeans(x, 2, 16, 3)
    assert torch.equal(product.first_codebooks(x, 3), residual.next_codebooks(x, start, 3))
    assert not torch.equal(product.first_codebooks(x, 3), residual.first_codebooks(x, 3))
    make(4, dim=3)
    with pytest.raises(InputError, match="3 dimensions cannot be divided into 4 sub-spaces"):
        make(4, dim=3, start="product")


def test_an_image_without_a_label_is_nobodys_negative():
    labels = labels_of([0, 0, 1], 2)
    labels[2] = False
    z = torch.zeros(3, 4, requires_grad=True)
    group_hard_triplet_loss(z, labels, 1.0).backward()
    assert not z.grad.any()
