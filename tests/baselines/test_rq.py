import faiss
import pytest
import torch

from dpq.codes.additive import encode, residual_kmeans
from tests.baselines.test_pq import clustered, faiss_error, reconstruction_error


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
