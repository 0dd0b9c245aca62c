import math

import pytest
import torch

from baselines.binary.csq import CSQ, CSQConfig, central_similarity_loss
from baselines.binary.targets import hadamard
from dpq import InputError
from dpq.learning.backbone import Backbone
from tests.dpq.conftest import BACKBONE

CENTRES = hadamard(8)[:5]
TIES = torch.tensor([1.0, -1.0] * 4)


def slow_loss(outputs, labels):
    errors = []
    for z, flags in zip(outputs.tolist(), labels.tolist(), strict=True):
        if not any(flags):
            continue
        for bit, value in enumerate(z):
            votes = sum(float(CENTRES[label, bit]) for label, has in enumerate(flags) if has)
            target = (votes or float(TIES[bit])) > 0
            p = (math.tanh(value) + 1) / 2
            errors.append(-math.log(p if target else 1 - p))
    return sum(errors) / len(errors) if errors else 0.0


@pytest.mark.parametrize("case", ["one", "several", "some without", "none labelled"])
def test_the_loss_is_that_of_a_loop_over_bits(case):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(7, 8, generator=generator)
    labels = torch.eye(5, dtype=torch.bool)[torch.randint(5, (7,), generator=generator)]
    if case == "several":
        labels = torch.rand(7, 5, generator=generator) < 0.5
        labels[0] = torch.tensor([1, 1, 0, 0, 0])  # ties in half of the bits
    elif case == "some without":
        labels[::3] = False
    elif case == "none labelled":
        labels[:] = False
    found = central_similarity_loss(outputs, labels, CENTRES, TIES)
    assert float(found) == pytest.approx(slow_loss(outputs, labels), rel=1e-5)


def test_a_saturated_head_still_learns():
    outputs = (-60.0 * CENTRES[:1]).requires_grad_()  # all bits wrong, where the tanh is exactly 1
    assert torch.equal(outputs.tanh().abs(), torch.ones(1, 8))
    loss = central_similarity_loss(outputs, torch.eye(5, dtype=torch.bool)[:1], CENTRES, TIES)
    assert loss.item() == pytest.approx(120.0)
    loss.backward()
    assert torch.allclose(outputs.grad, -2 / 8 * CENTRES[:1])


@pytest.mark.parametrize("labels", [torch.zeros(2, 4, dtype=torch.bool), torch.tensor([[2, 0, 0, 0, 0]] * 2)])
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(InputError):
        central_similarity_loss(torch.zeros(2, 8), labels, CENTRES, TIES)


def test_the_terms_have_their_weights():
    torch.manual_seed(0)
    backbone = Backbone(BACKBONE, 0, embedding_dim=8, head="none")
    method = CSQ(backbone, CSQConfig(quantization=0.5), classes=5, bits=8, codebook_size=16)
    outputs, labels = torch.randn(6, 8), torch.eye(5, dtype=torch.bool)[[0, 1, 2, 3, 4, 0]]
    terms = method.terms(outputs, labels)
    assert torch.equal(method.loss.centres, CENTRES)
    assert torch.equal(terms["central"], central_similarity_loss(outputs, labels, CENTRES, method.loss.ties))
    assert float(terms["quantization"]) == pytest.approx(0.5 * float((outputs.tanh().abs() - 1).square().mean()))


def test_random_centres_are_those_of_the_checkpoint():
    def make(seed):
        torch.manual_seed(seed)
        backbone = Backbone(BACKBONE, 0, embedding_dim=8, head="none")
        return CSQ(backbone, CSQConfig(targets="bernoulli"), classes=5, bits=8, codebook_size=16)

    one, other = make(0), make(1)
    assert not torch.equal(one.loss.centres, other.loss.centres)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.loss.centres, other.loss.centres)
    assert torch.equal(one.loss.ties, other.loss.ties)
