"""The progressive quantizer, which learns additive codebooks end to end.

Axes: N images, B batch, D dimensions, M levels, K codewords.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpq.codes.additive import (
    Choice,
    affinities,
    check_codebook_size,
    decode,
    embeddings_for,
    encode,
    residual_kmeans,
    usable_embeddings,
)
from dpq.inputs.values import Numbers, one_of, positive_number, whole_number
from dpq.method.losses import QuantizationTerms, quantization_terms


@dataclass(frozen=True)
class Quantized:
    """What one forward pass of the progressive quantizer gives.

    Attributes:
        soft: [M, B, D] partial sums S^l of the soft codewords.
        hard: [M, B, D] partial sums H^l of the chosen codewords.
        codes: [B, M] uint8.
        terms: the three loss terms, not yet weighted.
    """

    soft: Tensor
    hard: Tensor
    codes: Tensor
    terms: QuantizationTerms


class ProgressiveQuantizer(nn.Module):
    """Q-blocks in series: each approximates what the ones before it left (Gao et al. 2019, Sec. 2.2).

    A prefix of a code is the code of the shorter length, so one training serves every length.

    Args:
        levels: number of blocks M.
        codebook_size: codewords per block K, a power of two of at most 256.
        dim: dimension D of the embeddings.
        gamma: sharpness of the soft assignment `softmax(-gamma ||r - c||^2)`; unused with "cosine".
        hard_choice: nearest codeword in L2 (paper) or by cosine (released code).
        soft_assignment: softmax of scaled squared distances (paper) or of plain cosines (released code).
        soft_residual: the soft branch of a block reads the "hard" residual (released code, and the notation
            followed here), or the residual that the "soft" codewords left.
        joint_levels: the joint term compares soft and hard sums on the "last" level or on "every" one.
        norm: squared norms are a "sum" over dimensions (paper) or their "mean" (released code).

    Raises:
        InputError: a size is out of range.
    """

    def __init__(
        self,
        levels: int = 4,
        codebook_size: int = 256,
        dim: int = 300,
        *,
        gamma: float = 1.0,
        hard_choice: Choice = "l2",
        soft_assignment: Choice = "l2",
        soft_residual: Literal["hard", "soft"] = "hard",
        joint_levels: Literal["last", "every"] = "last",
        norm: Literal["sum", "mean"] = "sum",
    ) -> None:
        super().__init__()
        levels, dim = whole_number("levels", levels), whole_number("dim", dim)
        codebook_size = check_codebook_size(codebook_size)
        for name, value in (("hard_choice", hard_choice), ("soft_assignment", soft_assignment)):
            one_of(name, value, get_args(Choice))
        one_of("soft_residual", soft_residual, ("hard", "soft"))
        one_of("joint_levels", joint_levels, ("last", "every"))
        one_of("norm", norm, ("sum", "mean"))
        self.gamma = positive_number("gamma", gamma)
        self.hard_choice: Choice = hard_choice
        self.soft_assignment: Choice = soft_assignment
        self.soft_residual = soft_residual
        self.joint_levels = joint_levels
        self.norm = norm
        # N(0, 0.01), as in the released code, until `initialise` sees data.
        self.codebooks = nn.Parameter(0.01 * torch.randn(levels, codebook_size, dim))

    @property
    def levels(self) -> int:
        """Number of levels M."""
        return self.codebooks.shape[0]

    def soft_codeword(self, fits: Tensor, codebook: Tensor) -> Tensor:
        """Convex combination of the codewords [K, D] of a level by their affinities [B, K]: [B, D]."""
        scale = self.gamma if self.soft_assignment == "l2" else 1.0
        return torch.softmax(scale * fits, dim=1) @ codebook

    def forward(self, x: Numbers) -> Quantized:
        """Soft and hard partial sums of every level and the loss terms.

        Args:
            x: [B, D] embeddings; gradient reaches them, so detach to train the codebooks alone. NaN becomes NaN in the
                terms, and is not looked for here, as that would stall a GPU at every step.

        Raises:
            InputError: embeddings of another form.
        """
        x = embeddings_for(x, self.codebooks)
        residual, soft_residual = x, x
        soft: list[Tensor] = []
        hard: list[Tensor] = []
        codes: list[Tensor] = []
        for codebook in self.codebooks.unbind():  # its gradient is gathered once, not at each use
            fits = affinities(residual, codebook, self.hard_choice)
            code = fits.argmax(dim=1)
            read = residual if self.soft_residual == "hard" else soft_residual
            if read is not residual or self.soft_assignment != self.hard_choice:
                fits = affinities(read, codebook, self.soft_assignment)
            codeword, soft_codeword = F.embedding(code, codebook), self.soft_codeword(fits, codebook)
            soft.append(soft[-1] + soft_codeword if soft else soft_codeword)
            hard.append(hard[-1] + codeword if hard else codeword)
            codes.append(code)
            residual, soft_residual = x - hard[-1], x - soft[-1]
        soft_sums, hard_sums = torch.stack(soft), torch.stack(hard)
        terms = quantization_terms(x, soft_sums, hard_sums, joint_levels=self.joint_levels, norm=self.norm)
        return Quantized(soft_sums, hard_sums, torch.stack(codes, dim=1).to(torch.uint8), terms)

    @torch.no_grad()
    def encode(self, x: Numbers) -> Tensor:
        """Hard codes, block by block.

        Args:
            x: [N, D], of any real type; a tensor, or any array.

        Returns:
            [N, M] uint8.

        Raises:
            InputError: the dimension differs from the codebooks', or an embedding is not finite.
        """
        return encode(x, self.codebooks, self.hard_choice)

    @torch.no_grad()
    def decode(self, codes: Numbers, levels: int | None = None) -> Tensor:
        """Reconstructions [N, D] from codes [N, >= levels]; all levels unless told.

        Raises:
            InputError: more levels are asked for than there are, or a code is no index of a codeword.
        """
        return decode(codes, self.codebooks, levels)

    @torch.no_grad()
    def initialise(self, embeddings: Numbers, seed: int) -> None:
        """Set every codebook by k-means on the residuals of `embeddings` ([N, D]).

        Raises:
            InputError: fewer embeddings than codewords, embeddings of another dimension, or one that is not finite.
        """
        embeddings = usable_embeddings(embeddings, self.codebooks).to(self.codebooks.device)
        levels, size = self.codebooks.shape[:2]
        self.codebooks.copy_(residual_kmeans(embeddings, levels, size, seed, self.hard_choice))

    @torch.no_grad()
    def revive(self, embeddings: Numbers, seed: int) -> int:
        """Move codewords that no embedding chooses onto residuals, so that they can be chosen again.

        A dead codeword of a level becomes the residual of a random embedding at that level. Later levels see
        the residuals that the revived codebook leaves.

        Args:
            embeddings: [N, D], normally of the whole training set.
            seed: of the draw.

        Returns:
            How many codewords were moved.

        Raises:
            InputError: embeddings of another dimension, or one that is not finite.
        """
        embeddings = usable_embeddings(embeddings, self.codebooks)
        generator = torch.Generator().manual_seed(whole_number("seed", seed, -(2**63), 2**63 - 1))
        residual, moved = embeddings, 0
        for codebook in self.codebooks:
            chosen = affinities(residual, codebook, self.hard_choice).argmax(dim=1)
            dead = torch.nonzero(torch.bincount(chosen, minlength=len(codebook)) == 0).flatten()
            if len(dead):
                rows = torch.randint(len(residual), (len(dead),), generator=generator).to(residual.device)
                codebook[dead] = residual[rows]
                chosen = affinities(residual, codebook, self.hard_choice).argmax(dim=1)
                moved += len(dead)
            residual = residual - codebook[chosen]
        return moved
