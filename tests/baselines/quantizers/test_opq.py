import sys

import faiss
import numpy as np
import pytest
import torch

from baselines.quantizers.opq import METHOD, OPQ, rotated_codebooks
from baselines.quantizers.pq import product_kmeans
from dpq import InputError
from dpq.codes.additive import encode
from tests.baselines.quantizers.test_pq import Given, clustered, reconstruction_error


def correlated(points=2000, dim=24, seed=0):
    """Points whose large directions lie across all sub-spaces."""
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(dim, dim)))[0]
    return np.ascontiguousarray(clustered(points, dim, seed) @ turn, np.float32)


def their_error(x, parts, bits, seed, iterations):
    """Of Faiss's own codes and reconstructions, with one thread."""
    faiss.omp_set_num_threads(1)
    width = -(-x.shape[1] // parts) * parts
    rotation = faiss.OPQMatrix(x.shape[1], parts, width)
    first, own = (faiss.ProductQuantizer(width, parts, bits) for _ in range(2))
    first.cp.seed = own.cp.seed = seed
    rotation.pq, rotation.niter = first, iterations
    rotation.train(x)
    rotated = rotation.apply(x)
    own.train(rotated)
    return np.square(x - rotation.reverse_transform(own.decode(own.compute_codes(rotated)))).sum(axis=1).mean()


@pytest.mark.parametrize(("parts", "codewords"), [(4, 16), (2, 64), (1, 16), (5, 16)])
def test_the_error_is_that_of_faiss(parts, codewords):
    x = correlated()
    codebooks = rotated_codebooks(torch.from_numpy(x), parts, codewords, 7, 6)
    assert codebooks.shape == (parts, codewords, 24)
    theirs = their_error(x, parts, codewords.bit_length() - 1, 7, 6)
    assert reconstruction_error(x, codebooks) == pytest.approx(theirs, rel=1e-5)


def test_levels_are_orthogonal_and_the_rotation_lowers_the_error():
    x = correlated()
    codebooks = rotated_codebooks(torch.from_numpy(x), 4, 16, 0, 10)
    for level in range(4):
        for other in range(level):
            assert (codebooks[level] @ codebooks[other].T).abs().max() < 1e-3
    plain = product_kmeans(torch.from_numpy(x), 4, 16, 0)
    assert reconstruction_error(x, codebooks) < 0.97 * reconstruction_error(x, plain)


def test_the_seed_decides_and_threads_have_no_say():
    x = torch.from_numpy(correlated(500))
    faiss.omp_set_num_threads(2)
    first = rotated_codebooks(x, 3, 16, 5, 3)
    assert faiss.omp_get_max_threads() == 2
    faiss.omp_set_num_threads(1)
    assert torch.equal(rotated_codebooks(x, 3, 16, 5, 3), first)
    assert not torch.equal(rotated_codebooks(x, 3, 16, 6, 3), first)
    assert torch.equal(rotated_codebooks(x, 3, 16, 5 + 2**31, 3), first)  # of Faiss's seeds, with 31 bits


def test_fewer_points_than_dimensions_are_enough_and_nothing_is_printed(capfd):
    x = torch.from_numpy(clustered(20, 33))
    codebooks = rotated_codebooks(x, 4, 16, 0, 2)
    assert codebooks.isfinite().all() and len(torch.unique(encode(x, codebooks), dim=0)) > 15
    assert capfd.readouterr() == ("", "")


def test_without_faiss_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match=r"^opq needs Faiss .*pip install 'dpq\[search\]'"):
        METHOD.check(None, 16)
    OPQ(Given(), 8, 16)  # what only looks at methods needs none
