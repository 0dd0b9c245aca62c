"""What a call is to do: its runs, and where each of them keeps what."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.records.record import TUNED, digest, stem_of
from benchmarks.records.store import record_path
from benchmarks.running.locks import lock_path
from benchmarks.setting.ablations import WORDS
from benchmarks.setting.building import Ingredients, build_method, read_ingredients
from benchmarks.setting.experiment import Experiment, describe
from benchmarks.setting.methods import METHODS, reported_lengths, studied
from dpq.learning.entry import Method, Source


@dataclass(frozen=True)
class Run:
    """One record to be: a method, a variant and a seed in one setting."""

    experiment: Experiment  # with the variant's switches; its longest code is trained, its `bits` are reported
    ingredients: Ingredients = field(compare=False, repr=False)
    method: str
    variant: str  # "paper" or "released"
    seed: int  # master seed
    output: Path  # folder of all results
    # File name of the record; a function of everything that decides its numbers.
    identity: str = ""
    # File name of the checkpoint; a function of everything that decides the trained weights, so that one training
    # serves several ways of evaluating it.
    training: str = ""
    # File name of the checkpoint after the feature epochs, which trainings of other code lengths start from; None where
    # one training serves all lengths.
    features: str | None = None
    source: Run | None = None  # whose embeddings this one quantizes
    ablation: str | None = None  # name of the one change that was made to the setting; None for the setting itself
    ablation_of: str | None = None  # identity of the run without that change
    # Of a run at the winner of a study: its name, and what the method shared before; None for the shared setting.
    tuned: Mapping[str, Any] | None = field(default=None, hash=False)
    call: tuple[str, ...] = ()  # experiment and changes of the command that made it (`overrides.recorded_call`)

    def build(self, source: Source | None = None) -> Method:
        """The method, untrained; `source` has the embeddings, for one that quantizes those of another."""
        return build_method(self.method, self.experiment, self.ingredients, self.seed, source)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration as a record keeps it; with the longest code of its source, if it has one."""
        table = describe(self.experiment, METHODS[self.method].configs)
        if self.source is not None:
            table["source"] = {"method": self.source.method, "bits": max(self.source.experiment.bits)}
        # The file's name: its folder decides nothing.
        table["backbone"]["weights"] = self.ingredients.recorded_weights["weights"]
        table["label_vectors"] = self.ingredients.label_vectors_source
        return table

    def with_ingredients(self, ingredients: Any) -> Run:
        """The same run of the same images as another process has them; None for the way there."""
        source = self.source and self.source.with_ingredients(ingredients)
        return replace(self, ingredients=ingredients, source=source)

    def forget(self) -> None:
        """Delete what the training has left, so that it starts anew; the record stays until it is replaced."""
        for checkpoint in (self.checkpoint, self.feature_checkpoint):
            if checkpoint is not None:
                checkpoint.unlink(missing_ok=True)
        shutil.rmtree(self.embeddings, ignore_errors=True)

    @property
    def arguments(self) -> list[str]:
        """The command of this one record, without what decides no number: where data are, on what it is computed.

        What is asked for stands before `--seeds`, then seed, split and lengths, and last the changes of the setting.
        """
        experiment, *changes = self.call
        named = ["--ablation", self.ablation] if self.ablation else ["--method", self.method]
        if self.ablation == WORDS:
            changes += ["--label-vectors", Path(self.experiment.label_vectors).name]
        lengths = {*self.experiment.bits, max((self.source or self).experiment.bits)}
        return [
            "run",
            experiment,
            *named,
            *(["--variant", self.variant] if self.variant != "paper" else []),
            *(["--tuned"] if self.tuned else []),
            *("--seeds", str(self.seed), "--split-seeds", str(self.experiment.split_seed)),
            *("--bits", ",".join(map(str, sorted(lengths)))),
            *changes,
        ]

    @property
    def record(self) -> Path:
        """The record's path; the raw codes lie beside it as `.npz`."""
        return record_path(self.output, self.experiment.name, self.identity)

    @property
    def folder(self) -> Path:
        """Where everything of the experiment lies."""
        return self.output / self.experiment.name

    @property
    def checkpoint(self) -> Path:
        """Weights, optimiser and log after the last finished epoch."""
        return self.folder / "checkpoints" / f"{self.training}.safetensors"

    @property
    def feature_checkpoint(self) -> Path | None:
        """Weights, optimiser and log after the feature epochs, which other code lengths share."""
        return self.folder / "checkpoints" / f"{self.features}.safetensors" if self.features else None

    @property
    def lock(self) -> Path:
        """The lock of what this run shares: runs that share a training, its feature epochs or embeddings have one."""
        shared = self.source.training if self.source else self.features or self.training
        if METHODS[self.method].source == "backbone":
            shared = "frozen-features"
        return lock_path(self.folder, shared)

    @property
    def stands_alone(self) -> bool:
        """Whether the feature epochs that it shares are there, so that other lengths can go on beside it."""
        return self.feature_checkpoint is not None and self.feature_checkpoint.exists()

    @property
    def locks(self) -> list[Path]:
        """What is to be held while this run is done, in this order."""
        shared = [] if self.stands_alone else [self.lock]
        return [*shared, lock_path(self.folder, self.training)] if self.features else shared

    @property
    def embeddings(self) -> Path:
        """Folder of the stored embeddings, for methods whose embeddings other runs quantize."""
        return self.folder / "embeddings" / self.identity


def plan(
    experiment: Experiment,
    ingredients: Ingredients,
    *,
    methods: Sequence[str],
    seeds: Sequence[int],
    variant: str,
    output: Path,
    call: tuple[str, ...] = (),
    tuned: bool = False,
) -> list[Run]:
    """The runs that a call asks for, done or not, in the order of the registry; `tuned` ones of methods with studies.

    Raises:
        InputError: label vectors that a study has chosen are missing, unreadable or do not fit.
    """
    complete = experiment.with_variant(variant)

    def made(method: str, seed: int) -> Run:
        run = Run(complete, ingredients, method, variant, seed, output, call=call)
        return _at_winner(run) if tuned else run

    runs = []
    for seed in seeds:
        for method in sorted(methods, key=list(METHODS).index):
            base, named = made(method, seed), studied(method)
            source = None if named == method else _named(made(named, seed))
            for bits in reported_lengths(method, complete.bits):
                runs.append(_named(replace(base, experiment=replace(base.experiment, bits=bits), source=source)))
    return runs


def _at_winner(run: Run) -> Run:
    """The run as the study of its method, or of its source, has found it best."""
    shared, own = run.experiment, run.ingredients
    experiment, winner = shared.tuned_as(run.method), shared.tuned[studied(run.method)]
    assert experiment is not None
    if experiment.label_vectors != shared.label_vectors:
        own = read_ingredients(experiment, own.dataset, own)
    before = {key: run.config[key] for key in ("training", "label_vectors", "methods")}
    return replace(run, experiment=experiment, ingredients=own, tuned={"study": winner.study, "shared": before})


def plan_ablations(base: Sequence[Run], settings: Mapping[str, Experiment]) -> list[Run]:
    """The same runs in the setting of every ablation, by its name; each with the label vectors of that setting.

    Raises:
        InputError: label vectors are missing, unreadable or do not fit.
    """
    made = []
    for name, experiment in settings.items():
        own = read_ingredients(experiment, base[0].ingredients.dataset, base[0].ingredients)
        for run in base:
            setting = replace(experiment, bits=run.experiment.bits)
            changed = replace(run, experiment=setting, ingredients=own, ablation=name, ablation_of=run.identity)
            made.append(_named(changed))
    return made


def pieces(runs: Sequence[Run]) -> dict[Path, float]:
    """What must be done by one process at a time, the longest first: locks, and the trainings behind each.

    Runs that share a training or stored embeddings share a lock; a run without a training takes about a tenth of one.
    """
    found: dict[Path, float] = {}
    for run in runs:
        found[run.lock] = found.get(run.lock, 0.0) + (0.1 if METHODS[run.method].source else 1.0)
    return dict(sorted(found.items(), key=lambda piece: -piece[1]))


def most_at_once(runs: Sequence[Run]) -> int:
    """How many of these runs can ever go on beside each other: pieces, and lengths once they have their features."""
    return len({run.training if run.features else run.lock for run in runs})


def take_shard(runs: Sequence[Run], shard: tuple[int, int], turn: int = 0) -> list[Run]:
    """The runs of a shard, in their order; runs that share a training or stored embeddings stay together.

    A function of the runs that a call asks for, whatever is done already: the shards of one call never overlap, at
    whatever time and on whatever machine each is started, and together they leave what one would. The longest pieces
    are dealt first, each to the shard that has least.

    Args:
        runs: of the whole call.
        shard: which one, from 1, and of how many.
        turn: of several lists of runs, which this is; shards take turns at what comes first.
    """
    index, count = shard
    loads = [0.0] * count
    mine: set[Path] = set()
    for lock, load in pieces(runs).items():
        least = loads.index(min(loads))
        loads[least] += load
        if (least + turn) % count == index - 1:
            mine.add(lock)
    return [run for run in runs if run.lock in mine]


def _named(run: Run) -> Run:
    """The run with the names of its files, which follow from all the rest."""
    method = METHODS[run.method]
    setting = run.config | {
        "fingerprint": run.ingredients.dataset.fingerprint,
        "weights_sha256": run.ingredients.recorded_weights["weights_sha256"],
        **method.origin,
    }
    trained = setting | {"training": {k: v for k, v in setting["training"].items() if k != "evaluation_views"}}
    stem, bits, features = stem_of(run.method, run.variant, run.seed, run.ablation), "", None
    if not method.progressive:
        if method.source is None:
            features = f"{stem}-features-{digest({k: v for k, v in trained.items() if k != 'bits'})}"
        bits = f"-{max(run.experiment.bits)}bits"
    training = f"{stem}{bits}-{digest(setting if method.source else trained)}"
    if run.tuned:  # to the shared setting perhaps, whose training is its own then
        stem, setting = stem_of(run.method, run.variant, run.seed, TUNED), setting | {"tuned": run.tuned}
    return replace(run, identity=f"{stem}{bits}-{digest(setting)}", training=training, features=features)
