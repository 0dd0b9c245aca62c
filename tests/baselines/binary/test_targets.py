import itertools

import pytest
import torch

from baselines.binary.targets import hadamard, sign_targets
from dpq import InputError


def targets_of(*arguments, seed=0):
    torch.manual_seed(seed)
    return sign_targets(*arguments)


def least_distance(targets):
    return min(int((a != b).sum()) for a, b in itertools.combinations(targets, 2))


@pytest.mark.parametrize("order", [1, 2, 4, 8, 12, 16, 20, 24, 32, 40, 48, 64])
def test_rows_of_a_hadamard_matrix_are_orthogonal(order):
    matrix = hadamard(order)
    assert set(matrix.flatten().tolist()) <= {-1.0, 1.0}
    assert torch.equal(matrix @ matrix.T, order * torch.eye(order))


@pytest.mark.parametrize("order", [3, 6, 10, 28, 56])  # of the last two there are some, by other constructions
def test_where_no_matrix_is_known_there_is_none(order):
    assert hadamard(order) is None


@pytest.mark.parametrize("bits", [8, 12, 16, 24, 32, 48, 64])
def test_hadamard_targets_differ_in_half_of_the_bits_or_all(bits):
    targets = targets_of(min(2 * bits, 40), bits)
    assert torch.equal(targets[:bits], hadamard(bits)[: len(targets)])
    for a, b in itertools.combinations(targets, 2):
        assert int((a != b).sum()) in (bits // 2, bits)


@pytest.mark.parametrize(
    ("classes", "bits", "kind", "least"),
    [
        (10, 8, "maxhd", 3),
        (10, 56, "hadamard", 22),  # no matrix
        (100, 8, "hadamard", 1),  # more classes than rows
        (100, 16, "hadamard", 3),
        (100, 32, "maxhd", 9),
        (16, 4, "maxhd", 1),  # every code there is
    ],
)
def test_drawn_targets_are_different_and_far_apart(classes, bits, kind, least):
    targets = targets_of(classes, bits, kind)
    assert targets.shape == (classes, bits)
    assert set(targets.flatten().tolist()) == {-1.0, 1.0}
    assert least_distance(targets) >= least


def test_drawn_targets_are_balanced_where_there_are_enough():
    assert torch.equal(targets_of(30, 56, "hadamard").sum(dim=1), torch.zeros(30))
    assert torch.equal(targets_of(4, 6, "maxhd")[0].sum(), torch.tensor(0.0))


@pytest.mark.parametrize("kind", ["maxhd", "bernoulli"])
def test_the_seed_decides_what_is_drawn(kind):
    assert torch.equal(targets_of(10, 24, kind), targets_of(10, 24, kind))
    assert not torch.equal(targets_of(10, 24, kind), targets_of(10, 24, kind, seed=1))


def test_bernoulli_targets_may_be_the_same():
    assert len(targets_of(200, 4, "bernoulli").unique(dim=0)) == 16


@pytest.mark.parametrize("kind", ["hadamard", "maxhd"])
def test_more_classes_than_codes_are_refused(kind):
    with pytest.raises(InputError, match="17 classes need different targets, and 4 bits have 16"):
        sign_targets(17, 4, kind)
