"""The command that makes a row of a table again, from the records of the row alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.setting.ablations import WORDS
from benchmarks.setting.experiment import describe, flat, load_experiment
from benchmarks.setting.methods import METHODS, reported_lengths
from benchmarks.setting.options import SETTING, listed
from benchmarks.setting.overrides import NO_FILE, as_called, choose_ablations
from dpq.errors import InputError
from dpq.learning.settings import as_recorded

Record = Mapping[str, Any]
Bits = tuple[int, ...]
Repetition = tuple[int, int]  # seed of the split, seed

SETTABLE = {option.path: option for option in SETTING}  # by the path of the field in a record's configuration
ABSENT = "(nothing)"


def command_of(records: Sequence[Record]) -> str:
    """The command that makes these records, all of one row; one line a command where it takes several.

    Data root and weight file are left to DPQ_DATA_ROOT and DPQ_WEIGHTS; word vectors are named by their file's name.

    Raises:
        InputError: no option leads from the shipped setting to that of a record, which names the field; the records
            are of several rows, or there are none.
    """
    rows = {_asked(record) for record in records}
    if len(rows) != 1:
        raise InputError(f"{len(records)} records of {len(rows)} rows have no command in common; give those of one row")
    ((subject, changes),) = rows
    shipped = load_experiment(subject[1])
    lines = []
    for bits, repetitions in _calls(records).items():
        for splits, seeds in _products(repetitions):
            repeated = ["--seeds", listed(seeds)]
            repeated += ["--split-seeds", listed(splits)] if splits != shipped.split_seeds else []
            lengths = ["--bits", listed(bits)] if bits != shipped.bits else []
            lines.append(shlex.join(["python", "-m", "benchmarks", *subject, *repeated, *lengths, *changes]))
    return "\n".join(lines)


def checkout_of(records: Sequence[Record]) -> str:
    """The command that goes to the code that these records were made with; one line a commit."""
    lines = []
    places = [place for record in records for place in _places(record["environment"])]
    for commit in sorted({"unknown" if place == "unknown" else str(place["commit"]) for place in places}):
        clean = commit.removesuffix("-dirty")
        changes = "  # and changes that are in no commit" if clean != commit else ""
        unknown = "# made outside a checkout: the commit is unknown"
        lines.append(unknown if commit == "unknown" else f"git checkout {shlex.quote(clean)}{changes}")
    return "\n".join(lines)


def _places(environment: Mapping[str, Any]) -> list[Any]:
    return [*environment.get("earlier", ()), environment]


def _asked(record: Record) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is run, and the options that lead from the shipped setting to the record's.

    Raises:
        InputError: the record is older than a setting of its method; or of one that does not keep its arguments, a
            field differs that no option sets.
    """
    _check_age(record)
    # A copy that lacks published images is refused unless the call allows for them.
    lacking = sum(record["data"].get("missing", {}).values())
    allowed = ["--allow-missing", str(lacking)] if lacking else []
    if (arguments := record.get("arguments")) is None:
        named = ["--ablation", record["ablation"]] if "ablation" in record else ["--method", record["method"]]
        variant = ["--variant", record["variant"]] if record["variant"] != "paper" else []
        return ("run", record["experiment"], *named, *variant), (*_changes(record), *allowed)
    if arguments[:1] != ["run"] or "--seeds" not in arguments:
        raise InputError(f"record {record['id']} has no usable arguments: {shlex.join(arguments)}")
    at = arguments.index("--seeds")  # then come split and lengths: see `benchmarks.running.plan.Run.arguments`
    return tuple(arguments[:at]), (*arguments[at + 6 :], *allowed)


def _check_age(record: Record) -> None:
    """Refuse a record that lacks a setting which its method has, and uses, today: the same command makes another run.

    Raises:
        InputError: names the setting.
    """
    for table in METHODS[record["method"]].configs:
        kind: Any = METHODS[table].entry.config
        own = record["config"]["methods"].get(table, {})
        if younger := sorted(as_recorded(kind()).keys() - own.keys()):
            raise InputError(
                f"record {record['id']} was made before methods.{table} had {younger[0]}; use the code of its commit"
            )


def _changes(record: Record) -> list[str]:
    """The options that lead from the shipped setting to that of a record without arguments.

    Raises:
        InputError: a field differs that none of them sets.
    """
    kept = {key: value for key, value in record["config"].items() if key not in ("bits", "source")}
    kept["label_vectors"] = kept["label_vectors"]["source"]
    own, today = flat(kept), flat(_without_options(record))
    settable = SETTABLE.keys() - ({"label_vectors"} if "ablation" in record else set())
    # With ablations the option is for the one that is of word vectors, whatever the setting has.
    arguments = ["--label-vectors", own["label_vectors"]] if record.get("ablation") == WORDS else []
    for path in [*SETTABLE, *sorted((own.keys() | today.keys()) - SETTABLE.keys())]:
        mine, theirs = own.get(path, ABSENT), today.get(path, ABSENT)
        if mine == theirs:
            continue
        if path not in settable or path not in own:
            raise InputError(
                f"record {record['id']} has {path} = {mine!r}, today's {record['experiment']} {theirs!r}, and no "
                "option sets it; use the code of the record's commit"
            )
        arguments += SETTABLE[path].written(mine)
    return arguments


def _without_options(record: Record) -> dict[str, Any]:
    """What the record would keep of a call without options that change the setting."""
    experiment = as_called(load_experiment(record["experiment"])).with_variant(record["variant"])
    experiment = replace(experiment, split_seeds=(record["config"]["split_seed"],))
    if (name := record.get("ablation")) is not None:
        words = record["config"]["label_vectors"]["source"] if name == WORDS else None
        experiment = choose_ablations([name], experiment, words)[name]
    config = describe(experiment, METHODS[record["method"]].configs)
    del config["bits"]
    config["label_vectors"] = Path(experiment.label_vectors).name
    own_weights = record["backbone"]["weights"]
    if own_weights not in NO_FILE:  # DPQ_WEIGHTS names the file
        config["backbone"]["weights"] = own_weights
    return config


def _calls(records: Sequence[Record]) -> dict[Bits, set[Repetition]]:
    """The code lengths to call for, each with the repetitions that need them."""
    calls: dict[Bits, set[Repetition]] = {}
    # The run of most lengths first: the call for it may make the others too.
    for record in sorted(records, key=lambda r: (-len(r["config"]["bits"]), r["config"]["bits"])):
        repetition = (record["config"]["split_seed"], record["seed"])
        if not any(repetition in made and _makes(bits, record) for bits, made in calls.items()):
            calls.setdefault(tuple(sorted({*record["config"]["bits"], _source_bits(record)})), set()).add(repetition)
    return calls


def _makes(bits: Bits, record: Record) -> bool:
    """Whether a call for these code lengths makes the record."""
    lengths = tuple(record["config"]["bits"])
    from_source = "source" not in record["config"] or max(bits) == _source_bits(record)
    return from_source and lengths in reported_lengths(record["method"], bits)


def _source_bits(record: Record) -> int:
    """The longest code of the training whose embeddings are quantized; of the record's own without one."""
    return int(record["config"].get("source", {"bits": max(record["config"]["bits"])})["bits"])


def _products(repetitions: set[Repetition]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The repetitions as splits times seeds, which is what one call makes."""
    seeds_of: dict[int, tuple[int, ...]] = {}
    for split, seed in sorted(repetitions):
        seeds_of[split] = (*seeds_of.get(split, ()), seed)
    for seeds in dict.fromkeys(seeds_of.values()):
        yield tuple(split for split in seeds_of if seeds_of[split] == seeds), seeds
