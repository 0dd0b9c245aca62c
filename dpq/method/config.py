"""Settings of DPQ: loss weights, a switch for every difference between paper and released code, and ablations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dpq.codes.additive import Choice
from dpq.errors import InputError
from dpq.files.bounds import Bounded
from dpq.learning.settings import Fraction, Rate, TrainingConfig, Weight, added_later


@dataclass(frozen=True)
class DPQConfig(Bounded):
    """Weights of the objective, and one switch for each way in which paper and released code differ.

    Defaults are the paper's; `released()` turns every switch but the last four, which are for ablations and tuning.
    The released program's random crop at evaluation stays off in both (`evaluation_crop`), because it makes results
    change from run to run. Its slips outside the method are not reproduced: channel order of the Caffe mean,
    command-line defaults, missing files.

    Attributes:
        classification: weight lambda of L_C; 0 leaves the term out.
        margin: weight of L_S; 0 leaves the term out.
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
        soft_terms: L_Q has its soft and its joint term; without them the hard distortion is left.
        train_backbone: the network below the heads learns. If not, it gives the features that it came with: no
            gradient, no update, stored batch-norm statistics, no dropout inside; the heads learn as ever.
        label_smoothing: share of the classification targets that all classes have alike.
        two_step: after the feature epochs, which are as ever, the whole network stands still (no gradient, evaluation
            mode) and the codebooks alone learn in the epochs that are left, on embeddings that change by augmentation
            only. With `quantization_gradient` "codebooks" L_Q does not reach the network either, but there the feature
            losses go on moving it, and the embeddings, while codebooks learn.

    Raises:
        InputError: features would have no loss to learn from.
    """

    classification: Weight = 0.1
    margin: Weight = 1.0
    tau: Weight = 1.0
    mu: Weight = 1.0
    nu: Weight = 0.1
    gamma: Weight = 1.0
    codebook_learning_rate: Rate = 1e-3
    feature_epochs: Fraction = 0.5
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
    soft_terms: bool = added_later(True)
    train_backbone: bool = added_later(True)
    two_step: bool = added_later(False)
    label_smoothing: Fraction = added_later(0.0)

    def __post_init__(self) -> None:
        """Refuse what is out of range, and an objective without a feature loss."""
        super().__post_init__()
        if not (self.margin or self.classification):
            raise InputError("margin and classification are both 0, so features learn from nothing; give one a weight")

    def check_training(self, training: TrainingConfig) -> None:
        """Refuse a training in which something would not be trained at all.

        Raises:
            InputError: no epoch is left, or none for the network.
        """
        epochs = training.epochs - self.lost_epoch
        if not epochs:
            raise InputError(
                "lost_epoch, of the released variant, trains one epoch less than is asked for, and of 1 leaves none; "
                "raise epochs",
                "epochs",
            )
        if self.two_step and not int(self.feature_epochs * epochs):
            raise InputError(
                f"two_step trains the network in feature epochs alone, and feature_epochs = {self.feature_epochs:g} of "
                f"{epochs} epochs leaves none; raise epochs or feature_epochs"
            )

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
