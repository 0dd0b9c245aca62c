"""What a record holds, by the names of its JSON keys; keys that nothing reads are let pass, and kept in the file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, Literal

from annotated_types import Interval, MinLen

from dpq.files.schema import Amount, Bits, Digest, Label, Scalar, Share, Size, Version, Whole
from dpq.learning.settings import RankedBy, TrainingConfig

SCHEMA_VERSION = 1
TUNED = "tuned"  # in the identity of a run at its method's own setting
BUDGETS, TERMS = "equal budgets", "equal terms"  # readings: each method at its own setting, or all at one
KS = (1, 10, 100, 500, 1000)  # ranks that every record has a precision at


def digest(value: Any) -> str:
    """Ten hexadecimal digits that stand for a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def key_of(value: Any) -> str:
    """A `digest` for a column of a table: behind a letter, for digits alone are a number to who reads it back."""
    return f"s{digest(value)}"


def brought_id(table: Mapping[str, Any]) -> str:
    """The identity of brought codes: their name, and a digest of what decides the numbers, by the record's table."""
    bits = [length["bits"] for length in table["lengths"]]
    return f"{table['name']}-{digest([table['data']['fingerprint'], table['brought'], table['score'], bits])}"


def stem_of(method: str, variant: str, seed: int, change: str | None = None) -> str:
    """How the identity of a run begins; code lengths that have a training of their own and a digest follow.

    `change` is the ablation, or `TUNED`.
    """
    return "-".join([method, variant, *([change] if change else []), f"seed{seed}"])


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """What a ranking by codes of one length gave, in the order of the file."""

    bits: Annotated[int, Interval(ge=1, le=2**20)]  # as many as brought embeddings may have
    map: Share  # at the protocol's cut, expected over tie orders, divided by the relevant images inside it
    map_at_r: Share  # the same
    r: Size  # ranks inside the cut
    map_total: Share  # divided by all relevant images
    map_capped: Share  # divided by the smaller of the cut and all relevant images
    map_bounds: tuple[Share, Share]  # of the worst and the best tie order
    map_ties_index: Share  # ties in database order
    precision_at: Mapping[str, Share]  # by number of ranks
    pr: tuple[tuple[Share, Share], ...]  # recall and precision of the averaged curve
    distinct_codes: Size
    queries_without_relevant: Whole = 0  # of this length's ranking
    bytes_per_image: Amount
    map_at: Mapping[str, Share] = field(default_factory=dict)  # at further cuts
    map_coarse: Share | None = None  # where images of a common coarse class are relevant; None without such classes
    map_asymmetric: Share | None = None  # by inner product of the real queries, where `map` is of the symmetric score

    @property
    def table(self) -> dict[str, Any]:
        """As the file has it: without what is not asked for."""
        values = json.loads(json.dumps(asdict(self)))
        return {key: value for key, value in values.items() if value not in ({}, None)}


@dataclass(frozen=True, kw_only=True)
class Length(Ranked):
    """What was measured at one code length of a run."""

    bits: Bits
    reconstruction_mse: Amount  # mean squared distance of database embeddings to their reconstruction


@dataclass(frozen=True)
class Data:
    """Which images."""

    name: str  # of the protocol
    variant: str  # of the data, as tables name it
    fingerprint: Label  # of the images of this split
    train: Size  # images, as in the next two
    query: Size
    database: Size
    seen: tuple[str, ...] | None = None  # classes of training, where others are searched
    unseen: tuple[str, ...] | None = None  # classes of queries and database, where training has not seen them
    published: bool = True  # the copy is the published data
    lists_as_published: bool = True  # so are its lists
    fingerprint_of_all: Label | None = None  # of the images of all class splits
    missing: Mapping[str, Whole] = field(default_factory=dict)  # published images that the copy lacks, by split
    side: Size | None = None  # in pixels, to which images were resized once
    classes: tuple[str, ...] = ()  # of own images
    layout: Literal["classes", "splits", "manifest"] | None = None  # of the folder of own images
    copies_left_out: Whole = 0  # images that are copies of others
    re_encoded: Mapping[str, Whole] = field(default_factory=dict)  # images without their original pixels, by class
    coarse: tuple[str, ...] = ()  # of each class of the queries, the coarse class that it belongs to
    queries_in_database: Whole = 0  # of own images

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
    """What the experiment asks for: network, its first weights, and width D."""

    name: str
    weights: str
    embedding_dim: Size


@dataclass(frozen=True)
class Setting:
    """The configuration of the run: what tables read of it. `Record.raw["config"]` is all of it."""

    name: str  # of the experiment
    protocol: str
    training: TrainingConfig  # shared by all methods
    label_vectors: LabelVectors  # of the margin loss
    methods: Mapping[str, Mapping[str, Scalar]]  # settings by name of the method
    bits: Annotated[tuple[Bits, ...], MinLen(1)]  # lengths that are reported
    codebook_size: Literal[2, 4, 8, 16, 32, 64, 128, 256]  # codewords per level K
    split_seed: Whole
    limit: Size | None  # images of a subset; None for all
    validation: bool  # queries and database are held-out training images
    backbone: Network  # of the experiment
    source: Source | None = None  # whose embeddings were quantized
    stored_side: Size | None = None  # in pixels


@dataclass(frozen=True)
class Shared:
    """What of its configuration a tuned run had before, in common with all methods."""

    training: TrainingConfig
    label_vectors: LabelVectors
    methods: Mapping[str, Mapping[str, Scalar]]


@dataclass(frozen=True)
class Tuned:
    """The study whose winner the configuration is, and what it started from."""

    study: Label
    shared: Shared


@dataclass(frozen=True)
class Plugin:
    """The package that a method is of."""

    package: Label
    version: Version

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
class Place:
    """What tables read of a machine; `Record.raw["environment"]` has versions too."""

    device: str
    cpu: str
    threads: Size
    commit: str
    beside: Whole = 0  # runs that shared the machine
    captured: bool = False  # steps were replayed as CUDA graphs
    processes: Size = 1

    @property
    def computed(self) -> str:
        """The card, or the processor with its threads."""
        several = f", {self.processes} processes" if self.processes > 1 else ""
        if self.device != "cpu":
            return self.device + several
        return f"{self.cpu}, {self.threads} thread" + ("s" if self.threads > 1 else "") + several


@dataclass(frozen=True)
class Environment(Place):
    """Where the run ended, and where its parts were before."""

    earlier: tuple[Place | Literal["unknown"], ...] = ()  # parts that were elsewhere, in their order

    @property
    def places(self) -> list[Place | None]:
        """Of all parts; None where that is not known."""
        return [None if place == "unknown" else place for place in (*self.earlier, self)]  # type: ignore[misc]

    @property
    def commits(self) -> list[str]:
        """Of all parts, each once."""
        return list(dict.fromkeys(place.commit if place else "unknown" for place in self.places))

    @property
    def processor(self) -> str:
        """What computed, of all parts."""
        return "; then ".join(dict.fromkeys(place.computed if place else "unknown" for place in self.places))

    @property
    def described(self) -> str:
        """What computed, how, and with how many other runs."""
        how = [self.processor, *(["steps replayed"] if self.captured else [])]
        return ", ".join(how + ([f"{self.beside} runs beside"] if self.beside else []))

    @property
    def short_commit(self) -> str:
        """The first ten digits of each commit, and what `-dirty` says of it."""
        return ", ".join(commit[:10] + commit[40:] for commit in self.commits)


Report = Mapping[str, float | tuple[str, ...] | tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What every record says: which images, how they were ranked, and what that gave."""

    schema_version: Literal[1]
    id: Label  # name of the file; a digest of everything that decides the numbers is part of it
    experiment: Label
    protocol: Label  # of the data
    created: str  # UTC
    data: Data
    score: RankedBy
    ap_denominator: Literal["hits", "total", "capped"]
    cut: Size | None  # ranks of mAP; None for the whole database
    lengths: Annotated[tuple[Ranked, ...], MinLen(1)]  # by ascending bits
    queries_without_relevant: Whole
    environment: Environment
    further_cuts: tuple[Size, ...] = ()  # at which mAP is reported as well
    arguments: tuple[str, ...] | None = None  # of the command that made it; None for older records

    @cached_property
    def raw(self) -> dict[str, Any]:
        """The whole table of the file, of which digests are made and which is written again; set by the reader."""
        raise AttributeError(f"{self.id} was not read from a file")


Kind = Literal["additive", "binary", "embeddings"]


@dataclass(frozen=True)
class Origin:
    """What was brought: the file of somebody's codes."""

    kind: Kind
    sha256: Digest  # of the file
    dim: Size  # D of queries and codewords or of the embeddings, or the bits of binary codes
    codebook_size: Size | None = None  # codewords per level K of additive codes


@dataclass(frozen=True, kw_only=True)
class Brought(Measured):
    """Codes that were made elsewhere and measured here: there is nothing to say of a training, a network or a seed."""

    name: Label  # that whoever brought them gave
    brought: Origin
    split_seed: Whole
    intervals: tuple[tuple[Share, Share] | None, ...]  # of mAP over the queries, by length; None of a single query


@dataclass(frozen=True)
class Record(Measured):
    """A run: what it was, where, and what was measured."""

    method: Label
    variant: Literal["paper", "released"]
    seed: Whole  # master seed
    backbone: Backbone
    lengths: Annotated[tuple[Length, ...], MinLen(1)]
    float_map: Share  # of exact search among the embeddings
    embedding_mean_squared_norm: Amount  # of the database
    codewords_used: tuple[Whole, ...]  # per level
    codeword_perplexity: tuple[Amount, ...]  # per level
    training_log: tuple[Report, ...]  # one table per epoch
    classification_accuracy: Share | None  # of queries; None without a classifier
    seconds: Seconds
    images_per_second: Speed
    peak_memory_mb: Amount  # of the process or card
    config: Setting
    ablation: Label | None = None  # name of the one change
    ablation_of: Label | None = None  # identity of the run without it
    plugin: Plugin | None = None  # the package that the method is of; None for this project's
    warnings: tuple[str, ...] = ()  # signs of a training that went wrong
    tuned: Tuned | None = None  # None for the setting that all methods share

    @property
    def reading(self) -> str:
        """Of the two of a table, that which the record belongs to."""
        return BUDGETS if self.tuned else TERMS

    @property
    def shared(self) -> Setting:
        """The configuration as other methods have it in common: before tuning."""
        return replace(self.config, **vars(self.tuned.shared)) if self.tuned else self.config

    @property
    def decisive(self) -> dict[str, Any]:
        """What decides the numbers besides method, variant and seed; the digest in the identity is of this."""
        return {
            **self.raw["config"],
            "fingerprint": self.data.fingerprint,
            "weights_sha256": self.backbone.weights_sha256,
            **{key: self.raw[key] for key in ("plugin", "tuned") if getattr(self, key)},
        }

    @cached_property
    def repeats(self) -> str:
        """Stands for method, setting and seeds: records that have it in common differ in their code lengths alone."""
        own = {key: value for key, value in self.decisive.items() if key != "bits"}
        return digest([self.method, self.variant, self.ablation, self.seed, own])

    @property
    def repetition(self) -> tuple[int, int]:
        """Seed of the split, and seed."""
        return self.config.split_seed, self.seed

    @property
    def unit(self) -> tuple[int, int]:
        """The split that the run is of, and what repeats in it: one of the n that means and intervals are over.

        Within one split that is the seed; where classes are held out it is the split itself, whose seeds share its
        classes, here with a 0. Of runs of several splits each split is one, whatever the protocol: its seeds share its
        images, so their mean counts once (`benchmarks.report.intervals.repetitions`).
        """
        return self.config.split_seed, 0 if self.has_unseen_classes else self.seed

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
