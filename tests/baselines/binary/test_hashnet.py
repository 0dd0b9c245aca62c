import math

import pytest
import torch

from baselines.binary.hashnet import HashNet, HashNetConfig, weighted_pair_loss
from dpq import InputError
from dpq.learning.backbone import Backbone
from dpq.learning.settings import Epoch, TrainingConfig
from tests.dpq.conftest import BACKBONE


def slow_loss(codes, labels, scale, weights):
    similar, others, total, mass = [], [], 0.0, 0.0
    for i, j in ((i, j) for i in range(len(codes)) for j in range(len(codes)) if i != j):
        if not labels[i].any() or not labels[j].any():
            continue
        logit = scale / codes.shape[1] * float(codes[i] @ codes[j])
        share = bool((labels[i] & labels[j]).any())
        error = math.log1p(math.exp(-abs(logit))) + max(logit, 0.0) - share * logit
        (similar if share else others).append(error)
        weight = labels.shape[1] if share else 1
        total, mass = total + weight * error, mass + weight
    if weights == "classes":
        return total / mass if mass else 0.0
    return sum(sum(kind) / len(kind) for kind in (similar, others) if kind)


@pytest.mark.parametrize("weights", ["balanced", "classes"])
@pytest.mark.parametrize("case", ["several labels", "one class", "all different", "some without", "none labelled"])
def test_the_loss_is_that_of_a_loop_over_pairs(weights, case):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(9, 6, generator=generator, dtype=torch.float64).tanh()
    labels = torch.rand(9, 9, generator=generator) < 0.3
    if case == "one class":
        labels = torch.ones(9, 1, dtype=torch.bool)
    elif case == "all different":
        labels = torch.eye(9, dtype=torch.bool)
    elif case == "some without":
        labels[::2] = False
    elif case == "none labelled":
        labels[:] = False
    found = weighted_pair_loss(codes, labels, 7.0, weights)
    assert float(found) == pytest.approx(slow_loss(codes, labels, 7.0, weights), abs=1e-12)


def test_large_logits_do_not_overflow():
    codes = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]], requires_grad=True)
    labels = torch.tensor([[1, 0], [0, 1], [0, 1]], dtype=torch.bool)
    loss = weighted_pair_loss(codes, labels, 1e4)
    assert loss.item() == pytest.approx(1e4 + 5e3)  # one similar pair at -1e4; of the two others one at 1e4
    loss.backward()
    assert codes.grad.isfinite().all()


def test_labels_that_are_no_flags_are_refused():
    with pytest.raises(InputError):
        weighted_pair_loss(torch.zeros(2, 4), torch.tensor([[0, 2], [1, 0]]), 1.0)


def test_beta_grows_with_the_epochs_and_is_kept():
    method = HashNet(Backbone(BACKBONE, 0, embedding_dim=8, head="none"), bits=8, codebook_size=16)
    place, outputs = method.state_dict()["_beta"], torch.tensor([[0.1] * 8])
    seen = []
    for index in range(4):
        method.before_epoch(Epoch(index, 4, 0, lambda views: outputs, torch.arange(1), 1, torch.ones(1, 1) > 0))
        seen.append(float(place))
        assert torch.allclose(method.squash(outputs), torch.tanh(seen[-1] * outputs))
    assert seen == pytest.approx([1.0, 13.5**0.5, 26**0.5, 38.5**0.5])


def test_the_released_variant_counts_classes(split):
    config = HashNetConfig().released()
    assert config.weights == "classes" and config.scale == HashNetConfig().scale
    method = HashNet(Backbone(BACKBONE, 0, embedding_dim=8, head="none"), config, bits=8, codebook_size=16)
    labels, outputs = split.labels[:8], torch.randn(8, 8)
    method.training_config = TrainingConfig(epochs=1)
    found = method.terms(outputs, labels)["pairs"]
    assert torch.equal(found, weighted_pair_loss(outputs.tanh(), labels, 10.0, "classes"))
