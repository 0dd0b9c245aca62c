"""The registry: what is known of every method, and how methods are found, this project's and other packages' alike.

A method's file ends in `METHOD = MethodEntry(...)`; another package names its entry by an entry point of the group
`dpq.methods`. Help, tables and figures need little of a method and must not wait for PyTorch, which its file imports.
So the arguments of METHOD that they need, `FACTS`, are read from the text of this project's files, where they are
literals; a file is imported when its method is built or its settings are read. Another package is imported when its
method is looked up.
"""

from __future__ import annotations

import ast
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, get_args, runtime_checkable

from dpq.errors import InputError
from dpq.learning.settings import (
    Execution,
    Preprocessing,
    RankedBy,
    SearchConfig,
    TrainingConfig,
    TrainLog,
    Views,
    as_recorded,
)

if TYPE_CHECKING:
    from torch import Tensor

    from dpq.protocols.base import Images, Split

GROUP = "dpq.methods"
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")  # also of files
TITLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .,+()/'-]*")  # nothing that Markdown or LaTeX reads as its own
LAST = 1000  # place of a method that names none

SourceName = Literal["backbone", "dpq"]
Variant = Literal["paper", "released"]
Style = tuple[str, str]
FEATURES: dict[str | None, str] = {None: "", "backbone": "frozen features", "dpq": "DPQ's embedding"}

log = logging.getLogger(__name__)


class Source(Protocol):
    """Where embeddings come from."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What the backbone expects of its input."""

    def predict(
        self,
        images: Images,
        *,
        views: Views | None = None,
        crop_seed: int | None = None,
        progress: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Embeddings [N, D] and class logits [N, L] (L = 0 without a classifier) of uint8 images, on the CPU.

        `crop_seed` asks for crops and flips as training draws them; only what other methods quantize is asked so.
        """


class Method(Source, Protocol):
    """What a method is to a benchmark: features, and additive codes of them.

    Attributes:
        name: of the method.
        progressive: a prefix of a code is itself a code, so one training serves every length.
    """

    name: ClassVar[str]
    progressive: ClassVar[bool]

    @property
    def codebooks(self) -> Tensor:
        """[M, K, D]."""

    def fit(
        self, train: Split, training: TrainingConfig, seed: int = 0, execution: Execution | None = None
    ) -> TrainLog:
        """Learn from the training split; go on from the checkpoint where there is one."""

    def embed(self, images: Images, *, views: Views | None = None, progress: bool = False) -> Tensor:
        """Embeddings [N, D] of uint8 images, on the CPU."""

    def encode(self, embeddings: Tensor, bits: int | None = None) -> Tensor:
        """Codes [N, M] uint8 of embeddings [N, D], on the CPU."""


@runtime_checkable
class Decoder(Protocol):
    """A method whose codes are no sums of fixed codewords; its codebooks only say what a code may be."""

    def decode(self, codes: Tensor) -> Tensor:
        """Reconstructions [N, D] float32 of codes [N, m], of all levels or the first m, on the CPU."""


@dataclass(frozen=True)
class MethodContext:
    """What an untrained method is built from.

    Attributes:
        config: of the method: an instance of its entry's `config`; None where that is None.
        bits: code length to train.
        codebook_size: codewords per level K.
        classes: number of classes L.
        label_vectors: [L, D], one of unit length per class.
        backbone: makes the experiment's network, a `dpq.learning.backbone.Backbone`, with a classifier of so many
            classes, 0 for none; `embedding_dim=` gives it another D than the experiment's, or 0 for that, and `head=`
            "none", "batchnorm" or "unit" in place of "tanh".
        embeddings: what `source` gives.
        frozen: these are frozen features.
        multi_label: training images may have several labels.
    """

    config: Any
    bits: int
    codebook_size: int
    classes: int
    label_vectors: Tensor
    backbone: Callable[..., Any]
    embeddings: Source | None = None
    multi_label: bool = False
    frozen: bool = False

    def source(self) -> Source:
        """Where the embeddings come from that the method quantizes.

        Raises:
            InputError: the entry names no source.
        """
        if self.embeddings is None:
            raise InputError('a method that quantizes given embeddings must say so: MethodEntry(source="backbone")')
        return self.embeddings


@dataclass(frozen=True)
class MethodEntry:
    """All that is said of a method, at the end of its file.

    Attributes:
        build: makes an untrained method; its random numbers come from torch's global generator, which is seeded.
        title: name in tables and figures, and in the papers' numbers.
        progressive: a prefix of a code is itself a code, so one training serves every length.
        config: frozen dataclass of the method's settings, all with defaults; `score` says how it ranks. None for a
            method on DPQ without settings of its own. A method `check_training(TrainingConfig)` of theirs, if there is
            one, refuses, with an `InputError`, a training that would not train, before any image is read.
        source: whose embeddings are quantized: "backbone" for frozen features, "dpq" for those of a trained DPQ, which
            then decides how it ranks; None for a method that trains features of its own.
        check: refuses, with an `InputError`, training images and codebook sizes K that the method is not made for.
        order: place in tables among this project's methods, smaller first; those of other packages come after them.
        style: colour and marker in figures, as matplotlib names them; None takes those of methods without any.
        features: what its codes are made of, in titles; empty says it by the source.
        paper: it is of the paper's comparison, or a control of it: what a benchmark runs unless it is told more.
        variants: that it has; of "released" the settings give themselves by their method `released()`.
        on_dpq: this project's quantizers of frozen features may be a second method, `NAME-dpq`, which quantizes DPQ's
            embedding: the arguments that it has otherwise, such as order and style.
        ranges: of the settings that may be tuned: (lowest, highest), (lowest, highest, "log"), or choices, which are
            texts, flags, or at least three numbers.

    Raises:
        InputError: a title that tables cannot print, an unknown source or variant, or unusable settings.
    """

    build: Callable[[MethodContext], Method]
    title: str
    progressive: bool
    config: type[Any] | None = SearchConfig
    source: SourceName | None = None
    check: Callable[[Split, int], None] | None = None
    order: int = LAST
    style: Style | None = None
    features: str = ""
    paper: bool = False
    variants: tuple[Variant, ...] = ("paper",)
    on_dpq: Mapping[str, Any] | None = None
    ranges: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what would only fail in a run or in a table."""
        if not callable(self.build):
            raise InputError(f"build must be callable; got {self.build!r}")
        if not isinstance(self.title, str) or not TITLE.fullmatch(self.title):
            raise InputError(f"the title must be letters, digits, spaces and .,+()/'-; got {self.title!r}")
        if self.source not in (None, *get_args(SourceName)):
            raise InputError(
                f"the source must be one of {', '.join(get_args(SourceName))}, or None; got {self.source!r}"
            )
        if fault := self._config_fault():
            raise InputError(f"the settings {getattr(self.config, '__name__', self.config)!s} {fault}")

    def _config_fault(self) -> str:
        """What is wrong with the class of settings; empty if nothing is."""
        config: Any = self.config
        if config is None and self.source == "dpq":
            return ""
        if not (isinstance(config, type) and is_dataclass(config) and config.__dataclass_params__.frozen):  # type: ignore[attr-defined]
            return "must be a frozen dataclass"
        try:
            defaults = config()
            hash(defaults)
            recorded = as_recorded(defaults)
            json.dumps(recorded, allow_nan=False)
        except (TypeError, ValueError) as error:
            return f"must have defaults, all of them JSON-able ({error})"
        if nested := [key for key, value in recorded.items() if not isinstance(value, str | int | float | None)]:
            return f"must hold texts, numbers and flags; {nested[0]} is something else"
        if getattr(defaults, "score", None) not in get_args(RankedBy):
            return f"must have a field score, one of {', '.join(get_args(RankedBy))}"
        if "released" in self.variants and not hasattr(config, "released"):
            return "must have a method released(), as there is a released variant"
        if unknown := self.ranges.keys() - {f.name for f in fields(config)}:
            return f"have no field {sorted(unknown)[0]}, of which a range is given"
        return ""


# What help, tables and figures need, and what is read without importing a file of this project.
FACTS = ("title", "progressive", "source", "order", "style", "features", "paper", "variants")


class Plugin(NamedTuple):
    """The package that a method is of, by its normalised name, and its version."""

    package: str
    version: str


@dataclass(frozen=True)
class RegisteredMethod:
    """What is known of a method without its code; see `MethodEntry`."""

    name: str  # that `--method` takes
    table: str | None  # name of the table of its settings, if it has any of its own
    load: Callable[[], MethodEntry]  # imports the entry
    title: str
    progressive: bool
    source: SourceName | None = None
    order: int = LAST
    style: Style | None = None
    features: str = ""
    paper: bool = False
    variants: tuple[Variant, ...] = ("paper",)
    plugin: Plugin | None = None  # the package that it is of, if it is not this project's

    def __post_init__(self) -> None:
        """Say by the source what no entry says."""
        object.__setattr__(self, "features", self.features or FEATURES[self.source])

    @cached_property
    def entry(self) -> MethodEntry:
        """All of it; its file is imported."""
        return self.load()

    @property
    def configs(self) -> tuple[str, ...]:
        """Tables of settings that decide its numbers; the first says how it ranks."""
        return (*(("dpq",) if self.source == "dpq" else ()), *((self.table,) if self.table else ()))

    @property
    def origin(self) -> dict[str, Any]:
        """What a record says of where the method comes from; nothing of this project's."""
        return {"plugin": self.plugin._asdict()} if self.plugin else {}


def read_methods(name: str, module: str) -> list[RegisteredMethod]:
    """The method at the end of a module's file, and the same on DPQ's embedding; nothing where there is none.

    Raises:
        InputError: an argument of METHOD that is read from the text is missing or no literal.
    """
    path = Path(str(getattr(find_spec(module), "origin", None)))
    said = None
    for statement in ast.parse(path.read_text(encoding="utf-8"), str(path)).body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id="METHOD")], value=ast.Call(keywords=arguments))
                | ast.AnnAssign(target=ast.Name(id="METHOD"), value=ast.Call(keywords=arguments))
            ):
                said = {one.arg: one.value for one in arguments}
    if said is None:
        return []
    try:
        facts = {key: ast.literal_eval(said[key]) for key in (*FACTS, "on_dpq") if key in said}
        second = facts.pop("on_dpq", None)
        table = None if isinstance(said.get("config"), ast.Constant) else name
        own = RegisteredMethod(name, table, lambda: import_module(module).METHOD, **facts)
    except (ValueError, LookupError, TypeError) as error:
        needed = f"METHOD of {module} needs title and progressive, by name, and literals for {', '.join(FACTS)}"
        raise InputError(f"{needed}, which are read without importing it ({error})") from error
    if second is None:
        return [own]
    changes: dict[str, Any] = {"source": "dpq", **second}
    on_dpq = partial(
        RegisteredMethod, f"{name}-dpq", table, lambda: replace(own.entry, on_dpq=None, ranges={}, **changes)
    )
    return [own, on_dpq(**facts | changes)]


def _origin_of(point: EntryPoint) -> Plugin:
    if point.dist is None:
        return Plugin("unknown", "unknown")
    return Plugin(re.sub(r"[-_.]+", "-", str(point.dist.name)).lower(), str(point.dist.version))


class Registry(Mapping[str, RegisteredMethod]):
    """Methods by name, in the order of tables: the project's own, then those of other packages.

    Args:
        modules: of the project's own methods, by name; those whose files have no METHOD are left out.

    Attributes:
        own: the project's own methods.
    """

    def __init__(self, modules: Mapping[str, str]) -> None:
        found = [method for name, module in modules.items() for method in read_methods(name, module)]
        self.own = {method.name: method for method in sorted(found, key=lambda method: (method.order, method.name))}
        self._loaded: dict[str, RegisteredMethod] = {}

    @cached_property
    def declared(self) -> dict[str, list[EntryPoint]]:
        """The entry points of the installed packages by method name; nothing is imported.

        A name that is taken or that no file could have is left out, which is said once.
        """
        points: dict[str, list[EntryPoint]] = {}
        for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, *_origin_of(point))):
            if NAME.fullmatch(point.name) and point.name not in (*self.own, "all", "paper", *get_args(SourceName)):
                points.setdefault(point.name, []).append(point)
            else:
                taken = NAME.fullmatch(point.name)
                why = "is taken" if taken else "must be lower-case letters, digits and single hyphens"
                log.warning("method %r of %s %s is left out: its name %s", point.name, *_origin_of(point), why)
        return points

    def __iter__(self) -> Iterator[str]:
        """The names; nothing is imported."""
        return iter((*self.own, *self.declared))

    def __len__(self) -> int:
        """How many there are."""
        return len(self.own) + len(self.declared)

    def __contains__(self, name: object) -> bool:
        """Whether there is such a method; its package may still be broken."""
        return name in self.own or name in self.declared

    def __getitem__(self, name: str) -> RegisteredMethod:
        """The method of this name; one of another package is imported.

        Raises:
            InputError: there is none, several packages declare it, or its package is broken; names the package.
        """
        if name in self.own:
            return self.own[name]
        if name in self._loaded:
            return self._loaded[name]
        if name not in self.declared:
            raise InputError(
                f"unknown method {name!r}; choose from {', '.join(self)}, or install the package that has it"
            )
        point, *further = self.declared[name]
        if further:
            several = " and ".join(" ".join(_origin_of(each)) for each in (point, *further))
            raise InputError(f"method {name!r} is declared by {several}; uninstall all but one")
        plugin, fault = _origin_of(point), f"{point.value} is no dpq.registry.MethodEntry"
        try:
            entry = point.load()
        except (Exception, SystemExit) as error:  # whatever another package does
            entry, fault = None, " ".join(f"{type(error).__name__}: {error}".split())[:300]
        if not isinstance(entry, MethodEntry):
            of = " ".join(plugin)
            raise InputError(f"method {name!r} of {of} is unusable ({fault}); correct or uninstall that package")
        facts = {fact: getattr(entry, fact) for fact in FACTS} | {"order": LAST, "variants": ("paper",), "paper": False}
        table = None if entry.config is None else name
        self._loaded[name] = RegisteredMethod(name, table, lambda: entry, **facts, plugin=plugin)
        return self._loaded[name]
