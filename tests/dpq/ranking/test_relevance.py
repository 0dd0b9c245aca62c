import numpy as np
import pytest
import torch

from dpq.ranking.relevance import Relevance


def labels(rows, classes, seed):
    return torch.from_numpy(np.random.default_rng(seed).random((rows, classes)) < 1.5 / max(classes, 1))


@pytest.mark.parametrize("classes", [0, 1, 8, 21, 64, 65, 130])
def test_an_image_is_relevant_if_it_shares_a_label(classes):
    query_labels, database_labels = labels(12, classes, 0), labels(50, classes, 1)
    relevance = Relevance.of(query_labels, database_labels)
    known = query_labels.int() @ database_labels.int().T > 0
    for rows in ([3], [5, 0, 5], list(range(12))):
        assert np.array_equal(relevance.to(np.array(rows)), known[rows])


@pytest.mark.parametrize("classes", [1, 3, 70])
@pytest.mark.parametrize("most", [1, 4, 100])
def test_every_query_is_in_one_group_of_the_same_labels(classes, most):
    query_labels = labels(60, classes, 2)
    groups = Relevance.of(query_labels, labels(5, classes, 3)).alike(most)
    assert sorted(np.concatenate(groups)) == list(range(60))
    for group in groups:
        assert 1 <= len(group) <= most
        assert (query_labels[group] == query_labels[group[0]]).all()
    if most == 100:
        assert len(groups) == len(torch.unique(query_labels, dim=0))
