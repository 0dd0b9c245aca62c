from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.records.raw import RawResult
from benchmarks.running.evaluation import differ, evaluate_lengths


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
