"""Settings that were added later must leave the committed records their identities."""

import copy
import json
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest

from benchmarks.running.plan import plan
from benchmarks.setting.building import Ingredients
from benchmarks.setting.experiment import NEVER_TUNED, Experiment, read_settings
from benchmarks.setting.methods import METHODS, studied
from dpq.learning.settings import _BEFORE
from tests.benchmarks.shipped import RECORDS, RESULTS, committed, identity_of, weights_of


def experiment_of(record):
    """The setting that a record keeps, as today's code reads it."""
    config = {key: value for key, value in record["config"].items() if key not in ("source", "split_seed")}
    config["methods"] = {name: before(name) | table for name, table in config["methods"].items()}
    read = {"label_vectors": "orthonormal", "split_seeds": [record["config"]["split_seed"]]}
    if "tuned" in record:
        config, read["tuned"] = config | record["tuned"]["shared"], {studied(record["method"]): winner(record)}
    return read_settings(Experiment, config | read, record["id"])


def before(table):
    """What records were made with that do not have a younger setting."""
    younger = [field for field in fields(METHODS[table].entry.config) if _BEFORE in field.metadata]
    return {field.name: field.metadata[_BEFORE] for field in younger}


def winner(record):
    """The table of a study that leads from the shared setting of a tuned record to its own."""
    table, training = METHODS[studied(record["method"])].table, record["config"]["training"]
    fields = {key: value for key, value in training.items() if key not in NEVER_TUNED}
    fields["augmentation"] = {key: value for key, value in training["augmentation"].items() if key != "crop"}
    return {"study": record["tuned"]["study"], "training": fields, "method": record["config"]["methods"][table]}


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
        tuned="tuned" in record,
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


@pytest.mark.parametrize(("identity", "table"), [("dpq-paper-seed0-", "dpq"), ("dqn-paper-seed0-8bits-", "dqn")])
def test_a_tuned_record_is_what_the_plan_of_its_study_names(identity, table):
    plain = committed(identity)
    for changes in ({}, {"learning_rate": 0.002}):  # to the shared setting too: the reading is part of the identity
        record = copy.deepcopy(plain)
        shared = {key: plain["config"][key] for key in ("training", "label_vectors", "methods")}
        record |= {"tuned": {"study": "a-study", "shared": shared}}
        record["config"]["training"] |= changes
        record["config"]["methods"][table]["score"] = "l2" if changes else plain["config"]["methods"][table]["score"]
        record["id"] = identity_of(record)
        assert record["id"] != plain["id"]
        assert record["id"] in identities(record, experiment_of(record))
