"""Nested hash layer (He et al., arXiv 2412.08922): one head for all code lengths, on the loss of any binary head.

The head of a shorter code is the first rows of the longest one, so a prefix of a code is the shorter code. The
objective is the sum of the losses of all lengths, each with targets of its own, and of the cascade that has each length
order a batch as the next longer one does. Weights keep longer codes from undoing what shorter ones learn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.binary.signs import SignMethod
from baselines.binary.targets import Targets, sign_targets
from dpq.learning.backbone import Backbone

BYTE = 8


class Nested(SignMethod):
    """A binary head of which every prefix of whole bytes is trained.

    Args:
        backbone: network with its embedding head.
        loss: makes the module of the host's loss terms, from outputs [B, b] and labels [B, L], for a length b.
        bits: of the longest code.
        codebook_size: codewords per level K.
        cascade: weight eta of `order_difference`.
        dominance: weigh lengths by `dominance_aware_weights`; else all alike.

    Raises:
        InputError: the code length does not fit, or the shortest has fewer codes than there are classes.
    """

    progressive = True

    def __init__(
        self,
        backbone: Backbone,
        loss: Callable[[int], nn.Module],
        bits: int,
        codebook_size: int,
        cascade: float,
        dominance: bool,
    ) -> None:
        super().__init__(backbone, bits, codebook_size)
        self.lengths = nested_lengths(bits, codebook_size)
        self.nested = nn.ModuleList(map(loss, self.lengths))
        self.cascade, self.dominance = cascade, dominance

    def terms(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The weighted loss of each length, its cascade included."""
        prefixes = [outputs[:, :bits] for bits in self.lengths]
        losses = [
            torch.stack(list(host(own, labels).values())).sum() for host, own in zip(self.nested, prefixes, strict=True)
        ]
        for index, (short, longer) in enumerate(pairwise(prefixes)):
            losses[index] = losses[index] + self.cascade * order_difference(short, longer.detach())
        weights = self._weights(losses)
        return {f"bits_{bits}": w * loss for bits, w, loss in zip(self.lengths, weights, losses, strict=True)}

    def _weights(self, losses: Sequence[Tensor]) -> Sequence[float] | Tensor:
        """One weight for each length."""
        head = self.backbone.embedding.weight
        if not (self.dominance and len(losses) > 1 and head.requires_grad and torch.is_grad_enabled()):
            return [1.0] * len(losses)
        # Of the head alone: none of these passes goes on into the network.
        gradients = [torch.autograd.grad(loss, head, retain_graph=True)[0] for loss in losses]
        return dominance_aware_weights([g[:bits] for g, bits in zip(gradients, self.lengths, strict=True)])


def nested_lengths(bits: int, codebook_size: int) -> list[int]:
    """The code lengths that are trained: of whole levels, at least a byte apart, and the longest.

    >>> nested_lengths(32, 256), nested_lengths(12, 16)
    ([8, 16, 24, 32], [8, 12])
    """
    level = codebook_size.bit_length() - 1
    step = -(-BYTE // level) * level
    return [*range(step, bits, step), bits]


def nested_targets(classes: int, bits: int, kind: Targets) -> Tensor:
    """`sign_targets` [L, bits] of a length among others.

    Of "hadamard" they are those of the next power of two, cut. As long as the shortest length has rows for all classes,
    the targets of any length begin those of a longer one, and lengths agree on what every bit is to be.

    Raises:
        InputError: more classes than there are different codes.
    """
    whole = 2 ** (bits - 1).bit_length() if kind == "hadamard" and classes <= 2**bits else bits
    return sign_targets(classes, whole, kind)[:, :bits]


def order_difference(short: Tensor, longer: Tensor) -> Tensor:
    """Long-short cascade: mean squared difference of how two lengths see the pairs of a batch.

    Args:
        short: outputs [B, b].
        longer: outputs [B, b'] of the next longer one, detached.

    Returns:
        Scalar: of both matrices of inner products [B, B], rows scaled to unit length.
    """
    seen = [F.normalize(x @ x.T, dim=1) for x in (short, longer)]
    return (seen[0] - seen[1]).square().mean()


@torch.no_grad()
def dominance_aware_weights(gradients: Sequence[Tensor]) -> Tensor:
    """Weights [n] of n code lengths that keep longer ones from undoing the steps of shorter ones.

    Where the gradient of a longer code, on the rows that it shares with a shorter one, goes against that one's by more
    than its (n - 1)-th part, its weight is cut to that part; what the next longer one is cut to bounds all longer ones.

    Args:
        gradients: [b, F] each, of every length's loss with respect to its rows of the head, by ascending length b.

    Returns:
        The product of all cuts of each length, scaled to the sum n.
    """
    count = len(gradients)
    weights = gradients[0].new_ones(count)
    for index, short in enumerate(gradients[:-1]):
        part = short.square().sum() / (count - 1)
        against = torch.stack([-(longer[: len(short)] * short).sum() for longer in gradients[index + 1 :]])
        cuts = torch.where(against > part, part / against, torch.ones_like(against))
        weights[index + 1 :] *= torch.minimum(cuts, cuts[0])
    return weights * count / weights.sum()
