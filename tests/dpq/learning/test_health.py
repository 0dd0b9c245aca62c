import numpy as np
import pytest
import torch

from dpq.learning.health import batch_signs, codeword_signs, embedding_signs, loss_signs, one_class


def test_ordinary_embeddings_have_no_signs():
    assert embedding_signs(torch.randn(200, 8)) == []
    assert embedding_signs(5 + 0.5 * torch.randn(200, 8)) == []  # away from the origin, but apart


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_point_is_seen_at_every_scale(scale):
    point = scale * torch.ones(1, 8)
    assert "collapsed" in embedding_signs(point + 1e-3 * scale * torch.randn(100, 8))[0]
    assert "collapsed" in embedding_signs(point.repeat(100, 1))[0]


def test_all_zeros_are_a_point():
    assert "collapsed" in embedding_signs(torch.zeros(100, 8))[0]


def test_a_line_is_seen_and_a_plane_is_not():
    along = torch.randn(300, 1)
    line = along @ torch.randn(1, 8) + 1e-3 * torch.randn(300, 8)
    assert "line" in embedding_signs(line)[0]
    assert embedding_signs(torch.randn(300, 2) @ torch.randn(2, 8)) == []


def test_the_share_of_a_line_is_that_of_numpys_covariance():
    embeddings = torch.randn(100, 1) @ torch.randn(1, 5) + 0.01 * torch.randn(100, 5)
    variances = np.linalg.eigvalsh(np.cov(embeddings.numpy().T))
    (sign,) = embedding_signs(embeddings)
    assert f"{variances[-1] / variances.sum():.2%}" in sign


def test_one_dimension_and_one_image_are_no_collapse():
    assert embedding_signs(torch.randn(100, 1)) == []
    assert embedding_signs(torch.ones(1, 8)) == []


def test_levels_with_few_codewords_are_named():
    assert codeword_signs([250, 12, 1], 256, 5000) == [
        "level 2 uses 12 of 256 codewords",
        "level 3 uses 1 of 256 codewords",
    ]
    assert codeword_signs([13], 256, 5000) == []
    assert codeword_signs([9], 256, 10) == []  # ten images cannot use more
    assert codeword_signs([1], 4, 100) == ["level 1 uses 1 of 4 codewords"]


def test_a_spike_is_measured_against_the_epoch():
    assert loss_signs({"margin": 1.0, "soft": 1.0}, 19.0, None) == []
    (sign,) = loss_signs({"margin": 1.0, "soft": 1.0}, 30.0, None)
    assert "15 times" in sign
    assert loss_signs({"margin": 0.0}, 1.0, None) == []


def test_a_rise_is_measured_on_the_terms_that_both_epochs_have():
    assert loss_signs({"margin": 1.0, "soft": 5.0}, 6.0, {"margin": 0.9}) == []
    (sign,) = loss_signs({"margin": 2.0, "soft": 5.0}, 7.0, {"margin": 1.0, "learning_rate": 0.1})
    assert sign == "the loss rose from 1 to 2"
    assert loss_signs({"soft": 5.0}, 5.0, {"margin": 1.0}) == []


def test_batches_of_one_class_are_counted():
    labels = torch.eye(3, dtype=torch.bool)
    assert one_class(labels[[1, 1, 1]])
    assert not one_class(labels[[1, 1, 2]])
    assert one_class(labels[[0]])
    both = torch.tensor([[True, True], [True, False]])
    assert not one_class(both)  # they share a label, and differ in another
    assert batch_signs(0, 10) == []
    assert batch_signs(2, 10) == ["2 of 10 batches were of one class"]
