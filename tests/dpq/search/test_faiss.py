import faiss
import numpy as np
import pytest
import torch

from dpq import InputError
from dpq.codes.additive import decode, encode
from dpq.ranking.scores import asymmetric_scores
from dpq.search.faiss import faiss_index, set_codebooks

NEAREST = 50


def coded(size, levels=4, dim=20):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(2000, dim, generator=random)
    codebooks = torch.stack([0.5**level * x[size * level :][:size] for level in range(levels)])
    return x, torch.randn(9, dim, generator=random), encode(x, codebooks), codebooks


@pytest.mark.parametrize("score", ["inner", "l2"])
@pytest.mark.parametrize("size", [4, 16, 256])
def test_faiss_finds_the_images_of_our_ranking_up_to_ties(size, score):
    _, queries, codes, codebooks = coded(size)
    scores = asymmetric_scores(queries, codes, codebooks, score)
    found, ids = faiss_index(codes, codebooks, score).search(queries.numpy(), NEAREST)
    of_found = scores.gather(1, torch.from_numpy(ids))
    assert all(len(set(row)) == NEAREST for row in ids.tolist())
    torch.testing.assert_close(of_found, scores.topk(NEAREST).values, rtol=1e-5, atol=1e-5)
    if score == "l2":  # Faiss's are distances, ours lack the query's own norm
        found = queries.square().sum(dim=1, keepdim=True).numpy() - found
    np.testing.assert_allclose(of_found, found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "score", "expected"), [(256, "inner", 4), (16, "inner", 2), (256, "l2", 8)])
def test_an_image_takes_its_bits_and_for_l2_a_norm(size, score, expected):
    _, _, codes, codebooks = coded(size)
    index = faiss_index(codes, codebooks, score)
    assert (index.code_size, index.ntotal) == (expected, len(codes))


def test_images_that_faiss_adds_are_coded_as_ours():
    x, _, codes, codebooks = coded(256)
    index = faiss_index(codes[:0], codebooks)
    index.add(x.numpy())
    assert np.array_equal(faiss.vector_to_array(index.codes).reshape(codes.shape), codes.numpy())


def test_local_search_takes_our_codebooks():
    x, _, codes, codebooks = coded(256)
    search = faiss.LocalSearchQuantizer(20, 4, 8)
    set_codebooks(search, codebooks)
    theirs = search.decode(search.compute_codes(x.numpy()))
    ours = decode(codes, codebooks).numpy()
    assert np.square(x.numpy() - theirs).sum() < np.square(x.numpy() - ours).sum()


def test_codes_of_other_codebooks_are_refused():
    _, _, codes, codebooks = coded(16)
    with pytest.raises(InputError):
        faiss_index(codes, codebooks[:3])
    with pytest.raises(InputError):
        faiss_index(codes, codebooks[:, :8])
