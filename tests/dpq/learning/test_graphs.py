import logging
from dataclasses import replace

import pytest
import torch

from benchmarks.bench.report import Options
from benchmarks.bench.setting import generated_method, generated_split, setting
from dpq.learning.graphs import WARM_UP, Replayed
from dpq.learning.settings import Execution

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
EXPERIMENT = setting(Options(CPU, 1, quick=True))
METHODS = ("dpq", "dqn", "dvsq", "drq", "dsq", "dtq")
TRAINING = replace(EXPERIMENT.training, epochs=4, batch_size=32, image_size=32, warmup=0.0, learning_rate=1e-4)


def doubled(x):
    return {"twice": 2 * x}


def fitted(name, device, *, capture=True, **changes):
    training = replace(TRAINING, **changes)
    experiment = replace(EXPERIMENT, training=training)
    split = generated_split(512)
    method = generated_method(name, experiment, split)
    return method, method.fit(split, training, 0, Execution(device, progress=False, capture=capture))


def test_on_the_cpu_it_is_the_function_itself():
    replayed = Replayed(doubled, CPU)
    assert [float(replayed("same", torch.tensor(float(x)))["twice"]) for x in range(10)] == list(range(0, 20, 2))
    assert not replayed.used


@pytest.mark.parametrize("name", METHODS)
def test_what_steps_of_a_phase_read_and_write_stays_in_its_place(name, monkeypatch):
    experiment = replace(EXPERIMENT, training=TRAINING)
    split = generated_split(512)
    method = generated_method(name, experiment, split)
    losses, places = method.losses, {}

    def watched(inputs, labels, rows, epoch):
        kept = [*method.state_dict().values(), *(v for v in vars(method).values() if isinstance(v, torch.Tensor))]
        places.setdefault(method.phase(epoch), set()).add(tuple(tensor.data_ptr() for tensor in kept))
        return losses(inputs, labels, rows, epoch)

    monkeypatch.setattr(method, "losses", watched)
    method.fit(split, TRAINING, 0)
    phases = {0, 1, 2} if name == "drq" else {False, True}
    assert {phase: len(found) for phase, found in places.items()} == dict.fromkeys(phases, 1)


@needs_gpu
@pytest.mark.parametrize("changes", [{}, {"ema": 0.9, "erasing": 0.5}], ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_replayed_steps_are_the_eager_ones(name, changes):
    device = torch.device("cuda")
    (eager, expected), (captured, log) = (fitted(name, device, capture=capture, **changes) for capture in (False, True))
    assert log.captured
    assert not expected.captured
    for one, other in zip(expected.epochs, log.epochs, strict=True):
        assert one.keys() == other.keys()
        for term in one:
            if isinstance(one[term], float):
                assert other[term] == pytest.approx(one[term], rel=2e-2, abs=1e-6), (term, one, other)
    for key, value in eager.state_dict().items():
        assert torch.allclose(value.float(), captured.state_dict()[key].float(), rtol=0.1, atol=0.05), key


@needs_gpu
def test_what_cannot_be_captured_goes_on_and_says_so_once(caplog):
    caplog.set_level(logging.INFO)
    replayed = Replayed(lambda x: {"read": x * float(x)}, torch.device("cuda"))
    for value in range(WARM_UP + 3):
        assert float(replayed("same", torch.tensor(float(value), device="cuda"))["read"]) == value**2
    assert not replayed.used
    assert len([record for record in caplog.records if "no graph can be made" in record.message]) == 1


@needs_gpu
def test_another_key_makes_another_graph():
    factor = [1]
    replayed = Replayed(lambda x: {"result": factor[0] * x}, torch.device("cuda"))
    one = torch.ones((), device="cuda")
    for key in (2, 3):
        factor[0] = key
        assert {float(replayed(key, one)["result"]) for _ in range(WARM_UP + 3)} == {float(key)}
    assert replayed.used
