"""Deep Progressive Quantization: backbone, progressive quantizer, and the objective that trains both.

Gao, Zhu, Song, Zhao and Shen: Beyond Product Quantization: Deep Progressive Quantization for Image Retrieval,
IJCAI 2019 (arXiv 1906.06698).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dpq.backbone import Backbone
from dpq.embedding import embed_images
from dpq.errors import InputError
from dpq.losses import adaptive_margin_loss, classification_loss
from dpq.optimisation import decayed_groups, released_groups
from dpq.protocols.base import Split
from dpq.quantizers import Choice, ProgressiveQuantizer
from dpq.seeds import derive_seed
from dpq.training import Epoch, Execution, Trainer, TrainingConfig, TrainLog, autocast


@dataclass(frozen=True)
class DPQConfig:
    """Weights of the objective, and one switch for each way in which paper and released code differ.

    Defaults are the paper's; `released()` turns every switch. The released program's random crop at evaluation
    stays off in both (`evaluation_crop`), because it makes results change from run to run. Its slips outside
    the method are not reproduced: channel order of the Caffe mean, command-line defaults, missing files.

    Attributes:
        classification: weight lambda of L_C.
        margin: weight of L_S.
        tau: weight of L_Q.
        mu: weight of the hard distortion within L_Q.
        nu: weight of the joint term within L_Q.
        gamma: sharpness of the soft assignment.
        codebook_learning_rate: of Adam, for the codebooks.
        feature_epochs: fraction of the epochs that train features alone, before the codebooks start.
        hard_choice: nearest codeword by L2, or by cosine.
        soft_assignment: softmax of squared distances times gamma, or of plain cosines.
        quantization_gradient: L_Q reaches the "features", or the "codebooks" alone.
        soft_residual: the soft branch reads the residual of the "hard" or of the "soft" path.
        joint_levels: the joint term on the "last" level or on "every" one.
        norm: squared norms as "sum" or "mean" over dimensions.
        multipliers: "none", or the "released" learning rates of weights, biases and heads.
        negatives: the margin pushes from "wrong" labels, or from all "others".
        evaluation_crop: "centre", or "random" as the released program crops queries and database.
        query_precision: queries in "float32", or rounded to "float16".
        lost_epoch: train one epoch less than asked for (off by one in the released loop).
        score: rank by "inner" product, the papers' AQD, or by "l2" distance.
    """

    classification: float = 0.1
    margin: float = 1.0
    tau: float = 1.0
    mu: float = 1.0
    nu: float = 0.1
    gamma: float = 1.0
    codebook_learning_rate: float = 1e-3
    feature_epochs: float = 0.5
    hard_choice: Choice = "l2"
    soft_assignment: Choice = "l2"
    quantization_gradient: Literal["features", "codebooks"] = "features"
    soft_residual: Literal["hard", "soft"] = "hard"
    joint_levels: Literal["last", "every"] = "last"
    norm: Literal["sum", "mean"] = "sum"
    multipliers: Literal["none", "released"] = "none"
    negatives: Literal["wrong", "others"] = "wrong"
    evaluation_crop: Literal["centre", "random"] = "centre"
    query_precision: Literal["float32", "float16"] = "float32"
    lost_epoch: bool = False
    score: Literal["inner", "l2"] = "inner"

    def released(self) -> DPQConfig:
        """The same weights, with every switch as in the released code."""
        return replace(
            self,
            hard_choice="cosine",
            soft_assignment="cosine",
            quantization_gradient="codebooks",
            norm="mean",
            multipliers="released",
            negatives="others",
            query_precision="float16",
            lost_epoch=True,
        )


class DPQ(nn.Module):
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
        super().__init__()
        self.config = config or DPQConfig()
        self.backbone = backbone
        self.multi_label = multi_label
        dim = backbone.embedding.out_features
        if label_vectors.shape != (backbone.classifier.out_features, dim):
            raise InputError(
                f"label vectors are {list(label_vectors.shape)}; expected [{backbone.classifier.out_features}, {dim}]"
            )
        self.label_vectors: Tensor
        self.register_buffer("label_vectors", label_vectors.float())
        step = codebook_size.bit_length() - 1
        if bits <= 0 or bits % step:
            raise InputError(
                f"code lengths must be multiples of {step} bits (log2 of {codebook_size} codewords); got {bits}"
            )
        self.quantizer = ProgressiveQuantizer(
            bits // step,
            codebook_size,
            dim,
            gamma=self.config.gamma,
            hard_choice=self.config.hard_choice,
            soft_assignment=self.config.soft_assignment,
            soft_residual=self.config.soft_residual,
            joint_levels=self.config.joint_levels,
            norm=self.config.norm,
        )
        self._seen: list[Tensor] = []  # embeddings [B, D] and codes [B, M] of this epoch's batches
        self._codes: list[Tensor] = []

    @property
    def codebooks(self) -> Tensor:
        """[M, K, D]."""
        return self.quantizer.codebooks.detach()

    def fit(
        self,
        train: Split,
        training: TrainingConfig,
        seed: int = 0,
        execution: Execution | None = None,
    ) -> TrainLog:
        """Train features and codebooks end to end, going on from the checkpoint where there is one.

        Raises:
            InputError: fewer images than codewords; the loss is not finite any more.
        """
        if len(train) < self.codebooks.shape[1]:
            raise InputError(
                f"{self.codebooks.shape[1]} codewords a level need at least as many training images; got {len(train)}"
            )
        self.training_config = training
        shortened = replace(training, epochs=training.epochs - 1) if self.config.lost_epoch else training
        return Trainer(self, train, shortened, seed, execution or Execution()).run()

    def embed(self, images: Tensor, *, progress: bool = False) -> Tensor:
        """Embeddings [N, D] of uint8 images [N, 3, h, w], on the CPU."""
        return self.predict(images, progress=progress)[0]

    def predict(self, images: Tensor, *, progress: bool = False) -> tuple[Tensor, Tensor]:
        """Embeddings [N, D] and class logits [N, L] of uint8 images, on the CPU."""
        crop_seed = derive_seed(0, "evaluation crop") if self.config.evaluation_crop == "random" else None
        return embed_images(self.backbone, images, self.training_config, crop_seed=crop_seed, progress=progress)

    def encode(self, embeddings: Tensor) -> Tensor:
        """Codes [N, M] uint8 of embeddings [N, D], on the CPU."""
        device = self.quantizer.codebooks.device
        return self.quantizer.encode(embeddings.to(device)).cpu()

    # What the training loop asks for.

    def network_parameters(self, config: TrainingConfig) -> list[dict[str, Any]]:
        """Parameter groups of backbone and heads."""
        groups = released_groups if self.config.multipliers == "released" else decayed_groups
        return groups(self.backbone, config)

    def codebook_parameters(self) -> list[dict[str, Any]]:
        """The codebooks, with their own learning rate."""
        return [{"params": [self.quantizer.codebooks], "lr": self.config.codebook_learning_rate}]

    def _codebooks_start(self) -> int:
        return int(self.config.feature_epochs * self.training_config.epochs)

    def before_epoch(self, epoch: Epoch) -> None:
        """Start the codebooks from residual k-means when their time comes."""
        self._seen, self._codes = [], []
        if epoch.index == self._codebooks_start():
            self.quantizer.initialise(epoch.embeddings(), epoch.seed)

    def losses(self, inputs: Tensor, labels: Tensor, epoch: int, epochs: int) -> dict[str, Tensor]:
        """Weighted terms of the objective for one batch of network inputs [B, 3, H, W] and labels [B, L]."""
        config = self.config
        with autocast(inputs.device, self.training_config.precision):
            embeddings, logits = self.backbone(inputs)
        embeddings, logits = embeddings.float(), logits.float()
        terms = {
            "margin": config.margin * adaptive_margin_loss(embeddings, self.label_vectors, labels, config.negatives),
            "classification": config.classification * classification_loss(logits, labels, self.multi_label),
        }
        if epoch >= self._codebooks_start():
            reached = embeddings if config.quantization_gradient == "features" else embeddings.detach()
            quantized = self.quantizer(reached)
            self._seen.append(embeddings.detach())
            self._codes.append(quantized.codes)
            terms["quantization"] = quantized.terms.total(config.tau, config.mu, config.nu)
        return terms

    def after_epoch(self, epoch: Epoch) -> dict[str, Any]:
        """Revive codewords that died, except after the last epoch; report how codewords were used."""
        if not self._seen:
            return {}
        usage = codeword_usage(torch.cat(self._codes), self.codebooks.shape[1])
        revived = 0
        if epoch.index + 1 < epoch.count:
            revived = self.quantizer.revive(torch.cat(self._seen), epoch.seed)
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
