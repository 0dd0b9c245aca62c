"""Two processes train as one does: the same batches, the same loss over all pairs, the same gradients."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import socket
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.deep.dqn import DQN, DQNConfig
from baselines.deep.dtq import DTQ, DTQConfig
from dpq import DPQ, InputError
from dpq.files.checkpoint import load_checkpoint
from dpq.learning import distributed
from dpq.learning.backbone import Backbone
from dpq.learning.distributed import shard
from dpq.learning.settings import Execution
from tests.dpq.conftest import BACKBONE, build_dpq

CPU = torch.device("cpu")
PATIENCE = 600  # seconds; no more than a safety net
# Sums are taken in another order: single losses differ in their last digits, and 12 steps let that grow.
TOLERANCE = {"rel": 1e-3, "abs": 1e-6}  # the joint term of DPQ starts as a small difference of large ones
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["__main__", __name__, "sklearn.cluster", "timm.scheduler", "torch._dynamo"])


def build(name):
    if name == "dpq":
        return build_dpq(dropout=0.2)
    torch.manual_seed(0)
    kind, config = {"dqn": (DQN, DQNConfig(quantization=0.01)), "dtq": (DTQ, DTQConfig(quantization=0.01))}[name]
    return kind(Backbone(BACKBONE, 0, embedding_dim=16, dropout=0.2), config, bits=8, codebook_size=16)


def together(work, *arguments, count=2):
    """What `work(*arguments)` returns in each of several processes that know each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes, children = [], []
    for rank in range(count):
        ours, theirs = CONTEXT.Pipe()
        environment = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(count),
            "RANK": str(rank),
        }
        children.append(CONTEXT.Process(target=_begin, args=(theirs, environment, work, arguments)))
        children[-1].start()
        theirs.close()
        pipes.append(ours)
    try:
        assert all(pipe.poll(PATIENCE) for pipe in pipes)
        return [pipe.recv() for pipe in pipes]
    finally:
        for child in children:
            child.kill()


def _begin(connection, environment, work, arguments):
    os.environ |= environment
    torch.set_num_threads(1)
    assert distributed.start(CPU)
    connection.send(work(*arguments))
    distributed.stop()


def train(name, split, training, checkpoint=None):
    """The log, and a digest of the weights, of a training in this process or its share of one."""
    method = build(name)
    log = method.fit(split, training, 0, Execution(CPU, checkpoint, progress=False))
    weights = b"".join(value.contiguous().numpy().tobytes() for value in method.state_dict().values())
    return log.epochs, hashlib.sha256(weights).hexdigest()


@pytest.mark.parametrize("name", ["dpq", "dqn", "dtq"])
def test_two_processes_have_the_loss_curve_of_one(name, split, training):
    alone, _ = train(name, split, training)
    (first, weights), (second, other) = together(train, name, split, training)
    assert first == second
    assert weights == other
    assert [epoch.keys() for epoch in first] == [epoch.keys() for epoch in alone]
    for ours, expected in zip(first, alone, strict=True):
        losses = [key for key in expected if key not in ("codewords_used", "codeword_perplexity", "warnings")]
        for key in losses:
            assert ours[key] == pytest.approx(expected[key], **TOLERANCE), key


def test_shares_may_differ_in_size(split, training):
    odd = replace(training, epochs=2, batch_size=31)
    alone, _ = train("dtq", split, odd)
    (first, _), _ = together(train, "dtq", split, odd)
    assert first[0]["triplet"] == pytest.approx(alone[0]["triplet"], **TOLERANCE)


def test_what_two_processes_began_one_goes_on_with(split, training, tmp_path):
    path = tmp_path / "last.safetensors"
    short = replace(training, epochs=2, schedule="exponential")
    (first, _), _ = together(train, "dqn", split, short, path)
    assert load_checkpoint(path)[1]["epoch"] == 2
    resumed, _ = train("dqn", split, replace(short, epochs=4), path)
    assert resumed[:2] == first


def resume(split, training, folder):
    """Every process but the first sees no checkpoint."""
    path = folder / ("last.safetensors" if distributed.leads() else "elsewhere.safetensors")
    try:
        train("dqn", split, training, path)
    except InputError as error:
        return str(error)


def test_processes_that_see_different_checkpoints_are_refused(split, training, tmp_path):
    train("dqn", split, replace(training, epochs=1), tmp_path / "last.safetensors")
    assert (
        together(resume, split, training, tmp_path)
        == ["the processes see different checkpoints; keep them in a folder that all machines share"] * 2
    )


def few(split, training):
    try:
        train("dqn", split, replace(training, batch_size=1))
    except InputError as error:
        return str(error)


def test_a_batch_of_less_than_an_image_a_process_is_refused(split, training):
    assert together(few, split, training)[0] == "2 processes cannot share batches of 1 images; start fewer"


def normalised(whole):
    """Output, gradients and running statistics of batch norm on this process's share; the loss is of all rows."""
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(3)
    nn.init.normal_(layer.weight)
    rows = whole[distributed.share(len(whole))].clone().requires_grad_()
    with distributed.whole_batch_statistics(CPU):
        out = distributed.gather(layer(rows), len(whole))
    (out * torch.arange(out.numel()).view(out.shape).sin()).sum().backward()
    distributed.join_gradients(nn.Sequential(layer), layer)
    state = [layer.running_mean, layer.running_var, layer.weight.grad, layer.bias.grad]
    return [tensor.tolist() for tensor in (out.detach(), rows.grad, *state)]


def test_batch_norm_is_that_of_the_whole_batch():
    whole = 5 + 3 * torch.randn(7, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    expected = [torch.tensor(value) for value in normalised(whole)]
    first, second = together(normalised, whole)
    for index, value in enumerate(expected):
        one, two = torch.tensor(first[index]), torch.tensor(second[index])
        if index == 1:
            one = two = torch.cat([one, two])
        torch.testing.assert_close(one, value, rtol=1e-4, atol=1e-5)
        assert torch.equal(one, two)


def test_batch_norm_that_does_not_learn_is_left_alone():
    assert together(evaluated)[0] == evaluated()


def evaluated():
    x, statistics = torch.arange(6.0).view(2, 3), (torch.zeros(3), torch.ones(3))
    with distributed.whole_batch_statistics(CPU):
        return F.batch_norm(x, *statistics).tolist()


def spoken():
    return distributed.tell("größer" if distributed.leads() else ""), distributed.tell(), distributed.leads()


def test_the_first_process_speaks_and_all_hear():
    assert together(spoken, count=3) == [("größer", "", True), ("größer", "", False), ("größer", "", False)]


def left_alone():
    if distributed.leads():
        return "left"
    try:
        with distributed.ended_with_others():
            distributed.tell()
    except InputError as error:
        return str(error)


def test_a_process_whose_leader_has_ended_says_so_in_a_line():
    assert together(left_alone) == [
        "left",
        "another of the processes has ended; do what its own message says, and start all again",
    ]


def test_one_process_is_its_own_leader():
    rows = torch.rand(3, 2)
    assert distributed.gather(rows, 3) is rows
    assert distributed.share(5) == slice(0, 5)
    assert distributed.leads()
    assert distributed.processes() == 1
    assert not distributed.start(CPU)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [0, 1, 5, 64, 65, 300])
def test_parts_are_the_whole_in_order_and_of_whole_batches(size, count):
    parts = [shard(range(size), index, count, batch_size=5) for index in range(count)]
    assert [item for part in parts for item in part] == list(range(size))
    assert all(part.start % 5 == 0 for part in parts if len(part))
    assert max(map(len, parts)) - min(map(len, parts)) <= 2 * 5


def test_codes_of_parts_are_those_of_the_whole():
    images = np.random.default_rng(0).integers(0, 256, (37, 32, 32, 3), dtype=np.uint8)
    model = DPQ("test_resnet", weights=None, bits=16, codebook_size=16, embedding_dim=16, image_size=32, epochs=1)
    model.fit(images, ["cat", "dog"] * 18 + ["cat"])
    parts = [model.encode(shard(images, index, 3, batch_size=4), batch_size=4) for index in range(3)]
    assert torch.equal(torch.cat(parts), model.encode(images, batch_size=4))


@pytest.mark.parametrize(("index", "count", "batch_size"), [(-1, 2, 4), (2, 2, 4), (0, 0, 4), (0, 1, 0)])
def test_parts_that_are_none_are_refused(index, count, batch_size):
    with pytest.raises(InputError, match=r"no part|batch_size"):
        shard(range(10), index, count, batch_size=batch_size)


HERE = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29733"}


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"MASTER_ADDR": ""},
            "RANK=0 and WORLD_SIZE=2 .* MASTER_ADDR is not set; start processes with torchrun, or unset",
        ),
        ({"MASTER_PORT": ""}, "MASTER_PORT is not set"),
        ({"MASTER_PORT": "tcp://10.0.0.1:80"}, "MASTER_PORT='tcp://10.0.0.1:80' in the environment"),
        ({"WORLD_SIZE": "2x"}, "WORLD_SIZE='2x' in the environment is no number of processes"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE='0' in the environment"),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE='-1'"),
        ({"RANK": "one"}, "RANK='one'"),
        ({"RANK": "2"}, "RANK=2 is not below WORLD_SIZE=2"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, r"not all have come to 127.0.0.1:\d+ within"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, r"not all have come to 127.0.0.1:\d+ within"),
    ],
)
def test_variables_of_somebody_elses_cluster_are_named(monkeypatch, caplog, variables, words):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in (HERE | {"MASTER_PORT": str(port)} | variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "MEETING", timedelta(seconds=1))
    with caplog.at_level("INFO"), pytest.raises(InputError, match=words):
        distributed.start(CPU)
    if "not all" in words:
        assert f"waiting for another process at 127.0.0.1:{port}" in caplog.text


@pytest.mark.parametrize("variables", [{}, {"RANK": "0"}, {"WORLD_SIZE": "4"}, {"RANK": "0", "WORLD_SIZE": "1"}])
def test_one_process_waits_for_nobody(monkeypatch, variables):
    for name in HERE:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert not distributed.start(CPU)
