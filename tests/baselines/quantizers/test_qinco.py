from functools import cache

import numpy as np
import pytest
import torch

from baselines.quantizers.qinco import QINCo, QINCoConfig, StepNetworks
from dpq import InputError
from dpq.codes.additive import decode, encode, residual_kmeans
from dpq.files.checkpoint import load_checkpoint, save_checkpoint
from dpq.learning.entry import Decoder
from dpq.learning.settings import Execution, TrainingConfig
from dpq.protocols import Split
from tests.baselines.quantizers.test_pq import Given, clustered


def grouped(points, seed, dim=8, groups=8):
    """Groups that are spread in directions of their own, so that the best codewords depend on the group."""
    made = torch.Generator().manual_seed(5)
    middles, spread = 3 * torch.randn(groups, dim, generator=made), torch.randn(groups, 2, dim, generator=made)
    generator = torch.Generator().manual_seed(seed)
    own = torch.randint(groups, (points,), generator=generator)
    return middles[own] + torch.einsum("nk,nkd->nd", torch.randn(points, 2, generator=generator), spread[own])


def learned(x, seed=0, bits=12, **settings):
    method = QINCo(Given(), bits, 16)
    method.config = QINCoConfig(**{"epochs": 6, "width": 32} | settings)
    method._codebooks = method.learn(x, seed)
    return method


@cache
def trained():
    return learned(grouped(2000, 0), epochs=8, learning_rate=0.01)


def errors(x, method):
    """Mean squared errors after each level."""
    codes = method.encode(x)
    return [float((x - method.decode(codes[:, :m])).square().sum(dim=1).mean()) for m in range(1, method.levels + 1)]


def errors_of_rq(x, codebooks):
    codes = encode(x, codebooks)
    return [
        float((x - decode(codes[:, :m], codebooks)).square().sum(dim=1).mean()) for m in range(1, len(codebooks) + 1)
    ]


def test_it_is_rq_before_the_first_epoch():
    x, fresh = grouped(300, 0), grouped(100, 1)
    method = learned(x, epochs=0)
    assert torch.equal(method.codebooks, residual_kmeans(x, 3, 16, 0))
    assert torch.equal(method.encode(fresh), encode(fresh, method.codebooks))
    codes = method.encode(fresh)
    assert torch.allclose(method.decode(codes), decode(codes, method.codebooks), atol=1e-6)


def test_the_network_follows_groups_whose_residuals_differ():
    x, fresh = grouped(2000, 0), grouped(400, 1)
    codebooks = residual_kmeans(x, 3, 16, 0)
    for points in (x, fresh):
        found, plain = errors(points, trained()), errors_of_rq(points, codebooks)
        assert found[0] == plain[0] and found[2] < 0.9 * plain[2]


@pytest.mark.parametrize("points", [17, 40, 400])
def test_no_level_is_worse_than_rq_on_the_vectors_that_both_are_fitted_to(points):
    x = torch.from_numpy(clustered(points, 12))  # nothing to be found in these
    found, plain = errors(x, learned(x, learning_rate=0.03)), errors_of_rq(x, residual_kmeans(x, 3, 16, 0))
    assert (np.array(found) <= np.array(plain) * (1 + 1e-6)).all()


def test_codes_are_the_nearest_codewords_once_the_network_has_moved_them():
    x, method = grouped(50, 2), trained()
    codes = method.encode(x)
    everything = QINCo(Given(), 12, 16)
    everything.config, everything._codebooks, everything.network = QINCoConfig(candidates=16), method.codebooks, None
    everything.network = method.network
    for row, code in zip(x, everything.encode(x).tolist(), strict=True):
        for level in range(3):
            tried = torch.tensor([[*code[:level], word] for word in range(16)])
            distances = (row - method.decode(tried)).square().sum(dim=1)
            assert distances[code[level]] <= distances.min() * (1 + 1e-4)
    assert (codes == everything.encode(x)).float().mean() > 0.9  # of 8 candidates, nearly always


def test_a_prefix_is_a_code_and_decodes_to_a_partial_sum():
    x, method = grouped(60, 3), trained()
    codes = method.encode(x)
    assert isinstance(method, Decoder) and codes.dtype == torch.uint8
    assert torch.equal(method.encode(x, bits=8), codes[:, :2])
    total = torch.zeros_like(x)
    for level in range(3):
        words = method.network(level, method.codebooks[level], codes[:, level, None].long(), total)
        total = total + words[:, 0]
        assert torch.allclose(method.decode(codes[:, : level + 1]), total.detach(), atol=1e-5)
    assert not torch.allclose(method.decode(codes), decode(codes, method.codebooks), atol=1e-2)
    with pytest.raises(InputError, match="codes of 16 codewords are from 0 to 15"):
        method.decode(torch.tensor([[16]]))


def test_a_code_does_not_depend_on_other_images(monkeypatch):
    x, method = grouped(200, 4), trained()
    whole, sums = method.encode(x), method.decode(method.encode(x))
    assert torch.equal(method.encode(x[31:77]), whole[31:77])
    monkeypatch.setattr("baselines.quantizers.qinco._BLOCK", 7)
    assert torch.equal(method.encode(x), whole)
    assert torch.allclose(method.decode(whole), sums, atol=1e-5)


def test_gradients_go_through_the_whole_chain():
    network, codebooks = StepNetworks(2, torch.randn(9, 6), 4, seed=1), torch.randn(3, 5, 6)
    with torch.no_grad():
        for each in (network.mix, network.out):
            each.normal_(generator=torch.Generator().manual_seed(0))
    codes = torch.tensor([[0, 1, 2], [4, 0, 3]])
    network.decode(codes, codebooks)[2].square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is None or all(step.abs().sum() > 0 for step in parameter.grad)
    assert network.scale.grad is network.centre.grad is None
    first = torch.randn(2, 6, requires_grad=True)
    network(2, codebooks[2], codes[:, :1], first).sum().backward()
    assert first.grad.abs().sum() > 0


def test_held_out_images_are_held_out_with_all_of_their_passes(monkeypatch):
    seen = []
    monkeypatch.setattr(QINCo, "_epochs", lambda self, x, seed: iter([seen.append(x) or torch.zeros(3, 16, 2)]))
    monkeypatch.setattr(QINCo, "_coded", lambda self, x, codebooks: (x, x.new_zeros(3)))
    method = QINCo(Given(), 12, 16)
    method.images = 100
    images = torch.arange(100.0).repeat(3)  # three passes over 100 images
    method.learn(torch.stack([images, images], dim=1), 0)
    rest, counts = seen[0][:, 0].unique(return_counts=True)
    assert len(rest) == 90 and (counts == 3).all() and len(seen[1]) == 300


def test_the_seed_decides_and_torchs_own_numbers_stay():
    x = grouped(200, 0)
    random = torch.get_rng_state()
    methods = [learned(x, epochs=0) for _ in range(3)]
    for method, seed in zip(methods, (0, 0, 1), strict=True):
        method.config = QINCoConfig(epochs=2)
        assert len(list(method._epochs(x, seed))) == 3
    assert torch.equal(torch.get_rng_state(), random)
    first, again, other = (method.network.state_dict() for method in methods)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if name not in ("scale", "centre"))
    assert torch.equal(learned(x, 7).codebooks, residual_kmeans(x, 3, 16, 7))


@pytest.mark.parametrize("bits", [4, 8])
def test_a_checkpoint_keeps_the_network(tmp_path, bits):
    path = tmp_path / "c.safetensors"
    images = torch.randint(0, 256, (40, 3, 2, 2), generator=torch.Generator().manual_seed(0)).to(torch.uint8)

    def fitted(width=8):
        method = QINCo(Given(), bits, 16)
        method.config = QINCoConfig(width=width, epochs=2)
        split = Split(images, torch.ones(40, 1, dtype=torch.bool))
        method.fit(split, TrainingConfig(1), 0, Execution(checkpoint=path))
        return method

    made = fitted()
    restored, x = fitted(), images[:9].flatten(1).float()
    kept = made.network.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in restored.network.state_dict().items())
    assert torch.equal(restored.encode(x), made.encode(x)) and torch.equal(
        restored.decode(made.encode(x)), made.decode(made.encode(x))
    )
    with pytest.raises(InputError, match=r"c\.safetensors is of another training .*delete it"):
        fitted(width=4)
    tensors, state = load_checkpoint(path)
    save_checkpoint(path, {"codebooks": tensors["codebooks"]}, state)
    with pytest.raises(InputError, match=r"is of another training .*is missing"):
        fitted()
