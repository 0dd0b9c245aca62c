"""Rankings of codes against the whole ranking, item by item."""

import numpy as np
import pytest
import torch

from dpq.errors import InputError
from dpq.metrics import average_precision
from dpq.ranking.codes import CodeRanking, RelevantImages
from dpq.ranking.scores import DistinctCodes
from dpq.ranking.ties import rank_items

N, U, B = 120, 30, 6


def ranking(dtype, seed, different, share):
    """Scores [B, U] with ties, the codes, and relevance [N]; every code at least once."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.concatenate([np.arange(U), rng.integers(0, U, N - U)]))
    scores = rng.integers(-(different // 2), different // 2 + 1, (B, U)) / np.array(4, dtype)
    distinct = DistinctCodes.of(torch.from_numpy(codes.astype(np.uint8))[:, None])
    return scores.astype(dtype), distinct, rng.random(N) < share


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("different", [1, 2, 9, 1000])
@pytest.mark.parametrize("top_r", [1, 17, 119, N])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_the_database_order_of_ties_is_that_of_a_stable_sort(dtype, different, top_r, share):
    scores, distinct, relevant = ranking(dtype, 0, different, share)
    found = CodeRanking(scores, distinct, RelevantImages.of(relevant, distinct)).average_in_database_order(top_r)
    flags = np.broadcast_to(relevant, (B, N))
    assert found == pytest.approx(average_precision(scores[:, distinct.inverse], flags, top_r, "index"), abs=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("different", [1, 9, 1000])
@pytest.mark.parametrize("top_r", [1, 17, 119, N])
def test_merged_groups_measure_as_all_groups(share, different, top_r):
    scores, distinct, relevant = ranking(np.float32, 1, different, share)
    images = RelevantImages.of(relevant, distinct)
    ranks = [3, top_r, 40, 41, 100, N, N + 7]
    whole = rank_items(scores[:, distinct.inverse], np.broadcast_to(relevant, (B, N)), "expected")
    merged = CodeRanking(scores, distinct, images).groups(top_r, ranks)
    assert len(merged.items) <= 2 * (len(whole.items) + B * len(ranks))
    assert np.array_equal(merged.total_items, whole.total_items)
    assert np.array_equal(merged.total_relevant, whole.total_relevant)
    for ties in ("expected", "best", "worst"):
        assert merged.hits(ranks, ties) == pytest.approx(whole.hits(ranks, ties), abs=1e-12)
        for denominator in ("hits", "total", "capped"):
            found = merged.average_precision(top_r, denominator, ties)
            assert found == pytest.approx(whole.average_precision(top_r, denominator, ties), abs=1e-12)


def test_groups_beyond_the_cut_are_merged():
    scores, distinct, relevant = ranking(np.float32, 2, 100_000, 0.9)
    ranking_ = CodeRanking(scores, distinct, RelevantImages.of(relevant, distinct))
    assert len(ranking_.groups(5, [1]).items) < len(ranking_.groups(N, [1]).items) / 3


def test_relevant_images_of_each_code():
    _, distinct, relevant = ranking(np.float32, 3, 9, 0.3)
    images = RelevantImages.of(relevant, distinct)
    for code in range(U):
        of_code = np.flatnonzero(distinct.inverse == code)
        places = np.flatnonzero(relevant[of_code]) + 1
        mine = slice(images.start[code], images.start[code] + images.of_code[code])
        assert images.place[mine].tolist() == places.tolist()
        assert images.hit[mine].tolist() == list(range(1, len(places) + 1))


def test_nan_is_refused():
    scores, distinct, relevant = ranking(np.float32, 4, 9, 0.3)
    scores[1, 2] = np.nan
    with pytest.raises(InputError, match="NaN"):
        CodeRanking(scores, distinct, RelevantImages.of(relevant, distinct))
