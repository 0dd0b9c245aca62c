"""Regression check: every method on small data, against what the same runs gave when the reference was made."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import MinLen
from torch import Tensor

from benchmarks.records.record import Record
from benchmarks.report.statistics import entries_of
from benchmarks.running.environment import describe_environment
from benchmarks.running.plan import plan
from benchmarks.running.runner import carry_out
from benchmarks.setting.building import Ingredients, build_method, read_ingredients
from benchmarks.setting.experiment import Experiment, describe, flat, known_tables, read_experiment, with_settings
from benchmarks.setting.methods import METHODS
from dpq.errors import InputError, one_line
from dpq.files.atomic import write_atomically
from dpq.files.json import read_json
from dpq.files.schema import Scalar, read_table
from dpq.learning.settings import Epoch, TrainingConfig, Views
from dpq.protocols import Dataset
from dpq.seeds import seeded

log = logging.getLogger(__name__)

REFERENCES = Path(__file__).parents[1] / "regression"
SEEDS = (0, 1, 2, 3, 4)  # of the reference; a check runs the first
CONFIDENCE = 0.999  # of the interval that a further seed falls into
LEAST_REACH = 0.01  # of the mean: other machines round differently even where seeds agree
PROBED = 2048  # random embeddings
PROBE_TOLERANCE = 0.01


@dataclass(frozen=True)
class Reference:
    """What a check compares with; the file also says which seeds and machine made it."""

    settings: Mapping[str, Any]  # everything that decides the numbers, as `settings` has it
    made_of: Mapping[str, Scalar]  # fingerprint of the data, digest of the weights
    terms: Mapping[str, float]  # loss terms of random embeddings
    metrics: Mapping[str, Annotated[tuple[float, ...], MinLen(2)]]  # values over the seeds


class Moved(Exception):
    """Something left its interval; the text says what and by how much."""


def load_suite(name: str, weights: str | None) -> Experiment:
    """The experiment of a suite, with the weights that were given."""
    experiment = with_settings(read_experiment(name, REFERENCES / f"{name}.toml"))
    if weights is None:
        return experiment
    return replace(experiment, backbone=replace(experiment.backbone, weights=weights))


def check(experiment: Experiment, dataset: Dataset, device: torch.device) -> int:
    """Run every method with the first seed and compare.

    Returns:
        How many values were compared.

    Raises:
        InputError: there is no reference.
        Moved: a setting, a loss term or a metric differs.
    """
    path = REFERENCES / f"{experiment.name}.json"
    reference = read_reference(path)
    ingredients = read_ingredients(experiment, dataset)
    if (found := _made_of(ingredients)) != reference.made_of:
        raise InputError(
            f"{experiment.name}: data and weights are {found}, the reference was made of {reference.made_of}; "
            "give those, or make a reference of your own with --update"
        )
    moved = [*_compare(settings(experiment), reference.settings, _changed_setting)]
    moved += _compare(probe(experiment, ingredients), reference.terms, _changed_term)
    if not moved:  # what changed is known already; training would only blur it
        measured = measure(experiment, ingredients, device, SEEDS[:1])
        moved += _compare({key: values[0] for key, values in measured.items()}, reference.metrics, _moved_metric)
    if moved:
        raise Moved("\n".join(f"{experiment.name}: {line}" for line in moved))
    return len(reference.terms) + len(reference.metrics)


def read_reference(path: Path) -> Reference:
    """A reference as `update` wrote it.

    Raises:
        InputError: missing, unreadable, or of another form.
    """
    if not path.is_file():
        raise InputError(f"there is no reference {path.name}; make it with: python -m benchmarks regress --update")
    try:
        return read_table(Reference, read_json(path), extra="ignore")
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot use reference {path}: {one_line(error)}; restore it, or make it anew with --update"
        ) from error


def update(experiment: Experiment, dataset: Dataset, device: torch.device) -> Path:
    """Make the reference anew from all seeds."""
    ingredients = read_ingredients(experiment, dataset)
    reference = {
        "settings": settings(experiment),
        "made_of": _made_of(ingredients),
        "seeds": SEEDS,
        "environment": describe_environment(device),
        "terms": probe(experiment, ingredients),
        "metrics": measure(experiment, ingredients, device, SEEDS),
    }
    path = REFERENCES / f"{experiment.name}.json"
    write_atomically(path, json.dumps(reference, indent=1, allow_nan=False) + "\n")
    return path


def _made_of(ingredients: Ingredients) -> dict[str, Any]:
    weights = ingredients.recorded_weights["weights_sha256"]
    return {"fingerprint": ingredients.dataset.fingerprint, "weights_sha256": weights}


def settings(experiment: Experiment) -> dict[str, Any]:
    """Everything that decides the numbers, flattened to `table.key`; paths of weights are left out."""
    table = describe(experiment, known_tables())
    del table["backbone"]["weights"]
    return flat(json.loads(json.dumps(table)))


def measure(
    experiment: Experiment, ingredients: Ingredients, device: torch.device, seeds: Sequence[int]
) -> dict[str, list[float]]:
    """Train and evaluate every method; values over the seeds, by "method, length, metric"."""
    measured: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        runs = plan(
            experiment, ingredients, methods=list(METHODS.own), seeds=seeds, variant="paper", output=Path(folder)
        )
        for number, run in enumerate(runs, 1):
            log.info("%s: run %d of %d: %s", experiment.name, number, len(runs), run.identity)
            for key, value in _values(carry_out(run, device)):
                measured.setdefault(key, []).append(value)
    return measured


def _values(record: Record) -> Iterator[tuple[str, float]]:
    """The values of a record that are watched: retrieval at every length, and the last value of every loss term."""
    method, longest = record.method, max(record.config.bits)
    for training, length in entries_of(record):
        where = f"{method}, {length.bits} bits" + (" truncated" if training == "truncated" else "")
        yield f"{where}, map", length.map
        yield f"{where}, reconstruction_mse", length.reconstruction_mse
        yield f"{where}, precision at 10", length.precision_at["10"]
    for name, value in record.raw["training_log"][-1].items() if record.training_log else ():
        if isinstance(value, float) and name != "learning_rate":
            yield f"{method}, trained at {longest} bits, {name} loss", value


def probe(experiment: Experiment, ingredients: Ingredients) -> dict[str, float]:
    """Weighted loss terms of every deep method on random embeddings, by "method, term".

    They hardly depend on the machine, so a changed coefficient shows whatever training would make of it. Always on the
    CPU, whose random generator draws DTQ's negatives alike everywhere.
    """
    terms: dict[str, float] = {}
    for name, entry in METHODS.own.items():
        if entry.source is None:
            method = build_method(name, experiment, ingredients, 0)
            losses = _losses_of_nothing(method, experiment.training, len(ingredients.dataset.classes))
            terms |= {f"{name}, {term}": float(value) for term, value in losses.items()}
    return terms


def _losses_of_nothing(method: Any, training: TrainingConfig, classes: int) -> dict[str, Tensor]:
    """The loss terms of a method whose head gives random vectors, in its first epoch with codes."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(PROBED, method.backbone.embedding.out_features, generator=generator).tanh()
    logits = torch.randn(PROBED, classes, generator=generator)
    labels = torch.eye(classes, dtype=torch.bool)[torch.randint(classes, (PROBED,), generator=generator)]
    rows = torch.arange(training.batch_size)
    method.training_config = training
    start = method.codes_start(training.epochs)
    method.backbone.forward = lambda inputs, count: (vectors[:count], logits[:count])

    def embeddings(views: Views) -> Tensor:  # what the method makes of the head's vectors
        with seeded(0), torch.no_grad():
            made: Tensor = method(torch.zeros(PROBED, 1), PROBED)[0]
        return made

    order = torch.arange(PROBED)
    method.before_epoch(Epoch(start, training.epochs, 0, embeddings, order, PROBED, labels))
    with seeded(0), torch.no_grad():
        losses: dict[str, Tensor] = method.losses(rows[:, None], labels[rows], rows, start)
    return losses


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Where a further seed falls with probability `CONFIDENCE` (prediction interval of Student's t).

    Never closer to the mean than `LEAST_REACH` of it.
    """
    from scipy import stats

    mean, count = float(np.mean(values)), len(values)
    spread = float(np.std(values, ddof=1)) * (1 + 1 / count) ** 0.5
    reach = max(float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * spread, LEAST_REACH * abs(mean))
    return mean - reach, mean + reach


def _compare(
    now: Mapping[str, Any], then: Mapping[str, Any], said: Callable[[str, Any, Any], str | None]
) -> Iterator[str]:
    """What is new or gone, and what is `said` of a key and its values now and then, if anything."""
    for key in sorted(now.keys() ^ then.keys()):
        yield f"{key} is {'new' if key in now else 'gone'}; renew the reference with --update"
    yield from filter(None, (said(key, now[key], then[key]) for key in sorted(now.keys() & then.keys())))


def _changed_setting(key: str, now: Any, then: Any) -> str | None:
    return None if now == then else f"setting {key} is {now!r}; the reference has {then!r}"


def _changed_term(key: str, now: float, then: float) -> str | None:
    if abs(now - then) <= PROBE_TOLERANCE * abs(then):
        return None
    return f"{key} loss of random embeddings is {now:.6g}; the reference has {then:.6g} ({_change(now, then)})"


def _moved_metric(key: str, now: float, then: Sequence[float]) -> str | None:
    low, high = interval(then)
    if low <= now <= high:
        return None
    change = _change(now, float(np.mean(then)))
    return f"{key} is {now:.4g}, outside {low:.4g} to {high:.4g} ({change} of the reference's mean)"


def _change(now: float, then: float) -> str:
    return f"{100 * (now / then - 1):+.1f} %" if then else f"{now - then:+.3g}"
