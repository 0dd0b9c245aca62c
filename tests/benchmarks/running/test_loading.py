from dataclasses import replace

import pytest
import torch

from benchmarks.records.store import as_record, read_record
from benchmarks.running.loading import load_data, load_data_of
from benchmarks.setting.experiment import load_experiment
from dpq import InputError


@pytest.mark.parametrize("changes", [(), ("--validation",), ("--split-seeds", "3")])
def test_a_record_leads_back_to_its_images(run_tiny, changes):
    (path,) = run_tiny("--limit", "300", *changes)
    record = read_record(path).raw
    dataset = load_data_of(read_record(path), None)
    assert dataset.fingerprint == record["data"]["fingerprint"]
    assert dataset.name == record["data"]["variant"]
    assert [len(s) for s in (dataset.train, dataset.query, dataset.database)] == [
        record["data"][name] for name in ("train", "query", "database")
    ]


@pytest.mark.parametrize("changes", [{"split_seeds": (1,)}, {"validation": True}, {"limit": 50}])
def test_every_setting_decides_the_images(changes):
    experiment = load_experiment("digits")
    one, other = load_data(experiment, None), load_data(replace(experiment, **changes), None)
    assert one.fingerprint != other.fingerprint
    assert one.query.images.shape != other.query.images.shape or not torch.equal(one.query.images, other.query.images)


def test_other_images_are_refused(run_tiny):
    (path,) = run_tiny()
    record = read_record(path).raw
    record["config"]["split_seed"] = 1
    with pytest.raises(InputError, match="give --data-root the copy that the run was made on"):
        load_data_of(as_record(record), None)
