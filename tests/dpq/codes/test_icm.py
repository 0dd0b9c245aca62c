import itertools

import numpy as np
import pytest
import torch

from dpq import InputError
from dpq.codes.additive import decode, encode, residual_kmeans
from dpq.codes.icm import cost_tables, icm_encode, local_search, use_every_codeword


def problem(seed, images=200, levels=3, codewords=8, dim=6):
    """Correlated codebooks, on which greedy codes are often not the best."""
    generator = torch.Generator().manual_seed(seed)
    codebooks = torch.randn(levels, codewords, dim, generator=generator)
    return torch.randn(images, dim, generator=generator) * levels**0.5, codebooks


def objective(x, codes, codebooks):
    """[N] squared errors, in double precision."""
    return (x.double() - decode(codes, codebooks.double())).square().sum(dim=1).numpy()


def slow_icm(x, codebooks, codes, sweeps):
    """One image, one level, one codeword at a time."""
    x, codebooks, codes = x.double().numpy(), codebooks.double().numpy(), codes.numpy().astype(int)
    levels, codewords, _ = codebooks.shape
    for image, code in zip(x, codes, strict=True):
        for _ in range(sweeps):
            for level in range(levels):
                rest = image - sum(codebooks[m][code[m]] for m in range(levels) if m != level)
                code[level] = np.argmin([np.sum((rest - codebooks[level][k]) ** 2) for k in range(codewords)])
    return codes


def brute_force(x, codebooks):
    """[N] smallest squared errors over all codes."""
    levels, codewords, _ = codebooks.shape
    every = torch.tensor(list(itertools.product(range(codewords), repeat=levels)))
    sums = decode(every, codebooks.double())
    return torch.cdist(x.double(), sums).square().min(dim=1).values.numpy()


@pytest.mark.parametrize("sweeps", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_codes_are_those_of_the_slow_reference(seed, sweeps):
    x, codebooks = problem(seed)
    start = encode(x, codebooks)
    expected = slow_icm(x, codebooks, start, sweeps)
    assert np.array_equal(icm_encode(x, codebooks, sweeps).numpy(), expected)


@pytest.mark.parametrize("seed", range(4))
def test_no_sweep_raises_the_objective(seed):
    x, codebooks = problem(seed, images=500, levels=4, codewords=16)
    start = torch.randint(0, 16, (500, 4), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    values = [objective(x, start, codebooks)]
    for _ in range(5):
        start = icm_encode(x, codebooks, sweeps=1, start=start)
        values.append(objective(x, start, codebooks))
        assert (values[-1] <= values[-2] + 1e-5).all()
    assert values[-1].mean() < 0.9 * values[0].mean()


def test_the_optimum_of_small_instances_is_found_more_often_than_by_greedy_codes():
    found = {"greedy": 0, "icm": 0}
    for seed in range(10):
        x, codebooks = problem(seed, images=100)
        best = brute_force(x, codebooks)
        for name, codes in (("greedy", encode(x, codebooks)), ("icm", icm_encode(x, codebooks))):
            found[name] += int((objective(x, codes, codebooks) <= best + 1e-5).sum())
    assert found["icm"] > 1.2 * found["greedy"] > 0


def test_start_is_left_alone_and_ties_keep_it():
    x, codebooks = torch.zeros(4, 3), torch.ones(2, 8, 3)
    start = torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7]], dtype=torch.uint8)
    assert torch.equal(icm_encode(x, codebooks, start=start), start)
    x, codebooks = problem(0)
    start = torch.zeros(len(x), 3, dtype=torch.uint8)
    assert icm_encode(x, codebooks, start=start).any()
    assert not start.any()


def test_one_level_is_the_nearest_codeword():
    x, codebooks = problem(0, levels=1)
    assert torch.equal(icm_encode(x, codebooks), encode(x, codebooks))


def test_blocks_change_nothing(monkeypatch):
    x, codebooks = problem(0, images=50)
    whole = icm_encode(x, codebooks)
    monkeypatch.setattr("dpq.codes.additive.BLOCK", 7)
    assert torch.equal(icm_encode(x, codebooks), whole)


def test_another_dimension_is_refused():
    x, codebooks = problem(0)
    with pytest.raises(InputError, match=r"expected embeddings \[N, 6\]"):
        icm_encode(x[:, :5], codebooks)


def used(x, codebooks):
    return [len(level.unique()) for level in icm_encode(x, codebooks).T]


def left_behind(seed, levels, images=800, dim=8):
    """Embeddings in groups, and codebooks of what they were before they moved, by which some are far from all."""
    generator = torch.Generator().manual_seed(seed)
    middles = 3 * torch.randn(6, dim, generator=generator)
    x = middles[torch.randint(6, (images,), generator=generator)]
    x = x + torch.rand(images, 1, generator=generator) * torch.randn(images, dim, generator=generator)
    return x.roll(1, dims=1), residual_kmeans(x, levels, 32, seed)


@pytest.mark.parametrize("levels", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_every_codeword_comes_to_use_and_the_error_falls(seed, levels):
    x, codebooks = left_behind(seed, levels)
    given = codebooks.clone()
    found = use_every_codeword(x, codebooks)
    assert torch.equal(codebooks, given) and min(used(x, given)) < 32
    assert used(x, found) == [32] * levels
    before, after = (objective(x, icm_encode(x, books), books).mean() for books in (given, found))
    assert after < before
    assert torch.equal(found, use_every_codeword(x, given))


def test_levels_of_which_all_codewords_are_in_use_stay():
    x, codebooks = left_behind(0, 3)
    codebooks = use_every_codeword(x, codebooks)
    assert torch.equal(use_every_codeword(x, codebooks), codebooks)
    lacking = codebooks.clone()
    lacking[1, 5] = 1e3
    found = use_every_codeword(x, lacking)
    assert used(x, lacking)[1] == 31 and used(x, found) == [32] * 3
    assert not torch.equal(found[1], codebooks[1])


@pytest.mark.parametrize("different", [5, 8, 20])
def test_copies_of_few_points_share_codewords_and_no_more_are_used_than_points(different):
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(different, 4, generator=generator)
    x = points[(torch.rand(500, generator=generator) ** 3 * different).long()]
    found = use_every_codeword(x, torch.full((1, 8, 4), 9.0))
    assert found.isfinite().all() and used(x, found) == [min(different, 8)]
    if different < 8:
        assert objective(x, icm_encode(x, found), found).max() < 1e-9


def test_a_large_mean_hides_no_image():
    x, codebooks = left_behind(0, 2)
    near, far = (use_every_codeword(x + mean, codebooks + mean / 2) for mean in (0.0, 1000.0))
    assert used(x + 1000.0, far) == used(x, near) == [32] * 2


def test_fewer_images_than_codewords_are_refused():
    with pytest.raises(InputError, match="32 codewords per level need at least as many training images; got 9"):
        use_every_codeword(left_behind(0, 1)[0][:9], left_behind(0, 1)[1])


def test_local_search_is_never_worse_than_where_it_starts_and_nears_the_best():
    x, codebooks = problem(2, images=400)
    best = brute_force(x, codebooks).mean()
    errors = [objective(x, local_search(x, codebooks, rounds), codebooks) for rounds in (0, 4, 32)]
    assert np.array_equal(errors[0], objective(x, icm_encode(x, codebooks, 4), codebooks))
    assert (errors[1] <= errors[0] + 1e-5).all() and (errors[2] <= errors[1] + 1e-5).all()
    assert errors[0].mean() > 1.05 * best and errors[2].mean() < 1.005 * best


def test_a_code_of_local_search_does_not_depend_on_the_images_place_nor_on_earlier_calls():
    x, codebooks = problem(3, images=300)
    whole, random = local_search(x, codebooks), torch.get_rng_state()
    assert torch.equal(local_search(x[57:90], codebooks), whole[57:90])
    assert torch.equal(local_search(x.flip(0), codebooks).flip(0), whole)
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_local_search_takes_any_number_of_levels(levels):
    x, codebooks = problem(1, levels=levels, codewords=4)
    codes = local_search(x, codebooks, rounds=20)
    assert codes.shape == (len(x), levels) and codes.dtype == torch.uint8
    if levels < 5:
        assert np.allclose(objective(x, codes, codebooks), brute_force(x, codebooks), rtol=1e-3, atol=0.05)


def test_cost_tables_add_up_to_the_objective():
    x, codebooks = problem(6)
    codes = icm_encode(x, codebooks).long()
    for block, unary, products in cost_tables(x, codebooks, rows=64):
        own, half = codes[block], torch.zeros(len(codes[block]))
        for level in range(3):
            half += unary[level].gather(1, own[:, level, None])[:, 0]
            for earlier in range(level):
                half += products[earlier, level, own[:, earlier], own[:, level]]
        expected = (objective(x[block], own, codebooks) - x[block].double().square().sum(dim=1).numpy()) / 2
        assert np.allclose(half, expected, atol=1e-4)
