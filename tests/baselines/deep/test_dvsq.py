import pytest
import torch
from torch.nn import functional as F

from baselines.deep.dvsq import DVSQ, DVSQConfig
from dpq import InputError
from dpq.codes.additive import decode
from dpq.codes.icm import icm_encode
from dpq.codes.least_squares import least_squares_codebooks
from dpq.learning.backbone import Backbone
from dpq.method.label_vectors import orthonormal_label_vectors
from tests.dpq.conftest import BACKBONE

DIM = 8


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(vectors, levels=2, dim=DIM, **changes):
    torch.manual_seed(0)
    return DVSQ(
        Backbone(BACKBONE, 0, embedding_dim=dim), vectors, DVSQConfig(**changes), bits=4 * levels, codebook_size=16
    )


def with_codebooks(method, seed=1):
    method._codebooks.copy_(normal(*method.codebooks.shape, seed=seed))
    return method


def slow_error(method, x, codes):
    """Mean over images of the sum over label vectors of the squared error of the inner product."""
    total = 0.0
    for row, code in zip(x, codes, strict=True):
        left = row - sum(method.codebooks[m, k] for m, k in enumerate(code.tolist()))
        total += sum(float(v @ left) ** 2 for v in method.label_vectors)
    return total / len(x)


@pytest.mark.parametrize("labels", [5, DIM, 12])
def test_the_quantization_error_is_that_of_inner_products_with_unit_label_vectors(labels):
    method, x = with_codebooks(make(3 * normal(labels, DIM))), normal(6, DIM, seed=2)
    codes = method.assign(x)
    method._reconstructions = decode(codes, method.codebooks)
    assert torch.allclose(method.label_vectors.norm(dim=1), torch.ones(labels))
    error = method.quantization_error(x, torch.arange(6)).item()
    assert error == pytest.approx(slow_error(method, x, codes), rel=1e-4)


def test_codes_are_plain_codes_of_inner_products():
    method, x = with_codebooks(make(normal(5, DIM))), normal(50, DIM, seed=2)
    vectors = F.normalize(normal(5, DIM), dim=1)
    assert torch.equal(method.assign(x), icm_encode(x @ vectors.T, method.codebooks @ vectors.T))
    assert not torch.equal(method.assign(x), icm_encode(x, method.codebooks))
    # No change of one level's codeword lowers the error that queries see.
    codes, x = method.assign(x)[:5], x[:5]
    least = slow_error(method, x, codes)
    for level in range(2):
        for row in range(5):
            for k in range(16):
                changed = codes.clone()
                changed[row, level] = k
                assert slow_error(method, x, changed) >= least - 1e-5


def test_with_as_many_orthonormal_vectors_as_dimensions_all_is_plain():
    x, identity = normal(50, DIM, seed=2), torch.eye(DIM)
    plain = with_codebooks(make(identity, metric="plain"))
    for vectors in (identity, orthonormal_label_vectors(DIM, DIM)):
        method = with_codebooks(make(vectors))
        codes = method.assign(x)
        assert torch.equal(codes, plain.assign(x))
        assert torch.equal(codes, icm_encode(x, method.codebooks))
        method._reconstructions = plain._reconstructions = decode(codes, method.codebooks)
        rows = torch.arange(50)
        assert method.quantization_error(x, rows).item() == pytest.approx(plain.quantization_error(x, rows).item())


def test_the_plain_metric_ignores_label_vectors():
    method, x = with_codebooks(make(normal(3, DIM), metric="plain")), normal(20, DIM, seed=2)
    assert torch.equal(method.assign(x), icm_encode(x, method.codebooks))


def test_few_orthonormal_vectors_leave_the_other_dimensions_out_of_codes_and_loss():
    method, x = with_codebooks(make(torch.eye(DIM)[:3])), normal(20, DIM, seed=2)
    moved = x.clone()
    moved[:, 3:] += 10
    assert torch.equal(method.assign(x), method.assign(moved))
    method._reconstructions = x
    assert method.quantization_error(moved, torch.arange(20)) == 0


def test_least_squares_codebooks_minimise_the_weighted_error_too():
    method = with_codebooks(make(normal(5, DIM), unused="kept"))
    x, before = normal(200, DIM, seed=2), method.codebooks.clone()
    codes = method.assign(x)
    after = method.next_codebooks(x, before, 0)
    assert torch.equal(after, least_squares_codebooks(x, codes, before))

    def error(codebooks):
        return float(method.as_queries_see(x - decode(codes, codebooks)).square().sum())

    assert error(after) < error(before)
    weighted = least_squares_codebooks(
        method.as_queries_see(x), codes, torch.zeros(2, 16, 5), ridge=1e-6
    )  # the same problem, solved as queries see it
    best = float((method.as_queries_see(x) - decode(codes, weighted)).square().sum())
    assert error(after) == pytest.approx(best, rel=1e-3)
    for seed in range(20):
        assert error(after + 0.01 * normal(*after.shape, seed=seed)) > error(after)


@pytest.mark.parametrize("seed", range(3))
def test_codewords_that_no_image_takes_are_moved_as_queries_see_them(seed):
    vectors = orthonormal_label_vectors(5, DIM)
    moves, keeps = make(vectors), make(vectors, unused="kept")
    before, now = normal(300, DIM, seed=seed), 0.2 * normal(300, DIM, seed=seed) + 1.0
    start = moves.first_codebooks(before, seed)
    used = []
    for method in (moves, keeps):
        method._codebooks.copy_(method.next_codebooks(now, start, seed))
        used.append(sum(len(level.unique()) for level in method.assign(now).T))
    assert used[0] > used[1]
    assert used[0] >= 28  # of 32


def test_the_margin_loss_sees_negatives_as_asked():
    vectors, x = normal(4, DIM), normal(3, DIM, seed=1)
    labels = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]).bool()
    unit, directions = F.normalize(x, dim=1), F.normalize(vectors, dim=1)
    for negatives in ("wrong", "others"):
        total = 0.0
        for n in range(3):
            for i in labels[n].nonzero()[:, 0].tolist():
                for j in range(4):
                    if j != i and (negatives == "others" or not labels[n, j]):
                        margin = 1 - directions[i] @ directions[j]
                        total += max(0.0, float(margin - directions[i] @ unit[n] + directions[j] @ unit[n]))
        loss = make(vectors, negatives=negatives).feature_loss(x, labels)["margin"]
        assert loss.item() == pytest.approx(total / (4 * 3), rel=1e-5)


def test_gradient_reaches_the_network_and_no_label_vector_or_codebook(split):
    method = with_codebooks(make(normal(4, DIM)))
    method._reconstructions = torch.zeros(8, DIM)
    terms = method.losses(torch.rand(8, 3, 32, 32), split.labels[:8], torch.arange(8), epoch=0)
    assert set(terms) == {"margin", "quantization"}
    (x,) = torch.autograd.grad(method.quantization_error(y := normal(8, DIM).requires_grad_(), torch.arange(8)), [y])
    metric = method.label_vectors.T @ method.label_vectors
    assert torch.allclose(x, 2 * y.detach() @ metric / 8, atol=1e-5)
    sum(terms.values()).backward()
    assert method.backbone.embedding.weight.grad.any()
    assert not method.label_vectors.requires_grad
    assert not method.codebooks.requires_grad


def test_the_released_form_turns_every_switch_and_keeps_the_weights():
    released = DVSQConfig(quantization=0.5).released()
    assert released == DVSQConfig(quantization=0.5, negatives="others", codes_on="seen", unused="kept")


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"label vectors are \[4, 3\]; expected \[L, 8\]"):
        make(normal(4, 3))
    with pytest.raises(InputError, match="3 dimensions cannot be divided into 4 sub-spaces"):
        make(normal(2, 3), levels=4, dim=3)
    with pytest.raises(InputError, match=r"\[N, 8\]"):
        make(normal(4, DIM)).assign(torch.zeros(4, 3))
