"""K-means of points that lie on a GPU, as scikit-learn has it on the CPU: the same draws, start, and end.

Axes: S sets of points that are clustered beside each other, N points, D dimensions, K clusters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_TOLERANCE = 1e-4  # of the mean variance of a dimension: centres that move by less have come to rest


@torch.no_grad()
def lloyd(points: Tensor, clusters: int, seeds: Sequence[int], iterations: int = 50) -> Tensor:
    """Centres of k-means (Lloyd 1982) in every set of points, where the points are; the host waits once per iteration.

    All is in float64, so that neither a large mean nor groups far apart cost a distance its digits, and nothing adds in
    an order that changes: the same seed gives the same bits on one device.

    Args:
        points: [S, N, D] float, finite.
        clusters: K, at most N.
        seeds: S of them.
        iterations: at most.

    Returns:
        [S, K, D] float64. Duplicated points can leave fewer distinct centres; the surplus repeats points.
    """
    points = points.double()
    mean = points.mean(dim=1, keepdim=True)
    points = points - mean
    squares = points.square().sum(dim=2)  # [S, N]
    rest = _TOLERANCE * points.var(dim=1, correction=0).mean(dim=1)  # [S]
    centres = _spread_start(points, squares, clusters, seeds)
    moving = torch.ones_like(rest, dtype=torch.bool)
    for _ in range(iterations):
        moved = _moved(points, squares, centres)
        shifts = (moved - centres).square().sum(dim=(1, 2))
        centres = torch.where(moving[:, None, None], moved, centres)
        moving &= shifts > rest
        if not moving.any():
            break
    return centres + mean


@torch.no_grad()
def lloyd_step(points: Tensor, centres: Tensor) -> Tensor:
    """Centres after one more iteration of `lloyd`; one without points takes a point that is among the farthest.

    Args:
        points: [S, N, D] float, finite.
        centres: [S, K, D] float, K at most N.

    Returns:
        [S, K, D], in the type of the centres.
    """
    points = points.double()
    mean = points.mean(dim=1, keepdim=True)
    points = points - mean
    return (_moved(points, points.square().sum(dim=2), centres.double() - mean) + mean).to(centres.dtype)


def _distances(points: Tensor, squares: Tensor, centres: Tensor) -> Tensor:
    """Squared distances [S, N, C] of points to centres [S, C, D]."""
    products = points @ centres.mT
    return torch.add(squares[:, :, None] + centres.square().sum(dim=2)[:, None], products, alpha=-2).clamp_(min=0)


def _spread_start(points: Tensor, squares: Tensor, clusters: int, seeds: Sequence[int]) -> Tensor:
    """Greedy k-means++ (Arthur and Vassilvitskii 2007): the best of a few draws, again and again, as scikit-learn."""
    sets, count, dim = points.shape
    trials = 2 + int(math.log(clusters))
    draws = [np.random.RandomState(seed) for seed in seeds]  # one number chooses the first, `trials` each further one
    first = torch.tensor([int(draw.random_sample() * count) for draw in draws], device=points.device)
    drawn = np.stack([draw.random_sample((clusters - 1, trials)) for draw in draws], axis=1)
    shares = torch.from_numpy(drawn).to(points.device)  # [K - 1, S, trials]
    every = torch.arange(sets, device=points.device)
    centres = points.new_empty(sets, clusters, dim)
    centres[:, 0] = points[every, first]
    nearest = _distances(points, squares, centres[:, :1])[:, :, 0]  # [S, N]
    for index, share in enumerate(shares.unbind(), 1):
        # As whole numbers, whose sums do not depend on the order that a GPU takes them in.
        whole = (nearest * (2.0**52 / nearest.sum(dim=1, keepdim=True).clamp(min=1e-290))).long().cumsum(dim=1)
        tried = torch.searchsorted(whole, (share * whole[:, -1:]).long(), right=True).clamp_(max=count - 1)
        candidates = points.gather(1, tried[:, :, None].expand(-1, -1, dim))
        left = torch.minimum(nearest[:, :, None], _distances(points, squares, candidates))
        best = left.sum(dim=1).argmin(dim=1)
        nearest, centres[:, index] = left[every, :, best], candidates[every, best]
    return centres


def _moved(points: Tensor, squares: Tensor, centres: Tensor) -> Tensor:
    """The means of the points that are nearest to each centre; a centre without any takes one of the farthest."""
    sets, count, _ = points.shape
    clusters = centres.shape[1]
    distances, own = _distances(points, squares, centres).min(dim=2)  # [S, N]
    every = torch.arange(clusters, device=points.device)
    empty = (own[:, :, None] == every).sum(dim=1) == 0  # [S, K]
    far, farthest = distances.topk(clusters, dim=1)
    rank = (empty.cumsum(dim=1) - 1).clamp_(min=0)
    taken = torch.where(empty & (far.gather(1, rank) > 0), farthest.gather(1, rank), count)
    # Where no centre is empty, all is written to a place behind the last point.
    own = torch.cat([own, own.new_zeros(sets, 1)], dim=1).scatter_(1, taken, every.expand(sets, -1))[:, :count]
    members = (own[:, :, None] == every).to(points.dtype)  # [S, N, K]
    sizes = members.sum(dim=1)[:, :, None]
    return torch.where(sizes > 0, (members.mT @ points) / sizes.clamp(min=1), centres)
