"""Settings that were added later must leave the committed records their identities."""

import json
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest

from benchmarks.running.plan import plan
from benchmarks.setting.building import Ingredients
from benchmarks.setting.experiment import Experiment, read_settings
from benchmarks.setting.methods import METHODS
from dpq.learning.settings import _BEFORE
from tests.benchmarks.shipped import RECORDS, RESULTS, weights_of


def experiment_of(record):
    """The setting that a record keeps, as today's code reads it."""
    config = {key: value for key, value in record["config"].items() if key not in ("source", "split_seed")}
    config["methods"] = {name: before(name) | table for name, table in config["methods"].items()}
    read = {"label_vectors": "orthonormal", "split_seeds": [record["config"]["split_seed"]]}
    return read_settings(Experiment, config | read, record["id"])


def before(table):
    """What records were made with that do not have a younger setting."""
    younger = [field for field in fields(METHODS[table].entry.config) if _BEFORE in field.metadata]
    return {field.name: field.metadata[_BEFORE] for field in younger}


def identities(record, experiment):
    runs = plan(
        experiment,
        Ingredients(
            SimpleNamespace(fingerprint=record["data"]["fingerprint"]),
            weights_of(record),
            None,
            record["config"]["label_vectors"],
        ),
        methods=[record["method"]],
        seeds=[record["seed"]],
        variant=record["variant"],
        output=RESULTS,
    )
    return {run.identity for run in runs}


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_committed_record_is_what_the_plan_of_its_setting_names(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    experiment = experiment_of(record)
    longest = record["config"].get("source", {"bits": max(experiment.bits)})["bits"]
    all_lengths = replace(experiment, bits=tuple(range(8, longest + 1, 8)))  # of the call that made it
    identity = record["id"].replace(f"-{record.get('ablation')}-seed", "-seed")  # the digest is of the setting
    planned = identities(record, experiment) | identities(record, all_lengths)
    # A method that has got settings of its own since is another one now, and its old records stay what they are.
    assert (identity in planned) == ({*METHODS[record["method"]].configs} == experiment.methods.keys())


def test_a_setting_that_is_used_is_another_identity():
    record = json.loads(next(path for path in RECORDS if path.stem.startswith("dpq-")).read_text(encoding="utf-8"))
    experiment = experiment_of(record)
    (own,) = identities(record, experiment)
    for switch in ({"soft_terms": False}, {"train_backbone": False}, {"two_step": True}):
        changed = replace(experiment.settings_of("dpq"), **switch)
        assert own not in identities(record, replace(experiment, methods={"dpq": changed}))
