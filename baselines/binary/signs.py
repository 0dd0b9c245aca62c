"""What binary heads share: codes that are signs, as additive codebooks.

Axes: N images, B batch, D dimensions of an embedding, which are as many as bits, M levels, K codewords, L classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dpq.codes import additive
from dpq.errors import InputError
from dpq.learning.backbone import Backbone, Head
from dpq.learning.deep import DeepMethod
from dpq.learning.entry import MethodContext
from dpq.learning.settings import autocast


class SignMethod(DeepMethod):
    """A network with a head as wide as the code is long; the code is the signs of the embedding, and 0 is negative.

    A method adds its loss, in `terms`, and what makes an embedding of the head's output, in `squash`.

    Args:
        backbone: network with its embedding head.
        bits: code length.
        codebook_size: K; log2 K signs are a level.

    Raises:
        InputError: the code length does not fit the codebooks, or the head.
    """

    progressive = False
    capturable = True
    constant_codebooks = True

    def __init__(self, backbone: Backbone, bits: int, codebook_size: int) -> None:
        super().__init__(backbone, feature_epochs=0.0)
        self._codebooks: Tensor
        self.register_buffer("_codebooks", sign_codebooks(bits, codebook_size), persistent=False)
        if backbone.embedding.out_features != bits:
            raise InputError(f"a code of {bits} bits needs a head as wide; got {backbone.embedding.out_features}")

    @property
    def codebooks(self) -> Tensor:
        """[M, K, D], as `sign_codebooks` has them."""
        return self._codebooks

    def forward(self, inputs: Tensor, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings [B, D], and no logits [B, 0]; as `DeepMethod.forward`."""
        outputs, logits = self.backbone(inputs, count)
        return self.squash(outputs.float()), logits

    def squash(self, outputs: Tensor) -> Tensor:
        """Embeddings [B, D] from outputs of the head [B, D], of the same signs."""
        return outputs

    def assign(self, embeddings: Tensor) -> Tensor:
        """Codes [N, M] uint8: the signs of embeddings [N, D], on their device.

        They are what `additive.encode` gives, which beside large numbers loses the sign of a very small one.
        """
        levels, size = self._codebooks.shape[:2]
        positive = additive.usable_embeddings(embeddings, self._codebooks) > 0
        weights = 2 ** torch.arange(size.bit_length() - 1, device=positive.device)
        return (positive.view(len(positive), levels, len(weights)) * weights).sum(dim=2).to(torch.uint8)

    def terms(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Weighted loss terms from outputs of the head [B, D] float32, before `squash`, and labels [B, L]."""
        raise NotImplementedError

    def losses(self, inputs: Tensor, labels: Tensor, rows: Tensor, epoch: int) -> dict[str, Tensor]:
        """Weighted terms of the objective for one batch; arguments as for `DeepMethod.losses`."""
        with autocast(inputs.device, self.training_config.precision):
            outputs = self.backbone(inputs, len(rows))[0]
        return self.terms(outputs.float(), labels)


def sign_network(context: MethodContext, head: Head = "none") -> Any:
    """The experiment's network without a classifier, and with a head as wide as the code is long.

    Raises:
        InputError: the code length does not fit.
    """
    additive.levels_for(context.bits, context.codebook_size)
    return context.backbone(0, embedding_dim=context.bits, head=head)


def sign_codebooks(bits: int, codebook_size: int) -> Tensor:
    """Codebooks [M, K, D] of which every sum is a vector of +1 and -1, for D = `bits` and M = bits / log2 K.

    Bit j of codeword k of level m is +1 or -1 in dimension m log2 K + j; other dimensions are 0 there.

    Raises:
        InputError: `bits` is no positive multiple of log2 K, or K is unusable.
    """
    levels, step = additive.levels_for(bits, codebook_size), codebook_size.bit_length() - 1
    patterns = (torch.arange(codebook_size)[:, None] >> torch.arange(step) & 1) * 2.0 - 1  # [K, log2 K]
    codebooks = torch.zeros(levels, codebook_size, levels, step)
    for level in range(levels):
        codebooks[level, :, level] = patterns
    return codebooks.flatten(start_dim=2)
