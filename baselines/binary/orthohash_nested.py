"""OrthoHash with a nested hash layer: one training for all code lengths (`baselines.binary.nested`)."""

from __future__ import annotations

from dataclasses import dataclass

from baselines.binary.nested import Nested, nested_targets
from baselines.binary.orthohash import CosineLoss, OrthoHashConfig
from baselines.binary.signs import sign_network
from dpq.learning.entry import MethodContext, MethodEntry
from dpq.learning.settings import Weight


@dataclass(frozen=True)
class NestedOrthoHashConfig(OrthoHashConfig):
    """Settings of OrthoHash, and of the nested hash layer: see `Nested`."""

    cascade: Weight = 1.0
    dominance: bool = True


class NestedOrthoHash(Nested):
    """OrthoHash at every length."""

    name = "orthohash-nested"


def _build(context: MethodContext) -> NestedOrthoHash:
    config: NestedOrthoHashConfig = context.config
    return NestedOrthoHash(
        sign_network(context, "batchnorm"),
        lambda bits: CosineLoss(nested_targets(context.classes, bits, config.targets), config),
        context.bits,
        context.codebook_size,
        config.cascade,
        config.dominance,
    )


METHOD = MethodEntry(
    build=_build,
    title="OrthoHash nested",
    progressive=True,
    config=NestedOrthoHashConfig,
    order=47,
    style=("#117733", "<"),
    ranges={
        "margin": (0.0, 0.5),
        "targets": ("hadamard", "maxhd", "bernoulli"),
        "cascade": (0.01, 10.0, "log"),
        "dominance": (True, False),
        "score": ("symmetric", "inner"),
    },
)
