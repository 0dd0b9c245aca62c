"""CSQ with a nested hash layer: one training for all code lengths (`baselines.binary.nested`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.binary.csq import CentralLoss, CSQConfig
from baselines.binary.nested import Nested, nested_targets
from baselines.binary.signs import sign_network
from dpq.learning.entry import MethodContext, MethodEntry
from dpq.learning.settings import Weight


@dataclass(frozen=True)
class NestedCSQConfig(CSQConfig):
    """Settings of CSQ, and of the nested hash layer: see `Nested`."""

    cascade: Weight = 1.0
    dominance: bool = True


class NestedCSQ(Nested):
    """CSQ at every length."""

    name = "csq-nested"

    def squash(self, outputs: Tensor) -> Tensor:
        """tanh(z) of outputs z [B, D]."""
        return torch.tanh(outputs)


def _build(context: MethodContext) -> NestedCSQ:
    config: NestedCSQConfig = context.config
    return NestedCSQ(
        sign_network(context),
        lambda bits: CentralLoss(nested_targets(context.classes, bits, config.targets), config),
        context.bits,
        context.codebook_size,
        config.cascade,
        config.dominance,
    )


METHOD = MethodEntry(
    build=_build,
    title="CSQ nested",
    progressive=True,
    config=NestedCSQConfig,
    order=45,
    style=("#AA4499", ">"),
    ranges={
        "quantization": (1e-5, 1.0, "log"),
        "targets": ("hadamard", "maxhd", "bernoulli"),
        "cascade": (0.01, 10.0, "log"),
        "dominance": (True, False),
        "score": ("symmetric", "inner"),
    },
)
