"""What a record holds, by the names of its JSON keys; keys that nothing reads are let pass, and kept in the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field

from dpq.schema import Amount, Bits, Digest, Label, Scalar, Share, Size, Whole

SCHEMA_VERSION = 1
KS = (1, 10, 100, 500, 1000)  # ranks that every record has a precision at


@dataclass(frozen=True, kw_only=True)
class Length:
    """What was measured at one code length, in the order of the file.

    Attributes:
        bits: of a code.
        map: mean average precision at the protocol's cut, expected over tie orders, by the relevant images inside it.
        map_at_r: the same.
        r: ranks inside the cut.
        map_total: divided by all relevant images.
        map_capped: divided by the smaller of the cut and all relevant images.
        map_bounds: of the worst and the best tie order.
        map_ties_index: ties in database order.
        precision_at: by number of ranks.
        pr: recall and precision of the averaged curve.
        distinct_codes: in the database.
        queries_without_relevant: of this length's ranking.
        bytes_per_image: of a code.
        map_at: at further cuts.
        reconstruction_mse: mean squared distance of database embeddings to their reconstruction.
    """

    bits: Bits
    map: Share
    map_at_r: Share
    r: Size
    map_total: Share
    map_capped: Share
    map_bounds: tuple[Share, Share]
    map_ties_index: Share
    precision_at: Mapping[str, Share]
    pr: tuple[tuple[Share, Share], ...]
    distinct_codes: Size
    queries_without_relevant: Whole = 0
    bytes_per_image: Amount
    map_at: Mapping[str, Share] = field(default_factory=dict)
    reconstruction_mse: Amount

    @property
    def table(self) -> dict[str, Any]:
        """As the file has it: without `map_at` where no further cut is asked for."""
        return {key: value for key, value in json.loads(json.dumps(asdict(self))).items() if key != "map_at" or value}


@dataclass(frozen=True)
class Data:
    """Which images.

    Attributes:
        name: of the protocol.
        variant: of the data, as tables name it.
        fingerprint: of the images of this split.
        train: number of images, as for `query` and `database`.
        query: see `train`.
        database: see `train`.
        seen: classes of training, where others are searched.
        unseen: classes of queries and database, where training has not seen them.
        published: the copy is the published data.
        lists_as_published: so are its lists.
        fingerprint_of_all: of the images of all class splits.
        missing: published images that the copy lacks, by split.
        side: in pixels, to which images were resized once.
        classes: of own images.
        layout: of the folder of own images, which decides their splits.
        copies_left_out: own images that are copies of others.
        queries_in_database: of own images.
    """

    name: str
    variant: str
    fingerprint: Label
    train: Size
    query: Size
    database: Size
    seen: tuple[str, ...] | None = None
    unseen: tuple[str, ...] | None = None
    published: bool = True
    lists_as_published: bool = True
    fingerprint_of_all: Label | None = None
    missing: Mapping[str, Whole] = field(default_factory=dict)
    side: Size | None = None
    classes: tuple[str, ...] = ()
    layout: Literal["classes", "splits", "manifest"] | None = None
    copies_left_out: Whole = 0
    queries_in_database: Whole = 0

    @property
    def images(self) -> str:
        """The digest that stands for the images, whatever classes were held out of them."""
        return self.fingerprint_of_all or self.fingerprint


@dataclass(frozen=True)
class Backbone:
    """Which network: timm's name, name and digest of its first weights, side of its input in pixels, width D."""

    name: str
    weights: str
    weights_sha256: Digest | None
    image_size: Size
    embedding_dim: Size


@dataclass(frozen=True)
class Augmentation:
    """As `dpq.images.Augmentation` was."""

    flip: bool
    crop: float
    shift: float


@dataclass(frozen=True)
class Training:
    """What tables say of `dpq.settings.TrainingConfig` as it was."""

    epochs: Size
    batch_size: Size
    optimizer: str
    schedule: str
    precision: str
    learning_rate: float
    head_multiplier: float
    layer_decay: float
    weight_decay: float
    dropout: float
    evaluation_views: Literal["centre", "mirror", "ten-crop"]
    augmentation: Augmentation


@dataclass(frozen=True)
class Source:
    """The method whose embeddings were quantized, and the longest code of its training."""

    method: Label
    bits: Bits


@dataclass(frozen=True)
class LabelVectors:
    """The word "orthonormal", or name and digest of a file."""

    source: str
    sha256: Digest | None = None


@dataclass(frozen=True)
class Network:
    """The width D that the experiment asks for, for what tables read of a setting's backbone."""

    embedding_dim: Size


@dataclass(frozen=True)
class Setting:
    """The configuration of the run: what tables read of it. `Record.raw["config"]` is all of it.

    Attributes:
        training: shared by all methods.
        label_vectors: of the margin loss.
        methods: settings by name of the method.
        bits: lengths that are reported.
        codebook_size: codewords per level K.
        split_seed: of the split.
        limit: images of a subset; None for all.
        validation: queries and database are held-out training images.
        backbone: of the experiment.
        source: whose embeddings were quantized.
        stored_side: in pixels.
    """

    training: Training
    label_vectors: LabelVectors
    methods: Mapping[str, Mapping[str, Scalar]]
    bits: Annotated[tuple[Bits, ...], Field(min_length=1)]
    codebook_size: Literal[2, 4, 8, 16, 32, 64, 128, 256]
    split_seed: Whole
    limit: Size | None
    validation: bool
    backbone: Network
    source: Source | None = None
    stored_side: Size | None = None


@dataclass(frozen=True)
class Plugin:
    """The package that a method is of."""

    package: Label
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9.+!_-]+$")]

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.package} {self.version}"


@dataclass(frozen=True)
class Seconds:
    """Of the parts of a run."""

    train: Amount
    encode: Amount
    evaluate: Amount


@dataclass(frozen=True)
class Speed:
    """Images per second."""

    train: Amount
    encode: Amount


@dataclass(frozen=True)
class Environment:
    """What tables read of the machine; `Record.raw["environment"]` has versions too."""

    device: str
    cpu: str
    threads: Size
    commit: str

    @property
    def processor(self) -> str:
        """What computed: the card, or the processor with its threads."""
        if self.device != "cpu":
            return self.device
        return f"{self.cpu}, {self.threads} thread" + ("s" if self.threads > 1 else "")

    @property
    def short_commit(self) -> str:
        """The first ten digits of the commit, and what `-dirty` says of it."""
        return self.commit[:10] + self.commit[40:]


Report = Mapping[str, float | tuple[str, ...] | tuple[float, ...]]


@dataclass(frozen=True)
class Record:
    """A run: what it was, where, and what was measured.

    Attributes:
        schema_version: of the file.
        id: file name; a digest of everything that decides the numbers is part of it.
        experiment: name.
        protocol: of the data.
        method: name.
        variant: "paper" or "released".
        seed: master seed.
        created: UTC.
        data: which images.
        backbone: which network.
        score: "inner" product or "l2" distance.
        ap_denominator: "hits", "total" or "capped".
        cut: ranks of mAP; None for the whole database.
        lengths: by ascending bits.
        float_map: of exact search among the embeddings.
        embedding_mean_squared_norm: of the database.
        codewords_used: per level.
        codeword_perplexity: per level.
        training_log: one table per epoch.
        classification_accuracy: of queries; None without a classifier.
        queries_without_relevant: number.
        seconds: of the parts.
        images_per_second: of training and encoding.
        peak_memory_mb: of the process or card.
        environment: machine and versions.
        config: the setting.
        ablation: name of the one change.
        ablation_of: identity of the run without it.
        plugin: the package that the method is of; None for this project's.
        further_cuts: at which mAP is reported as well.
        warnings: signs of a training that went wrong.
        arguments: of the command that made it; None for older records.
    """

    schema_version: Literal[1]
    id: Label
    experiment: Label
    protocol: Label
    method: Label
    variant: Literal["paper", "released"]
    seed: Whole
    created: str
    data: Data
    backbone: Backbone
    score: Literal["inner", "l2"]
    ap_denominator: Literal["hits", "total", "capped"]
    cut: Size | None
    lengths: Annotated[tuple[Length, ...], Field(min_length=1)]
    float_map: Share
    embedding_mean_squared_norm: Amount
    codewords_used: tuple[Whole, ...]
    codeword_perplexity: tuple[Amount, ...]
    training_log: tuple[Report, ...]
    classification_accuracy: Share | None
    queries_without_relevant: Whole
    seconds: Seconds
    images_per_second: Speed
    peak_memory_mb: Amount
    environment: Environment
    config: Setting
    ablation: Label | None = None
    ablation_of: Label | None = None
    plugin: Plugin | None = None
    further_cuts: tuple[Size, ...] = ()
    warnings: tuple[str, ...] = ()
    arguments: tuple[str, ...] | None = None

    @cached_property
    def raw(self) -> dict[str, Any]:
        """The whole table of the file, of which digests are made and which is written again; set by the reader."""
        raise AttributeError(f"{self.id} was not read from a file")

    @property
    def repetition(self) -> tuple[int, int]:
        """Seed of the split, and seed."""
        return self.config.split_seed, self.seed

    @property
    def unit(self) -> int:
        """The independent repetition that the run is of: one of the n that means, deviations and intervals are over.

        Where classes are held out that is the split: all its seeds share its classes, so their mean counts once. In
        other protocols it is the seed, since runs of other draws of the images are another setting.
        """
        return self.config.split_seed if self.has_unseen_classes else self.seed

    @property
    def longest(self) -> int:
        """Bits of the longest code that was trained."""
        return max(self.config.bits)

    @property
    def comparable(self) -> bool:
        """Whether it may stand beside a paper: the whole published protocol, and its own queries."""
        return self.config.limit is None and not self.config.validation and self.data.published

    @property
    def has_unseen_classes(self) -> bool:
        """Whether queries and database are of classes that training has not seen."""
        return self.data.unseen is not None

    def at(self, bits: int) -> Length:
        """What was measured at a length that the record has."""
        return next(length for length in self.lengths if length.bits == bits)
