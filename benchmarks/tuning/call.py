"""A call of `tune`: a study for each method, its trials one after the other, and what came of them."""

from __future__ import annotations

import argparse
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from benchmarks.records.store import read_record
from benchmarks.running.environment import check_writable, keep_freed_memory, loaded_commit, resolve_device
from benchmarks.running.loading import load_data, reading_of
from benchmarks.running.locks import all_locked, lock_path, locked
from benchmarks.running.parallel import carry_out_beside, how_many
from benchmarks.running.plan import Run
from benchmarks.running.runner import carry_out
from benchmarks.setting.building import check_setting, check_sizes, read_ingredients
from benchmarks.setting.experiment import Experiment, describe, with_settings
from benchmarks.setting.methods import METHODS
from benchmarks.tuning.space import own_settings, propose, space_of
from benchmarks.tuning.study import Images as StudyImages
from benchmarks.tuning.study import Trial, TuningStudy, as_toml, continued, known, read_study, study_path, write_study
from benchmarks.tuning.trials import NOTE, Objective, clear, outcome, repeated
from dpq.codes.additive import check_enough, levels_for
from dpq.errors import Diverged, InputError, one_line
from dpq.files.atomic import write_atomically
from dpq.files.places import exists, is_file, matching

log = logging.getLogger(__name__)


def tune_call(options: argparse.Namespace, experiment: Experiment, methods: Sequence[str]) -> None:
    """Search each method's settings, going on from what its study has; print the winners.

    Args:
        options: of `tune`, and the defaults of those of `run`.
        experiment: on its validation part; its setting is the first trial of every study.
        methods: to be tuned.

    Raises:
        InputError: something that was asked for cannot be had; before anything is written.
    """
    if find_spec("optuna") is None:
        raise InputError("tune needs Optuna; install it with: pip install '.[tune]'")
    experiment = with_settings(experiment.splits()[0])
    for bits in experiment.bits:
        levels_for(bits, experiment.codebook_size)
    check_setting(experiment, methods)
    most = options.most_epochs or experiment.training.epochs * 3 // 2
    spaces = {method: space_of(experiment, method, most, options.label_vectors) for method in methods}
    loaded_commit()  # before hours in which sources may change
    device = resolve_device(options.device)
    keep_freed_memory()
    reading = replace(reading_of(options), check=partial(check_sizes, experiment))
    dataset = load_data(experiment, options.data_root, reading)
    check_enough(len(dataset.train), experiment.codebook_size)
    ingredients = read_ingredients(experiment, dataset)
    objectives = [
        Objective(experiment, ingredients, method, options.seed, options.output, options.label_vectors)
        for method in methods
    ]
    at_once = {one.method: _at_once(one, spaces[one.method], device, options) for one in objectives}
    begun = {one.method: _begin(one, spaces[one.method], at_once[one.method]) for one in objectives}
    if options.dry_run:
        for one in objectives:
            print(_plan(one, continued(_path(one), begun[one.method]), options.trials))
        return
    check_writable(options.output)
    for one in objectives:
        path = _path(one)
        with locked(lock_path(path.parent, one.method)):
            _search(one, continued(path, begun[one.method]), device, at_once[one.method], options)
    print(summary([read_study(_path(one)) for one in objectives]))


def _path(objective: Objective) -> Path:
    return study_path(objective.output, objective.experiment.name, objective.method)


def _at_once(objective: Objective, space: Mapping[str, Any], device: torch.device, options: argparse.Namespace) -> int:
    first = objective.runs(own_settings(objective.experiment, objective.method, space))[0]
    return how_many(options.parallel, device, [replace(first, training=str(n)) for n in range(options.trials)])


def _begin(objective: Objective, space: Mapping[str, Any], batch: int) -> TuningStudy:
    """The study without a trial."""
    experiment, ingredients = objective.experiment, objective.ingredients
    dataset, setting = ingredients.dataset, describe(experiment, METHODS[objective.method].configs)
    setting["backbone"]["weights"] = ingredients.recorded_weights["weights"]
    setting["label_vectors"] = ingredients.label_vectors_source
    sizes = {"train": len(dataset.train), "query": len(dataset.query), "database": len(dataset.database)}
    vectors: Any = None
    if "label_vectors" in space:
        chosen = replace(experiment, label_vectors=str(objective.vectors))
        vectors = read_ingredients(chosen, dataset, ingredients).label_vectors_source
    return TuningStudy(
        experiment=experiment.name,
        method=objective.method,
        seed=objective.seed,
        batch=batch,
        bits=experiment.bits,
        ranges=space,
        data=StudyImages(variant=dataset.name, fingerprint=dataset.fingerprint, **sizes),
        weights_sha256=ingredients.recorded_weights["weights_sha256"],
        label_vectors=vectors,
        setting=setting,
    )


def _search(
    objective: Objective, study: TuningStudy, device: torch.device, count: int, options: argparse.Namespace
) -> None:
    method, path, done = objective.method, _path(objective), len(study.trials)
    own = own_settings(objective.experiment, method, study.ranges)
    log.info("%s: %d of %d trials are to be done on %s", method, max(0, options.trials - done), options.trials, device)
    while len(study.trials) < options.trials:
        told = known(study.trials, study.batch)
        begun = len(study.trials)
        ends = min(options.trials, (begun // study.batch + 1) * study.batch)
        batch = {n: propose(study.ranges, own, study.seed, n, told) for n in range(begun + 1, ends + 1)}
        runs: dict[int, list[Run]] = {}
        for number, settings in batch.items():
            if study.same(settings) is None and settings not in [batch[n] for n in runs]:
                log.info("%s trial %d of %d: %s", method, number, options.trials, _told(settings))
                runs[number] = objective.runs(settings)
        if count > 1 and (every := [run for several in runs.values() for run in several]):
            carry_out_beside(every, count, device, options, attempt, lambda run: None)
        for number, settings in batch.items():
            if earlier := study.same(settings):
                trial = repeated(number, earlier)
            else:
                for run in runs[number]:  # done already where several went on beside each other
                    with all_locked(run.locks):
                        attempt(run, device)
                trial = outcome(number, settings, runs[number], device)
            study = study.with_trial(trial)
            study.check()
            write_study(path, study)
            clear(runs.get(number, []))
            print(_result(study, trial, options.trials))
    shutil.rmtree(objective.scratch, ignore_errors=True)


def attempt(run: Run, device: torch.device, force: bool = False) -> None:
    """Carry out what is left of a run of a trial; one that diverges leaves a note. Only inside the run's locks."""
    if not is_file(note := run.record.with_suffix(NOTE)):
        try:
            carry_out(run, device, force=force)
        except Diverged as error:
            write_atomically(note, one_line(error))


def _told(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in settings.items()) or "its own setting"


def _result(study: TuningStudy, trial: Trial, trials: int) -> str:
    """What is printed of a finished trial."""
    head = f"{study.method} trial {trial.number} of {trials}"
    if trial.same_as is not None:
        return f"{head}: the setting of trial {trial.same_as} again, which is counted and not trained"
    best = "" if study.best is None else f"; best {study.best.value:.4f}, of trial {study.best.number}"
    if trial.value is None:
        return f"{head}: diverged ({trial.reason}){best}"
    lengths = ", ".join(f"{bits} bits {value:.4f}" for bits, value in trial.map.items())
    return f"{head}: mAP {trial.value:.4f} ({lengths}), {trial.seconds:.0f} s{best}"


def summary(studies: Sequence[TuningStudy]) -> str:
    """What a call ends with: what tuning gained for whom, and the winners as an experiment takes them."""
    rows, winners = [], []
    for study in studies:
        shared, best = study.trials[0].value, study.best
        gain = "" if shared is None or best is None else f"{(best.value or 0.0) - shared:+.4f}"
        rows.append(
            {
                "method": study.method,
                "trials": len(study.trials),
                "repeated": sum(trial.same_as is not None for trial in study.trials),
                "diverged": sum(trial.value is None for trial in study.trials),
                "shared setting": "" if shared is None else f"{shared:.4f}",
                "best": "" if best is None else f"{best.value:.4f}",
                "gain": gain,
                "of trial": "" if best is None else best.number,
            }
        )
        if best is not None and best.settings:
            winners.append(as_toml(study, best))
    table = tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)
    note = "mean mAP over code lengths, on held-out training images; the first trial is the shared setting"
    return "\n\n".join([f"{table}\n{note}", *winners])


def _plan(objective: Objective, study: TuningStudy, trials: int) -> str:
    """What is left of a study, and what it costs, at most."""
    left = max(0, trials - len(study.trials))
    experiment, train = objective.experiment, len(objective.ingredients.dataset.train)
    runs = objective.runs(own_settings(experiment, objective.method, study.ranges))
    line = f"{objective.method}: {trials} trials, {len(study.trials)} of them done, {left * len(runs)} trainings left"
    if METHODS[objective.method].source is None:
        batch = min(experiment.training.batch_size, train)
        epochs = int(study.ranges["training.epochs"][1] or 0)
        line += f", which see {left * len(runs) * epochs * (train // batch) * batch:,} images at most"
    took = [trial.seconds for trial in study.trials if trial.same_as is None and trial.value is not None]
    told = "its finished trials"
    if not took:
        took, told = _recorded(objective, len(runs)), "records of the shared setting"
    if not took:
        return f"{line}; what they cost is known after the first"
    return f"{line}; about {left * sum(took) / len(took) / 60:.0f} min, by what {told} took"


def _recorded(objective: Objective, runs: int) -> list[float]:
    """Seconds of all trainings of the shared setting, where there are records of it; of one repetition."""
    folder, seconds = objective.output / objective.experiment.name / "runs", dict[int, float]()
    for path in matching(folder, f"{objective.method}-paper-seed*.json") if exists(folder) else ():
        record = read_record(path)
        if record.ablation is None and record.config.training == objective.experiment.training:
            seconds[record.longest] = record.seconds.train + record.seconds.encode + record.seconds.evaluate
    return [sum(seconds.values())] if len(seconds) == runs else []
