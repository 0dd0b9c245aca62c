"""Rankings by code against the full score matrix.

Embeddings and codebooks hold small integers, so that every score is exact in float32 and ties are true ties. What a
GPU does is done here on the CPU as well.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import dpq.ranking.on_device
from dpq.codes.additive import decode
from dpq.metrics import mean_average_precision, precision_at_k, precision_recall_curve
from dpq.ranking.evaluate import evaluate_codes, evaluate_embeddings
from dpq.ranking.scores import DistinctCodes, asymmetric_scores, lookup_tables, norm_offsets, symmetric_scores

Q, N, D, M, K, L = 23, 200, 6, 3, 5, 4
BOTH = pytest.mark.parametrize("device", [None, torch.device("cpu")], ids=["numpy", "torch"])


def data(seed=0, multi_label=False):
    """Arguments of `evaluate_codes` up to the codebooks."""
    rng = np.random.default_rng(seed)

    def labels(rows):
        chosen = np.eye(L, dtype=bool)[rng.integers(0, L, rows)]
        return torch.from_numpy(chosen | (rng.random((rows, L)) < 0.3) if multi_label else chosen)

    queries = torch.from_numpy(rng.integers(-3, 4, (Q, D))).float()
    codes = torch.from_numpy(rng.integers(0, K, (N, M)).astype(np.uint8))
    codes[N // 2 :] = codes[rng.permutation(N // 2)]  # every code at least twice
    return queries, labels(Q), codes, labels(N), torch.from_numpy(rng.integers(-3, 4, (M, K, D))).float()


def full(queries, query_labels, codes, database_labels, codebooks, score="inner"):
    """Score matrix and relevance of every query and image, by the definition and in double precision."""
    x, q = decode(codes, codebooks).double(), queries.double()
    scores = q @ x.T if score == "inner" else -(q[:, None] - x).square().sum(dim=2)
    return scores, query_labels.int() @ database_labels.int().T > 0


@pytest.mark.parametrize("score", ["inner", "l2"])
@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("cut", [None, 17])
@BOTH
def test_codes_measure_as_the_full_matrix(score, multi_label, cut, device):
    arguments = data(1, multi_label)
    for levels in (1, 2, 3):
        queries, query_labels, codes, database_labels, codebooks = arguments
        prefix = (queries, query_labels, codes[:, :levels], database_labels, codebooks[:levels])
        matrix = full(*prefix, score)
        result = evaluate_codes(*prefix, cut, ks=(1, 10, 500), score=score, device=device)

        def known(ties="expected", denominator="hits", matrix=matrix):
            return pytest.approx(mean_average_precision(*matrix, cut, ties, denominator), abs=1e-12)

        assert result.map == known()
        assert result.map_total == known(denominator="total")
        assert result.map_capped == known(denominator="capped")
        assert result.map_bounds == (known("worst"), known("best"))
        assert result.map_ties_index == known("index")
        assert result.map_bounds[0] < result.map < result.map_bounds[1]
        for k in (1, 10, 500):
            assert result.precision_at[k] == pytest.approx(precision_at_k(*matrix, k).mean(), abs=1e-12)
        curve = precision_recall_curve(*matrix)
        assert np.array(result.pr) == pytest.approx(np.stack([curve.recall, curve.precision], axis=1), abs=1e-12)
        assert result.distinct_codes == len({tuple(c) for c in codes[:, :levels].tolist()})
        assert result.queries_without_relevant == 0


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("cut", [None, 17])
@BOTH
def test_further_cuts_measure_as_the_full_matrix(multi_label, cut, device):
    arguments = data(9, multi_label)
    matrix = full(*arguments)
    further = (1, 5, 17, 120, N, N + 50)
    result = evaluate_codes(*arguments, cut, further_cuts=further, device=device)
    assert list(result.map_at) == list(further)
    for other, found in result.map_at.items():
        assert found == pytest.approx(mean_average_precision(*matrix, other), abs=1e-12)
    assert replace(result, map_at={}) == evaluate_codes(*arguments, cut, device=device)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("block", [1, 4, 64])
def test_average_precisions_are_those_of_the_queries_in_their_order(multi_label, block):
    """Queries are ranked in groups of like labels, which is another order."""
    arguments = data(11, multi_label)
    result = evaluate_codes(*arguments, 17, block=block)
    scores, relevant = full(*arguments)
    each = [mean_average_precision(scores[[q]], relevant[[q]], 17) for q in range(len(scores))]
    assert result.average_precisions == pytest.approx(np.array(each), abs=1e-12)
    assert result.average_precisions.mean() == pytest.approx(result.map, abs=1e-12)


@pytest.mark.parametrize("score", ["inner", "l2"])
@BOTH
def test_embeddings_measure_as_the_full_matrix(score, device):
    queries, query_labels, codes, database_labels, codebooks = data(2)
    for cut in (None, 17):
        known = mean_average_precision(*full(queries, query_labels, codes, database_labels, codebooks, score), cut)
        database = decode(codes, codebooks)
        found = evaluate_embeddings(
            queries, query_labels, database, database_labels, cut, score, block=5, device=device
        )
        assert found == pytest.approx(known, abs=1e-12)
        halves = evaluate_embeddings(
            queries.bfloat16(), query_labels, database, database_labels, cut, score, device=device
        )
        assert halves == pytest.approx(known, abs=1e-12)


def test_scores_against_reconstructions():
    torch.manual_seed(0)
    queries, codebooks = torch.randn(7, 50), torch.randn(4, 16, 50)
    codes, query_codes = (torch.randint(16, (n, 4), dtype=torch.uint8) for n in (40, 7))
    q, c = queries.double(), codebooks.double()
    x, reconstructed = decode(codes, c), decode(query_codes, c)
    assert torch.allclose(lookup_tables(q, c)[3, 2, 5], q[3] @ c[2, 5])
    for found, known in (
        (asymmetric_scores(queries, codes, codebooks), q @ x.T),
        (asymmetric_scores(queries, codes, codebooks, "l2"), q.square().sum(1, keepdim=True) - torch.cdist(q, x) ** 2),
        (symmetric_scores(query_codes, codes, codebooks), reconstructed @ x.T),
    ):
        assert found.dtype == torch.float32 and torch.allclose(found.double(), known, atol=1e-3)
    assert torch.allclose(asymmetric_scores(q, codes, c), q @ x.T, atol=1e-12)


def test_equal_codes_score_equally():
    torch.manual_seed(1)
    codes = torch.randint(2, (60, 4), dtype=torch.uint8)
    scores = asymmetric_scores(torch.randn(3, 50), codes, torch.randn(4, 2, 50))
    for i, j in zip(*torch.nonzero((codes[:, None] == codes).all(dim=2), as_tuple=True), strict=True):
        assert torch.equal(scores[:, i], scores[:, j])


@BOTH
def test_block_size_does_not_matter(device, monkeypatch):
    known = evaluate_codes(*data(3), cut=30, block=Q)
    for block in (1, 7, 1000):
        monkeypatch.setattr(dpq.ranking.on_device, "MOST", block * N)
        found = evaluate_codes(*data(3), cut=30, block=block, device=device)
        assert found.map == pytest.approx(known.map, abs=1e-13) and found.pr == pytest.approx(np.array(known.pr))
        assert found.map_ties_index == pytest.approx(known.map_ties_index, abs=1e-13)


def test_number_of_threads_does_not_matter():
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(evaluate_codes(*data(10, multi_label=True), cut=30, block=2))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def test_database_order_moves_only_the_index_order():
    queries, query_labels, codes, database_labels, codebooks = data(4)
    known = evaluate_codes(queries, query_labels, codes, database_labels, codebooks, 30)
    by_class = database_labels.int().argmax(dim=1).argsort(stable=True)
    found = evaluate_codes(queries, query_labels, codes[by_class], database_labels[by_class], codebooks, 30)
    assert replace(found, map_ties_index=known.map_ties_index) == known
    assert abs(found.map_ties_index - known.map_ties_index) > 1e-4


@BOTH
def test_one_shared_label_is_enough(device):
    queries, codebooks = torch.ones(3, 1), torch.tensor([[[2.0], [1.0], [0.0]]])
    codes = torch.tensor([[0], [1], [2]], dtype=torch.uint8)
    labels = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 1]], dtype=torch.bool)
    query_labels = torch.tensor([[1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.bool)
    result = evaluate_codes(queries, query_labels, codes, labels, codebooks, None, ks=(1, 2), device=device)
    assert result.map == pytest.approx((1 + (1 / 2 + 2 / 3) / 2 + 0) / 3)
    assert result.precision_at == pytest.approx({1: 1 / 3, 2: 1 / 3})
    assert result.queries_without_relevant == 1
    assert result.pr[0] == pytest.approx((0.5, 0.5)) and result.pr[-1] == pytest.approx((1, 0.5))


@pytest.mark.parametrize("score", ["inner", "l2"])
def test_distinct_codes_score_as_asymmetric_scores(score):
    torch.manual_seed(2)
    queries, codebooks = torch.randn(5, 30), torch.randn(3, 16, 30)
    distinct = DistinctCodes.of(torch.randint(16, (90, 3), dtype=torch.uint8))
    offsets = norm_offsets(distinct.codes, codebooks, score)
    found = distinct.scores(lookup_tables(queries, codebooks).numpy(), None if offsets is None else offsets.numpy())
    assert np.array_equal(found, asymmetric_scores(queries, distinct.codes, codebooks, score))


def test_distinct_codes_of_a_prefix():
    codes = data(5)[2]
    for levels in (1, 2, None):
        distinct = DistinctCodes.of(codes, levels)
        assert torch.equal(distinct.codes[distinct.inverse], codes[:, :levels])
        assert len(torch.unique(distinct.codes, dim=0)) == len(distinct.codes)
        assert np.array_equal(distinct.counts, np.bincount(distinct.inverse))
        assert np.array_equal(distinct.inverse[distinct.by_code], np.sort(distinct.inverse))
        assert np.array_equal(
            distinct.start, np.searchsorted(np.sort(distinct.inverse), np.arange(len(distinct.codes)))
        )


def test_learned_parameters_and_half_precision_are_welcome():
    queries, query_labels, codes, database_labels, codebooks = data(6)
    known = evaluate_codes(queries, query_labels, codes, database_labels, codebooks, None)
    learned = torch.nn.Parameter(codebooks)
    assert evaluate_codes(queries.half(), query_labels, codes, database_labels, learned, None) == known


@BOTH
def test_progress_bar_only_on_a_terminal(device, capsys):
    evaluate_codes(*data(7), cut=None, progress=True, device=device)
    assert capsys.readouterr() == ("", "")


def changed(position, change):
    arguments = list(data(8))
    arguments[position] = change(arguments[position])
    return arguments


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (changed(0, lambda q: q[:, 1:]), {}, "expected queries"),
        (changed(0, lambda q: q[:0]), {}, "nothing to rank"),
        (changed(0, lambda q: q * torch.nan), {}, "NaN"),
        (changed(1, lambda y: y[1:]), {}, "labels must be"),
        (changed(2, lambda c: c[:, :2]), {}, "expected codes"),
        (changed(2, lambda c: c[:0]), {}, "nothing to rank"),
        (changed(2, lambda c: c + 1), {}, "codes of 5 codewords are from 0 to 4"),
        (changed(3, lambda y: y[:, 1:]), {}, "labels must be"),
        (changed(4, lambda c: c[0]), {}, "expected codes"),
        (data(8), {"score": "cosine"}, "score must be"),
        (data(8), {"cut": 0}, "cut must be"),
        (data(8), {"ks": (0, 1)}, "ks must be"),
        (data(8), {"further_cuts": (5, 0)}, "further_cuts must be"),
        (data(8), {"block": 0}, "block must be at least 1"),
    ],
)
@BOTH
def test_refusals(arguments, options, message, device):
    with pytest.raises(ValueError, match=message):
        evaluate_codes(*arguments, **{"cut": None, "device": device, **options})


@pytest.mark.parametrize(
    ("queries", "database", "options", "message"),
    [
        (torch.ones(2, 3), torch.ones(4, 2), {}, "expected embeddings"),
        (torch.ones(2, 3), torch.ones(4, 3), {"score": "cosine"}, "score must be"),
        (torch.ones(2, 3), torch.ones(4, 3), {"cut": 0}, "cut must be"),
        (torch.ones(2, 3), torch.ones(0, 3), {}, "nothing to rank"),
        (torch.ones(2, 3), torch.full((4, 3), torch.nan), {}, "NaN"),
    ],
)
@BOTH
def test_embedding_refusals(queries, database, options, message, device):
    labels = (torch.ones(len(x), 1, dtype=torch.bool) for x in (queries, database))
    query_labels, database_labels = labels
    with pytest.raises(ValueError, match=message):
        evaluate_embeddings(
            queries, query_labels, database, database_labels, **{"cut": None, "device": device, **options}
        )
