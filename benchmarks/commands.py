"""What each sub-command does with its parsed options."""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks.ablations import choose_ablations, methods_to_ablate
from benchmarks.building import check_files, read_ingredients
from benchmarks.config import Experiment, load_experiment, with_settings
from benchmarks.environment import keep_freed_memory, resolve_device
from benchmarks.evaluation import differ, evaluate_again
from benchmarks.loading import load_data
from benchmarks.locks import in_turn, locked, record_lock
from benchmarks.methods import BUILT_IN, METHODS, VARIANTS, suited
from benchmarks.own_data import PROTOCOL, with_protocol, with_stored_side
from benchmarks.plan import Run, plan, plan_ablations
from benchmarks.raw_results import check_fits, read_raw
from benchmarks.record import Record
from benchmarks.records import read_record, write_record
from benchmarks.runner import assist, carry_out, forget
from benchmarks.shards import take_shard
from benchmarks.submission import submit
from dpq import distributed
from dpq.additive import check_enough, levels_for
from dpq.backbone import create_body
from dpq.errors import InputError
from dpq.files import sweep, write_atomically
from dpq.images import Views
from dpq.protocols import Dataset, ReadOptions, load_protocol

log = logging.getLogger(__name__)


def run(options: argparse.Namespace) -> None:
    """`run`: plan, say what is done already, carry out the rest, print a summary."""
    experiment = with_settings(load_experiment(options.experiment))
    experiment = _overridden(with_protocol(experiment, options.protocol), options)
    if options.variant not in VARIANTS:
        raise InputError(f"unknown variant {options.variant!r}; choose one of {', '.join(VARIANTS)}")
    methods = _methods(options)
    splits = experiment.splits()
    ablations = [
        choose_ablations(options.ablation, one, options.label_vectors) if options.ablation else None for one in splits
    ]
    for bits in experiment.bits:
        levels_for(bits, experiment.codebook_size)
    check_files(experiment)  # before hours of decoding
    if options.submit is not None:
        submit(options, options.output / experiment.name / "jobs")
        return
    device = resolve_device(options.device)
    if not options.dry_run and distributed.start(device) and not distributed.leads():
        logging.getLogger().setLevel(logging.ERROR)  # the first process says it all
    keep_freed_memory()
    reading = ReadOptions(
        allow_missing=options.allow_missing, strip_prefix=options.strip_prefix, workers=options.workers
    )
    with distributed.ended_with_others():
        # All of them before the first is run: an unusable one is refused at once.
        with distributed.leader_first():
            datasets = [_load(one, options.data_root, reading) for one in splits]
        for turn, (one, ablated, dataset) in enumerate(zip(splits, ablations, datasets, strict=True)):
            if len(splits) > 1:
                log.info("split seed %d", one.split_seed)
            _run_split(one, dataset, methods, ablated, device, options, turn)
    distributed.stop()


def _run_split(
    experiment: Experiment,
    dataset: Dataset,
    methods: list[str],
    ablations: dict[str, Experiment] | None,
    device: torch.device,
    options: argparse.Namespace,
    turn: int,
) -> None:
    methods = suited(methods, dataset.train, experiment.codebook_size, named=options.method != ["all"])
    ingredients = read_ingredients(experiment, dataset)
    check_enough(len(dataset.train), experiment.codebook_size)
    seeds = options.seeds or list(experiment.seeds)
    runs = plan(
        experiment, dataset, ingredients, methods=methods, seeds=seeds, variant=options.variant, output=options.output
    )
    read = dict.fromkeys(runs, ingredients)
    if ablations is not None:
        read = plan_ablations(runs, ablations, dataset, ingredients)
    runs = list(read) if options.shard is None else take_shard(list(read), options.shard, turn)
    if not distributed.leads():
        if runs:
            assist({run: read[run] for run in runs}, dataset, device)
        return
    if not runs:
        log.info("%s: there are fewer trainings than shards, and shard %s has none", experiment.name, options.shard)
        return
    missing = runs if options.force else [one for one in runs if not one.record.exists()]
    if options.dry_run:
        from benchmarks.cost import print_plan

        print_plan(runs, missing, dataset, ingredients, device)
        return
    if missing:  # a backbone that cannot be built is refused before anything is written
        create_body(experiment.backbone.name, ingredients.weights)
    _check_writable(options.output)
    log.info("%s: %d of %d runs are to be done on %s", experiment.name, len(missing), len(runs), device)
    if not missing:
        log.info("nothing to do: every record exists (--force does them again)")
    if options.force:
        _forget_all(runs)
        if ablations is None:
            _say_what_stays(methods)

    def do(one: Run) -> None:
        log.info("run %d of %d: %s", runs.index(one) + 1, len(runs), one.identity)
        if one.record.exists() and not options.force:
            log.info("another process has done it meanwhile")
        print(summary(one, carry_out(one, dataset, read[one], device, force=options.force)))

    in_turn(missing, lambda one: one.lock, do)
    distributed.tell("")  # that was all: the others may go on
    if not missing and len(runs) == 1:
        print(summary(runs[0], read_record(runs[0].record)))
    print(overview(runs))


def _forget_all(runs: Sequence[Run]) -> None:
    """`forget`, before the first of those that share a training is done again; never under another process."""
    for lock in dict.fromkeys(run.lock for run in runs):
        with locked(lock):
            forget([run for run in runs if run.lock == lock])


def _say_what_stays(methods: list[str]) -> None:
    """Name the controls whose records are of a training that is made anew without them."""
    left = [name for name, entry in BUILT_IN.items() if entry.source in methods and name not in methods]
    if left:
        log.info("records of %s stay as they are; name them with --method to make them anew too", ", ".join(left))


def overview(runs: list[Run]) -> str:
    """What a call ends with: mAP of every run at every length."""
    import pandas as pd

    rows = []
    for run in runs:
        record = read_record(run.record)
        rows.append({"mAP": record.id} | {f"{length.bits} bits": f"{length.map:.4f}" for length in record.lengths})
    return str(pd.DataFrame(rows).fillna("").to_markdown(index=False, disable_numparse=True))


def summary(run: Run, record: Record) -> str:
    """What is printed of a finished run."""
    import pandas as pd

    table = pd.DataFrame(
        [
            {
                "bits": length.bits,
                "mAP": f"{length.map:.4f}",
                "P@10": f"{length.precision_at['10']:.4f}",
                "P@1000": f"{length.precision_at['1000']:.4f}",
                "distinct codes": length.distinct_codes,
            }
            for length in record.lengths
        ]
    )
    seconds, accuracy = record.seconds, record.classification_accuracy
    classified = "" if accuracy is None else f" class accuracy {accuracy:.4f};"
    return (
        f"{record.id} on {record.data.variant}\n"
        + table.to_markdown(index=False, disable_numparse=True)
        + f"\nexact search with float features: mAP {record.float_map:.4f};{classified} train "
        f"{seconds.train:.0f} s, encode {seconds.encode:.0f} s, evaluate {seconds.evaluate:.0f} s"
        f"\nrecord: {run.record}"
    )


def table(options: argparse.Namespace) -> None:
    """`table`: write the tables, or check the written ones."""
    from benchmarks.study import Study
    from benchmarks.tables import check_tables, write_tables

    load_experiment(options.experiment)
    study = Study.read(options.output, options.experiment)
    if options.check:
        check_tables(study)
        print(f"the tables of {options.experiment} are what its records give")
        return
    for path in write_tables(study):
        print(path)


def figures(options: argparse.Namespace) -> None:
    """`figures`: draw every figure of an experiment."""
    from benchmarks.figures import draw_figures
    from benchmarks.study import Study

    load_experiment(options.experiment)
    for path in draw_figures(Study.read(options.output, options.experiment)):
        print(path)


def results(options: argparse.Namespace) -> None:
    """`results`: write every table, figure and page of the committed results, or check the written ones."""
    from benchmarks.publish import check_all, write_all

    if options.check:
        print(f"{check_all(options.output)} files under {options.output} are what the records give")
        return
    for path in write_all(options.output):
        print(path)


def evaluate(options: argparse.Namespace) -> None:
    """`evaluate`: metrics again from the stored codes; a record that differs is renewed."""
    for path in options.records:
        record = read_record(path)
        raw = read_raw(path.with_suffix(".npz"))
        check_fits(raw, record)
        lengths = evaluate_again(record, raw)
        renewed = [old | new.table for old, new in zip(record.raw["lengths"], lengths, strict=True)]
        changed = differ(renewed, record.raw["lengths"])
        if changed:
            _renew(path, record.raw, record.raw | {"lengths": renewed})
        for old, new in zip(record.lengths, lengths, strict=True):
            print(f"{record.id} {new.bits} bits: mAP {new.map:.6f} (was {old.map:.6f})")
        print(f"{path}: {'renewed' if changed else 'unchanged'}")


def _renew(path: Path, table: dict[str, Any], renewed: dict[str, Any]) -> None:
    """Write the table of a record, unless another process has written it since it was read."""
    with locked(record_lock(path)):
        if read_record(path).raw not in (table, renewed):
            raise InputError(f"{path} was written by another process meanwhile; evaluate it again")
        sweep(path)
        write_record(path, renewed)


def exhibit(options: argparse.Namespace) -> None:
    """`exhibit`: make the small files that figures and tables show beside a record's numbers."""
    from benchmarks.exhibits.make import Images, check_parts, check_raw, make, paths_of

    parts = check_parts(options.parts)
    images = Images(options.data_root, ReadOptions(strip_prefix=options.strip_prefix, workers=options.workers))
    for path, places in [(path, paths_of(path, parts)) for path in options.records]:
        there = [] if options.force else [part for part, place in places.items() if place.exists()]
        for part in there:
            print(f"{places.pop(part)}: exists (--force makes it anew)")
        if not places:
            continue
        record, raw = read_record(path), read_raw(path.with_suffix(".npz"))
        check_raw(record, raw)
        if set(places) != {"ties"}:
            images.of(record)  # images that cannot be had are refused before anything slow
        for part, place in places.items():
            make(place, part, record, raw, images)
            print(place)


def check_data(options: argparse.Namespace) -> None:
    """`check-data`: read a copy of a data set from end to end, and say what it is fit for.

    Raises:
        InputError: no data root; the copy is not the published data, or not usable.
    """
    from benchmarks.check_data import check_copy
    from benchmarks.check_folder import check_folder
    from benchmarks.guides import guide
    from dpq.protocols.listed import LISTINGS

    own = options.protocol == PROTOCOL
    if options.protocol not in LISTINGS and not own:
        _check_plain(options)
        return
    if options.data_root is None:
        print(guide(options.protocol))
        raise InputError("give --data-root DIR, the folder with your copy")
    report = options.report or Path(f"check-{options.protocol}.txt")
    _check_writable(report.parent, "--report")
    reading = ReadOptions(strip_prefix=options.strip_prefix, workers=options.workers)
    root = Path(options.data_root)
    findings = check_folder(root, reading) if own else check_copy(options.protocol, root, reading)
    print(findings.screen())
    write_atomically(report, findings.report(), remedy="choose another --report")
    if not findings.fit:
        what = "cannot be used as it is" if own else f"is not the published {options.protocol}"
        raise InputError(f"{root} {what}; {report} names all of it")
    log.info("report: %s", report)


def _check_plain(options: argparse.Namespace) -> None:
    """Data sets whose loader checks all there is to check."""
    dataset = load_protocol(options.protocol, Path(options.data_root) if options.data_root else None)
    sizes = {name: len(getattr(dataset, name)) for name in ("train", "query", "database")}
    print(f"{dataset.name}: " + ", ".join(f"{size:,} {name}" for name, size in sizes.items()))
    print(f"fingerprint: {dataset.fingerprint}\nfit: complete and readable")


def regress(options: argparse.Namespace) -> None:
    """`regress`: small runs of every method against the committed reference, or a new reference."""
    from benchmarks import regress as suites

    device = resolve_device(options.device)
    keep_freed_memory()
    for name in ("digits", "cifar10"):
        if name == "cifar10" and not (options.data_root and options.weights):
            log.info("cifar10: left out; give --data-root and --weights to include it")
            continue
        experiment = suites.load_suite(name, options.weights if name == "cifar10" else "none")
        dataset = _load(experiment, options.data_root)
        if options.update:
            print(suites.update(experiment, dataset, device))
        else:
            print(f"{name}: {suites.check(experiment, dataset, device)} values of {len(BUILT_IN)} methods hold")


def _overridden(experiment: Experiment, options: argparse.Namespace) -> Experiment:
    training, backbone = experiment.training, experiment.backbone
    # With ablations the file is for one of them, not for the setting that they start from.
    vectors = None if options.ablation else options.label_vectors
    if options.precision not in (None, "32", "bf16"):
        raise InputError(f"unknown precision {options.precision!r}; choose 32 or bf16")
    if options.views not in (None, *get_args(Views)):
        raise InputError(f"unknown views {options.views!r}; choose one of {', '.join(get_args(Views))}")
    for field, value in (
        ("evaluation_views", options.views),
        ("epochs", options.epochs),
        ("image_size", options.image_size),
        ("precision", options.precision),
    ):
        if value is not None:
            training = replace(training, **{field: value})
    if options.backbone is not None:
        backbone = replace(backbone, name=options.backbone)
    if options.weights is not None:
        backbone = replace(backbone, weights=options.weights)
    changed = replace(
        experiment,
        training=training,
        backbone=backbone,
        bits=tuple(sorted(set(options.bits))) if options.bits else experiment.bits,
        split_seeds=tuple(options.split_seeds or experiment.split_seeds),
        label_vectors=vectors or experiment.label_vectors,
        limit=options.limit,
        validation=options.validation,
    )
    return with_stored_side(changed)


def _methods(options: argparse.Namespace) -> list[str]:
    """The methods that were asked for; "all" are those of this repository that have the variant."""
    variant: str = options.variant
    if options.ablation:
        return methods_to_ablate(options.method, variant)
    every = [name for name, entry in BUILT_IN.items() if variant in entry.variants]
    names = [one for name in options.method for one in (every if name == "all" else [name])]
    for name in names:
        if name not in METHODS:
            raise InputError(f"unknown method {name!r}; choose from {', '.join(METHODS)}, or all")
        if variant not in METHODS[name].variants:
            having = [other for other, entry in BUILT_IN.items() if variant in entry.variants]
            raise InputError(f"{name} has no {variant} variant; {', '.join(having)} have one")
    return list(dict.fromkeys(names))


def _load(experiment: Experiment, data_root: Path | None, reading: ReadOptions | None = None) -> Dataset:
    return load_data(
        experiment.protocol,
        data_root,
        reading,
        split_seed=experiment.split_seed,
        stored_side=experiment.stored_side,
        validation=experiment.validation,
        limit=experiment.limit,
    )


def _check_writable(output: Path, option: str = "--output") -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {output} ({error.strerror}); choose another {option}") from error
