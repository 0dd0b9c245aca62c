"""Rankings by PyTorch against those by NumPy, here on the CPU, and on a GPU where there is one."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
import torch

import dpq.ranking.on_device
from dpq.errors import InputError
from dpq.metrics import average_precision, precision_at_k
from dpq.ranking.codes import CodeRanking, RelevantImages
from dpq.ranking.evaluate import evaluate_codes, evaluate_embeddings
from dpq.ranking.on_device import ItemRanking, Tensors, code_scores
from dpq.ranking.scores import DistinctCodes, lookup_tables, norm_offsets

no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=no_gpu)])
Q, N, D, M, L = 19, 3000, 12, 3, 9


def numbers(result):
    """All numbers of a result, in one array."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, list | tuple):
        return np.concatenate([numbers(each) for each in result])
    return np.ravel(result)


def data(size, labels="several", seed=0):
    """Arguments of `evaluate_codes` up to the codebooks, of `size` codewords a level."""
    random = np.random.default_rng(seed)

    def flags(rows):
        chosen = np.eye(L, dtype=bool)[random.integers(0, L, rows)]
        several = chosen | (random.random((rows, L)) < 0.2)
        return {"one": chosen, "several": several, "all": several | True, "none": several & False}[labels]

    queries, codebooks = (random.normal(size=shape).astype(np.float32) for shape in ((Q, D), (M, size, D)))
    codes = random.integers(0, size, (N, M)).astype(np.uint8)
    query_labels = flags(Q)
    query_labels[0] = False  # nothing is relevant to it
    return queries, query_labels, codes, flags(N), codebooks


@DEVICES
@pytest.mark.parametrize("labels", ["one", "several", "all", "none"])
@pytest.mark.parametrize("size", [1, 2, 6, 256])  # all tied, 8 groups, 216, and hardly a tie
@pytest.mark.parametrize("score", ["inner", "l2"])
def test_metrics_are_those_of_numpy(size, labels, score, device, monkeypatch):
    arguments = data(size, labels)
    monkeypatch.setattr(dpq.ranking.on_device, "MOST", 7 * N)  # three blocks
    for cut in (None, 1, 250, N - 1, N + 1):
        options = {"score": score, "further_cuts": (1, 40, 2500, 2 * N)}
        known = evaluate_codes(*arguments, cut, **options)
        found = evaluate_codes(*arguments, cut, **options, device=torch.device(device))
        assert vars(found).keys() == vars(known).keys()
        assert found.map_at.keys() == known.map_at.keys() and found.precision_at.keys() == known.precision_at.keys()
        assert numbers(astuple(found)) == pytest.approx(numbers(astuple(known)), rel=0, abs=1e-12)


@DEVICES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("score", ["inner", "l2"])
def test_scores_have_the_bits_of_numpy(score, dtype, device):
    queries, _, codes, _, codebooks = (each.astype(dtype) if each.dtype.kind == "f" else each for each in data(16))
    distinct = DistinctCodes.of(codes)
    tables = lookup_tables(queries, codebooks).numpy()
    offsets = norm_offsets(distinct.codes, torch.from_numpy(codebooks), score)
    norms = None if offsets is None else offsets.numpy()
    found = code_scores(tables, norms, distinct, torch.device(device))(slice(3, 11)).cpu().numpy()
    assert found.dtype == dtype
    assert np.array_equal(found, distinct.scores(tables[3:11], norms)[:, distinct.inverse])


@DEVICES
@pytest.mark.parametrize("different", [1, 4, 9000])
def test_groups_measure_item_by_item_as_a_whole_ranking(different, device):
    random = np.random.default_rng(1)
    scores = (random.integers(-different // 2, different // 2 + 1, (5, 400)) / 8).astype(np.float32)
    scores[0] *= -0.0  # both zeros, which are one score
    relevant = random.random((5, 400)) < np.array([[0.4], [0], [1], [0.02], [0.5]])
    tensors = (torch.from_numpy(each).to(device) for each in (scores, relevant))
    ranking = ItemRanking(*tensors, Tensors(torch.device(device), 400))
    groups = ranking.groups()
    assert groups.total_items.tolist() == [400] * 5
    assert groups.total_relevant.tolist() == relevant.sum(axis=1).tolist()
    for top_r in (1, 7, 200, 399, 400, 1000):
        found = ranking.average_in_database_order(top_r).cpu()
        assert found == pytest.approx(average_precision(scores, relevant, top_r, "index"), abs=1e-12)
        for ties in ("expected", "best", "worst"):
            found = groups.precision([top_r], ties)[:, 0].cpu()
            assert found == pytest.approx(precision_at_k(scores, relevant, top_r, ties), abs=1e-12)
            for denominator in ("hits", "total", "capped"):
                known = average_precision(scores, relevant, top_r, ties, denominator)
                assert groups.average_precision(top_r, denominator, ties).cpu() == pytest.approx(known, abs=1e-12)


@DEVICES
def test_many_relevant_images_among_many_tied_ones(device):
    items = 190_000
    relevant = np.arange(items) < 70_000
    codes = DistinctCodes.of(np.zeros((items, 1), dtype=np.uint8))
    known = CodeRanking(np.zeros((1, 1), np.float32), codes, RelevantImages.of(relevant, codes))
    flags = torch.from_numpy(relevant).to(device)[None]
    found = ItemRanking(torch.zeros(1, items, device=device), flags, Tensors(torch.device(device), items))
    for top_r in (5000, 95_000):
        one, other = (each.groups(top_r).average_precisions(top_r) for each in (known, found))
        for denominator in ("hits", "total", "capped"):
            assert other[denominator].cpu() == pytest.approx(one[denominator], abs=1e-12)


@DEVICES
@pytest.mark.parametrize("score", ["inner", "l2"])
def test_exact_search_is_that_of_numpy_but_for_near_ties(score, device):
    queries, query_labels, _, labels, _ = data(2)
    images = np.random.default_rng(3).normal(size=(N, D)).astype(np.float32)
    images[N // 2 :] = images[: N // 2]  # copies are tied
    known, found = (
        evaluate_embeddings(queries, query_labels, images, labels, 500, score, device=where)
        for where in (None, torch.device(device))
    )
    assert found == pytest.approx(known, abs=1e-5)


@DEVICES
def test_nan_is_refused(device):
    scores = torch.zeros(2, 3, device=device)
    scores[1, 0] = -torch.nan
    with pytest.raises(InputError, match="NaN"):
        ItemRanking(scores, torch.ones(2, 3, dtype=torch.bool, device=device), Tensors(torch.device(device), 3))


@DEVICES
def test_sums_that_overflow_are_refused(device):
    queries, query_labels, codes, labels, codebooks = data(2)
    codebooks = codebooks * np.array([1e38, -1e38, 1.0], np.float32)[:, None, None]
    for where in (None, torch.device(device)):
        with pytest.raises(InputError, match="NaN"):
            evaluate_codes(queries * 1e3, query_labels, codes, labels, codebooks, None, device=where)


@no_gpu
def test_metrics_of_a_gpu_repeat_to_the_last_bit():
    arguments = data(6)
    one, other = (evaluate_codes(*arguments, 250, device=torch.device("cuda")) for _ in range(2))
    assert one == other
