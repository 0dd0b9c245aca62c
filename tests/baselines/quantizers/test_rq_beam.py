import faiss
import numpy as np
import pytest
import torch

from baselines.quantizers.rq_beam import RQBeam, RQBeamConfig, beam_codebooks
from dpq.codes.additive import decode, encode
from tests.baselines.quantizers.test_pq import Given, clustered


def error(x, codes, codebooks):
    return float((x - decode(codes, codebooks)).square().sum(dim=1).mean())


def quantizer(x, beam, bits=12):
    method = RQBeam(Given(), bits, 16)
    method.config = RQBeamConfig(beam=beam)
    method._codebooks = method.learn(x, 3)
    return method


@pytest.mark.parametrize("beam", [1, 5])
def test_codebooks_and_errors_are_those_of_faiss(beam):
    x = clustered(1000, 16)
    faiss.omp_set_num_threads(1)
    theirs = faiss.ResidualQuantizer(16, 3, 4)
    theirs.max_beam_size, theirs.cp.seed = beam, 3
    theirs.train(x)
    method = quantizer(torch.from_numpy(x), beam)
    assert np.array_equal(faiss.vector_to_array(theirs.codebooks), method.codebooks.numpy().ravel())
    expected = np.square(x - theirs.decode(theirs.compute_codes(x))).sum(axis=1).mean()
    found = error(torch.from_numpy(x), method.encode(torch.from_numpy(x)), method.codebooks)
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_beam_leaves_less_than_greedy_codes_of_the_same_codebooks():
    x, fresh = (torch.from_numpy(clustered(1500, 16, seed)) for seed in (0, 1))
    method = quantizer(x, 5, bits=16)
    for points in (x, fresh):
        greedy = error(points, encode(points, method.codebooks), method.codebooks)
        assert error(points, method.encode(points), method.codebooks) < 0.99 * greedy
    assert torch.equal(method.encode(fresh[40:60]), method.encode(fresh)[40:60])
    assert torch.equal(method.encode(fresh, bits=8), method.encode(fresh)[:, :2])


def test_the_seed_decides_and_nothing_is_printed(capfd):
    x = torch.from_numpy(clustered(40, 48))  # fewer points than dimensions
    first = beam_codebooks(x, 3, 16, 5, 5)
    assert torch.equal(beam_codebooks(x, 3, 16, 5, 5), first)
    assert not torch.equal(beam_codebooks(x, 3, 16, 6, 5), first)
    assert capfd.readouterr() == ("", "")
