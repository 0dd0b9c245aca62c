"""QINCo, residual quantization with implicit neural codebooks (Huijben et al., ICML 2024), in a small form.

From the second level on a network moves RQ's codewords by what earlier levels reconstruct, so codes need a decoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn

from dpq.codes.additive import affinities, residual_kmeans, usable_codes, usable_embeddings
from dpq.learning.entry import MethodEntry
from dpq.learning.on_embeddings import EmbeddingQuantizer
from dpq.learning.settings import Count, KMeansConfig
from dpq.seeds import derive_seed

_BATCH, _EPOCH, _BLOCK = 64, 8192, 512  # vectors that a step trains on; an epoch, drawn anew; that are coded at once


@dataclass(frozen=True)
class QINCoConfig(KMeansConfig):
    """Settings of QINCo, whose comments say what they are."""

    width: Count = 64  # hidden units, and rank
    candidates: Annotated[int, Interval(ge=1, le=256)] = 8  # codewords that are tried, the nearest before they move
    epochs: Annotated[int, Interval(ge=0, le=10**6)] = 20  # at most; 0 leaves RQ
    learning_rate: Annotated[float, Interval(ge=1e-9, le=10)] = 3e-3  # of Adam; it falls to 0 along a line


class StepNetworks(nn.Module):
    """Codewords of the second and each further level: c + z + W2 relu(W1 (c + z)), with z = U (V c + V' x^) + bias."""

    def __init__(self, steps: int, x: Tensor, width: int, seed: int = 0) -> None:
        super().__init__()
        dim, centre = x.shape[1], x.mean(dim=0)
        self.centre = nn.Parameter(centre, requires_grad=False)  # beside which features may differ little
        self.scale = nn.Parameter((x - centre).square().mean().sqrt().clamp(min=1e-12), requires_grad=False)
        draws = torch.randn(3, steps, dim, width, generator=torch.Generator().manual_seed(seed)) / max(dim, 1) ** 0.5
        self.of_word, self.of_sum, self.hidden = (nn.Parameter(each.clone()) for each in draws)
        self.mix, self.out = (nn.Parameter(torch.zeros(steps, width, dim)) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(steps, dim))

    def forward(self, level: int, codebook: Tensor, chosen: Tensor, total: Tensor) -> Tensor:
        """The `chosen` [B, A] codewords of a level where earlier ones reconstruct `total` [B, D]; [B, A, D]."""
        words, step, scale = codebook[chosen], level - 1, self.scale
        if not level:
            return words
        before = (total - self.centre) / scale @ self.of_sum[step]
        moved = ((codebook / scale @ self.of_word[step])[chosen] + before[:, None]) @ self.mix[step] + self.bias[step]
        return words + scale * (moved + torch.relu((words / scale + moved) @ self.hidden[step]) @ self.out[step])

    @torch.no_grad()
    def encode(self, x: Tensor, codebooks: Tensor, candidates: int) -> tuple[Tensor, Tensor]:
        """Codes of embeddings [B, D], level by level, and the squared errors that each level leaves; [B, M] both."""
        total, codes, errors = torch.zeros_like(x), list[Tensor](), list[Tensor]()
        for level, codebook in enumerate(codebooks):
            near = affinities(x - total, codebook, "l2").topk(min(candidates, len(codebook)), dim=1).indices
            words = self(level, codebook, near, total)
            error, best = ((x - total)[:, None] - words).square().sum(dim=2).min(dim=1, keepdim=True)
            total = total + words.take_along_dim(best[:, :, None], dim=1)[:, 0]
            codes, errors = [*codes, near.gather(1, best)], [*errors, error]
        return torch.cat(codes, dim=1), torch.cat(errors, dim=1)

    def decode(self, codes: Tensor, codebooks: Tensor) -> Tensor:
        """Reconstructions of codes [B, m] after each level, [m, B, D]."""
        totals = [codebooks.new_zeros(len(codes), codebooks.shape[2])]
        for level, chosen in enumerate(codes.T):
            totals.append(totals[-1] + self(level, codebooks[level], chosen[:, None], totals[-1])[:, 0])
        return torch.stack(totals[1:])


class QINCo(EmbeddingQuantizer):
    """Neural residual quantization of given embeddings; a prefix of a code is the shorter code."""

    name = "qinco"
    progressive = True
    config = QINCoConfig()
    network: StepNetworks

    def new_network(self, dim: int) -> StepNetworks:
        """Those of every level but the first, which leave RQ's codewords where they are."""
        return StepNetworks(self.levels - 1, torch.zeros(1, dim), self.config.width)

    def learn(self, embeddings: Tensor, seed: int) -> Tensor:
        """Codebooks [M, K, D] of RQ; and the network, after the epoch that is best for a tenth of the images, held out.

        It is then trained anew on all for as long. If a level's error on them is above RQ's, it moves nothing.
        """
        order = torch.rand(self.images or len(embeddings), generator=torch.Generator().manual_seed(seed)).argsort()
        held = (order < len(order) // 10).repeat(len(embeddings) // len(order)).to(embeddings.device)
        rest, errors = embeddings[~held], [0.0]
        if len(rest) >= self.codebook_size:
            errors = [float(self._coded(embeddings[held], now)[1].sum()) for now in self._epochs(rest, seed)]
        epochs = self._epochs(embeddings, seed)
        plain = self._coded(embeddings, codebooks := next(epochs))[1]
        list(islice(epochs, errors.index(min(errors))))
        if (self._coded(embeddings, codebooks)[1] > plain).any():
            self.network = self.new_network(embeddings.shape[1]).to(embeddings.device)
        return codebooks

    def _epochs(self, x: Tensor, seed: int) -> Iterator[Tensor]:
        """Codebooks, when the network beside them starts and after each epoch of its training."""
        config, codebooks = self.config, residual_kmeans(x, self.levels, self.codebook_size, seed)
        network = self.network = StepNetworks(self.levels - 1, x, config.width, seed).to(x.device)
        yield codebooks
        optimizer = torch.optim.Adam(network.parameters())
        for epoch in range(config.epochs if self.levels > 1 else 0):
            order = torch.randperm(len(x), generator=torch.Generator().manual_seed(derive_seed(seed, "order", epoch)))
            optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - epoch / config.epochs)
            for some in torch.split(x[order[:_EPOCH].to(x.device)], _BATCH):
                totals = network.decode(network.encode(some, codebooks, config.candidates)[0], codebooks)
                optimizer.zero_grad()
                ((totals - some) / network.scale).square().mean().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            yield codebooks

    def _coded(self, x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [N, M], and the sums of their squared errors after each level, [M]."""
        parts = [self.network.encode(part, codebooks, self.config.candidates) for part in torch.split(x, _BLOCK)]
        codes, errors = (torch.cat(each) for each in zip(*parts, strict=True))
        return codes, errors.double().sum(dim=0)

    def search(self, embeddings: Tensor) -> Tensor:
        """Codes [N, M]: level by level the candidate that is nearest once it has moved."""
        return self._coded(usable_embeddings(embeddings, self._codebooks), self._codebooks)[0].byte()

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """As `dpq.learning.entry.Decoder` says; refuses what is no index of a codeword, with an `InputError`."""
        books, whole = self._codebooks, usable_codes(codes, self.codebook_size).to(self._codebooks.device).long()
        return torch.cat([self.network.decode(part, books)[-1] for part in torch.split(whole, _BLOCK)]).cpu()


METHOD = MethodEntry(
    build=QINCo.of,
    title="QINCo",
    progressive=True,
    config=QINCoConfig,
    source="backbone",
    order=36,
    style=("#CC79A7", "h"),
    on_dpq={"order": 96, "style": ("#0072B2", "h")},
    ranges={"normalise": (False, True), "score": ("inner", "l2"), "width": (32, 64, 128)},
)
