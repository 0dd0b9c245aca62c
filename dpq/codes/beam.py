"""Beam search: codes of additive codebooks of which, level by level, the best few go on.

Axes: N images, B images of a block, D dimensions, M levels, K codewords, b codes that are kept of an image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dpq.codes.additive import coded_at_once, usable_codebooks, usable_embeddings
from dpq.codes.icm import cost_tables
from dpq.inputs.values import Numbers, whole_number


@torch.no_grad()
def beam_encode(x: Numbers, codebooks: Numbers, beam: int = 5) -> Tensor:
    """Codes by beam search over the levels in their order (Babenko and Lempitsky, CVPR 2014; of RQ, Faiss).

    Each level extends every kept code by every codeword, and keeps the best of all. A beam of one is greedy `encode`,
    one of K^M is exact. A wider one lowers the mean error, though that of a single image may rise. A code is the best
    of the whole length, so its prefix is not the code that fewer levels would have.

    Args:
        x: [N, D] float.
        codebooks: [M, K, D] float.
        beam: codes that are kept, b.

    Returns:
        [N, M] uint8.

    Raises:
        InputError: the dimension differs from the codebooks', or an embedding is not finite.
    """
    beam, codebooks = whole_number("beam", beam), usable_codebooks(codebooks)
    x = usable_embeddings(x, codebooks)
    codes = torch.empty(len(x), len(codebooks), dtype=torch.uint8, device=x.device)
    for block, unary, products in cost_tables(x, codebooks, max(1, coded_at_once(x.device) // beam)):
        codes[block] = _best(unary, products, beam).to(torch.uint8)
    return codes


def _best(unary: Tensor, products: Tensor, beam: int) -> Tensor:
    """The best codes found, [B, M], by the tables of `cost_tables`."""
    levels, rows, size = unary.shape
    costs, codes = unary.new_zeros(rows, 1), torch.empty(rows, 1, 0, dtype=torch.long, device=unary.device)
    for level in range(levels):
        extended = costs[:, :, None] + unary[level][:, None]  # [B, b, K]
        for earlier in range(level):
            extended += products[earlier, level][codes[:, :, earlier]]
        costs, chosen = extended.flatten(1).topk(min(beam, extended[0].numel()), largest=False)
        before = codes.gather(1, (chosen // size)[:, :, None].expand(-1, -1, level))
        codes = torch.cat([before, (chosen % size)[:, :, None]], dim=2)
    return codes[:, 0]
