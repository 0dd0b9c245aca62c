import numpy as np
import pytest
import torch
from torch.nn import functional as F

from baselines.deep.triplets import semi_hard_triplet_loss


def labels_of(classes, count):
    return F.one_hot(torch.tensor(classes), count).bool()


def slow_loss(x, labels, margin):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    distance = ((unit[:, None] - unit) ** 2).sum(axis=2)
    losses = []
    for a in range(len(x)):
        others = [n for n in range(len(x)) if labels[n].any() and not (labels[a] & labels[n]).any()]
        for p in range(len(x)):
            if p == a or not (labels[a] & labels[p]).any() or not others:
                continue
            farther = [distance[a, n] for n in others if distance[a, n] > distance[a, p]]
            chosen = min(farther) if farther else max(distance[a, n] for n in others)
            losses.append(max(0.0, margin + distance[a, p] - chosen))
    return np.mean(losses) if losses else 0.0


@pytest.mark.parametrize("margin", [0.2, 2.5])
@pytest.mark.parametrize("seed", range(3))
def test_against_a_loop_over_pairs(seed, margin):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    several = torch.rand(12, 4, generator=generator) < 0.3  # some images without a label
    several[0] = False
    for labels in (labels_of([0, 1, 2, 3] * 3, 4), several):
        expected = slow_loss(x.numpy(), labels.numpy(), margin)
        assert float(semi_hard_triplet_loss(x, labels, margin)) == pytest.approx(expected)


def test_the_nearest_negative_beyond_the_positive_is_taken_else_the_farthest():
    angles = torch.tensor([0.0, 0.5, 0.3, 0.7, 1.0], requires_grad=True)
    x = torch.stack([angles.cos(), angles.sin()], dim=1)
    loss = semi_hard_triplet_loss(x, torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1], [0, 0]]).bool(), 1.0)

    def d(a, b):
        return 2 - 2 * np.cos(a - b)

    # Anchor 0: 0.7 lies beyond its positive, 0.3 before it. Anchor 0.5: none lies beyond, and both are as far.
    # Anchor 0.3: the positive is at 0.7, beyond it none but 0 at distance 0.3 < 0.4. Anchor 0.7: 0 lies beyond.
    expected = [
        1 + d(0, 0.5) - d(0, 0.7),
        1 + d(0.5, 0) - d(0.5, 0.3),
        1 + d(0.3, 0.7) - d(0.3, 0),
        1 + d(0.7, 0.3) - d(0.7, 0),
    ]
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, angles)
    assert gradient[4] == 0
    assert gradient[:4].abs().min() > 0


def test_batches_without_a_triplet_have_no_loss_and_finite_gradients():
    for labels in (labels_of([0] * 6, 2), labels_of(range(6), 6), torch.zeros(6, 2, dtype=torch.bool)):
        x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        loss = semi_hard_triplet_loss(x, labels, 2.5)
        loss.backward()
        assert loss == 0
        assert not x.grad.any()


def test_lengths_do_not_matter_and_images_without_a_label_change_nothing():
    x, labels = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), labels_of([0, 1, 2] * 2, 3)
    loss = semi_hard_triplet_loss(x, labels, 2.5)
    assert semi_hard_triplet_loss(x * torch.arange(1.0, 7.0)[:, None], labels, 2.5) == pytest.approx(loss.item())
    some = labels.clone()
    some[[1, 4]] = False
    kept = torch.tensor([0, 2, 3, 5])
    assert semi_hard_triplet_loss(x, some, 2.5) == pytest.approx(
        semi_hard_triplet_loss(x[kept], labels[kept], 2.5).item()
    )
