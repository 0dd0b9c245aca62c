"""What the deep methods share: a backbone, codebooks, and the hooks that the training loop calls."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dpq.codes import additive
from dpq.errors import InputError
from dpq.inputs.values import as_tensor
from dpq.learning.backbone import Backbone
from dpq.learning.on_embeddings import embed_images
from dpq.learning.settings import CodesOn, Epoch, Execution, Preprocessing, TrainingConfig, TrainLog, Views, autocast
from dpq.learning.training import Trainer
from dpq.protocols.base import Images, Split

log = logging.getLogger(__name__)


class DeepMethod(nn.Module):
    """A network and additive codebooks that are trained together.

    A method adds its feature loss and how it learns codebooks; training, embedding and encoding stand here.

    Args:
        backbone: network with its heads.
        feature_epochs: fraction of the epochs that train features alone, before there are codes.

    Attributes:
        name: of the method.
        progressive: a prefix of a code is itself a code.
        capturable: steps of one phase (features alone, or with codes) are the same operations on the same places in
            memory, so that a GPU can replay them. What `losses` keeps of a step is then written in place.
        constant_codebooks: codebooks are what they are before any training, and only the network learns.
    """

    name: ClassVar[str]
    progressive: ClassVar[bool]
    capturable: ClassVar[bool] = False
    constant_codebooks: ClassVar[bool] = False

    def __init__(self, backbone: Backbone, feature_epochs: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.feature_epochs = feature_epochs
        self.training_config = TrainingConfig(epochs=1)  # until `fit`
        self._untrained: Tensor | None = None  # the codebooks [M, K, D] before the first `fit`

    @property
    def codebooks(self) -> Tensor:
        """[M, K, D]."""
        raise NotImplementedError

    def forward(self, inputs: Tensor, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings [B, D], which queries are and codes are read off, and logits [B, L]; as the backbone has them.

        A method whose codes need more than the head gives adds it here, in dimensions that its codewords leave at 0.

        Args:
            inputs: [B, 3, H, W], as for `Backbone`.
            count: as for `Backbone`.
        """
        embeddings, logits = self.backbone(inputs, count)
        return embeddings, logits

    @property
    def crop_seed(self) -> int | None:
        """Seed of random crops at evaluation; None takes the views as they are."""
        return None

    @property
    def preprocessing(self) -> Preprocessing:
        """What the backbone expects of its input."""
        return self.backbone.preprocessing

    def fit(
        self, train: Split, training: TrainingConfig, seed: int = 0, execution: Execution | None = None
    ) -> TrainLog:
        """Train features and codebooks, going on from the checkpoint where there is one.

        Raises:
            InputError: fewer images than codewords; no label; the loss, a weight or an embedding is not finite any
                more; epochs or codebooks were left out.
        """
        additive.check_enough(len(train), self.codebooks.shape[1])
        unlabelled = int((~train.labels.any(dim=1)).sum())
        if unlabelled == len(train):
            raise InputError("no training image has a label; give labels")
        if unlabelled:
            told = "warning: %d of %d training images have no label, and no loss on labels sees them"
            log.warning(told, unlabelled, len(train))
        self.training_config = training
        if self._untrained is None:
            self._untrained = self.codebooks.cpu().clone()
        try:
            with torch.inference_mode(False):  # gradients, whatever the caller switched off
                done = Trainer(self, train, training, seed, execution or Execution()).run()
        finally:
            self.eval()  # from here on it only answers
        if len(done.epochs) != training.epochs:
            raise InputError(f"{training.epochs} epochs were asked for and {len(done.epochs)} trained; train anew")
        codebooks, before = self.codebooks.cpu(), self._untrained
        compared = before.shape == codebooks.shape and not self.constant_codebooks
        additive.check_fitted(codebooks, codebooks.shape, before if compared else None)
        return done

    def embed(
        self, images: Images, *, views: Views | None = None, progress: bool = False, stay: bool = False
    ) -> Tensor:
        """Embeddings [N, D] of uint8 images [N, 3, h, w]; arguments as for `predict`."""
        return self.predict(images, views=views, progress=progress, stay=stay)[0]

    def predict(
        self,
        images: Images,
        *,
        views: Views | None = None,
        crop_seed: int | None = None,
        progress: bool = False,
        stay: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Embeddings [N, D] and class logits [N, L] of uint8 images; L = 0 without a classifier.

        Args:
            images: [N, 3, h, w].
            views: as for `embed_images`.
            crop_seed: as for `embed_images`; None takes the method's own.
            progress: draw a progress bar on a terminal.
            stay: leave both on the device, as the training loop asks for them; else they are on the CPU.
        """
        how: dict[str, Any] = {"views": views, "progress": progress, "stay": stay}
        seed = self.crop_seed if crop_seed is None else crop_seed
        return embed_images(self, self.preprocessing, images, self.training_config, crop_seed=seed, **how)

    def encode(self, embeddings: Tensor, bits: int | None = None) -> Tensor:
        """Codes [N, M] uint8 of embeddings [N, D], on the CPU; `bits` asks for a prefix.

        Raises:
            InputError: `bits` is no multiple of log2 K, or more than was trained.
        """
        levels, size = self.codebooks.shape[:2]
        wanted = None if bits is None else additive.prefix_levels(bits, levels, size)
        return self.assign(as_tensor(embeddings, "embeddings").to(self.codebooks.device))[:, :wanted].cpu()

    def assign(self, embeddings: Tensor) -> Tensor:
        """Codes [N, M] uint8 of embeddings [N, D], on their device."""
        return additive.encode(embeddings, self.codebooks)

    # What the training loop asks for.

    def codes_start(self, epochs: int) -> int:
        """Number of epochs that train features alone."""
        return int(self.feature_epochs * epochs)

    def network_parameters(self, config: TrainingConfig) -> list[dict[str, Any]]:
        """Parameter groups of backbone and heads."""
        return decayed_groups(self.backbone, config)

    def codebook_parameters(self) -> list[dict[str, Any]]:
        """Parameter groups for Adam; none where codebooks are not learned by gradient."""
        return []

    def phase(self, epoch: int) -> int | None:
        """Whether steps of an epoch have codes, or which ones; None for a method whose steps are never replayed."""
        return epoch >= self.codes_start(self.training_config.epochs) if self.capturable else None

    def before_epoch(self, epoch: Epoch) -> None:
        """Re-estimate what is not learned by gradient."""

    def losses(self, inputs: Tensor, labels: Tensor, rows: Tensor, epoch: int) -> dict[str, Tensor]:
        """Weighted loss terms of a batch; their sum is minimised.

        Args:
            inputs: [B, 3, H, W] network inputs; of several processes, this one's share of them.
            labels: [B, L] bool.
            rows: [B] positions in the training split.
            epoch: index of the epoch.
        """
        raise NotImplementedError

    def after_epoch(self, epoch: Epoch) -> dict[str, Any]:
        """Tidy up after an epoch; returns what to log of it, JSON-able."""
        return {}


class AlternatingMethod(DeepMethod):
    """Codes and codebooks are re-estimated between epochs, on the embeddings that the network then gives.

    Within an epoch they stand still, and the quantization loss pulls each embedding to its reconstruction.

    Args:
        backbone: network with its embedding head.
        bits: code length; one level per log2 K bits.
        codebook_size: codewords per level K.
        feature_epochs: as for `DeepMethod`.
        quantization: weight of the quantization loss.
        codes_on: embeddings that codes and codebooks are re-estimated on: of the "centre" crop, made anew, or as the
            steps of the last epoch have "seen" them, augmented and with dropout, which costs no pass through the
            network. Those that the first codes and the last codebooks are made on are always made anew.

    Raises:
        InputError: the code length does not fit.
    """

    def __init__(
        self,
        backbone: Backbone,
        bits: int,
        codebook_size: int,
        feature_epochs: float,
        quantization: float,
        codes_on: CodesOn = "centre",
    ) -> None:
        super().__init__(backbone, feature_epochs)
        self.quantization = quantization
        self.codes_on = codes_on
        # [N, D], of the training images, where codes are made on them; a checkpoint has it.
        self._seen: Tensor
        self.register_buffer("_seen", torch.empty(0), persistent=codes_on == "seen")
        shape = (additive.levels_for(bits, codebook_size), codebook_size, backbone.embedding.out_features)
        self._codebooks: Tensor
        self.register_buffer("_codebooks", torch.zeros(shape))
        self._reconstructions = torch.empty(0)  # [N, D], of the training images, for this epoch; none yet

    @property
    def codebooks(self) -> Tensor:
        """[M, K, D]."""
        return self._codebooks

    def fit(
        self, train: Split, training: TrainingConfig, seed: int = 0, execution: Execution | None = None
    ) -> TrainLog:
        """As `DeepMethod.fit`."""
        if self.codes_on == "seen":
            self._seen = self._codebooks.new_zeros(len(train), self._codebooks.shape[2])
        return super().fit(train, training, seed, execution)

    def feature_loss(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss terms that shape the features, from embeddings [B, D] and labels [B, L]."""
        raise NotImplementedError

    def targets(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """What the codes of all training images, with labels [N, L], stand for, [N, D]: their embeddings."""
        return embeddings

    def first_codebooks(self, embeddings: Tensor, seed: int) -> Tensor:
        """Codebooks [M, K, D] that the first codes are made with, from embeddings [N, D]."""
        raise NotImplementedError

    def next_codebooks(self, embeddings: Tensor, codebooks: Tensor, seed: int) -> Tensor:
        """Codebooks re-estimated on embeddings [N, D], starting from those of the epoch before."""
        raise NotImplementedError

    def losses(self, inputs: Tensor, labels: Tensor, rows: Tensor, epoch: int) -> dict[str, Tensor]:
        """Weighted terms of the objective for one batch."""
        with autocast(inputs.device, self.training_config.precision):
            embeddings = self(inputs, len(rows))[0]
        embeddings = embeddings.float()
        terms = self.feature_loss(embeddings, labels)
        if len(self._reconstructions):
            if self.codes_on == "seen":
                self._seen[rows] = embeddings.detach()
            terms["quantization"] = self.quantization * self.quantization_error(embeddings, rows)
        return terms

    def before_epoch(self, epoch: Epoch) -> None:
        """Re-estimate codebooks and codes, once the features have had their epochs."""
        start = self.codes_start(epoch.count)
        if epoch.index >= start:
            first = epoch.index == start
            self._estimate(epoch, first, anew=first or self.codes_on == "centre")
        else:
            self._reconstructions = torch.empty(0)

    def after_epoch(self, epoch: Epoch) -> dict[str, Any]:
        """After the last epoch, fit the codebooks to the features as they are in the end."""
        if epoch.index + 1 == epoch.count:
            self._estimate(epoch, first=self.codes_start(epoch.count) == epoch.count, anew=True)
        return {}

    @torch.no_grad()
    def _estimate(self, epoch: Epoch, first: bool, anew: bool) -> None:
        embeddings = epoch.embeddings(views="centre").to(self._codebooks.device) if anew else self._seen
        if self.codes_on == "seen" and anew:
            self._seen = _kept(self._seen, embeddings)  # an image that an epoch does not train on stays at that
        targets = self.targets(embeddings, epoch.labels)
        if first:
            codebooks = self.first_codebooks(targets, epoch.seed)
        else:
            codebooks = self.next_codebooks(targets, self._codebooks, epoch.seed)
        self._codebooks.copy_(codebooks)
        reconstructions = additive.decode(self.assign(targets), self._codebooks)
        self._reconstructions = _kept(self._reconstructions, reconstructions)

    def quantization_error(self, embeddings: Tensor, rows: Tensor) -> Tensor:
        """Mean squared distance of a batch's embeddings [B, D] to the reconstructions of its images."""
        return (embeddings - self._reconstructions[rows]).square().sum(dim=1).mean()


def _kept(place: Tensor, values: Tensor) -> Tensor:
    """The values in the place where replayed steps look for them; the first ones make it."""
    return place.copy_(values) if place.shape == values.shape else values.clone()


def body_groups(body: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """Each earlier layer learns by `layer_decay` slower; no weight decay on biases and normalisation."""
    from timm.optim import param_groups_layer_decay

    groups = param_groups_layer_decay(body, config.weight_decay, layer_decay=config.layer_decay)
    return [{"lr": config.learning_rate * group.pop("lr_scale")} | group for group in groups]


def decayed_groups(backbone: Backbone, config: TrainingConfig) -> list[dict[str, Any]]:
    """Those of the body (`body_groups`) and of the heads, which learn by `head_multiplier` faster."""
    heads = backbone.heads
    rate = config.learning_rate * config.head_multiplier
    return [
        *body_groups(backbone.body, config),
        {"params": [h.bias for h in heads], "weight_decay": 0.0, "lr": rate},
        {"params": [h.weight for h in heads], "weight_decay": config.weight_decay, "lr": rate},
    ]


def released_groups(backbone: Backbone, config: TrainingConfig) -> list[dict[str, Any]]:
    """The released code's gradient multipliers, as learning rates.

    The backbone's weights learn from the mean of the two feature losses' gradients, everything else from
    their sum, so the weights have half the rate; heads have 10 times the rate on weights, 20 times on biases.
    """

    def group(parameters: list[Any], multiple: float) -> dict[str, Any]:
        return {"params": parameters, "weight_decay": config.weight_decay, "lr": config.learning_rate * multiple}

    body = list(backbone.body.named_parameters())
    heads = backbone.heads
    return [
        group([p for name, p in body if not name.endswith("bias")], 0.5),
        group([p for name, p in body if name.endswith("bias")], 1.0),
        group([h.bias for h in heads], 20.0),
        group([h.weight for h in heads], 10.0),
    ]
