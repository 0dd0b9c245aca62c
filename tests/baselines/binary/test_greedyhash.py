import math

import pytest
import torch

from baselines.binary.greedyhash import METHOD, GreedyHash, check_one_label, sign_penalty, straight_through_signs
from dpq import InputError
from dpq.learning.backbone import Backbone
from dpq.learning.settings import TrainingConfig
from dpq.protocols.base import Split
from tests.dpq.conftest import BACKBONE


@pytest.fixture
def method():
    torch.manual_seed(0)
    backbone = Backbone(BACKBONE, 0, embedding_dim=8, head="none")
    return GreedyHash(backbone, classes=4, bits=8, codebook_size=16)


def test_signs_have_the_gradient_of_what_they_are_of():
    x = torch.tensor([0.3, -1e-7, 0.0, -0.0, 1e30, -7.0], requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    signs = straight_through_signs(x)
    assert signs.tolist() == [1.0, -1.0, -1.0, -1.0, 1.0, -1.0]  # exactly
    (signs * weights).sum().backward()
    assert torch.equal(x.grad, weights)


def test_the_penalty_is_that_of_a_loop():
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)) * 2
    assert float(sign_penalty(x)) == pytest.approx(sum(abs(abs(v) - 1) ** 3 for v in x.flatten().tolist()) / 15)
    assert float(sign_penalty(torch.tensor([[1.0, -1.0]]))) == 0
    assert float(sign_penalty(torch.zeros(2, 2))) == 1


def test_the_terms_are_those_of_a_loop(method):
    outputs = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(5, 4, dtype=torch.bool)
    labels[torch.arange(4), torch.tensor([1, 3, 0, 3])] = True  # the last has none
    logits = (torch.where(outputs > 0, 1.0, -1.0) @ method.classifier.weight.T).detach()
    errors = [
        math.log(sum(math.exp(v) for v in row.tolist())) - float(row[label])
        for row, label in zip(logits[:4], (1, 3, 0, 3), strict=True)
    ]
    terms = method.terms(outputs, labels)
    assert terms["classification"].item() == pytest.approx(sum(errors) / 4, rel=1e-5)
    assert float(terms["sign"]) == pytest.approx(0.1 * float(sign_penalty(outputs)), rel=1e-6)
    assert float(method.terms(outputs, torch.zeros_like(labels))["classification"]) == 0


def test_the_classifier_learns_as_the_head_does(method):
    groups = method.network_parameters(TrainingConfig(epochs=1, learning_rate=0.01, head_multiplier=3.0))
    assert groups[-1]["params"] == [method.classifier.weight]
    assert groups[-1]["lr"] == pytest.approx(0.03)
    trained = {id(p) for group in groups for p in group["params"]}
    assert trained == {id(p) for p in method.parameters()}


def test_training_moves_head_and_classifier(method, split, training):
    before = {name: value.clone() for name, value in method.state_dict().items()}
    log = method.fit(split, training)
    assert set(log.epochs[0]) >= {"classification", "sign"}
    for name in ("classifier.weight", "backbone.embedding.weight"):
        assert not torch.equal(method.state_dict()[name], before[name])


def test_images_of_several_classes_are_refused():
    labels = torch.eye(3, dtype=torch.bool)
    check_one_label(Split(torch.zeros(3, 3, 4, 4, dtype=torch.uint8), labels), 16)
    labels[0] = True
    with pytest.raises(InputError, match="1 training images have several"):
        METHOD.check(Split(torch.zeros(3, 3, 4, 4, dtype=torch.uint8), labels), 16)
