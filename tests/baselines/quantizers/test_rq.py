import faiss
import pytest
import torch
from torch.nn import functional as F

from dpq.codes import additive
from dpq.codes.additive import decode, encode, residual_kmeans
from dpq.method.dpq import codeword_usage
from tests.baselines.quantizers.test_pq import clustered, faiss_error, reconstruction_error


@pytest.mark.parametrize(("levels", "codewords"), [(4, 64), (2, 256)])
def test_reconstruction_error_is_within_two_percent_of_faiss_with_beam_one(levels, codewords):
    x = clustered()
    theirs = faiss.ResidualQuantizer(x.shape[1], levels, codewords.bit_length() - 1)
    theirs.max_beam_size = 1
    theirs.train_type = faiss.ResidualQuantizer.Train_default
    theirs.cp.niter = 50  # as many iterations as ours
    ours = reconstruction_error(x, residual_kmeans(torch.from_numpy(x), levels, codewords, seed=0))
    assert ours == pytest.approx(faiss_error(x, theirs), rel=0.02)


def test_every_level_lowers_the_error_and_prefixes_are_codes():
    x = torch.from_numpy(clustered(500, 12))
    codebooks = residual_kmeans(x, 4, 16, seed=0)
    errors = [reconstruction_error(x.numpy(), codebooks[:levels]) for levels in range(1, 5)]
    assert sorted(errors, reverse=True) == errors
    assert torch.equal(encode(x, codebooks)[:, :2], encode(x, codebooks[:2]))


def features(count=600, seed=0, dim=48, groups=12):
    """Groups in as many directions, with lengths that differ a hundredfold, as frozen features have some."""
    middles = torch.randn(groups, dim, generator=torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(seed)
    around = middles[torch.arange(count) % groups] + torch.randn(count, dim, generator=generator)
    return around * torch.exp(torch.randn(count, 1, generator=generator))


def usage(x, codebooks):
    found = codeword_usage(encode(x, codebooks), codebooks.shape[1])
    return found["codewords_used"], found["codeword_perplexity"]


@pytest.fixture(params=[True, False], ids=["scikit-learn", "as on a GPU"])
def either_kmeans(request, monkeypatch):
    monkeypatch.setattr(additive, "_on_host", lambda _: request.param)


def test_unit_length_keeps_levels_from_spending_codewords_on_single_long_vectors(either_kmeans):
    """Perplexity at every level, of 32 codewords: 5 to 8 of plain features, above 20 of scaled ones."""
    for scaled in (False, True):
        x, new = (F.normalize(features(seed=seed), dim=1) if scaled else features(seed=seed) for seed in (0, 1))
        codebooks = residual_kmeans(x, 4, 32, seed=0)
        used, on_training = usage(x, codebooks)
        assert used == [32] * 4  # imbalance it is, not emptiness
        perplexity = [*on_training, *usage(new, codebooks)[1]]
        assert min(perplexity) > 20 if scaled else max(perplexity) < 10


@pytest.mark.parametrize("kind", ["long tails", "groups", "duplicates", "sparse"])
def test_no_codeword_is_left_unused_while_residuals_differ(either_kmeans, kind):
    """K-means moves a centre without points onto a far one: no level needs codewords revived."""
    generator = torch.Generator().manual_seed(1)
    x = {
        "long tails": features(400),
        "groups": 100 * torch.eye(8).repeat(50, 2) + torch.randn(400, 16, generator=generator),
        "duplicates": torch.randn(150, 16, generator=generator).repeat(3, 1),
        "sparse": torch.relu(torch.randn(400, 16, generator=generator) - 1.5),
    }[kind]
    codebooks = residual_kmeans(x, 2, 64, seed=0)
    residual = x - decode(encode(x, codebooks[:1]), codebooks[:1])
    assert usage(x, codebooks)[0] == [min(64, len(points.unique(dim=0))) for points in (x, residual)]


def test_a_vector_that_augmentation_moves_gets_no_codeword_of_its_own():
    """From the second level on, plain embeddings are too few; passes that differ keep their codes alive on others."""
    generator = torch.Generator().manual_seed(2)
    plain, new = (F.normalize(features(300, seed, dim=128), dim=1) for seed in (0, 1))
    passes = [F.normalize(plain + 0.06 * torch.randn(plain.shape, generator=generator), dim=1) for _ in range(6)]
    once, often = (residual_kmeans(x, 3, 64, seed=0) for x in (plain, torch.cat(passes)))
    assert usage(new, often)[1][2] > 2 * usage(new, once)[1][2]
    errors = [float((new - decode(encode(new, each), each)).square().sum(dim=1).mean()) for each in (often, once)]
    assert errors[0] < errors[1]
