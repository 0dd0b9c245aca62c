"""An experiment: one data protocol and one setting that all its methods share, read from TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Interval

from benchmarks.setting.methods import METHODS, studied
from dpq.errors import InputError, one_line
from dpq.files.json import read_text
from dpq.learning.settings import Count, Pixels, RankedBy, TrainingConfig, added_later, as_recorded

T = TypeVar("T")

CONFIGS = Path(__file__).parents[1] / "configs"
OWN = "own"  # whose results are of images that nobody else has
UNPUBLISHED = ("digits", OWN)  # and bundled data, to try the suite with
MOST_BYTES = 1 << 20  # of a file
# Of a training, what decides the data or the evaluation, which are everybody's.
NEVER_TUNED = ("image_size", "evaluation_views", "precision", "augmentation.crop")

Seed = Annotated[int, Interval(ge=0, le=2**31 - 1)]


@dataclass(frozen=True)
class BackboneConfig:
    """Which network, and where its first weights come from."""

    name: str  # timm model name
    weights: str = "timm"  # for its own download; "none" for random weights, or a path
    embedding_dim: Pixels = 300  # D


@dataclass(frozen=True)
class Tuned:
    """The winner of a study of one method: what differs from the setting that all share."""

    study: str  # `<output>/studies/<experiment>/<study>.json` holds its trials
    label_vectors: str | None = None  # None for the shared ones
    training: Mapping[str, Any] = field(default_factory=dict)  # fields of `TrainingConfig`
    method: Mapping[str, Any] = field(default_factory=dict)  # fields of the method's own settings

    def without(self, path: str) -> Tuned:
        """The same but for one field of the experiment, which its path names with dots."""
        training = {name: value for name, value in self.training.items() if f"training.{name}" != path}
        return replace(self, training=training, label_vectors=None if path == "label_vectors" else self.label_vectors)


@dataclass(frozen=True)
class Experiment:
    """Everything that decides the numbers of an experiment, but the seed and the method."""

    name: str  # also the folder of its results
    protocol: str  # of data
    backbone: BackboneConfig  # network and weights
    training: TrainingConfig  # optimisation, resolution, augmentation
    # The file's tables of methods, or settings in their place; `settings_of` reads one when it is asked for, as a
    # method's settings are a class of its file, which imports PyTorch.
    methods: Mapping[str, Any] = field(default_factory=dict, hash=False)
    bits: tuple[Annotated[int, Interval(ge=1, le=1024)], ...] = (8, 16, 24, 32)  # code lengths to report
    seeds: tuple[Seed, ...] = (0,)  # repetitions that a run without `--seeds` makes
    codebook_size: Annotated[int, Interval(ge=2, le=256)] = 256  # codewords per level K
    split_seeds: tuple[Seed, ...] = (0,)  # of the splits, each the same for all methods and repetitions; a run has one
    label_vectors: str = "orthonormal"  # or a text file of word vectors
    limit: Count | None = None  # class-balanced subset of every split; None uses all
    validation: bool = False  # replace query and database by held-out training images
    stored_side: Pixels | None = added_later(None)  # pixels that images of protocols with lists are resized to once
    tuned: Mapping[str, Tuned] = field(default_factory=dict, hash=False)  # winners of studies, by method

    def __post_init__(self) -> None:
        """Refuse lists that are empty or name a number twice, tables that no method has, and what may not be tuned."""
        for name in ("bits", "seeds", "split_seeds"):
            numbers = getattr(self, name)
            if not numbers or len(set(numbers)) < len(numbers):
                raise InputError(f"{name} must be a list of different numbers, at least one; got {list(numbers)[:20]}")
        known = {*METHODS} - (METHODS.own.keys() - known_tables())
        quantizing = {name for name in METHODS.own if studied(name) != name}  # what another method has learned
        for table, own in (("methods", known), ("tuned", known - quantizing)):
            if unknown := sorted(getattr(self, table).keys() - own):
                where = f"{self.name}.{table}"
                raise InputError(f"unknown key {unknown[0]!r} in {where}; known are {', '.join(sorted(own))}")
        for name, one in self.tuned.items():
            where = f"{self.name}.tuned.{name}"
            if not re.fullmatch(r"\w[\w.+-]*", one.study):
                raise InputError(f"{where}.study must be a file's name of letters, digits and '.+-'; got {one.study!r}")
            if fixed := [path for path in NEVER_TUNED if path in flat(one.training)]:
                raise InputError(f"{where}.training.{fixed[0]} decides the data or the evaluation; leave it out")
            self._tuned_training(name)

    def settings_of(self, table: str) -> Any:
        """What a method adds to the shared setting, by the name of its table.

        Raises:
            InputError: an unknown key, a value of a wrong type or out of its range; the method's package is broken.
        """
        settings = self.methods.get(table, {})
        if is_dataclass(settings):
            return settings
        kind: Any = METHODS[table].entry.config
        return read_settings(kind, settings, f"{self.name}.methods.{table}")

    def _tuned_training(self, name: str) -> TrainingConfig:
        table, changes = asdict(self.training), self.tuned[name].training
        inside = [key for key, old in table.items() if isinstance(old, dict) and isinstance(changes.get(key), Mapping)]
        inner = {key: table[key] | changes[key] for key in inside}
        return read_settings(TrainingConfig, table | {**changes} | inner, f"{self.name}.tuned.{name}.training")

    def tuned_as(self, method: str) -> Experiment | None:
        """The setting that its study found for a method, None without one.

        Quantizers of another method's embeddings have that method's.

        Raises:
            InputError: as for `settings_of`.
        """
        name = studied(method)
        if name not in self.tuned:
            return None
        one, table = self.tuned[name], METHODS[name].table or name
        settings = self.settings_of(table)
        changed = read_settings(type(settings), asdict(settings) | {**one.method}, f"{self.name}.tuned.{name}.method")
        return replace(
            self,
            training=self._tuned_training(name),
            label_vectors=one.label_vectors or self.label_vectors,
            methods={**self.methods, table: changed},
            tuned={},
        )

    def ranking_of(self, method: str) -> tuple[RankedBy, str]:
        """The score that a method ranks by, and the precision that queries are rounded to before.

        Quantizers of another method's embeddings rank as that method does; DPQ's released code rounds queries.
        """
        settings = self.settings_of(METHODS[method].configs[0])
        return settings.score, getattr(settings, "query_precision", "float32")

    def with_variant(self, variant: str) -> Experiment:
        """The experiment with the variant's switches written out, as the record keeps it."""
        if variant == "paper":
            return self
        having = [method.table for method in METHODS.own.values() if method.table and variant in method.variants]
        return replace(self, methods={**self.methods, **{name: self.settings_of(name).released() for name in having}})

    def splits(self) -> list[Experiment]:
        """The experiment on each of its splits."""
        return [replace(self, split_seeds=(seed,)) for seed in self.split_seeds]

    @property
    def split_seed(self) -> int:
        """Of an experiment on one split."""
        (seed,) = self.split_seeds
        return seed


def known_experiments() -> list[str]:
    """Names of the shipped experiments."""
    return sorted(path.stem for path in CONFIGS.glob("*.toml"))


def known_tables() -> list[str]:
    """Names of the tables of settings that this project's methods have."""
    return [name for name, method in METHODS.own.items() if method.table == name]


def load_experiment(name: str) -> Experiment:
    """Read `benchmarks/configs/<name>.toml`.

    Raises:
        InputError: there is no such experiment, or its file has an unknown key or a value of a wrong type.
    """
    if name not in known_experiments():
        raise InputError(f"unknown experiment {name!r}; choose one of {', '.join(known_experiments())}")
    return read_experiment(name, CONFIGS / f"{name}.toml")


def read_notes(name: str) -> str:
    """What a reader of an experiment's table must know, written by hand in `<name>.md`; empty where there is none."""
    path = CONFIGS / f"{name}.md"
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def read_experiment(name: str, path: Path) -> Experiment:
    """An experiment from its TOML file.

    Raises:
        InputError: unreadable, no UTF-8; or as for `parse_experiment`.
    """
    try:
        text = read_text(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read configuration {path}: {one_line(error)}; correct the file") from error
    return parse_experiment(name, text)


def parse_experiment(name: str, text: str) -> Experiment:
    """An experiment from the text of its TOML file; settings of methods are looked at when they are asked for.

    Raises:
        InputError: no TOML, an unknown or missing key, a value of a wrong type or out of its range.
    """
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise InputError(f"configuration {name} is nested too deeply; correct the file") from None
    except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
        raise InputError(f"configuration {name} is no valid TOML: {one_line(error)}") from error
    if "name" in table:
        raise InputError(f"unknown key 'name' in {name}; the file's name is the experiment's")
    return read_settings(Experiment, {"name": name} | table, name)


def with_settings(experiment: Experiment) -> Experiment:
    """The experiment with all tables of methods read, and those of tuned ones looked at.

    Raises:
        InputError: as for `Experiment.settings_of`.
    """
    read = replace(experiment, methods={table: experiment.settings_of(table) for table in experiment.methods})
    for name in read.tuned:
        read.tuned_as(name)
    return read


def read_settings(kind: type[T], table: Any, where: str) -> T:
    """A dataclass of settings from a table, which messages call `where`.

    Raises:
        InputError: an unknown or missing key, a value of a wrong type or out of its range.
    """
    from dpq.files.schema import read_table  # slow to import, and no help text needs it

    try:
        return read_table(kind, table, where)
    except ValueError as error:
        raise InputError(str(error)) from error


def describe(experiment: Experiment, tables: Sequence[str]) -> dict[str, Any]:
    """What a record keeps of an experiment on one split: all but winners of studies, of `methods` only these tables.

    As JSON-able values.
    """
    table = as_recorded(experiment) | {"split_seed": experiment.split_seed}
    table["methods"] = {name: as_recorded(experiment.settings_of(name)) for name in tables}
    del table["seeds"], table["split_seeds"], table["tuned"]
    return table


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a table and of those inside it, by their paths with dots."""
    fields: dict[str, Any] = {}
    for key, value in table.items():
        fields |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return fields
