"""Embeddings whose mean is large against their spread, against brute force in float64."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from baselines.deep.dtq import squared_distances
from dpq import CodeIndex, InputError, ProgressiveQuantizer, ProgressiveQuantizerEstimator
from dpq.codes.additive import affinities, centre, decode, encode, residual_kmeans
from dpq.codes.icm import icm_encode
from dpq.ranking.evaluate import evaluate_codes, evaluate_embeddings
from dpq.ranking.scores import asymmetric_scores
from dpq.search.faiss import faiss_index, list_centroids

MEANS = [0, 1, 3, 5, 30, 1000, 10_000, 100_000]
TOLERANCE = 1e-5  # of the squared spread, that a chosen distance may be above the smallest


def far(mean, dim, rows=400, seed=0):
    """Embeddings of unit spread around a mean of this length per dimension, of changing sign."""
    x = np.random.default_rng(seed).normal(size=(rows, dim)) + mean * np.where(np.arange(dim) % 3, 1, -1)
    return torch.from_numpy(x).float()


def excess(x, codes, codebooks):
    """By how much the squared distance of each greedy choice is above the smallest, over the spread: [M, N]."""
    residual, parts = x.double(), []
    for code, codebook in zip(codes.T.long(), codebooks.double(), strict=True):
        distances = torch.stack([(residual - codeword).square().sum(dim=1) for codeword in codebook], dim=1)
        chosen = distances.gather(1, code[:, None])[:, 0]
        parts.append((chosen - distances.min(dim=1).values) / x.double().var(dim=0).sum())
        residual = residual - codebook[code]
    return torch.stack(parts)


@pytest.mark.parametrize("dim", [1, 2, 32, 300])
@pytest.mark.parametrize("mean", MEANS)
def test_codes_are_nearest_codewords(mean, dim):
    x = far(mean, dim)
    codebooks = residual_kmeans(x, 3, 16, 0)
    codes = encode(x, codebooks)
    assert excess(x, codes, codebooks).max() < TOLERANCE
    centred = x - x.double().mean(dim=0).float()
    ours, usual = (
        float((points - decode(encode(points, books), books)).square().sum())
        for points, books in ((x, codebooks), (centred, residual_kmeans(centred, 3, 16, 0)))
    )
    assert ours < 1.1 * usual + 1e-3 * float(centred.square().sum())
    for one in range(0, 400, 97):  # alone as among others
        assert torch.equal(encode(x[one, None], codebooks)[0], codes[one])


@pytest.mark.parametrize("mean", MEANS)
def test_the_quantizer_chooses_what_it_encodes(mean):
    x = far(mean, 32)
    quantizer = ProgressiveQuantizer(3, 16, 32)
    quantizer.initialise(x, 0)
    result = quantizer(x)
    assert excess(x, result.codes, quantizer.codebooks.detach()).max() < TOLERANCE
    assert (result.codes == quantizer.encode(x)).float().mean() > 0.999
    exact = torch.softmax(-(torch.cdist(x.double(), quantizer.codebooks[0].double()) ** 2), dim=1)
    ours = torch.softmax(affinities(x, quantizer.codebooks[0], "l2"), dim=1)
    torch.testing.assert_close(ours.double(), exact, rtol=0, atol=1e-3)
    assert quantizer.revive(x, 0) == 0


@pytest.mark.parametrize("mean", [0, 1, 30, 1000])
def test_cosines_are_compared_exactly(mean):
    x, codebook = far(mean, 32), far(mean, 32, 16, 1)
    cosines = F.normalize(x.double(), dim=1) @ F.normalize(codebook.double(), dim=1).T
    fits = affinities(x, codebook, "cosine")
    below = cosines.max(dim=1).values - cosines.gather(1, fits.argmax(dim=1, keepdim=True))[:, 0]
    assert (below < 1e-3 * cosines.std(dim=1)).all()
    torch.testing.assert_close(fits - fits[:, :1], (cosines - cosines[:, :1]).float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("choice", ["l2", "cosine"])
@pytest.mark.parametrize("mean", [0, 1000])
def test_gradients_are_those_of_float64(mean, choice):
    x, codebook = far(mean, 8, 5), far(mean, 8, 4, 1)
    gradients = []
    for kind in (torch.float32, torch.float64):
        leaves = [values.detach().clone().to(kind).requires_grad_() for values in (x, codebook)]
        (torch.softmax(affinities(*leaves, choice), dim=1) * torch.arange(4)).sum().backward()
        gradients.append([leaf.grad.double() for leaf in leaves])
    for ours, exact in zip(*gradients, strict=True):
        assert (ours - exact).abs().max() < 1e-3 * exact.abs().max() + 1e-7


@pytest.mark.parametrize("mean", MEANS)
def test_sweeps_do_not_raise_the_error(mean):
    x = far(mean, 32)
    codebooks = residual_kmeans(x, 3, 16, 0)
    before, after = (
        (x.double() - decode(codes, codebooks.double())).square().sum(dim=1)
        for codes in (encode(x, codebooks), icm_encode(x, codebooks))
    )
    assert (after - before).max() < 32 * TOLERANCE and after.mean() < before.mean()


@pytest.mark.parametrize("dim", [2, 32])
@pytest.mark.parametrize("mean", MEANS)
def test_distances_rank_as_in_float64(mean, dim):
    x, queries = far(mean, dim), far(mean, dim, 20, 1)
    codebooks = residual_kmeans(x, 2, 16, 0)
    codes = encode(x, codebooks)
    exact = -(queries.double()[:, None] - decode(codes, codebooks.double())).square().sum(dim=2)
    scores = asymmetric_scores(queries, codes, codebooks, "l2").double()
    close = dict(rtol=0, atol=20 * dim * TOLERANCE)
    torch.testing.assert_close(scores - scores[:, :1], exact - exact[:, :1], **close)
    index = CodeIndex(codes, codebooks, "l2")
    for lists in (0, 7):
        if lists:
            index.divide(lists)
        found = index.search(queries, 10)
        torch.testing.assert_close(exact.gather(1, torch.from_numpy(found.rows)), exact.topk(10).values, **close)


@pytest.mark.parametrize("mean", [1, 1000, 10_000])
def test_rankings_of_a_large_mean_are_those_without_it(mean):
    x, queries = far(0, 16), far(0, 16, 50, 1)
    x, queries = ((values * 64).round() / 64 for values in (x, queries))  # a whole mean costs no digit
    labels, asked = (F.one_hot((values[:, 0] > 0).long(), 2).bool() for values in (x, queries))
    codebooks = (residual_kmeans(x, 2, 16, 0) * 64).round() / 64
    codes, moved = encode(x, codebooks), codebooks.clone()
    moved[0] += mean
    one, other = (
        evaluate_codes(queries + shift, asked, codes, labels, books, None, score="l2").map
        for shift, books in ((0, codebooks), (mean, moved))
    )
    assert other == pytest.approx(one, abs=1e-4)
    one, other = (evaluate_embeddings(queries + m, asked, x + m, labels, None, "l2") for m in (0, mean))
    assert other == pytest.approx(one, abs=1e-4)


def test_ordinary_codebooks_are_left_as_they_are():
    assert not centre(far(3, 32)).any() and not centre(torch.zeros(4, 3)).any()
    assert centre(far(5, 32)).all()


@pytest.mark.parametrize("mean", [0, 1000, 10_000, 100_000])
def test_the_estimator(mean):
    x = np.random.default_rng(0).normal(size=(500, 32)) + mean
    quantizer = ProgressiveQuantizerEstimator(levels=2, codebook_size=16, random_state=0).fit(x)
    codes = torch.from_numpy(quantizer.transform(x))
    assert excess(torch.from_numpy(x).float(), codes, torch.from_numpy(quantizer.codebooks_)).max() < TOLERANCE
    error = ((x - quantizer.inverse_transform(codes.numpy())) ** 2).sum(axis=1).mean()
    assert error < 0.85 * x.var(axis=0).sum()


@pytest.mark.parametrize("mean", [1e7, 1e9, -1e12])
def test_a_mean_that_leaves_no_digits_is_refused(mean):
    x = np.random.default_rng(0).normal(size=(100, 4)) + mean
    with pytest.raises(InputError, match=r"float32 cannot hold embeddings whose spread is .*; subtract the mean first"):
        ProgressiveQuantizerEstimator(levels=2, codebook_size=16).fit(x)


def groups(apart, dim=16, rows=300, seed=0):
    """Embeddings of unit spread around three places that are this far apart."""
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.normal(size=(rows, dim)) + apart * (np.arange(rows)[:, None] % 3)).float()


@pytest.mark.parametrize("apart", [0, 10, 1000, 10_000, 100_000])
def test_codes_of_groups_far_apart_are_of_the_nearest_codewords(apart):
    x = groups(apart)
    codebooks = residual_kmeans(x, 2, 16, 0)
    codes, residual = encode(x, codebooks), x.double()
    for level in (0, 1):
        distances = (residual[:, None] - codebooks[level].double()).square().sum(dim=2)
        chosen = distances.gather(1, codes[:, level, None].long())[:, 0]
        assert (chosen <= 1.01 * distances.min(dim=1).values).all()
        residual = residual - codebooks[level].double()[codes[:, level].long()]
    assert residual.square().sum(dim=1).mean() < 0.9 * 16  # the spread within a group
    swept = x.double() - decode(icm_encode(x, codebooks), codebooks.double())
    assert (swept.square().sum(dim=1) <= 1.01 * residual.square().sum(dim=1) + 1e-6).all()


@pytest.mark.parametrize("apart", [0, 1000, 100_000])
def test_distances_in_groups_far_apart_rank_as_in_float64(apart):
    x, queries = groups(apart), groups(apart, rows=30, seed=1)
    labels, asked = (F.one_hot((values[:, 0] % 1 > 0.5).long(), 2).bool() for values in (x, queries))
    codebooks = residual_kmeans(x, 2, 16, 0)
    codes = encode(x, codebooks)
    exact = -(queries.double()[:, None] - decode(codes, codebooks.double())).square().sum(dim=2)
    best = asymmetric_scores(queries, codes, codebooks, "l2").topk(5).indices
    torch.testing.assert_close(exact.gather(1, best), exact.topk(5).values, rtol=0.01, atol=0)
    index = CodeIndex(codes, codebooks, "l2")
    for lists in (0, 4):
        if lists:
            index.divide(lists)
        found = torch.from_numpy(index.search(queries, 5).rows)
        torch.testing.assert_close(exact.gather(1, found), exact.topk(5).values, rtol=0.01, atol=0)
    given = queries, asked, codes, labels, codebooks
    alone = (queries.double(), asked, codes, labels, codebooks.double())
    ours, right = (evaluate_codes(*each, None, score="l2").map for each in (given, alone))
    assert ours == pytest.approx(right, abs=1e-3)
    ours, right = (
        evaluate_embeddings(q, asked, y, labels, None, "l2") for q, y in ((queries, x), (queries.double(), x.double()))
    )
    assert ours == pytest.approx(right, abs=1e-3)


@pytest.mark.parametrize("mean", MEANS)
def test_distances_of_a_mining_group(mean):
    x = far(mean, 48, 64)
    exact = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    assert (squared_distances(x) - exact).abs().max() < 1e-3 * exact.mean()
    x.requires_grad_()
    (squared_distances(x) * torch.arange(64)).sum().backward()
    wide = x.detach().double().requires_grad_()
    (torch.cdist(wide, wide, compute_mode="donot_use_mm_for_euclid_dist").square() * torch.arange(64)).sum().backward()
    assert (x.grad - wide.grad).abs().max() < 1e-2 * wide.grad.abs().max()


@pytest.mark.parametrize("mean", MEANS)
def test_lists_of_an_index_are_those_without_the_mean(mean):
    x = far(mean, 32)
    codebooks = residual_kmeans(x, 2, 16, 0)
    codes = encode(x, codebooks)
    rebuilt = decode(codes, codebooks.double())
    centroids = torch.from_numpy(list_centroids(codes, codebooks, 8)).double()
    nearest = torch.cdist(rebuilt, centroids, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1).values
    assert nearest.square().mean() < 0.85 * (rebuilt - rebuilt.mean(dim=0)).square().sum(dim=1).mean()


@pytest.mark.parametrize("score", ["inner", "l2"])
def test_a_faiss_index_of_its_own_is_exact_or_refused(score):
    for mean in MEANS:
        x = far(mean, 32)
        codebooks = residual_kmeans(x, 2, 16, 0)
        index = CodeIndex(encode(x, codebooks), codebooks, score)
        if score == "inner" or mean < 30:
            assert index.faiss.ntotal == len(x)
            continue
        with pytest.raises(InputError, match=r"Faiss would lose the distances .*CodeIndex\.search"):
            _ = index.faiss
        with pytest.raises(InputError, match="subtract the mean"):
            faiss_index(index.codes, codebooks, "l2")


def test_the_estimator_refuses_what_float32_cannot_tell_from_its_codewords():
    x = np.random.default_rng(0).normal(size=(200, 4))
    quantizer = ProgressiveQuantizerEstimator(levels=2, codebook_size=16, random_state=0).fit(x)
    for bad in (x + 1e9, x * 1e300, x[:1] - 1e12):
        with pytest.raises(InputError, match="float32 cannot hold embeddings whose spread is"):
            quantizer.transform(bad)
    assert (quantizer.transform(x[:1]) == quantizer.transform(x)[:1]).all()
    assert quantizer.transform((x + 1e9).astype(np.float32)).shape == (200, 2)  # nothing is cast
