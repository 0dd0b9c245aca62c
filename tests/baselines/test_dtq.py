import numpy as np
import pytest
import torch
from torch.nn import functional as F

from baselines.dtq import (
    DTQConfig,
    group_hard_triplet_loss,
    least_squares_codebooks,
    orthogonality_penalty,
    squared_distances,
)
from dpq.codes.additive import decode
from dpq.codes.icm import icm_encode


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


def test_the_penalty_against_its_formula():
    codebooks = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = sum(
        float(torch.linalg.matrix_norm(one @ other.T - torch.eye(4, dtype=torch.float64)) ** 2)
        for one in codebooks
        for other in codebooks
    )
    assert float(orthogonality_penalty(codebooks)) == pytest.approx(expected / (3 * 4) ** 2)
    assert float(orthogonality_penalty(torch.eye(4)[None])) == 0


def coded(images=400, levels=2, codewords=8, dim=5):
    generator = torch.Generator().manual_seed(0)
    codebooks = torch.randn(levels, codewords, dim, generator=generator)
    x = torch.randn(images, dim, generator=generator)
    return x, icm_encode(x, codebooks), codebooks


def mean_error(x, codes, codebooks):
    return float((x - decode(codes, codebooks)).square().sum(dim=1).mean())


def test_least_squares_against_numpy():
    x, codes, codebooks = coded()
    one_hot = np.concatenate([np.eye(8)[codes[:, m].numpy()] for m in range(2)], axis=1)
    solution, *_ = np.linalg.lstsq(one_hot, x.numpy().astype(float), rcond=None)
    best = float(np.square(x.numpy() - one_hot @ solution).sum(axis=1).mean())
    assert mean_error(x, codes, least_squares_codebooks(x, codes, codebooks)) == pytest.approx(best, rel=1e-4)


def test_codewords_that_no_code_uses_stay():
    x, codes, codebooks = coded()
    codes[codes[:, 1] == 3, 1] = 4
    solved = least_squares_codebooks(x, codes, codebooks)
    assert torch.allclose(solved[1, 3], codebooks[1, 3], atol=1e-5)
    assert not torch.allclose(solved[1, 4], codebooks[1, 4], atol=1e-2)


def test_the_weight_trades_error_for_orthogonality():
    x, codes, codebooks = coded()
    results = [least_squares_codebooks(x, codes, codebooks, weight) for weight in (0.0, 0.1, 10.0)]
    errors = [mean_error(x, codes, solved) for solved in results]
    penalties = [float(orthogonality_penalty(solved)) for solved in results]
    assert errors == sorted(errors)
    assert penalties == sorted(penalties, reverse=True)
    objectives = [error + 0.1 * penalty for error, penalty in zip(errors, penalties, strict=True)]
    assert min(objectives) == objectives[1]


def test_alternating_codes_and_codebooks_lowers_the_error():
    x, codes, codebooks = coded()
    errors = [mean_error(x, codes, codebooks)]
    for _ in range(4):
        codebooks = least_squares_codebooks(x, codes, codebooks)
        errors.append(mean_error(x, codes, codebooks))
        codes = icm_encode(x, codebooks, start=codes)
        errors.append(mean_error(x, codes, codebooks))
    assert errors == sorted(errors, reverse=True)


def test_the_released_form_has_neither_penalty_nor_gradient():
    released = DTQConfig(margin=7.0).released()
    assert (released.orthogonality, released.quantization, released.margin) == (0.0, 0.0, 7.0)


def test_an_image_without_a_label_is_nobodys_negative():
    labels = labels_of([0, 0, 1], 2)
    labels[2] = False
    z = torch.zeros(3, 4, requires_grad=True)
    group_hard_triplet_loss(z, labels, 1.0).backward()
    assert not z.grad.any()
