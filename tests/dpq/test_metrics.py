"""Metrics against evaluators that enumerate every order of tied items."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom
from sklearn.metrics import average_precision_score

from dpq import metrics
from dpq.metrics import (
    average_precision,
    geometric_ranks,
    mean_average_precision,
    precision_at_k,
    precision_recall_curve,
)
from dpq.ranking.ties import Ranking, Ties, descending

DENOMINATORS = ("hits", "total", "capped")


def strict_ap(flags, cut, denominator):
    """AP@cut of one ranking without ties, by its definition."""
    inside = flags[: len(flags) if cut is None else cut]
    hits, summed = 0, 0.0
    for rank, flag in enumerate(inside, 1):
        if flag:
            hits += 1
            summed += hits / rank
    by = {"hits": hits, "total": sum(flags), "capped": min(len(inside), sum(flags))}[denominator]
    return summed / by if by else 0.0


def all_rankings(scores, relevant):
    """Every relevance sequence that sorting could give, with how many tie orders give it."""
    groups = [relevant[scores == value].tolist() for value in np.unique(scores)[::-1]]
    orders = itertools.product(*(itertools.permutations(group) for group in groups))
    return Counter(tuple(itertools.chain(*order)) for order in orders)


def over_rankings(rankings, measure):
    """Mean, least and greatest value of a measure over tie orders."""
    values = {flags: measure(flags) for flags in rankings}
    mean = sum(values[flags] * ways for flags, ways in rankings.items()) / rankings.total()
    return mean, min(values.values()), max(values.values())


def tied_cases(seed, cases=40, most=7):
    rng = np.random.default_rng(seed)
    for _ in range(cases):
        n = int(rng.integers(1, most + 1))
        yield rng.integers(0, rng.integers(1, 4), n).astype(float), rng.random(n) < rng.choice([0.2, 0.5, 0.8])


def argsort_ap(scores, relevant, cut):
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    return strict_ap(relevant[order].tolist(), cut, "hits")


@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_ap_over_all_tie_orders(denominator):
    for scores, relevant in tied_cases(1):
        rankings = all_rankings(scores, relevant)
        for cut in (None, *range(1, len(scores) + 2)):
            mean, least, greatest = over_rankings(rankings, lambda f, cut=cut: strict_ap(f, cut, denominator))
            found = [average_precision(scores, relevant, cut, t, denominator) for t in ("expected", "worst", "best")]
            assert found == pytest.approx([mean, least, greatest], abs=1e-12), (scores, relevant, cut)


def test_precision_over_all_tie_orders():
    for scores, relevant in tied_cases(2):
        rankings = all_rankings(scores, relevant)
        for k in range(1, len(scores) + 3):
            known = over_rankings(rankings, lambda f, k=k: sum(f[:k]) / min(k, len(f)))
            found = [precision_at_k(scores, relevant, k, ties) for ties in ("expected", "worst", "best")]
            assert found == pytest.approx(known, abs=1e-12), (scores, relevant, k)


def test_curve_over_all_tie_orders():
    for scores, relevant in tied_cases(3):
        curve = precision_recall_curve(scores, relevant, range(1, len(scores) + 1))
        hits = [over_rankings(all_rankings(scores, relevant), lambda f, k=k: sum(f[:k]))[0] for k in curve.ranks]
        total = relevant.sum()
        assert curve.precision == pytest.approx(np.array(hits) / curve.ranks, abs=1e-12)
        assert curve.recall == pytest.approx(np.array(hits) / total if total else np.zeros(len(hits)), abs=1e-12)


def test_agrees_with_sklearn_without_ties():
    rng = np.random.default_rng(4)
    scores, relevant = rng.standard_normal((20, 300)), rng.random((20, 300)) < 0.1
    known = [average_precision_score(r, s) for s, r in zip(scores, relevant, strict=True)]
    for ties in ("expected", "index", "best", "worst"):
        assert average_precision(scores, relevant, ties=ties) == pytest.approx(known, abs=1e-11)
    assert mean_average_precision(scores, relevant) == pytest.approx(np.mean(known), abs=1e-11)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("cut", [None, 1, 17, 100])
def test_index_order_is_a_stable_argsort(dtype, cut):
    rng = np.random.default_rng(5)
    scores = (rng.integers(-4, 5, (30, 60)) / 4).astype(dtype)
    scores[scores == 0] = rng.choice([0.0, -0.0], (scores == 0).sum())
    relevant = rng.random(scores.shape) < 0.3
    known = [argsort_ap(s, r, cut) for s, r in zip(scores, relevant, strict=True)]
    assert average_precision(scores, relevant, cut, "index") == pytest.approx(known, abs=1e-12)
    order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")
    k = min(cut or 60, 60)
    known_share = np.take_along_axis(relevant, order, 1)[:, :k].mean(axis=1)
    assert precision_at_k(scores, relevant, cut or 60, "index") == pytest.approx(known_share)


def test_expectation_is_the_mean_over_shuffles():
    rng = np.random.default_rng(6)
    scores, relevant = rng.integers(0, 3, 40).astype(float), rng.random(40) < 0.4
    shuffles = np.array([rng.permutation(40) for _ in range(4000)])
    for cut in (None, 9):
        values = average_precision(scores[shuffles], relevant[shuffles], cut, "index")
        error = values.std() / np.sqrt(len(values))
        assert abs(average_precision(scores, relevant, cut) - values.mean()) < 4 * error


def test_large_groups_keep_their_digits():
    # 3,000 items, 1,000 relevant among the 2,500 of the second group; the cut falls inside it.
    n0, r0, n, r, cut = 500, 120, 2500, 1000, 1700
    scores = np.repeat([1.0, 0.0], [n0, n])
    relevant = np.zeros(n0 + n, dtype=bool)
    relevant[: 2 * r0 : 2] = True
    relevant[n0 : n0 + r] = True

    def slots(before, hits_before, places, hits):
        j = np.arange(1, places + 1)
        return hits / places * ((hits_before + 1 + (j - 1) * (hits - 1) / (places - 1)) / (before + j)).sum()

    m, first = cut - n0, slots(0, 0, n0, r0)
    h = np.arange(r + 1)
    chance = hypergeom.pmf(h, n, r, m)
    sums = first + np.array([slots(n0, r0, m, x) for x in h])
    assert average_precision(scores, relevant, cut) == pytest.approx((chance * sums / (r0 + h)).sum(), rel=1e-9)
    by_total = average_precision(scores, relevant, cut, denominator="total")
    assert by_total == pytest.approx((chance * sums).sum() / (r0 + r), rel=1e-9)


def test_denominators_differ_as_they_should():
    # One early hit, and every other relevant item behind the cut.
    relevant = np.array([True] + [False] * 9 + [True] * 20)
    scores = -np.arange(30.0)
    found = [float(average_precision(scores, relevant, 10, denominator=d)) for d in DENOMINATORS]
    assert found == pytest.approx([1, 1 / 21, 1 / 10])


def test_perfect_ranking_of_a_large_database_scores_one():
    size = 54000
    relevant = np.arange(size) < 5400
    for scores in (-np.arange(size, dtype=np.float64), relevant.astype(np.float32)):
        for ties in ("expected", "index", "best", "worst"):
            assert average_precision(scores, relevant, ties=ties) == 1
    assert average_precision(-np.arange(size), relevant, 1000, denominator="capped") == 1


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 40), st.integers(1, 500), st.data())
def test_a_perfect_ranking_scores_exactly_one_however_it_is_tied(groups, wrong, cut, data):
    scores = -np.repeat(np.arange(len(groups) + 1.0), [*groups, wrong])
    relevant = scores > -len(groups)
    order = data.draw(st.permutations(range(len(scores))))
    scores, relevant, total = scores[order], relevant[order], sum(groups)
    for ties in get_args(Ties):
        assert average_precision(scores, relevant, None, ties) == 1
        assert average_precision(scores, relevant, cut, ties) == 1
        assert average_precision(scores, relevant, cut, ties, "capped") == 1
        assert average_precision(scores, relevant, cut, ties, "total") == min(cut, total) / total
        assert precision_at_k(scores, relevant, min(cut, total), ties) == 1
        assert precision_recall_curve(scores, relevant, [total, len(scores)], ties).recall.tolist() == [1, 1]


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=80), st.integers(1, 90))
def test_a_share_is_between_the_worst_and_the_best_and_never_outside_of_0_and_1(items, cut):
    scores, relevant = np.array(items).T
    ranks = np.arange(1, len(items) + 1)
    for denominator in DENOMINATORS:
        shares = [average_precision(scores, relevant, cut, t, denominator) for t in ("worst", "expected", "best")]
        assert [0, *shares, 1] == sorted([0, *shares, 1])
    for curve in (precision_recall_curve(scores, relevant, ranks, t) for t in ("worst", "expected", "best")):
        assert curve.recall.tolist() == sorted(curve.recall)
        assert 0 <= min(*curve.recall, *curve.precision) <= max(*curve.recall, *curve.precision) <= 1


def test_places_deep_in_a_large_database_keep_their_order():
    # One hit at place 2 million: sums of two million terms differ by more than the precision that is asked for.
    scores, relevant = -np.minimum(np.arange(2_000_002), 2_000_000), np.arange(2_000_002) == 2_000_000
    worst, expected, best = (average_precision(scores, relevant, ties=t) for t in ("worst", "expected", "best"))
    assert 0 <= worst <= expected <= best <= 1
    assert expected == pytest.approx((1 / 2_000_001 + 1 / 2_000_002) / 2, rel=1e-6)


@pytest.mark.parametrize("ties", ["expected", "index", "best", "worst"])
def test_edges(ties):
    flat = np.zeros((1, 5))
    everything, nothing = np.ones((1, 5), dtype=bool), np.zeros((1, 5), dtype=bool)
    for cut in (None, 2, 99):
        assert average_precision(flat, everything, cut, ties) == pytest.approx([1])
        assert average_precision(flat, nothing, cut, ties) == pytest.approx([0], abs=0)
    assert precision_at_k(flat, everything, 99, ties) == pytest.approx([1])
    assert average_precision([3.0], [True], ties=ties) == 1 and average_precision([3.0], [False], ties=ties) == 0
    assert not precision_recall_curve(flat, nothing, ties=ties).recall.any()


def test_a_query_without_a_hit_counts_zero():
    scores, relevant = np.array([[2.0, 1.0], [2.0, 1.0]]), np.array([[True, False], [False, False]])
    assert mean_average_precision(scores, relevant) == 0.5
    assert mean_average_precision(scores, relevant[:, ::-1], top_r=1) == 0


def test_curve_averages_queries_that_have_relevant_items():
    scores = np.array([[3.0, 2.0, 1.0]] * 3)
    relevant = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]])
    curve = precision_recall_curve(scores, relevant, [1, 2, 3])
    assert curve.recall == pytest.approx([0.25, 0.75, 1])
    assert curve.precision == pytest.approx([0.5, 0.5, 0.5])
    assert precision_recall_curve(scores, relevant).ranks.tolist() == [1, 2, 3]
    best, worst = (precision_recall_curve(np.zeros((3, 3)), relevant, [2], ties=t) for t in ("best", "worst"))
    assert (best.recall, worst.recall) == (pytest.approx([1]), pytest.approx([0.25]))


def test_geometric_ranks_span_the_database():
    ranks = geometric_ranks(54000)
    assert ranks[0] == 1 and ranks[-1] == 54000 and 40 <= len(ranks) <= 50 and (np.diff(ranks) > 0).all()
    assert geometric_ranks(1).tolist() == [1]


def test_input_forms_agree():
    rng = np.random.default_rng(7)
    scores, relevant = rng.integers(0, 9, (2, 3, 20)).astype(np.float32), rng.random((2, 3, 20)) < 0.4
    known = average_precision(scores, relevant, 7)
    assert known.shape == (2, 3) and known.dtype == np.float64
    assert average_precision(scores[1, 2], relevant[1, 2], 7) == known[1, 2]
    assert average_precision(scores[1, 2], relevant[1, 2], 7).shape == ()
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int64):
        tensors = torch.from_numpy(scores).to(dtype), torch.from_numpy(relevant)
        assert np.array_equal(average_precision(*tensors, 7), known)
    learned = torch.from_numpy(scores).requires_grad_()
    assert np.array_equal(average_precision(learned, torch.from_numpy(relevant).int(), 7), known)
    assert np.array_equal(average_precision(scores.tolist(), relevant.astype(float).tolist(), 7), known)


def test_double_precision_is_not_rounded():
    relevant = np.array([True, False])
    assert average_precision(np.array([1.0, 1.0 + 1e-12]), relevant) == 0.5
    assert average_precision(np.array([1.0, 1.0 + 1e-12], dtype=np.float32), relevant) == 0.75


def test_blocks_do_not_matter(monkeypatch):
    rng = np.random.default_rng(8)
    scores, relevant = rng.integers(0, 5, (11, 30)).astype(np.float32), rng.random((11, 30)) < 0.3
    known = average_precision(scores, relevant, 8), precision_recall_curve(scores, relevant).recall
    monkeypatch.setattr(metrics, "BLOCK", 60)
    assert np.array_equal(average_precision(scores, relevant, 8), known[0])
    assert np.array_equal(precision_recall_curve(scores, relevant).recall, known[1])


def test_weighted_entries_are_repeated_items():
    rng = np.random.default_rng(9)
    for _ in range(20):
        scores = np.sort(rng.integers(0, 6, (3, 12)))[:, ::-1]
        counts = rng.integers(0, 4, scores.shape)
        counts[:, 5] += 1
        relevant = rng.integers(0, counts + 1)
        groups = Ranking(scores, relevant, counts).groups(6)
        assert (groups.items > 0).all() and np.array_equal(groups.total_items, counts.sum(axis=1))
        assert np.array_equal(groups.total_relevant, relevant.sum(axis=1))
        for row in range(3):
            items = np.repeat(scores[row], counts[row]).astype(float)
            parts = [[True] * r + [False] * (c - r) for c, r in zip(counts[row], relevant[row], strict=True)]
            flags = np.array(list(itertools.chain(*parts)))
            for ties, denominator in itertools.product(("expected", "best", "worst"), DENOMINATORS):
                known = average_precision(items, flags, 6, ties, denominator)
                assert groups.average_precision(6, denominator, ties)[row] == pytest.approx(known, abs=1e-12)
            assert groups.precision([4])[row, 0] == pytest.approx(precision_at_k(items, flags, 4))


def test_float32_sort_is_a_stable_argsort():
    rng = np.random.default_rng(10)
    scores = rng.standard_normal((4, 3000), dtype=np.float32) * 10 ** rng.uniform(-30, 30, (4, 3000)).astype(np.float32)
    scores[:, :500] = rng.choice(np.array([0.0, -0.0, np.inf, -np.inf, 1e-45, -1e-45, 1, -1], np.float32), (4, 500))
    keys, order = descending(scores)
    assert np.array_equal(order, np.argsort(-scores, axis=1, kind="stable"))
    ranked = np.take_along_axis(scores, order, axis=1)
    assert np.array_equal(keys[:, 1:] == keys[:, :-1], ranked[:, 1:] == ranked[:, :-1])


S, R = np.array([[2.0, 1.0, 0.0]]), np.array([[True, False, True]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: average_precision(S, R[:, :2]), "one shape"),
        (lambda: average_precision(np.array([[np.nan, 1.0, 0.0]]), R), "NaN"),
        (lambda: average_precision(np.array([[np.nan, 1.0, 0.0]], dtype=np.float32), R), "NaN"),
        (lambda: average_precision(S, R, top_r=0), "top_r must be"),
        (lambda: average_precision(S, R, top_r=-1), "top_r must be"),
        (lambda: average_precision(S, R, top_r=1.5), "top_r must be"),
        (lambda: average_precision(S, R, ties="random"), "ties must be"),
        (lambda: average_precision(S, R, denominator="none"), "denominator must be"),
        (lambda: average_precision(S, R * 2), "only 0 and 1"),
        (lambda: average_precision(S, R * 0.5), "only 0 and 1"),
        (lambda: average_precision(S[:, :0], R[:, :0]), "nothing to rank"),
        (lambda: mean_average_precision(S[:0], R[:0]), "nothing to rank"),
        (lambda: precision_at_k(S, R, 0), "k must be"),
        (lambda: precision_at_k(S, R, 1, ties="random"), "ties must be"),
        (lambda: precision_recall_curve(S, R, [0, 1]), "ranks must be"),
        (lambda: precision_recall_curve(S, R, [1, 4]), "from 1 to 3"),
        (lambda: precision_recall_curve(S, R, []), "from 1 to 3"),
        (lambda: precision_recall_curve(np.zeros((1, 0)), np.zeros((1, 0), dtype=bool)), "nothing to rank"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
