"""Made-up records in the shipped setting of `cifar10`, which claims are decided on."""

import pytest

from benchmarks.records import store
from benchmarks.records.store import as_record
from benchmarks.report.study import Section
from benchmarks.setting.experiment import describe, load_experiment
from benchmarks.setting.methods import METHODS, studied
from dpq.learning.settings import as_recorded
from tests.benchmarks.conftest import make_record

SHIPPED = load_experiment("cifar10")


@pytest.fixture(autouse=True, scope="package")
def made_up_identities():
    """Records are read whatever identity they have: for tests of what is made of them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "check_identity", lambda record: None)
        yield


def run(method, seed, maps, bits=(8, 16), split_seed=0, variant="paper", seconds=100.0, **changes):
    """A record in the shipped setting; of a method with one training for each length, that of the last one."""
    stem = f"{method}-{variant}-seed{seed}-{max(bits)}bits-{split_seed}"
    record = make_record(method, variant, seed, bits, maps, **({"id": stem} | changes))
    record["seconds"]["train"] = seconds
    methods = describe(SHIPPED, METHODS[method].configs)["methods"]
    record["config"] |= {"training": as_recorded(SHIPPED.training), "methods": methods, "split_seed": split_seed}
    return record


def tuned(record, study="a-study", settings=(), **training):
    """The record as one at the winner of a study: other settings of its method, other fields of the training."""
    config = record["config"]
    shared = {key: config[key] for key in ("training", "label_vectors", "methods")}
    table = METHODS[studied(record["method"])].table
    methods = config["methods"] | {table: config["methods"][table] | dict(settings)}
    changed = {"training": config["training"] | training, "methods": methods}
    record = record | {"id": f"{record['id']}-tuned", "tuned": {"study": study, "shared": shared}}
    return record | {"config": config | changed}


def each(method, seed, maps, bits=(8, 16), **changes):
    """One training for each length; that of the longest reports its truncated codes too."""
    return [
        run(method, seed, [m / 2 for m in maps[:k]] + [maps[k]], bits[: k + 1], **changes)
        if bits[k] == max(bits)
        else run(method, seed, (maps[k],), (bits[k],), **changes)
        for k in range(len(bits))
    ]


def section(records, ablated=(), experiment="cifar10"):
    """The section of these tables of records."""
    return Section(experiment, [as_record(r) for r in records], [as_record(r) for r in ablated])
