"""Deep Progressive Quantization: backbone, progressive quantizer, and the objective that trains both.

Gao, Zhu, Song, Zhao and Shen: Beyond Product Quantization: Deep Progressive Quantization for Image Retrieval,
IJCAI 2019 (arXiv 1906.06698).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dpq.codes.additive import levels_for
from dpq.errors import InputError
from dpq.learning.backbone import Backbone
from dpq.learning.deep import DeepMethod, released_groups
from dpq.learning.entry import MethodEntry
from dpq.learning.settings import Epoch, Execution, TrainingConfig, TrainLog, Views, autocast
from dpq.method.config import DPQConfig
from dpq.method.losses import adaptive_margin_loss, classification_loss
from dpq.method.quantizer import ProgressiveQuantizer, Quantized
from dpq.protocols.base import Split
from dpq.seeds import derive_seed


class DPQMethod(DeepMethod):
    """Trained once, read at every code length.

    Args:
        backbone: network with its two heads.
        label_vectors: [L, D], directions that the margin loss pulls embeddings to.
        config: objective and switches.
        bits: longest code; one level per log2 K bits.
        codebook_size: codewords per level K.
        multi_label: images may carry several labels.

    Raises:
        InputError: code length or label vectors do not fit.
    """

    name = "dpq"
    progressive = True
    capturable = True

    def __init__(
        self,
        backbone: Backbone,
        label_vectors: Tensor,
        config: DPQConfig | None = None,
        *,
        bits: int = 32,
        codebook_size: int = 256,
        multi_label: bool = False,
    ) -> None:
        self.config = config or DPQConfig()
        super().__init__(backbone, self.config.feature_epochs)
        if not self.config.train_backbone:
            backbone.body.requires_grad_(False)
        self._learning = [p for p in backbone.parameters() if p.requires_grad]
        self.multi_label = multi_label
        dim = backbone.embedding.out_features
        classes = backbone.classifier.out_features if backbone.classifier else 0
        if label_vectors.shape != (classes, dim):
            raise InputError(f"label vectors are {list(label_vectors.shape)}; expected [{classes}, {dim}]")
        self.label_vectors: Tensor
        self.register_buffer("label_vectors", label_vectors.to(torch.float32, copy=True))
        self.quantizer = ProgressiveQuantizer(
            levels_for(bits, codebook_size),
            codebook_size,
            dim,
            gamma=self.config.gamma,
            hard_choice=self.config.hard_choice,
            soft_assignment=self.config.soft_assignment,
            soft_residual=self.config.soft_residual,
            joint_levels=self.config.joint_levels,
            norm=self.config.norm,
        )
        # Embeddings [N, D] and codes [N, M] of the training images as this epoch's steps have seen them; none yet.
        self._seen, self._codes = torch.empty(0), torch.empty(0)

    @property
    def codebooks(self) -> Tensor:
        """[M, K, D]."""
        return self.quantizer.codebooks.detach()

    def fit(
        self, train: Split, training: TrainingConfig, seed: int = 0, execution: Execution | None = None
    ) -> TrainLog:
        """Train features and codebooks end to end, going on from the checkpoint where there is one.

        Raises:
            InputError: fewer images than codewords; an epoch too few (`DPQConfig.check_training`); the loss or a weight
                is not finite any more.
        """
        self.config.check_training(training)
        shortened = replace(training, epochs=training.epochs - 1) if self.config.lost_epoch else training
        self._let_network_learn(True)
        return super().fit(train, shortened, seed, execution)

    def _let_network_learn(self, learns: bool) -> None:
        for parameter in self._learning:
            parameter.requires_grad_(learns)

    @property
    def crop_seed(self) -> int | None:
        """Seed of random crops at evaluation, where `evaluation_crop` asks for them."""
        return derive_seed(0, "evaluation crop") if self.config.evaluation_crop == "random" else None

    def assign(self, embeddings: Tensor) -> Tensor:
        """Codes [N, M] uint8 of embeddings [N, D], on their device."""
        return self.quantizer.encode(embeddings)

    def network_parameters(self, config: TrainingConfig) -> list[dict[str, Any]]:
        """Parameter groups of what learns of backbone and heads."""
        released = self.config.multipliers == "released"
        groups = released_groups(self.backbone, config) if released else super().network_parameters(config)
        learning = [group | {"params": [p for p in group["params"] if p.requires_grad]} for group in groups]
        return [group for group in learning if group["params"]]

    def codebook_parameters(self) -> list[dict[str, Any]]:
        """The codebooks, with their own learning rate."""
        return [{"params": [self.quantizer.codebooks], "lr": self.config.codebook_learning_rate}]

    def before_epoch(self, epoch: Epoch) -> None:
        """Start the codebooks from residual k-means when their time comes; of two steps, the network's ends there."""
        start = self.codes_start(epoch.count)
        if self.config.two_step:
            self._let_network_learn(epoch.index < start)
        if epoch.index == start:
            self._initialise(epoch)
        if epoch.index == start or (epoch.index > start and not len(self._seen)):
            levels, _, dim = self.codebooks.shape
            self._seen = self.codebooks.new_zeros(len(epoch.order), dim)
            self._codes = self._seen.new_zeros(len(epoch.order), levels, dtype=torch.uint8)

    def _initialise(self, epoch: Epoch) -> None:
        # The mean over the mirror images that training shows, whatever views evaluation will take.
        views: Views = "mirror" if self.training_config.augmentation.flip else "centre"
        self.quantizer.initialise(epoch.embeddings(views=views), epoch.seed)

    def losses(self, inputs: Tensor, labels: Tensor, rows: Tensor, epoch: int) -> dict[str, Tensor]:
        """Weighted terms of the objective for one batch; arguments as for `DeepMethod.losses`."""
        with autocast(inputs.device, self.training_config.precision):
            embeddings, logits = self(inputs, len(rows))
        embeddings, logits = embeddings.float(), logits.float()
        has_codes = epoch >= self.codes_start(self.training_config.epochs)
        terms: dict[str, Tensor] = {}
        if not (has_codes and self.config.two_step):
            terms |= self._feature_terms(embeddings, logits, labels)
        if has_codes:
            terms |= self._quantization_terms(embeddings, rows)
        return terms

    def _feature_terms(self, embeddings: Tensor, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        config = self.config
        terms: dict[str, Tensor] = {}
        if config.margin:
            loss = adaptive_margin_loss(embeddings, self.label_vectors, labels, config.negatives)
            terms["margin"] = config.margin * loss
        if config.classification:
            loss = classification_loss(logits, labels, self.multi_label, config.label_smoothing)
            terms["classification"] = config.classification * loss
        return terms

    def _quantization_terms(self, embeddings: Tensor, rows: Tensor) -> dict[str, Tensor]:
        config = self.config
        reached = embeddings if config.quantization_gradient == "features" else embeddings.detach()
        quantized: Quantized = self.quantizer(reached)
        if len(self._seen):  # within an epoch
            self._seen[rows], self._codes[rows] = embeddings.detach(), quantized.codes
        return quantized.terms.weighted(config.tau, config.mu, config.nu, config.soft_terms)

    def after_epoch(self, epoch: Epoch) -> dict[str, Any]:
        """Revive codewords that died, except after the last epoch; report how codewords were used."""
        if epoch.count == epoch.index + 1 == self.codes_start(epoch.count):
            self._initialise(epoch)  # features alone in every epoch: codebooks on top of them
        if epoch.index < self.codes_start(epoch.count):
            return {}
        seen = epoch.order[: epoch.trained]
        usage = codeword_usage(self._codes[seen], self.codebooks.shape[1])
        revived = 0
        if epoch.index + 1 < epoch.count:
            revived = self.quantizer.revive(self._seen[seen], epoch.seed)
        return usage | {"codewords_revived": revived}


def codeword_usage(codes: Tensor, codebook_size: int) -> dict[str, list[float]]:
    """How many codewords of each level are in use, and their perplexity (exponential of the entropy).

    Args:
        codes: [N, M] integer.
        codebook_size: K.
    """
    counts = torch.stack([torch.bincount(level.long(), minlength=codebook_size) for level in codes.T])
    share = counts / counts.sum(dim=1, keepdim=True)
    perplexity = torch.exp(torch.special.entr(share).sum(dim=1))
    return {
        "codewords_used": (counts > 0).sum(dim=1).tolist(),
        "codeword_perplexity": [round(value, 1) for value in perplexity.tolist()],
    }


METHOD = MethodEntry(
    build=lambda context: DPQMethod(
        context.backbone(context.classes),
        context.label_vectors,
        context.config,
        bits=context.bits,
        codebook_size=context.codebook_size,
        multi_label=context.multi_label,
    ),
    title="DPQ",
    progressive=True,
    config=DPQConfig,
    order=80,
    paper=True,
    style=("#0072B2", "o"),
    variants=("paper", "released"),
    ranges={
        "margin": (1.0, 20.0, "log"),
        "classification": (0.1, 10.0, "log"),
        "label_smoothing": (0.0, 0.2),
        "tau": (1e-3, 1.0, "log"),
        "gamma": (0.1, 10.0, "log"),
        "feature_epochs": (0.25, 0.75),
    },
)
