import pytest
import torch
from torch.nn import functional as F

from baselines.deep.klein_wolf import check_labels, gini_terms, joint_central_loss, straight_through
from baselines.deep.product import mixture
from dpq import InputError
from dpq.codes.additive import encode
from dpq.protocols.base import Split
from tests.baselines.deep.test_product import build


def labels_of(classes, count):
    return F.one_hot(torch.tensor(classes), count).bool()


def read(method, count=40, seed=0):
    """Embeddings [N, D + M K] of random features [N, D]."""
    x = torch.randn(count, 15, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return x, method.read(x)[0]


def test_codes_are_the_largest_logits_and_no_matter_of_codewords():
    method = build("klein-wolf")
    x, embeddings = read(method)
    with torch.no_grad():
        logits = torch.stack([x @ (method.weight[m] * method.mask[m]).T + method.bias[m] for m in range(2)], dim=1)
        assert torch.equal(method.encode(embeddings).long(), logits.argmax(dim=2))
        codes = method.encode(embeddings)
        method.codewords.copy_(torch.randn_like(method.codewords))
        method.codewords[:, 3] = 100.0
    assert torch.equal(method.encode(embeddings), codes)
    assert torch.equal(method.encode(read(method)[1]), codes)


def test_codes_of_the_nearest_codeword_are_another_choice():
    layer, nearest = build("klein-wolf"), build("klein-wolf", codes="nearest")
    _, embeddings = read(layer)
    own = layer.codebooks[:, :, :15]
    assert torch.equal(nearest.encode(embeddings), encode(embeddings[:, :15], own))
    assert not torch.equal(nearest.encode(embeddings), layer.encode(embeddings))


def test_queries_are_soft_and_no_distance_sees_their_logits():
    method = build("klein-wolf")
    with torch.no_grad():
        method.weight.mul_(30)  # logits of some dozens
        x, embeddings = read(method)
        shares = method.assigned(x).softmax(dim=2)
        assert torch.allclose(embeddings[:, :15], mixture(shares, method.blocks(method.codewords)))
    assert embeddings.shape == (40, 15 + 2 * 16) == (40, method.codebooks.shape[2])
    whole, soft = torch.cdist(embeddings, embeddings), torch.cdist(embeddings[:, :15], embeddings[:, :15])
    assert method.assigned(x).abs().max() > 30
    assert torch.allclose(whole, soft, atol=1e-3)


def test_it_starts_from_kmeans_whose_nearest_codewords_the_layers_take():
    method = build("klein-wolf")
    centres = 10 * torch.randn(16, 15, generator=torch.Generator().manual_seed(1))
    features = centres.repeat(5, 1) + torch.randn(80, 15, generator=torch.Generator().manual_seed(2))
    method.start(features, 0)
    with torch.no_grad():
        embeddings = method.read(features)[0]
    words = method.codebooks[:, :, :15]
    assert torch.equal(method.encode(embeddings), encode(features, words))
    assert float((embeddings[:, :15] - features).square().mean()) < 2


def test_straight_through_has_the_value_of_hard_and_the_gradient_of_soft():
    logits = torch.randn(6, 2, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    shares = logits.softmax(dim=2)
    hard = straight_through(shares)
    assert torch.equal(hard, F.one_hot(logits.argmax(dim=2), 5).float())
    weights = torch.randn(6, 2, 5, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((weights * hard).sum(), logits, retain_graph=True)
    (expected,) = torch.autograd.grad((weights * shares).sum(), logits)
    assert gradient.any()
    assert torch.equal(gradient, expected)


def test_gini_terms_at_their_extremes_and_against_a_loop():
    one_each = torch.eye(4).repeat(1, 2).view(4, 2, 4)  # image i takes codeword i of both sub-spaces
    assert [float(term) for term in gini_terms(one_each)] == [pytest.approx(2 / 4), 2]
    assert [float(term) for term in gini_terms(torch.full((3, 2, 4), 0.25))] == [pytest.approx(2 / 4)] * 2
    assert [float(term) for term in gini_terms(one_each[:1].repeat(3, 1, 1))] == [2, 2]  # all take the same
    shares = torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(0)).softmax(dim=2)
    batch = sum(float(shares[:, m, k].mean()) ** 2 for m in range(2) for k in range(3))
    sample = sum(float(share) ** 2 for share in shares.flatten()) / 5
    assert [float(term) for term in gini_terms(shares)] == [pytest.approx(batch), pytest.approx(sample)]


def test_saturated_softmax_has_finite_losses_and_gradients():
    method = build("klein-wolf")
    x = 1e4 * torch.randn(8, 15)
    x.requires_grad_()
    terms = method.terms(x, labels_of([0, 1, 2, 3] * 2, 4), codes=True)
    torch.stack(list(terms.values())).sum().backward()
    assert all(term.isfinite() for term in terms.values())
    assert x.grad.isfinite().all()


def test_the_central_loss_against_a_loop():
    soft, hard = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    centres, labels = torch.randn(4, 3), labels_of([0, 1, 2, 0, 3, 1], 4)
    labels[[1, 4]] = False
    terms = [
        float((each[i] - centres[labels[i].int().argmax()]).square().sum()) / 2
        for i in (0, 2, 3, 5)
        for each in (soft, hard)
    ]
    assert float(joint_central_loss(soft, hard, centres, labels)) == pytest.approx(sum(terms) / 4)
    assert joint_central_loss(soft, hard, centres, torch.zeros_like(labels)) == 0


def test_soft_and_hard_are_both_drawn_to_the_same_centre():
    centres = torch.zeros(1, 2, requires_grad=True)
    soft, hard = torch.tensor([[1.0, 0]], requires_grad=True), torch.tensor([[0.0, 1]], requires_grad=True)
    joint_central_loss(soft, hard, centres, torch.ones(1, 1, dtype=torch.bool)).backward()
    assert (soft.grad.tolist(), hard.grad.tolist()) == ([[1, 0]], [[0, 1]])
    assert centres.grad.tolist() == [[-1, -1]]


def test_images_of_several_classes_are_refused():
    labels = torch.tensor([[True, False], [True, True]])
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(InputError, match="1 training images have several"):
        check_labels(Split(images, labels), 16)
    check_labels(Split(images, labels & torch.tensor([True, False])), 16)
