"""Records of shipped experiments: the committed ones, and made-up ones of today's settings."""

import copy
import json
from dataclasses import replace
from pathlib import Path

from benchmarks.records.record import digest
from benchmarks.setting.experiment import describe, load_experiment
from benchmarks.setting.methods import METHODS
from benchmarks.setting.overrides import ablated
from dpq.learning.backbone import WeightFile
from dpq.learning.settings import as_recorded

RESULTS = Path(__file__).parents[2] / "results"
RECORDS = sorted(RESULTS.glob("*/runs/*.json"))


def is_of_today(record):
    """Whether its method still has the settings that it had; older records belong to the code of their commits."""
    tables = METHODS[record["method"]].configs
    own = record["config"]["methods"]
    return all(as_recorded(METHODS[table].entry.config()).keys() <= own.get(table, {}).keys() for table in tables)


def committed(identity):
    """A committed record, by how its identity begins."""
    path = next(path for path in RECORDS if path.stem.startswith(identity))
    return json.loads(path.read_text(encoding="utf-8"))


def weights_of(record):
    """The weights that a record was made from, without the numbers."""
    backbone = record["backbone"]
    return WeightFile(backbone["weights"], backbone["weights_sha256"], {}, {}, None)


def identity_of(record):
    """The identity that belongs to what a record says, written out."""
    change = [record["ablation"]] if "ablation" in record else ["tuned"] if "tuned" in record else []
    stem = "-".join([record["method"], record["variant"], *change])
    stem += f"-seed{record['seed']}"
    if not METHODS[record["method"]].progressive:
        stem += f"-{max(record['config']['bits'])}bits"
    data, sha256 = record["data"]["fingerprint"], record["backbone"]["weights_sha256"]
    further = {key: record[key] for key in ("plugin", "tuned") if key in record}
    return f"{stem}-{digest(record['config'] | {'fingerprint': data, 'weights_sha256': sha256} | further)}"


def sealed(record):
    """The record under the identity of what it holds, as the run of an ablation too."""
    record = copy.deepcopy(record)
    if record.get("ablation"):
        plain = record["ablation_of"].rpartition("-")[2]
        own = identity_of({key: value for key, value in record.items() if key != "ablation"}).rpartition("-")[0]
        record["ablation_of"] = f"{own}-{plain}"
    return record | {"id": identity_of(record)}


def changed(record, path="", value=None, **more):
    """A record whose configuration has another value at a path."""
    record = copy.deepcopy(record) | more
    if path:
        *folders, name = path.split(".")
        table = record["config"]
        for folder in folders:
            table = table[folder]
        table[name] = value
    return record | {"id": identity_of(record)}


def made_up(experiment, method="dpq", bits=(8, 16, 24, 32), seed=0, split=0, variant="paper", ablation=None, words=""):
    """The record of a run in today's shipped setting, as far as commands read it."""
    setting = replace(load_experiment(experiment), split_seeds=(split,), bits=bits).with_variant(variant)
    setting = ablated(setting, ablation, words or None) if ablation else setting
    config = json.loads(json.dumps(describe(setting, METHODS[method].configs)))
    config["backbone"]["weights"] = "w.safetensors"
    config["label_vectors"] = {"source": "orthonormal"}
    if METHODS[method].source == "dpq":
        config["source"] = {"method": "dpq", "bits": max(bits)}
    record = {"experiment": experiment, "method": method, "variant": variant, "seed": seed, "config": config}
    record["data"] = {"fingerprint": "f" * 64}
    record["backbone"] = {"weights": "w.safetensors", "weights_sha256": "a" * 64}
    record["environment"] = {"commit": "c" * 40}
    record |= {"ablation": ablation} if ablation else {}
    return record | {"id": identity_of(record)}
