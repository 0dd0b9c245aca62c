import itertools

import numpy as np
import pytest
import torch

from dpq import InputError
from dpq.codes.additive import decode, encode
from dpq.codes.icm import icm_encode


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
