"""Label code: the class that a trained classifier predicts, written as the code (Sablayrolles et al., ICASSP 2017).

A control. Where all queries are of trained classes, relevance is what a classifier predicts, and its answer fits one
byte, which has room for more: of 256 codewords each of ten classes gets 25. A supervised code that does not beat this
one shows nothing that a classifier does not.

As additive codebooks: a codeword of level 1 is a class and how confident the classifier is of it. The levels after it
quantize what the one before left of the confidence, so they only order images of one predicted class. With 256
codewords, 16 bits hold all that there is to say; 24 and 32 bits refine a confidence that is fine enough already.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.one_label import refuse_several_labels
from dpq.codes.additive import decode, encode, kmeans_in_parts, residual_kmeans
from dpq.errors import InputError
from dpq.learning.entry import MethodEntry
from dpq.learning.on_embeddings import EmbeddingQuantizer
from dpq.learning.settings import Execution, KMeansConfig, TrainingConfig, TrainLog, Views
from dpq.protocols.base import Images, Split

EVEN = 5.0  # a lead, as a difference of logits, that is half of all confidence: about what trained classifiers have


class LabelCode(EmbeddingQuantizer):
    """The source's predicted class, and its confidence; a prefix of a code is the shorter code.

    By inner product a query ranks the images of its own predicted class first and those of its least likely class last;
    the most confident of a class come first.
    """

    name = "label-code"
    progressive = True

    def fit(
        self, train: Split, training: TrainingConfig, seed: int = 0, execution: Execution | None = None
    ) -> TrainLog:
        """Learn what confidences there are, or read them from the checkpoint where there is one.

        Raises:
            InputError: fewer images than codewords; images of several classes; more classes than codewords.
        """
        check_classes(train, self.codebook_size)
        return super().fit(train, training, seed, execution)

    def predict(
        self,
        images: Images,
        *,
        views: Views | None = None,
        crop_seed: int | None = None,
        progress: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """`class_order` [N, L + 1] of the source's class logits, and these logits [N, L]."""
        logits = super().predict(images, views=views, crop_seed=crop_seed, progress=progress)[1]
        return class_order(logits), logits

    def learn(self, embeddings: Tensor, seed: int) -> Tensor:
        """Codebooks [M, K, L + 1]: every class with each of K // L confidences, then what those leave of it."""
        classes = embeddings.shape[1] - 1
        confidence, each = embeddings[:, classes:], self.codebook_size // classes
        codebooks = embeddings.new_zeros(self.levels, self.codebook_size, classes + 1)
        levels = kmeans_in_parts([confidence], each, seed)[0].sort(dim=0).values  # [each, 1], the same for all classes
        first = codebooks[0, : classes * each].view(classes, each, classes + 1)
        first[:, :, :classes] = torch.eye(classes, device=first.device)[:, None]
        first[:, :, classes:] = levels
        if self.levels > 1:
            left = confidence - decode(encode(confidence, levels[None]), levels[None])
            codebooks[1:, :, classes:] = residual_kmeans(left, self.levels - 1, self.codebook_size, seed + 1)
        return codebooks


def check_classes(train: Split, codebook_size: int) -> None:
    """Refuse labels that are not one class per image, or more classes than one codeword can tell apart.

    Raises:
        InputError: as said.
    """
    refuse_several_labels("label-code writes one class per image", train, codebook_size)
    classes = train.labels.shape[1]
    if classes > codebook_size:
        raise InputError(
            f"label-code writes the class in one codeword, and {classes} classes are more than {codebook_size} "
            "codewords; take a larger codebook_size, or leave it out of --method"
        )


def class_order(logits: Tensor) -> Tensor:
    """What is known of an image: its classes in order, and how far the first stands above the second.

    Args:
        logits: [N, L], of at least two classes.

    Returns:
        [N, L + 1]: for each class the share of the others that it stands above, in steps of 1 / (L - 1); then the
        confidence g / (5 + g), with g the difference of the two largest logits, times the root of such a step. So the
        product of two confidences is less than a step, and never lifts an image above those of a more likely class.

    Raises:
        InputError: fewer than two classes.
    """
    classes = logits.shape[1]
    if classes < 2:
        raise InputError(f"label-code needs a source that classifies at least two classes; got {classes}")
    order = logits.argsort(dim=1).argsort(dim=1) / (classes - 1)
    best, second = logits.topk(2, dim=1).values.unbind(dim=1)
    confidence = (best - second) / (EVEN + best - second) / (classes - 1) ** 0.5
    return torch.cat([order, confidence[:, None]], dim=1)


METHOD = MethodEntry(
    build=LabelCode.of,
    title="Label code",
    progressive=True,
    config=KMeansConfig,
    source="dpq",
    check=check_classes,
    order=92,
    paper=True,
    style=("#999999", "*"),
    features="DPQ's classifier",
)
