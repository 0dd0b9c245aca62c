"""An experiment: one data protocol and one setting that all its methods share, read from TOML."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from benchmarks.methods import METHODS
from dpq.errors import InputError, one_line
from dpq.json_text import read_text
from dpq.recorded import added_later, as_recorded
from dpq.settings import TrainingConfig

CONFIGS = Path(__file__).parent / "configs"
OWN = "own"  # whose results are of images that nobody else has
UNPUBLISHED = ("digits", OWN)  # and bundled data, to try the suite with
MOST_BYTES = 1 << 20  # of a file
TABLES = [name for name, method in METHODS.own.items() if method.table == name]  # of settings, of our methods

# What a number may be, by its key; every number of a configuration stands here.
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("epochs", "batch_size", "decay_steps", "limit"), (1, 10**9)),
    **dict.fromkeys(("image_size", "stored_side", "embedding_dim"), (1, 10**5)),
    **dict.fromkeys(("seeds", "split_seeds"), (0, 2**31 - 1)),
    "bits": (1, 1024),
    "codebook_size": (2, 256),
    "sweeps": (0, 10**4),
    **dict.fromkeys(("learning_rate", "head_multiplier", "codebook_learning_rate", "decay_rate"), (0, 1e6)),
    **dict.fromkeys(("classification", "margin", "tau", "mu", "nu", "gamma", "quantization"), (0, 1e9)),
    **dict.fromkeys(("weight_decay", "orthogonality"), (0, 1e9)),
    **dict.fromkeys(("momentum", "warmup", "dropout", "feature_epochs", "layer_decay", "shift"), (0, 1)),
    "crop": (0.01, 1),
}


@dataclass(frozen=True)
class BackboneConfig:
    """Which network, and where its first weights come from.

    Attributes:
        name: timm model name.
        weights: "timm" for its own download, "none" for random weights, or a path.
        embedding_dim: D.
    """

    name: str
    weights: str = "timm"
    embedding_dim: int = 300


@dataclass(frozen=True)
class Experiment:
    """Everything that decides the numbers of an experiment, but the seed and the method.

    Attributes:
        name: of the experiment; also the folder of its results.
        protocol: data protocol.
        backbone: network and weights.
        training: optimisation, resolution, augmentation.
        methods: the file's tables of methods, or settings in their place; `settings_of` reads one when it is asked
            for, as a method's settings are a class of its file, which imports PyTorch.
        bits: code lengths to report.
        seeds: repetitions that a run without `--seeds` makes.
        codebook_size: codewords per level K.
        split_seeds: of the splits, each the same for all methods and repetitions; a run has one.
        label_vectors: "orthonormal", or a text file of word vectors.
        limit: class-balanced subset of every split; None uses all.
        validation: replace query and database by held-out training images.
        stored_side: side in pixels to which images of protocols with lists are resized once; None elsewhere.
    """

    name: str
    protocol: str
    backbone: BackboneConfig
    training: TrainingConfig
    methods: Mapping[str, Any] = field(default_factory=dict, hash=False)
    bits: tuple[int, ...] = (8, 16, 24, 32)
    seeds: tuple[int, ...] = (0,)
    codebook_size: int = 256
    split_seeds: tuple[int, ...] = (0,)
    label_vectors: str = "orthonormal"
    limit: int | None = None
    validation: bool = False
    stored_side: int | None = added_later(None)

    def __post_init__(self) -> None:
        """Refuse tables that no method has."""
        known = {*TABLES, *METHODS} - (METHODS.own.keys() - TABLES)
        if unknown := sorted(self.methods.keys() - known):
            raise InputError(f"unknown key {unknown[0]!r} in {self.name}.methods; known are {', '.join(sorted(known))}")

    def settings_of(self, table: str) -> Any:
        """What a method adds to the shared setting, by the name of its table.

        Raises:
            InputError: an unknown key, a value of a wrong type or out of its range; the method's package is broken.
        """
        settings = self.methods.get(table, {})
        if is_dataclass(settings):
            return settings
        return _value(METHODS[table].entry.config, settings, f"{self.name}.methods.{table}")

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
    experiment: Experiment = _build(Experiment, {"name": name} | table, name)
    return experiment


def with_settings(experiment: Experiment) -> Experiment:
    """The experiment with all tables of methods read.

    Raises:
        InputError: as for `Experiment.settings_of`.
    """
    return replace(experiment, methods={table: experiment.settings_of(table) for table in experiment.methods})


def _build(kind: Any, table: Mapping[str, Any], where: str) -> Any:
    hints = get_type_hints(kind)
    hints = {f.name: hints[f.name] for f in fields(kind)}
    unknown = set(table) - set(hints)
    if unknown:
        raise InputError(f"unknown key {sorted(unknown)[0]!r} in {where}; known are {', '.join(sorted(hints))}")
    missing = [f.name for f in fields(kind) if f.name not in table and _required(f)]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}")
    values = {key: _value(hints[key], value, f"{where}.{key}") for key, value in table.items()}
    for key, value in values.items():
        _check_range(key, value, f"{where}.{key}")
    return kind(**values)


def _check_range(key: str, value: Any, where: str) -> None:
    if key not in RANGES:
        return
    least, most = RANGES[key]
    for one in value if isinstance(value, tuple) else (value,):
        if one is not None and not least <= one <= most:
            raise InputError(f"{where} must be from {least:g} to {most:g}; got {str(one)[:30]}")
    if isinstance(value, tuple) and (not value or len(set(value)) < len(value)):
        raise InputError(f"{where} must be a list of different numbers, at least one; got {list(value)[:20]}")


def _required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint) or get_origin(hint) is Mapping:
        if not isinstance(value, Mapping):
            raise InputError(f"{where} must be a table; got {_short(value)}")
        return _build(hint, value, where) if is_dataclass(hint) else value
    if get_origin(hint) is tuple and isinstance(value, list) and all(type(v) is int for v in value):
        return tuple(value)
    choices = get_args(hint)
    if choices and all(isinstance(choice, str) for choice in choices):
        if value not in choices:
            raise InputError(f"{where} must be one of {', '.join(map(repr, choices))}; got {_short(value)}")
        return value
    accepted = {float: (float, int)}.get(hint, choices or (hint,))
    if not isinstance(value, tuple(t for t in accepted if isinstance(t, type))) or (
        isinstance(value, bool) and bool not in accepted
    ):
        raise InputError(f"{where} must be {getattr(hint, '__name__', hint)}; got {_short(value)}")
    checked: Any = value
    try:
        return float(checked) if hint is float else checked
    except OverflowError:
        raise InputError(f"{where} must be a number; got one of {len(str(value))} digits") from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def describe(experiment: Experiment, tables: Sequence[str]) -> dict[str, Any]:
    """What a record keeps of an experiment on one split: all, but only these of `methods`, as JSON-able values."""
    table = as_recorded(experiment) | {"split_seed": experiment.split_seed}
    table["methods"] = {name: as_recorded(experiment.settings_of(name)) for name in tables}
    del table["seeds"], table["split_seeds"]
    return table
