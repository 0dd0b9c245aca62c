import numpy as np
import pytest
import torch

from dpq.codes.additive import decode, encode, kmeans_in_parts
from dpq.codes.icm import icm_encode
from dpq.codes.least_squares import least_squares_codebooks, orthogonality_penalty, shared_codebook


def test_the_penalty_against_its_formula():
    codebooks = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = sum(
        float(torch.linalg.matrix_norm(one @ other.T - torch.eye(4, dtype=torch.float64)) ** 2)
        for one in codebooks
        for other in codebooks
    )
    assert float(orthogonality_penalty(codebooks)) == pytest.approx(expected / (3 * 4) ** 2)
    assert float(orthogonality_penalty(torch.eye(4)[None])) == 0


def coded(images=400, levels=2, codewords=8, dim=5):
    generator = torch.Generator().manual_seed(0)
    codebooks = torch.randn(levels, codewords, dim, generator=generator)
    x = torch.randn(images, dim, generator=generator)
    return x, icm_encode(x, codebooks), codebooks


def mean_error(x, codes, codebooks):
    return float((x - decode(codes, codebooks)).square().sum(dim=1).mean())


def test_least_squares_against_numpy():
    x, codes, codebooks = coded()
    one_hot = np.concatenate([np.eye(8)[codes[:, m].numpy()] for m in range(2)], axis=1)
    solution, *_ = np.linalg.lstsq(one_hot, x.numpy().astype(float), rcond=None)
    best = float(np.square(x.numpy() - one_hot @ solution).sum(axis=1).mean())
    assert mean_error(x, codes, least_squares_codebooks(x, codes, codebooks)) == pytest.approx(best, rel=1e-4)


def test_codewords_that_no_code_uses_stay():
    x, codes, codebooks = coded()
    codes[codes[:, 1] == 3, 1] = 4
    solved = least_squares_codebooks(x, codes, codebooks)
    assert torch.allclose(solved[1, 3], codebooks[1, 3], atol=1e-5)
    assert not torch.allclose(solved[1, 4], codebooks[1, 4], atol=1e-2)


def test_the_weight_trades_error_for_orthogonality():
    x, codes, codebooks = coded()
    results = [least_squares_codebooks(x, codes, codebooks, weight) for weight in (0.0, 0.1, 10.0)]
    errors = [mean_error(x, codes, solved) for solved in results]
    penalties = [float(orthogonality_penalty(solved)) for solved in results]
    assert errors == sorted(errors)
    assert penalties == sorted(penalties, reverse=True)
    objectives = [error + 0.1 * penalty for error, penalty in zip(errors, penalties, strict=True)]
    assert min(objectives) == objectives[1]


def test_alternating_codes_and_codebooks_lowers_the_error():
    x, codes, codebooks = coded()
    errors = [mean_error(x, codes, codebooks)]
    for _ in range(4):
        codebooks = least_squares_codebooks(x, codes, codebooks)
        errors.append(mean_error(x, codes, codebooks))
        codes = icm_encode(x, codebooks, start=codes)
        errors.append(mean_error(x, codes, codebooks))
    assert errors == sorted(errors, reverse=True)


def prefix_errors(x, codebook, scales, choice):
    codebooks = scales[:, None, None] * codebook
    codes = encode(x, codebooks, choice)
    return [mean_error(x, codes[:, :m], codebooks[:m]) for m in range(1, len(scales) + 1)]


@pytest.mark.parametrize(("mean", "share"), [(0.0, 0.95), (3.0, 0.85)])
@pytest.mark.parametrize("seed", range(3))
def test_a_shared_codebook_serves_residuals_as_well(seed, mean, share):
    x = torch.randn(500, 5, generator=torch.Generator().manual_seed(seed)) + mean
    plain, scales = shared_codebook(x, 4, 16, seed, rounds=0)
    centres = kmeans_in_parts([x], 16, seed)[0]
    assert (plain == centres).all(dim=1).sum() >= 12  # the others were taken by none
    codebook, shared = shared_codebook(x, 4, 16, seed)
    assert shared[0] == scales[0] == 1
    assert codebook.shape == (16, 5)
    errors = prefix_errors(x, codebook, shared, "cosine")
    assert sum(errors) < share * sum(prefix_errors(x, plain, scales, "cosine"))
    assert errors == sorted(errors, reverse=True)


def test_each_scalar_leaves_least_of_what_earlier_levels_left():
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    codebook, scales = shared_codebook(x, 3, 8, 0)
    for level in (1, 2):
        least = prefix_errors(x, codebook, scales[: level + 1], "cosine")[-1]
        for factor in (0.9, 1.1):
            other = scales[: level + 1].clone()
            other[level] *= factor  # of the same sign: the codes stay
            assert prefix_errors(x, codebook, other, "cosine")[-1] > least


def test_one_level_of_a_shared_codebook_has_the_scalar_1():
    x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    codebook, scales = shared_codebook(x, 1, 8, 0)
    assert scales.tolist() == [1.0]
    assert codebook.isfinite().all()


def test_codewords_that_no_level_takes_are_moved_onto_points_and_the_others_stay():
    x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0)) + 4
    start = torch.cat([x[:6], -x[:2]])  # the last two point away from every point
    codebook = shared_codebook(x, 1, 8, 0, start=start, rounds=0)[0]
    assert torch.equal(codebook[:6], start[:6])
    assert all((x == moved).all(dim=1).any() for moved in codebook[6:])
    assert torch.equal(start[6:], -x[:2])
