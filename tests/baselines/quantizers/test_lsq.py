import faiss
import numpy as np
import pytest
import torch

from baselines.quantizers.lsq import LSQ, LSQConfig, local_search_codebooks
from dpq.codes.additive import decode, encode
from tests.baselines.quantizers.test_pq import Given, clustered


def error(x, codes, codebooks):
    return float((x - decode(codes, codebooks)).square().sum(dim=1).mean())


def quantizer(x, levels, ridge=0.01):
    method = LSQ(Given(), 5 * levels, 32)
    method.config = LSQConfig(ridge=ridge)
    method._codebooks = method.learn(x, 3)
    return method


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_codebooks_are_faiss_own_and_our_codes_as_good(levels):
    x, fresh = (clustered(1000, 16, seed) for seed in (0, 1))
    faiss.omp_set_num_threads(1)
    theirs = faiss.LocalSearchQuantizer(16, levels, 5)
    theirs.random_seed, theirs.nperts = 3, min(4, levels)
    theirs.train(x)
    method = quantizer(torch.from_numpy(x), levels)
    assert np.array_equal(faiss.vector_to_array(theirs.codebooks), method.codebooks.numpy().ravel())
    for points in (x, fresh):
        expected = np.square(points - theirs.decode(theirs.compute_codes(points))).sum(axis=1).mean()
        given = torch.from_numpy(points)
        assert error(given, method.encode(given), method.codebooks) < 1.03 * expected
        if levels > 1:
            assert error(given, method.encode(given), method.codebooks) < 0.95 * error(
                given, encode(given, method.codebooks), method.codebooks
            )


def test_a_code_does_not_depend_on_the_images_place():
    x = torch.from_numpy(clustered(400, 16))
    method = quantizer(x, 3)
    assert torch.equal(method.encode(x[33:70]), method.encode(x)[33:70])


def test_the_ridge_keeps_codewords_short():
    x = torch.from_numpy(clustered(300, 16))
    plain, short = (quantizer(x, 3, ridge).codebooks.square().sum() for ridge in (0.01, 10.0))
    assert short < 0.8 * plain


def test_the_seed_decides_and_nothing_is_printed(capfd):
    x = torch.from_numpy(clustered(60, 48))
    first = local_search_codebooks(x, 2, 16, 5, 0.01)
    assert torch.equal(local_search_codebooks(x, 2, 16, 5, 0.01), first)
    assert not torch.equal(local_search_codebooks(x, 2, 16, 6, 0.01), first)
    assert capfd.readouterr() == ("", "")
