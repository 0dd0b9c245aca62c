import faiss
import numpy as np
import pytest
import torch

from dpq import InputError
from dpq.codes.additive import decode, encode, residual_kmeans
from dpq.codes.beam import beam_encode
from dpq.search.faiss import set_codebooks
from tests.dpq.codes.test_icm import brute_force, objective, problem


def slow_beam(x, codebooks, beam):
    """One image, one level, one kept code at a time."""
    codes = []
    for image in x.double().numpy():
        kept = [((), image)]
        for codebook in codebooks.double().numpy():
            tried = [((*code, k), rest - word) for code, rest in kept for k, word in enumerate(codebook)]
            kept = sorted(tried, key=lambda one: np.sum(one[1] ** 2))[:beam]
        codes.append(kept[0][0])
    return np.array(codes)


@pytest.mark.parametrize("beam", [1, 2, 5, 30])
def test_codes_are_those_of_the_slow_reference(beam):
    x, codebooks = problem(beam, images=60)
    assert np.array_equal(beam_encode(x, codebooks, beam).numpy(), slow_beam(x, codebooks, beam))


@pytest.mark.parametrize("beam", [1, 5, 16])
def test_codes_are_those_of_faiss_on_its_codebooks(beam):
    x = problem(0, images=1000, dim=12)[0].numpy()
    theirs = faiss.ResidualQuantizer(12, 4, 5)
    theirs.train(x)
    theirs.max_beam_size = beam
    codebooks = torch.from_numpy(faiss.vector_to_array(theirs.codebooks).reshape(4, 32, 12))
    expected = faiss.unpack_bitstrings(theirs.compute_codes(x), 4, 5)
    assert np.array_equal(beam_encode(x, codebooks, beam).numpy(), expected)
    assert beam_encode(x, codebooks, beam).dtype == torch.uint8


def test_a_quantizer_of_faiss_with_our_codebooks_has_our_codes():
    x, codebooks = problem(1, codewords=16, dim=8)
    theirs = faiss.ResidualQuantizer(8, 3, 4)
    theirs.max_beam_size = 7
    set_codebooks(theirs, codebooks)
    expected = faiss.unpack_bitstrings(theirs.compute_codes(x.numpy()), 3, 4)
    assert np.array_equal(beam_encode(x, codebooks, 7).numpy(), expected)


@pytest.mark.parametrize("seed", range(3))
def test_a_beam_of_one_is_greedy_and_one_of_all_codes_is_exact(seed):
    x, codebooks = problem(seed, codewords=4)
    assert torch.equal(beam_encode(x, codebooks, 1), encode(x, codebooks))
    assert np.allclose(objective(x, beam_encode(x, codebooks, 4**3), codebooks), brute_force(x, codebooks))
    assert np.allclose(objective(x, beam_encode(x, codebooks, 1000), codebooks), brute_force(x, codebooks))


def test_the_mean_error_falls_as_the_beam_widens():
    x, codebooks = problem(3, images=2000, levels=4, codewords=16)
    errors = [objective(x, beam_encode(x, codebooks, beam), codebooks).mean() for beam in (1, 2, 5, 16)]
    assert sorted(errors, reverse=True) == errors and errors[0] > 1.1 * errors[-1]


def test_a_code_does_not_depend_on_other_images_nor_on_blocks(monkeypatch):
    x, codebooks = problem(4, images=300)
    whole = beam_encode(x, codebooks, 5)
    assert torch.equal(beam_encode(x[100:117], codebooks, 5), whole[100:117])
    monkeypatch.setattr("dpq.codes.beam.coded_at_once", lambda _: 64)
    assert torch.equal(beam_encode(x, codebooks, 5), whole)
    assert beam_encode(x[:0], codebooks).shape == (0, 3)


def test_embeddings_far_from_the_origin_keep_their_digits():
    x = problem(5, images=500, dim=12)[0]
    codebooks, far = residual_kmeans(x, 3, 16, 0), 1e4 * torch.ones(12)
    moved = codebooks.clone()
    moved[0] += far
    near, shifted = (decode(beam_encode(*given, 5), codebooks) for given in ((x, codebooks), (x + far, moved)))
    assert float((x - shifted).square().sum()) < 1.01 * float((x - near).square().sum())


def test_what_cannot_be_meant_is_refused():
    x, codebooks = problem(0)
    with pytest.raises(InputError, match="beam must be"):
        beam_encode(x, codebooks, 0)
    with pytest.raises(InputError, match=r"expected embeddings \[N, 6\]"):
        beam_encode(x[:, :5], codebooks)
