import numpy as np
import torch

from benchmarks.bench.parts import quantizers, search
from benchmarks.bench.report import Options
from benchmarks.bench.synthetic import CLASSES, clustered
from dpq.codes.additive import decode, encode, residual_kmeans
from dpq.ranking.scores import asymmetric_scores

QUICK = Options(torch.device("cpu"), 1, quick=True)


def column(rows, name):
    return {row[next(iter(row))]: row[name] for row in rows}


def test_every_way_to_search_has_its_recall_and_bytes():
    (table,) = search.measure(QUICK).tables.values()
    recall = column(table, "recall@100")
    assert len(recall) == len(table) == 6
    assert recall["exact, floats (Faiss)"] == "1.000"
    assert recall["our codes in Faiss"] == recall["our codes, our ranking"] > recall["Faiss PQ"]
    assert list(column(table, "bytes an image").values()) == [2, 2, 1200, 2, 2, 2]


def test_our_ranking_is_that_of_the_scores_whatever_the_blocks():
    x = clustered(600, "train")
    codebooks = residual_kmeans(x, 2, 16, 0)
    codes, queries = encode(x, codebooks), clustered(search.BLOCK + 3, "queries")
    ids = search.our_ranking(queries, codes, codebooks, 5)
    scores = asymmetric_scores(queries, codes, codebooks)
    torch.testing.assert_close(scores.gather(1, torch.from_numpy(ids)), scores.topk(5).values)


def test_overlap_counts_wanted_ids_in_any_order():
    assert search.overlap(np.array([[1, 2], [3, 4]]), np.array([[2, 1], [4, 9]])) == 0.75


def test_quantizers_have_time_and_error_of_both():
    kmeans, initialisation, codes, modes = quantizers.measure(QUICK).tables.values()
    assert [len(table) for table in (kmeans, initialisation, codes, modes)] == [3, 3, 3, 4]
    error = column(codes, "error")
    assert error["ours, greedy"] == error["Faiss residual quantizer, beam of 1"]
    assert error["Faiss residual quantizer, beam of 5"] < error["ours, greedy"]
    assert column(modes, "error")["ours, from greedy codes"] < error["ours, greedy"]


def test_embeddings_repeat_and_parts_differ_but_share_their_classes():
    first, other = clustered(2000, "train"), clustered(2000, "database")
    assert torch.equal(first, clustered(2000, "train")) and not torch.equal(first, other)
    codebooks = residual_kmeans(first, 1, 16, 0)
    errors = [float((x - decode(encode(x, codebooks), codebooks)).square().sum(dim=1).mean()) for x in (first, other)]
    assert errors[1] < 1.1 * errors[0] < 0.1 < CLASSES * errors[0]
