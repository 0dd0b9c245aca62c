import copy
from itertools import pairwise

import numpy as np
import pytest
import torch

from dpq import InputError, ProgressiveQuantizer
from dpq.codes.additive import affinities, decode, kmeans


def trained_like(levels=4, size=16, dim=6, seed=0, **switches):
    """A quantizer whose codebooks come from data, and that data."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(300, dim, generator=generator)
    quantizer = ProgressiveQuantizer(levels, size, dim, **switches)
    quantizer.initialise(x, seed)
    return quantizer, x


def nearest_by_loops(x, codebooks):
    """Greedy residual coding, one image and one codeword at a time."""
    codes = np.zeros((len(x), len(codebooks)), dtype=int)
    for n, row in enumerate(x.double().numpy()):
        residual = row.copy()
        for level, codebook in enumerate(codebooks.detach().double().numpy()):
            distances = [np.sum((residual - codeword) ** 2) for codeword in codebook]
            codes[n, level] = int(np.argmin(distances))
            residual = residual - codebook[codes[n, level]]
    return codes


def test_hard_choice_is_the_nearest_codeword_by_brute_force():
    quantizer, x = trained_like()
    assert np.array_equal(quantizer.encode(x).numpy(), nearest_by_loops(x, quantizer.codebooks))


def test_codes_are_uint8_of_the_contracted_shapes():
    quantizer = ProgressiveQuantizer()
    assert quantizer.codebooks.shape == (4, 256, 300)
    codes = quantizer.encode(torch.randn(5, 300))
    assert codes.shape == (5, 4)
    assert codes.dtype == torch.uint8
    assert quantizer.decode(codes).shape == (5, 300)
    assert quantizer.decode(codes, levels=2).shape == (5, 300)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_prefix_of_the_code_is_the_code_of_that_length(levels):
    quantizer, x = trained_like()
    shorter = ProgressiveQuantizer(levels, 16, 6)
    with torch.no_grad():
        shorter.codebooks.copy_(quantizer.codebooks[:levels])
    codes = quantizer.encode(x)
    assert torch.equal(codes[:, :levels], shorter.encode(x))
    assert torch.equal(quantizer.decode(codes, levels), shorter.decode(shorter.encode(x)))


def test_decode_sums_the_chosen_codewords():
    generator = torch.Generator().manual_seed(1)
    codebooks = torch.randn(3, 8, 5, generator=generator)
    codes = torch.randint(8, (20, 3), generator=generator)
    expected = torch.stack([sum(codebooks[m, int(code[m])] for m in range(2)) for code in codes])
    assert torch.allclose(decode(codes, codebooks, levels=2), expected, atol=1e-6)


def test_training_error_falls_with_every_level():
    quantizer, x = trained_like(levels=6)
    codes = quantizer.encode(x)
    errors = [float((x - quantizer.decode(codes, m)).square().sum()) for m in range(1, 7)]
    assert all(later < earlier for earlier, later in pairwise(errors))


def test_forward_agrees_with_encode_and_decode_at_every_prefix():
    quantizer, x = trained_like()
    result = quantizer(x)
    assert torch.equal(result.codes, quantizer.encode(x))
    for level in range(4):
        assert torch.allclose(result.hard[level], quantizer.decode(result.codes, level + 1), atol=1e-5)


def test_soft_assignment_converges_to_hard_as_gamma_grows():
    quantizer, x = trained_like()
    gaps = []
    for gamma in (0.1, 1.0, 10.0, 1e5):
        quantizer.gamma = gamma
        result = quantizer(x)
        gaps.append(float((result.soft - result.hard).square().sum(dim=2).mean().detach()))
    assert all(later < earlier for earlier, later in pairwise(gaps))
    assert gaps[-1] < 1e-3 * gaps[0]


def test_soft_sums_against_a_slow_reference():
    quantizer, x = trained_like(gamma=0.7)
    result = quantizer(x[:10])
    codebooks = quantizer.codebooks.detach().double().numpy()
    for n, row in enumerate(x[:10].double().numpy()):
        residual, total = row.copy(), np.zeros(6)
        for level, codebook in enumerate(codebooks):
            weights = np.exp(-0.7 * ((residual - codebook) ** 2).sum(axis=1))
            total += (weights / weights.sum()) @ codebook
            assert np.allclose(result.soft[level, n].detach().numpy(), total, atol=1e-5)
            residual = residual - codebook[int(result.codes[n, level])]


def test_the_soft_residual_switch_changes_the_soft_branch_alone():
    hard_path, x = trained_like(gamma=0.5)
    soft_path = ProgressiveQuantizer(4, 16, 6, gamma=0.5, soft_residual="soft")
    soft_path.load_state_dict(hard_path.state_dict())
    one, other = hard_path(x), soft_path(x)
    assert torch.equal(one.hard, other.hard)
    assert torch.equal(one.soft[0], other.soft[0])
    assert not torch.allclose(one.soft[1], other.soft[1])


def test_cosine_choice_ignores_codeword_length():
    quantizer, x = trained_like(hard_choice="cosine")
    codes = quantizer.encode(x)[:, 0]
    with torch.no_grad():
        quantizer.codebooks[0] *= torch.linspace(0.5, 3, 16)[:, None]
    assert torch.equal(quantizer.encode(x)[:, 0], codes)
    directions = torch.nn.functional.normalize(quantizer.codebooks[0].detach(), dim=1)
    assert torch.equal(codes.long(), (torch.nn.functional.normalize(x, dim=1) @ directions.T).argmax(dim=1))


def test_affinities_order_codewords_as_distances_do():
    generator = torch.Generator().manual_seed(2)
    x, codebook = torch.randn(50, 7, generator=generator), torch.randn(9, 7, generator=generator)
    ranked = affinities(x, codebook, "l2").argsort(dim=1, descending=True)
    assert torch.equal(ranked, torch.cdist(x.double(), codebook.double()).argsort(dim=1))


def test_equal_codewords_take_the_first():
    quantizer = ProgressiveQuantizer(1, 4, 2)
    with torch.no_grad():
        quantizer.codebooks[0] = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    assert quantizer.encode(torch.tensor([[1.0, 0], [0, 1]])).flatten().tolist() == [0, 1]


def test_initialise_repeats_under_a_seed_and_matches_scikit_learn_on_the_first_level():
    quantizer, x = trained_like(seed=3)
    again, _ = trained_like(seed=3)
    assert torch.equal(quantizer.codebooks, again.codebooks)
    assert np.array_equal(quantizer.codebooks[0].detach().numpy(), kmeans(x.numpy(), 16, 3))


def test_revive_moves_dead_codewords_and_only_those():
    quantizer, x = trained_like(levels=2)
    with torch.no_grad():
        quantizer.codebooks[0, 3] = 1e3  # never nearest
    before = quantizer.codebooks[0].detach().clone()
    assert quantizer.revive(x, seed=0) >= 1
    untouched = [k for k in range(16) if k != 3]
    assert torch.equal(quantizer.codebooks[0, untouched], before[untouched])
    assert (x == quantizer.codebooks[0, 3]).all(dim=1).any()
    assert len(quantizer.encode(x)[:, 0].unique()) == 16


def test_revive_leaves_living_codebooks_alone():
    quantizer, x = trained_like(levels=1)
    before = quantizer.codebooks.detach().clone()
    assert quantizer.revive(x, seed=0) == 0
    assert torch.equal(quantizer.codebooks, before)


def test_duplicated_points_do_not_break_initialisation():
    quantizer = ProgressiveQuantizer(2, 16, 3)
    quantizer.initialise(torch.eye(3).repeat(10, 1), seed=0)
    assert torch.isfinite(quantizer.codebooks).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"codebook_size": 100}, "power of two"),
        ({"codebook_size": 512}, "power of two"),
        ({"levels": 0}, "levels must be at least 1; got 0"),
        ({"dim": 0}, "dim must be at least 1; got 0"),
        ({"gamma": 0.0}, "gamma must be a positive number"),
    ],
)
def test_impossible_quantizers_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        ProgressiveQuantizer(**arguments)


def test_other_refusals():
    quantizer, x = trained_like()
    with pytest.raises(InputError, match=r"expected embeddings \[N, 6\]"):
        quantizer.encode(x[:, :5])
    with pytest.raises(InputError, match="cannot decode 5 levels"):
        quantizer.decode(quantizer.encode(x), levels=5)
    with pytest.raises(InputError, match="16 codewords per level need at least as many"):
        quantizer.initialise(x[:15], seed=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_embeddings_of_any_real_type_have_the_codes_of_their_float32_form(dtype):
    quantizer, x = trained_like()
    given = (8 * x).to(dtype)
    same = given.float()
    assert torch.equal(quantizer.encode(given), quantizer.encode(same))
    assert torch.equal(quantizer(given).codes, quantizer(same).codes)
    for change in ("revive", "initialise"):
        other = copy.deepcopy(quantizer)
        getattr(quantizer, change)(given, 1)
        getattr(other, change)(same, 1)
        assert torch.equal(quantizer.codebooks, other.codebooks)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e300])
@pytest.mark.parametrize("name", ["encode", "initialise", "revive"])
def test_embeddings_that_are_not_finite_are_refused(name, number):
    quantizer, x = trained_like()
    x = x.double()
    x[[7, 9], 2] = number
    seed = () if name == "encode" else (0,)
    with pytest.raises(InputError, match="2 of 300 embeddings hold NaN or infinity, the first is embedding 7"):
        getattr(quantizer, name)(x, *seed)


@pytest.mark.parametrize("name", ["encode", "initialise", "revive"])
@pytest.mark.parametrize("x", [torch.zeros(300, 5), torch.zeros(6), torch.zeros(300, 6, dtype=torch.complex64)])
def test_embeddings_of_another_form_are_refused(name, x):
    seed = () if name == "encode" else (0,)
    with pytest.raises(InputError, match=r"expected embeddings \[N, 6\]; got torch\.|embeddings are complex numbers"):
        getattr(trained_like()[0], name)(x, *seed)


def test_kmeans_refuses_points_that_are_not_finite():
    with pytest.raises(InputError, match="1 of 4 embeddings hold NaN or infinity, the first is embedding 3"):
        kmeans(np.array([[0], [1], [2], [np.nan]], dtype=np.float32), 2, 0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64])
def test_codes_of_any_integer_type_are_decoded(dtype):
    quantizer, x = trained_like()
    codes = quantizer.encode(x)
    assert torch.equal(quantizer.decode(codes.to(dtype)), quantizer.decode(codes))
    assert quantizer.decode(codes[:0].to(dtype)).shape == (0, 6)


@pytest.mark.parametrize(
    ("codes", "why"),
    [
        (torch.tensor([[0, 0, -1, 0]]), "from 0 to 15; got -1 to 0"),
        (torch.tensor([[3, 0, 0, 0], [16, 0, 0, 0]]), "from 0 to 15; got 0 to 16"),
        (torch.zeros(1, 4), r"codes are whole numbers \[N, M\]; got torch.float32 \[1, 4\]"),
        (torch.zeros(1, 4, dtype=torch.bool), "got torch.bool"),
        (torch.zeros(4, dtype=torch.int64), r"got torch.int64 \[4\]"),
    ],
)
def test_codes_of_no_codeword_are_refused(codes, why):
    with pytest.raises(InputError, match=why):
        trained_like()[0].decode(codes)


def test_the_soft_codeword_moves_with_gamma_times_the_spread_of_the_codewords_in_it():
    """docs/method.md: ds/dr = 2 gamma sum_k a_k (c_k - s)(c_k - s)^T, and the gradient of a codeword."""
    quantizer, x = trained_like(1, 16, 6, gamma=0.7)
    r, codebook = x[0].double(), quantizer.codebooks[0].detach().double()

    def soft(r, codebook):
        return torch.softmax(-0.7 * (r - codebook).square().sum(dim=1), dim=0) @ codebook

    weights, s = torch.softmax(-0.7 * (r - codebook).square().sum(dim=1), dim=0), soft(r, codebook)
    spread = codebook - s
    jacobian = torch.autograd.functional.jacobian(lambda r: soft(r, codebook), r)
    torch.testing.assert_close(jacobian, 2 * 0.7 * spread.T @ (weights[:, None] * spread))
    left = r - s
    expected = -2 * weights[:, None] * (left + 2 * 0.7 * (spread @ left)[:, None] * (r - codebook))
    found = torch.autograd.functional.jacobian(lambda c: (r - soft(r, c)).square().sum(), codebook)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gamma", [10.0, 100.0, 1000.0])
def test_between_two_codewords_the_soft_distortion_has_a_narrow_trough_with_walls_as_steep_as_gamma(gamma):
    """Of two that are 2 apart: on the border it is 0, beside it the hard 1, and in between 0.19 gamma 2^3 steep."""
    quantizer = ProgressiveQuantizer(1, 2, 1, gamma=gamma)
    with torch.no_grad():
        quantizer.codebooks.copy_(torch.tensor([[[-1.0], [1.0]]]))
    x = torch.linspace(-3 / gamma, 3 / gamma, 6001)[:, None].requires_grad_()
    distortion = (x - quantizer(x).soft[0]).square().sum(dim=1)
    (slope,) = torch.autograd.grad(distortion.sum(), x)
    distortion = distortion.detach()
    assert distortion[3000] < 1e-6 and float(distortion[0]) == pytest.approx((1 - 3 / gamma) ** 2, rel=0.01)
    assert float(slope.abs().max()) == pytest.approx(0.19 * gamma * 2**3, rel=0.3 if gamma == 10 else 0.04)
    assert (slope[2000:3000] < 0).all() and (slope[3001:4000] > 0).all()  # down to the border, where codes change


# The table in docs/method.md: gamma; of gradients of L_soft by image the mean, root mean square and largest, of those
# of L_joint the root mean square and largest, and that of L_soft by the codebooks.
STEEPNESS = {
    0.1: (10.5, 10.6, 15.2, 2.12, 3.29, 1.79),
    1.0: (8.41, 8.51, 13.6, 0.171, 0.556, 0.171),
    10.0: (6.49, 6.61, 11.9, 1.50, 8.60, 0.280),
    100.0: (10.1, 11.3, 60.3, 7.06, 45.8, 0.304),
    1000.0: (15.9, 33.5, 512.0, 22.5, 278.0, 0.989),
}


@pytest.mark.parametrize("gamma", STEEPNESS)
def test_gradients_of_the_soft_terms_are_those_of_the_documentation(gamma):
    generator = torch.Generator().manual_seed(0)
    middles = torch.randn(10, 32, generator=generator)
    x = torch.tanh(middles[torch.arange(8192) % 10] + 0.3 * torch.randn(8192, 32, generator=generator))
    quantizer = ProgressiveQuantizer(4, 64, 32, gamma=gamma)
    quantizer.initialise(x[:2048], 0)
    y = x[2048:].clone().requires_grad_()
    terms = quantizer(y).terms
    of_y, of_codebooks = torch.autograd.grad(terms.soft, (y, quantizer.codebooks), retain_graph=True)
    (of_joint,) = torch.autograd.grad(terms.joint, y)
    soft, joint = (len(y) * each.norm(dim=1) for each in (of_y, of_joint))
    found = (soft.mean(), soft.square().mean().sqrt(), soft.max(), joint.square().mean().sqrt(), joint.max())
    # The largest of 6,144 is one image, whose place in a slab so narrow hangs on the last digits of its codewords.
    tolerances = (0.02, 0.05, 0.2, 0.05, 0.2, 0.05)
    for value, written, tolerance in zip((*found, of_codebooks.norm()), STEEPNESS[gamma], tolerances, strict=True):
        assert float(value) == pytest.approx(written, rel=tolerance)
