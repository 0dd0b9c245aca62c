"""What a search may change and within which ranges: settings that all trained methods share, and a method's own.

A setting goes by its path: `training.NAME`, `method.NAME` in the method's own table, or `label_vectors`. Nothing here
imports Optuna, but what proposes the next values.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.setting.ablations import METHOD
from benchmarks.setting.experiment import Experiment, Tuned
from benchmarks.setting.methods import METHODS, studied
from dpq.errors import InputError
from dpq.seeds import derive_seed

Range = tuple[Any, ...]  # (lowest, highest), (lowest, highest, "log"), or choices
Settings = Mapping[str, Any]  # values by path

# Of every method that trains features.
SHARED: dict[str, Range] = {
    "training.learning_rate": (1e-4, 1e-2, "log"),
    "training.head_multiplier": (1.0, 10.0, "log"),
    "training.layer_decay": (0.7, 1.0),
    "training.weight_decay": (0.0, 0.2),
    "training.dropout": (0.0, 0.5),
    "training.ema": (0.0, 0.9, 0.97, 0.99),
    "training.erasing": (0.0, 0.5),
}
STARTUP = 8  # trials before the sampler goes by what it has seen; the first is the experiment's own setting
_DIGITS = 4  # of a proposed number, so that a setting can be written down


def is_choice(range_: Range) -> bool:
    """Whether a range is a list of values, not an interval."""
    log = len(range_) == 3 and range_[2] == "log"
    return not ((log or len(range_) == 2) and all(type(value) in (int, float) for value in range_[:2]))


def space_of(experiment: Experiment, method: str, most_epochs: int, vectors: str | None = None) -> dict[str, Range]:
    """The ranges of a method's search, in which the experiment's own values always are: the first trial has them.

    Args:
        experiment: whose setting is the first trial.
        method: quantizers of frozen features have no settings but their own.
        most_epochs: the bound that all methods have in common; half the experiment's own epochs are the fewest.
        vectors: a file of label vectors to choose instead of the experiment's own; DPQ's margin alone has any.

    Raises:
        InputError: the bound is below the experiment's own epochs; a value is not for its logarithmic range; the method
            quantizes what another method has learned.
    """
    entry = METHODS[method]
    if (source := studied(method)) != method:
        raise InputError(f"{method} quantizes embeddings of {source}; tune {source}")
    ranges: dict[str, Range] = {}
    if entry.source is None:
        epochs = experiment.training.epochs
        if most_epochs < epochs:
            raise InputError(f"the first trial has the experiment's own {epochs} epochs; give --most-epochs as many")
        ranges |= SHARED | {"training.epochs": (-(-epochs // 2), most_epochs)}
        if vectors is not None and method == METHOD:
            ranges["label_vectors"] = ("orthonormal", Path(vectors).name)
    ranges |= {f"method.{name}": range_ for name, range_ in entry.entry.ranges.items()}
    own = own_settings(experiment, method, ranges)
    return {path: _having(path, range_, own[path]) for path, range_ in ranges.items()}


def _having(path: str, range_: Range, value: Any) -> Range:
    """The range, widened to have this value in it."""
    if is_choice(range_):
        return range_ if value in range_ else (value, *range_)
    low, high, *log = range_
    if log and value <= 0:
        raise InputError(f"{path} is searched on a logarithmic scale, and the experiment sets it to {value}")
    return (min(low, value), max(high, value), *log)


def own_settings(experiment: Experiment, method: str, space: Mapping[str, Range]) -> dict[str, Any]:
    """The experiment's own values of what is searched."""
    found: dict[str, Any] = {}
    for path in space:
        place, _, name = path.partition(".")
        if place == "label_vectors":
            found[path] = Path(experiment.label_vectors).name
        else:
            table = experiment.training if place == "training" else experiment.settings_of(_table(method))
            found[path] = getattr(table, name)
    return found


def applied(experiment: Experiment, method: str, settings: Settings, vectors: str | None = None) -> Experiment:
    """The experiment with these values; `vectors` is the file of label vectors, which they call by its name."""
    tables: dict[str, dict[str, Any]] = {"training": {}, "method": {}}
    for path, value in settings.items():
        place, _, name = path.partition(".")
        if place in tables:
            tables[place][name] = value
    named: str = settings.get("label_vectors", Path(experiment.label_vectors).name)
    files = {Path(file).name: file for file in filter(None, (vectors, experiment.label_vectors))}
    winner = Tuned("trial", label_vectors=files.get(named, named), **tables)
    return replace(experiment, tuned={method: winner}).tuned_as(method) or experiment


def _table(method: str) -> str:
    return METHODS[method].configs[0]


def propose(
    space: Mapping[str, Range], own: Settings, seed: int, number: int, known: Sequence[tuple[Settings, float | None]]
) -> dict[str, Any]:
    """The settings of a trial: a function of these arguments alone, so that a search goes on as if never interrupted.

    The first has the experiment's own values. Where there are only choices, all their combinations follow in order, and
    then the same ones again. Else a tree-structured Parzen estimator proposes (Bergstra et al., NeurIPS 2011), from a
    seed of this trial.

    Args:
        space: ranges by path.
        own: values of the experiment.
        seed: of the study.
        number: of the trial, from 1.
        known: settings and values of earlier trials, None of those that diverged, which rank below all others.
    """
    if all(map(is_choice, space.values())):
        combinations = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
        ordered = [dict(own), *(one for one in combinations if one != own)]
        return ordered[(number - 1) % len(ordered)]
    if number == 1:
        return dict(own)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    derived = derive_seed(seed, "tuning", number)
    distributions = {path: _distribution(range_) for path, range_ in space.items()}
    # Each setting by itself: jointly, a dozen trials never leave the choices that the first ones drew.
    sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, multivariate=False, seed=derived)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for settings, value in known:
        state = optuna.trial.TrialState.PRUNED if value is None else optuna.trial.TrialState.COMPLETE
        params = dict(settings)
        study.add_trial(optuna.trial.create_trial(state=state, value=value, params=params, distributions=distributions))
    asked = study.ask(fixed_distributions=distributions).params
    return {path: _rounded(asked[path], range_) for path, range_ in space.items()}


def _distribution(range_: Range) -> Any:
    from optuna import distributions

    if is_choice(range_):
        return distributions.CategoricalDistribution(range_)
    low, high, *log = range_
    kind = distributions.IntDistribution if type(low) is type(high) is int else distributions.FloatDistribution
    return kind(low, high, log=bool(log))


def _rounded(value: Any, range_: Range) -> Any:
    if is_choice(range_) or not isinstance(value, float):
        return value
    return min(max(float(f"{value:.{_DIGITS}g}"), range_[0]), range_[1])
