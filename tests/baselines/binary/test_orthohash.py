import math

import pytest
import torch

from baselines.binary.orthohash import OrthoHash, OrthoHashConfig, cosine_margin_loss
from baselines.binary.targets import hadamard
from dpq import InputError
from dpq.learning.backbone import Backbone
from tests.dpq.conftest import BACKBONE

TARGETS = hadamard(8)[:5]


def slow_loss(outputs, labels, scale, margin):
    errors = []
    for u, flags in zip(outputs, labels.tolist(), strict=True):
        if not any(flags):
            continue
        logits = []
        for target, has in zip(TARGETS, flags, strict=True):
            length = math.sqrt(sum(v * v for v in u.tolist())) * math.sqrt(8)
            logits.append(scale * (float(u @ target) / length - margin * has))
        norm = math.log(sum(map(math.exp, logits)))
        errors.append(sum(norm - logit for logit, has in zip(logits, flags, strict=True) if has) / sum(flags))
    return sum(errors) / len(errors) if errors else 0.0


@pytest.mark.parametrize("case", ["one", "several", "some without", "none labelled"])
def test_the_loss_is_that_of_a_loop_over_classes(case):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(7, 8, generator=generator)
    labels = torch.eye(5, dtype=torch.bool)[torch.randint(5, (7,), generator=generator)]
    if case == "several":
        labels = torch.rand(7, 5, generator=generator) < 0.5
    elif case == "some without":
        labels[::3] = False
    elif case == "none labelled":
        labels[:] = False
    found = cosine_margin_loss(outputs, labels, TARGETS, 3.0, 0.2)
    assert float(found) == pytest.approx(slow_loss(outputs, labels, 3.0, 0.2), rel=1e-5)


def test_an_embedding_of_length_zero_has_a_finite_gradient():
    outputs = torch.zeros(1, 8, requires_grad=True)
    loss = cosine_margin_loss(outputs, torch.eye(5, dtype=torch.bool)[:1], TARGETS, 3.0, 0.0)
    assert loss.item() == pytest.approx(math.log(5))
    loss.backward()
    assert outputs.grad.isfinite().all()


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(InputError):
        cosine_margin_loss(torch.zeros(2, 8), torch.zeros(2, 4, dtype=torch.bool), TARGETS, 1.0, 0.1)


def test_the_scale_is_the_root_of_the_length_unless_it_is_given():
    def loss(config):
        torch.manual_seed(0)
        backbone = Backbone(BACKBONE, 0, embedding_dim=16, head="batchnorm")
        return OrthoHash(backbone, config, classes=5, bits=16, codebook_size=16).loss

    assert (loss(None).scale, loss(None).margin) == (4.0, 0.2)
    assert torch.equal(loss(None).targets, hadamard(16)[:5])
    released = loss(OrthoHashConfig().released())
    assert released.scale == 8.0
    assert not torch.equal(released.targets, hadamard(16)[:5])
