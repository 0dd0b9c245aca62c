"""The short cuts of a ranking by codes against the whole ranking, item by item."""

import numpy as np
import pytest

from dpq.sorting import descending, first_items, tie_groups, tie_groups_within

N, U, B = 120, 30, 6


def ranking(dtype, seed, different=9):
    """Scores [B, U] with ties, each item's entry [N], and items of an entry [U], at least one."""
    rng = np.random.default_rng(seed)
    inverse = rng.permutation(np.concatenate([np.arange(U), rng.integers(0, U, N - U)]))
    scores = rng.integers(-(different // 2), different // 2 + 1, (B, U)) / np.array(4, dtype)
    return scores.astype(dtype), inverse, np.bincount(inverse)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("different", [1, 2, 9, 1000])
@pytest.mark.parametrize("top_r", [1, 17, 119, N])
def test_first_items_are_those_of_a_stable_sort(dtype, different, top_r):
    scores, inverse, counts = ranking(dtype, 0, different)
    _, order = descending(scores)
    known = np.argsort(-scores[:, inverse], axis=1, kind="stable")[:, :top_r]
    assert np.array_equal(first_items(scores, order, counts[order], inverse, top_r), known)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("different", [1, 9, 1000])
@pytest.mark.parametrize("top_r", [1, 17, 119, N])
def test_merged_groups_measure_as_all_groups(share, different, top_r):
    scores, inverse, counts = ranking(np.float32, 1, different)
    relevant_of_code = np.bincount(inverse, np.random.default_rng(2).random(N) < share).astype(int)
    keys, order = descending(scores)
    ranks = [3, top_r, 40, 41, 100, N, N + 7]
    entries = keys, counts[order], relevant_of_code[order]
    whole, merged = tie_groups(*entries), tie_groups_within(*entries, top_r, ranks)
    assert len(merged.items) <= len(whole.items)
    assert np.array_equal(merged.total_relevant, whole.total_relevant)
    for ties in ("expected", "best", "worst"):
        assert merged.hits(ranks, ties) == pytest.approx(whole.hits(ranks, ties), abs=1e-12)
        for denominator in ("hits", "total", "capped"):
            found = merged.average_precision(top_r, denominator, ties)
            assert found == pytest.approx(whole.average_precision(top_r, denominator, ties), abs=1e-12)
