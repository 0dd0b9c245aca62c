import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.records.raw import RawResult
from benchmarks.running.evaluation import decoded_lengths, differ, evaluate_lengths, reconstruction_errors
from dpq.codes.additive import decode, encode
from dpq.errors import InputError
from dpq.learning.entry import Decoder
from dpq.metrics import mean_average_precision


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.5, 0.5 + 1e-9),
        ({"a": 1.0}, {"a": 1.0, "b": 2.0}),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 3.0]}),
        ([1.0], [1.0, 2.0]),
        (3, 4),
        (1.0, None),
        ("a", "b"),
    ],
)
def test_what_differs(one, other):
    assert differ(one, other)
    assert differ(other, one)
    assert not differ(one, one)


def test_another_order_of_summation_is_no_difference():
    assert not differ({"map": [0.7, {"x": 0.1 + 0.2}]}, {"map": [0.7, {"x": 0.3}]})


def made_up(labels):
    """Random codes of two levels for images with these labels; the first six are queries too."""
    random = np.random.default_rng(0)
    codes = random.integers(0, 4, (len(labels), 2)).astype(np.uint8)
    codebooks = random.normal(size=(2, 4, 5)).astype(np.float32)
    return RawResult(codes, codebooks, random.normal(size=(6, 5)).astype(np.float32), labels[:6], labels)


def test_coarse_classes_are_a_second_relevance():
    fine = np.random.default_rng(1).integers(5, size=40)
    coarse = ("plant", "animal", "plant", "thing", "animal")
    merged = np.array([["animal", "plant", "thing"].index(coarse[c]) for c in fine])
    raw = made_up(np.eye(5, dtype=bool)[fine])
    for cut in (None, 7):
        of_coarse, _ = evaluate_lengths(made_up(np.eye(3, dtype=bool)[merged]), {2: 0.0, 4: 0.0}, cut, "l2", "float32")
        both, _ = evaluate_lengths(raw, {2: 0.0, 4: 0.0}, cut, "l2", "float32", coarse=coarse)
        without, _ = evaluate_lengths(raw, {2: 0.0, 4: 0.0}, cut, "l2", "float32")
        assert [one.map_coarse for one in both] == [one.map for one in of_coarse]
        assert [replace(one, map_coarse=None) for one in both] == list(without)
        assert both[0].table == without[0].table | {"map_coarse": both[0].map_coarse}


def test_several_labels_of_one_coarse_class_count_once():
    labels = np.random.default_rng(2).random((40, 4)) < 0.4
    merged = np.stack([labels[:, [0, 2]].any(axis=1), labels[:, [1, 3]].any(axis=1)], axis=1)
    (((one,), _), ((other,), _)) = (
        evaluate_lengths(made_up(labels), {4: 0.0}, None, "inner", "float32", coarse=("b", "a", "b", "a")),
        evaluate_lengths(made_up(merged), {4: 0.0}, None, "inner", "float32"),
    )
    assert one.map_coarse == other.map


def test_a_cut_beyond_the_database_is_its_end():
    raw = made_up(np.eye(3, dtype=bool)[np.random.default_rng(3).integers(3, size=40)])
    entries = [
        evaluate_lengths(raw, {4: 0.0}, cut, "inner", "float32", further_cuts=(10,))[0][0] for cut in (None, 5000, 7)
    ]
    assert [entry.r for entry in entries] == [40, 40, 7]
    assert entries[0].map == entries[1].map != entries[2].map
    assert set(entries[0].map_at) == {"10"}
    (other,), _ = evaluate_lengths(raw, {4: 0.0}, 7, "inner", "float32", further_cuts=(10,), device=torch.device("cpu"))
    assert not differ(other.table, entries[2].table)


def signs(count, bits, seed):
    return np.where(np.random.default_rng(seed).random((count, bits)) < 0.5, -1.0, 1.0).astype(np.float32)


def test_the_symmetric_score_of_codes_of_signs_is_hamming_distance():
    queries, database = signs(6, 8, 3), signs(40, 8, 4)
    labels = np.eye(3, dtype=bool)[np.random.default_rng(5).integers(3, size=46)]
    nibbles = np.array(list(itertools.product([-1.0, 1.0], repeat=4)), dtype=np.float32)  # [16, 4]
    codebooks = np.zeros((2, 16, 8), dtype=np.float32)
    codebooks[0, :, :4], codebooks[1, :, 4:] = nibbles, nibbles
    real = torch.from_numpy(queries) * torch.rand(6, 8, generator=torch.Generator().manual_seed(0))
    codes, query_codes = (encode(torch.from_numpy(x), torch.from_numpy(codebooks)).numpy() for x in (database, queries))
    raw = RawResult(codes, codebooks, real.numpy(), labels[:6], labels[6:], query_codes=query_codes)
    for levels in (1, 2):
        distances = (queries[:, None, : 4 * levels] != database[None, :, : 4 * levels]).sum(axis=2)
        relevant = labels[:6].astype(int) @ labels[6:].T > 0
        ((found,), averages) = evaluate_lengths(raw, {4 * levels: 0.0}, None, "symmetric", "float32")
        assert found.map == pytest.approx(mean_average_precision(-distances, relevant), abs=1e-6)
        assert averages.mean() == pytest.approx(found.map, abs=1e-6)
        ((by_inner,), _) = evaluate_lengths(raw, {4 * levels: 0.0}, None, "inner", "float32")
        assert found.map_asymmetric == by_inner.map != found.map
        assert by_inner.map_asymmetric is None


def test_the_symmetric_score_needs_codes_of_the_queries():
    labels = np.eye(5, dtype=bool)[np.random.default_rng(1).integers(5, size=40)]
    with pytest.raises(InputError, match="run the experiment again"):
        evaluate_lengths(made_up(labels), {4: 0.0}, None, "symmetric", "float32")


class Sums:
    """A decoder that only adds codewords, as if no codebook could."""

    def __init__(self, codebooks):
        self.codebooks = torch.from_numpy(codebooks)

    def decode(self, codes):
        return decode(codes, self.codebooks, codes.shape[1])


@pytest.mark.parametrize("score", ["inner", "l2"])
def test_a_decoder_that_adds_codewords_ranks_as_codebooks_do(score):
    raw = made_up(np.eye(5, dtype=bool)[np.random.default_rng(1).integers(5, size=400)])
    embeddings = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
    decoder, codes = Sums(raw.codebooks), torch.from_numpy(raw.codes)
    assert isinstance(decoder, Decoder)
    errors, reconstructions = decoded_lengths(decoder, embeddings, codes, [1, 2])
    assert errors == pytest.approx(reconstruction_errors(embeddings, codes, decoder.codebooks), rel=1e-5)
    known, _ = evaluate_lengths(raw, {2: 0.0, 4: 0.0}, None, score, "float32")
    other = replace(raw, reconstructions=reconstructions, codebooks=np.zeros_like(raw.codebooks))
    found, _ = evaluate_lengths(other, {2: 0.0, 4: 0.0}, None, score, "float32")
    for one, same in zip(found, known, strict=True):
        assert one.map == pytest.approx(same.map, abs=1e-6)
        assert one.distinct_codes == same.distinct_codes
    with pytest.raises(InputError, match="rank by inner or l2"):
        evaluate_lengths(other, {2: 0.0}, None, "symmetric", "float32")
