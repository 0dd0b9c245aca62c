"""K-means for points on a GPU, here on the CPU, against scikit-learn's."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

import dpq.codes.additive as additive
from dpq.codes.additive import kmeans, kmeans_in_parts, residual_kmeans
from dpq.codes.lloyd import _moved, _spread_start, lloyd, lloyd_step
from dpq.errors import InputError


def blobs(count=1500, dim=24, groups=40, spread=0.3, seed=0):
    random = torch.Generator().manual_seed(seed)
    middles = torch.randn(groups, dim, generator=random)
    return middles[torch.arange(count) % groups] + spread * torch.randn(count, dim, generator=random)


def error(points, centres):
    centres = torch.as_tensor(centres).double()
    return float(torch.cdist(points.double(), centres).amin(dim=1).square().sum())


def on_device(points, clusters, seed=0, iterations=50):
    return lloyd(points[None], clusters, [seed], iterations)[0]


@pytest.mark.parametrize("clusters", [2, 16, 40, 128])
@pytest.mark.parametrize("spread", [0.05, 0.3, 2.0])
def test_its_error_is_that_of_scikit_learn(clusters, spread):
    ours, theirs = [], []
    for seed in range(3):
        points = blobs(spread=spread, seed=seed)
        ours.append(error(points, on_device(points, clusters, seed)))
        theirs.append(error(points, kmeans(points.numpy(), clusters, seed)))
    assert ours == pytest.approx(theirs, rel=0.01)


def test_it_starts_from_the_points_that_scikit_learn_draws():
    from sklearn.cluster import kmeans_plusplus

    points = blobs()
    random = np.random.RandomState(7)
    expected = kmeans_plusplus(points.double().numpy(), 32, random_state=random)[0]
    assert torch.equal(on_device(points, 32, 7, iterations=0).float(), torch.from_numpy(expected).float())


def test_a_large_mean_costs_nothing():
    points = blobs()
    moved = (points + 1000.0).double()
    assert error(moved, on_device(moved.float(), 16)) == pytest.approx(error(points, on_device(points, 16)), rel=0.01)


def test_groups_far_apart_are_told_apart_within():
    near = blobs(800, 8, groups=8, spread=0.01)
    points = torch.cat([near[:400], near[400:] + 2000.0])
    theirs = kmeans(points.numpy(), 16, 0)
    assert error(points, on_device(points, 16)) <= 1.01 * error(points, theirs) < 1e6


def test_as_many_clusters_as_points():
    points = blobs(32)
    found = on_device(points, 32)
    assert error(points, found) < 1e-9 and error(found, points) < 1e-9


def test_duplicates_repeat_points():
    points = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    found = on_device(points.repeat(10, 1), 16)
    assert found.isfinite().all() and error(points, found) < 1e-9 and error(found, points) < 1e-9
    same = on_device(torch.full((20, 3), 0.1), 4)
    torch.testing.assert_close(same.float(), torch.full((4, 3), 0.1))


def test_an_empty_centre_takes_the_farthest_point():
    points = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0]]).double()
    centres = torch.tensor([[1.0], [100.0], [-100.0]]).double()
    moved = _moved(points[None], points[None].square().sum(2), centres[None])[0]
    assert moved.flatten().tolist() == [1.0, 11.0, 10.0]


def test_a_step_takes_the_means_of_the_nearest_points_and_the_farthest_point_where_there_are_none():
    sets = torch.stack([blobs(200, 6, seed=seed) for seed in range(3)]) + 100.0
    starts = sets[:, 5:13].clone()
    starts[1, 4] = -1e3
    stepped = lloyd_step(sets, starts)
    assert stepped.dtype == torch.float32
    for number, points in enumerate(sets.double()):
        distances, near = torch.cdist(points, starts[number].double()).min(dim=1)
        if number == 1:
            near[distances.argmax()] = 4
        expected = torch.stack([points[near == index].mean(dim=0) for index in range(8)])
        torch.testing.assert_close(stepped[number].double(), expected, rtol=1e-6, atol=1e-6)


def test_sets_beside_each_other_are_those_alone():
    sets = torch.stack([blobs(300, 6, seed=seed, spread=0.1 * (seed + 1)) for seed in range(4)])
    together = lloyd(sets, 16, [4, 5, 6, 7])
    for index, points in enumerate(sets):
        torch.testing.assert_close(together[index], on_device(points, 16, 4 + index))


def test_a_seed_repeats_to_the_bit_and_another_starts_elsewhere():
    points = blobs()
    assert torch.equal(on_device(points, 16, 3), on_device(points, 16, 3))
    assert not torch.equal(on_device(points, 16, 3), on_device(points, 16, 4))


def test_on_a_gpu_nothing_waits_for_the_host_within_an_iteration():
    with FakeTensorMode():  # tensors with a device and a shape: reading a value is refused, as is mixing devices
        points = torch.empty(2, 50, 6, device="cuda").double()
        squares = points.square().sum(dim=2)
        centres = _spread_start(points, squares, 8, [0, 1])
        assert _moved(points, squares, centres).device.type == "cuda"


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(additive, "_on_host", lambda _: False)


def test_parts_of_different_widths(as_on_a_gpu):
    points = blobs(400, 15)
    parts = list(points.split([5, 4, 6], dim=1))
    found = kmeans_in_parts(parts, 16, 2)
    assert [(centres.shape, centres.dtype) for centres in found] == [((16, p.shape[1]), torch.float32) for p in parts]
    for index, (part, centres) in enumerate(zip(parts, found, strict=True)):
        assert error(part, centres) == pytest.approx(error(part, kmeans(part.numpy(), 16, 2 + index)), rel=0.01)


def test_on_the_cpu_it_is_scikit_learn_to_the_bit():
    parts = list(blobs(300, 9).split([5, 4], dim=1))
    for index, (part, centres) in enumerate(zip(parts, kmeans_in_parts(parts, 8, 2), strict=True)):
        assert np.array_equal(centres.numpy(), kmeans(part.numpy(), 8, 2 + index))


@pytest.mark.parametrize("choice", ["l2", "cosine"])
def test_residual_codebooks_of_both_ways_leave_the_same_error(monkeypatch, choice):
    points = F.normalize(blobs(), dim=1)
    errors = []
    for host in (True, False):
        monkeypatch.setattr(additive, "_on_host", lambda _, host=host: host)
        codebooks = residual_kmeans(points, 3, 16, 0, choice)
        left = points - additive.decode(additive.encode(points, codebooks, choice), codebooks)
        errors.append(float(left.square().sum()))
    assert errors[1] == pytest.approx(errors[0], rel=0.03)  # levels add up what they differ by


@pytest.mark.parametrize(
    ("points", "clusters", "seed", "words"),
    [
        (torch.zeros(7, 2), 8, 0, "8 codewords per level need at least as many"),
        (torch.tensor([[0.0], [1.0], [torch.nan]]), 2, 0, "NaN or infinity, the first is embedding 2"),
        (torch.zeros(7), 2, 0, "points are"),
        (torch.zeros(7, 2), 2, -1, "seed"),
        (torch.zeros(7, 2), 0, 0, "clusters"),
    ],
)
def test_it_refuses_what_the_other_way_refuses(monkeypatch, points, clusters, seed, words):
    for host in (True, False):
        monkeypatch.setattr(additive, "_on_host", lambda _, host=host: host)
        with pytest.raises(InputError, match=words):
            kmeans_in_parts([points], clusters, seed)
