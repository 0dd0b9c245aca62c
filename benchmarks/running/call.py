"""A call of `run`: its plan and what that costs, what of it is done already, and the rest."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from tabulate import tabulate
from tqdm import tqdm

from benchmarks.records.record import Record
from benchmarks.records.store import read_record
from benchmarks.running.environment import check_writable, keep_freed_memory, loaded_commit, resolve_device
from benchmarks.running.jobs import submit
from benchmarks.running.loading import load_data, reading_of
from benchmarks.running.locks import all_locked, in_turn
from benchmarks.running.parallel import carry_out_beside, how_many
from benchmarks.running.plan import Run, pieces, plan, plan_ablations, take_shard
from benchmarks.running.runner import assist, carry_out
from benchmarks.setting.building import check_setting, check_sizes, read_ingredients
from benchmarks.setting.experiment import Experiment, with_settings
from benchmarks.setting.methods import METHODS
from benchmarks.setting.overrides import choose_ablations, recorded_call
from dpq.codes.additive import check_enough, levels_for
from dpq.errors import InputError
from dpq.files.places import exists
from dpq.learning import distributed
from dpq.learning.augment import draw_crops
from dpq.learning.backbone import create_body
from dpq.learning.graphs import WARM_UP
from dpq.learning.on_embeddings import BATCH
from dpq.learning.settings import Execution
from dpq.learning.training import Trainer
from dpq.protocols import Dataset

log = logging.getLogger(__name__)


def carry_out_call(options: argparse.Namespace, experiment: Experiment, methods: list[str]) -> None:
    """Plan, say what is done already, carry out the rest, print a summary.

    Args:
        options: of `run`.
        experiment: with what they change.
        methods: that they name.

    Raises:
        InputError: something that was asked for cannot be had; before anything is written.
    """
    experiment = with_settings(experiment)  # a mistake in a method's table is refused before hours of decoding
    splits = experiment.splits()
    ablations = [
        choose_ablations(options.ablation, one, options.label_vectors) if options.ablation else None for one in splits
    ]
    for bits in experiment.bits:
        levels_for(bits, experiment.codebook_size)
    for one in (experiment, *(ablations[0] or {}).values()):  # of all splits alike
        check_setting(one.with_variant(options.variant), methods)
    for name in methods if options.tuned else ():
        check_setting(experiment.tuned_as(name) or experiment, [name])
    if options.submit is not None:
        submit(options, options.output / experiment.name / "jobs")
        return
    loaded_commit()  # before hours in which sources may change
    device = resolve_device(options.device)
    if not options.dry_run and distributed.start(device):
        if (options.parallel or 1) > 1:
            raise InputError("several processes train together here, one run after the other; leave out --parallel")
        if not distributed.leads():
            logging.getLogger().setLevel(logging.ERROR)  # the first process says it all
    keep_freed_memory()
    reading = reading_of(options)
    with distributed.ended_with_others():
        # All of them before the first is run: an unusable one is refused at once.
        with distributed.leader_first():
            datasets = [
                load_data(one, options.data_root, replace(reading, check=partial(check_sizes, one))) for one in splits
            ]
        by_split = [
            _plan_split(one, dataset, methods, ablated, options, turn)
            for turn, (one, ablated, dataset) in enumerate(zip(splits, ablations, datasets, strict=True))
        ]
        by_split = [runs for runs in by_split if runs]
        if not by_split:
            if distributed.leads():
                shard = "%s: there are fewer trainings than shards, and shard %d/%d has none"
                log.info(shard, experiment.name, *options.shard)
        elif distributed.leads():
            _carry_out_plan(experiment, by_split, methods, device, options)
        else:
            assist([run for runs in by_split for run in runs], device)
    distributed.stop()


def _plan_split(
    experiment: Experiment,
    dataset: Dataset,
    methods: list[str],
    ablations: dict[str, Experiment] | None,
    options: argparse.Namespace,
    turn: int,
) -> list[Run]:
    methods = _suited(methods, dataset, experiment.codebook_size, named=options.method not in (["all"], ["paper"]))
    ingredients = read_ingredients(experiment, dataset)
    check_enough(len(dataset.train), experiment.codebook_size)
    runs = plan(
        experiment,
        ingredients,
        methods=methods,
        seeds=experiment.seeds,
        variant=options.variant,
        output=options.output,
        call=recorded_call(options),
        tuned=options.tuned,
    )
    if ablations is not None:
        runs = plan_ablations(runs, ablations)
    return runs if options.shard is None else take_shard(runs, options.shard, turn)


def _carry_out_plan(
    experiment: Experiment,
    by_split: list[list[Run]],
    methods: list[str],
    device: torch.device,
    options: argparse.Namespace,
) -> None:
    runs = [run for each in by_split for run in each]
    missing = runs if options.force else [one for one in runs if not exists(one.record)]
    count = how_many(options.parallel, device, missing) if distributed.processes() == 1 else 1
    if options.dry_run:
        for each in by_split:
            print_plan(each, [run for run in each if run in missing], device, count)
        return
    if missing:  # a backbone that cannot be built is refused before anything is written
        create_body(experiment.backbone.name, missing[0].ingredients.weights, experiment.training.image_size)
    check_writable(options.output)
    at_once = f", {count} at once" if count > 1 else ""
    log.info("%s: %d of %d runs are to be done on %s%s", experiment.name, len(missing), len(runs), device, at_once)
    if not missing:
        log.info("nothing to do: every record exists (--force does them again)")
    if options.force:
        for lock in pieces(runs):  # before the first of those that share a training
            alike = [run for run in runs if run.lock == lock]
            with all_locked(list(dict.fromkeys([lock, *(one for run in alike for one in run.locks)]))):
                for run in alike:  # never under another process
                    run.forget()
        # Controls whose records are of a training that is made anew without them.
        left = [name for name, entry in METHODS.own.items() if entry.source in methods and name not in methods]
        if left and not options.ablation:
            log.info("records of %s stay as they are; name them with --method to make them anew too", ", ".join(left))
    if count > 1 and missing:

        def finished(one: Run) -> None:
            tqdm.write(summary(one, read_record(one.record)))

        carry_out_beside(missing, count, device, options, _finish, finished)
    else:

        def do(one: Run) -> None:
            log.info("run %d of %d: %s", runs.index(one) + 1, len(runs), one.identity)
            print(summary(one, _finish(one, device, options.force)))

        in_turn(missing, lambda one: one.locks, do)
    distributed.tell("")  # that was all: the others may go on
    if not missing and len(runs) == 1:
        print(summary(runs[0], read_record(runs[0].record)))
    for each in by_split:
        if len(by_split) > 1:
            print(f"split seed {each[0].experiment.split_seed}")
        print(overview(each))


def _finish(run: Run, device: torch.device, force: bool) -> Record:
    if run.record.exists() and not force:
        log.info("another process has done it meanwhile")
    return carry_out(run, device, force=force)


def _suited(methods: Sequence[str], dataset: Dataset, codebook_size: int, *, named: bool) -> list[str]:
    """The methods that are made for these images; those that nobody named are left out where they are not.

    Raises:
        InputError: a method was named that is not.
    """
    kept = []
    for name in methods:
        check = METHODS[name].entry.check
        try:
            if check is not None:
                check(dataset.train, codebook_size)
            kept.append(name)
        except InputError as error:
            if named:
                raise
            log.info("left out: %s", error)
    return kept


def overview(runs: list[Run]) -> str:
    """What a call ends with: mAP of every run at every length."""
    rows = []
    for record in (read_record(run.record) for run in runs):
        rows.append({"mAP": record.id} | {f"{length.bits} bits": f"{length.map:.4f}" for length in record.lengths})
    return _grid(rows)


def summary(run: Run, record: Record) -> str:
    """What is printed of a finished run."""
    table = [
        {
            "bits": length.bits,
            "mAP": f"{length.map:.4f}",
            "P@10": f"{length.precision_at['10']:.4f}",
            "P@1000": f"{length.precision_at['1000']:.4f}",
            "distinct codes": length.distinct_codes,
        }
        for length in record.lengths
    ]
    seconds, accuracy = record.seconds, record.classification_accuracy
    classified = "" if accuracy is None else f" class accuracy {accuracy:.4f};"
    return (
        f"{record.id} on {record.data.variant}\n{_grid(table)}\n"
        f"exact search with float features: mAP {record.float_map:.4f};{classified} train {seconds.train:.0f} s, "
        f"encode {seconds.encode:.0f} s, evaluate {seconds.evaluate:.0f} s\nrecord: {run.record}"
    )


def _grid(rows: list[dict[str, Any]]) -> str:
    return str(tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True))


def print_plan(runs: list[Run], missing: list[Run], device: torch.device, at_once: int = 1) -> None:
    """Print every run, whether it is done, and an estimate of the time that the `missing` ones need."""
    for run in runs:
        state = "done" if run not in missing else "resume" if run.checkpoint.exists() else "train"
        print(f"{state:7} {run.identity} -> {run.record}")
    dataset = runs[0].ingredients.dataset
    print(
        f"data: {dataset.name}, {len(dataset.train)} train, {len(dataset.query)} query, "
        f"{len(dataset.database)} database"
    )
    if not missing:
        print("nothing to do: every record exists (--force does them again)")
        return
    # The deep runs that have to train: the missing ones, and those whose embeddings others need and nobody kept.
    sources = [run.source for run in missing if run.source is not None and not run.source.embeddings.exists()]
    deep = {run.training: run for run in (*missing, *sources) if METHODS[run.method].source is None}.values()
    own = [run for run in deep if METHODS[run.method].plugin is None]
    if not deep:
        print(f"{len(missing)} runs on {device}: k-means on embeddings that are computed once, no training")
    if len(own) < len(deep):
        print(f"{len(deep) - len(own)} trainings of other packages' methods, whose time only they know")
    if not own:
        return
    # Of a frozen backbone no gradient is computed: it is no measure for the others. Tuned ones differ in their epochs.
    epochs = [run.experiment.training.epochs for run in own]
    longest = max(
        own, key=lambda run: (run.experiment.settings_of("dpq").train_backbone, run.experiment.training.epochs)
    )
    train, encode = estimate_seconds(longest, device)
    total = train * sum(epochs) / longest.experiment.training.epochs + encode * len(own)
    print(
        f"{len(own)} trainings on {device}: each at most {train / 60:.1f} min training and {encode / 60:.1f} min "
        f"encoding, {total / 60:.0f} min in all (less where runs resume or share feature epochs; k-means "
        "and evaluation come on top)"
    )
    if at_once > 1:
        shared = "the GPU's time is shared" if device.type == "cuda" else "the cores are divided"
        print(
            f"{at_once} runs at once: {shared}, so that the sum of trainings stays what it is; k-means and evaluation "
            "of one go on beside the training of another"
        )


def estimate_seconds(run: Run, device: torch.device) -> tuple[float, float]:
    """Seconds for training and for encoding, extrapolated from one batch after others have warmed up."""
    method: Any = run.build()
    training, dataset = run.experiment.training, run.ingredients.dataset
    batch = min(training.batch_size, len(dataset.train))
    sample = dataset.train.take(torch.arange(batch))
    method.training_config = training
    trainer = Trainer(method, sample, training, run.seed, Execution(device, progress=False))
    crops = draw_crops(batch, training.augmentation, torch.Generator().manual_seed(0)).to(device)
    rows = torch.arange(batch, device=device)
    step = _steady_seconds(lambda: trainer.step(rows, crops, 0), device)
    images = dataset.train.images[:BATCH]
    pass_ = _steady_seconds(lambda: method.predict(images), device)
    steps = training.epochs * (len(dataset.train) // batch)
    return step * steps, pass_ / len(images) * (len(dataset.query) + len(dataset.database))


def _steady_seconds(work: Callable[[], object], device: torch.device) -> float:
    for _ in range(WARM_UP + 1 if device.type == "cuda" else 2):
        work()
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
