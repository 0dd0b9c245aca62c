import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpq.codes.additive import encode, residual_kmeans
from dpq.ranking.scores import asymmetric_scores
from dpq.search import cells as module
from dpq.search.cells import Cells


def by_brute_force(query, codes, codebooks, score, k):
    """Scores of all images, and the k best rows, lower ones first among equals."""
    given = (torch.from_numpy(each) for each in (query[None], codes, codebooks))
    scores = asymmetric_scores(*given, score).numpy()[0]
    return scores, np.argsort(-scores, kind="stable")[:k]


def assert_exact(cells, query, codes, codebooks, score, k):
    scores, wanted = by_brute_force(query, codes, codebooks, score, k)
    rows = np.sort(cells.nearest(query.astype(np.float64), k).rows)
    assert len(np.unique(rows)) == len(rows)
    assert np.array_equal(rows[np.argsort(-scores[rows], kind="stable")][:k], wanted)


@settings(deadline=None, max_examples=150)
@given(
    levels=st.integers(1, 5),
    step=st.integers(1, 8),
    dim=st.integers(1, 6),
    count=st.integers(1, 400),
    used=st.sampled_from([1, 2, 256]),
    large=st.sampled_from([1, 9, 4096]),
    at_once=st.sampled_from([1, 5, 64]),
    prefix_bits=st.sampled_from([1, 8, 16]),
    shrinking=st.sampled_from([0.1, 0.6, 1.0]),
    score=st.sampled_from(["inner", "l2"]),
    seed=st.integers(0, 2**16),
    data=st.data(),
)
def test_it_finds_what_brute_force_finds(
    levels, step, dim, count, used, large, at_once, prefix_bits, shrinking, score, seed, data
):
    """Every shape of codebooks, duplicates, cells that are empty, few codewords in use, all images in one cell."""
    random, size = np.random.default_rng(seed), 2**step
    codebooks = (random.normal(size=(levels, size, dim)) * shrinking ** np.arange(levels)[:, None, None]).astype("f4")
    codes = random.integers(min(used, size), size=(count, levels)).astype(np.uint8)
    k = data.draw(st.integers(1, count))
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (("LARGE", large), ("AT_ONCE", at_once), ("PREFIX_BITS", prefix_bits)):
            patched.setattr(module, name, value)
        made = Cells(codes, codebooks, score)
        for query in (random.normal(size=dim).astype("f4"), np.zeros(dim, "f4"), codebooks[0, 0]):
            assert_exact(made, query, codes, codebooks, score, k)


@pytest.mark.parametrize("score", ["inner", "l2"])
def test_most_images_are_not_looked_at(score):
    """Learned residual codes, whose later levels add little."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(40, 16)) * 3
    points = (centres[random.integers(40, size=20_000)] + random.normal(size=(20_000, 16)) / 2).astype("f4")
    codebooks = residual_kmeans(points[:2000], 4, 32, seed=0)
    codes = encode(torch.from_numpy(points), codebooks).numpy()
    made, looked = Cells(codes, codebooks.numpy(), score), []
    for query in points[:20]:
        assert_exact(made, query, codes, codebooks.numpy(), score, 10)
        looked.append(made.nearest(query.astype(np.float64), 10).looked_at)
    assert np.mean(looked) < len(codes) / 10
    assert made.nearest(points[0].astype(np.float64), len(codes)).looked_at == len(codes)


def test_images_of_one_code_come_in_their_order_and_no_more_than_asked_for():
    codes, codebooks = np.zeros((50_000, 2), np.uint8), np.ones((2, 4, 3), "f4")
    found = Cells(codes, codebooks, "inner").nearest(np.ones(3), 5)
    assert sorted(found.rows) == [0, 1, 2, 3, 4]
    assert found.looked_at == 5


def test_no_images_and_no_answers():
    none = Cells(np.zeros((0, 2), np.uint8), np.ones((2, 4, 3), "f4"), "l2")
    assert len(none) == len(none.nearest(np.ones(3), 4).rows) == 0
