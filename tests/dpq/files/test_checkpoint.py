"""What a checkpoint is refused for, and that the message says what to do."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dpq import InputError
from dpq.files.checkpoint import (
    _digest,
    flatten_optimizer,
    load_checkpoint,
    restore_module,
    restore_optimizer,
    restored_log,
    restored_matrix,
    restored_seconds,
    save_checkpoint,
)
from dpq.learning.settings import Execution

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor(3),
    "c": torch.zeros(0, 2, dtype=torch.bool),
    "d": torch.ones(3, dtype=torch.bfloat16),
}
STATE = {"epoch": 1, "seconds": 0.5, "log": [{"margin": 0.25, "codewords_used": [3], "warnings": ["a sign"]}]}


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    save_checkpoint(tmp_path / "c", TENSORS, STATE)
    tensors, state = load_checkpoint(tmp_path / "c")
    assert state == STATE
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert torch.equal(tensors[name], value)
        assert tensors[name].dtype == value.dtype


def refusal(path, *changed):
    with pytest.raises(InputError, match=r"is damaged .*; delete it, and the same command makes it anew") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_byte_counts(tmp_path):
    """Also those of tensors, which the format itself does not protect."""
    path = tmp_path / "c"
    save_checkpoint(path, TENSORS, STATE)
    content = path.read_bytes()
    for position in range(8, len(content)):
        if content[position] == ord(" "):  # the header's padding, and blanks between its fields
            continue
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        refusal(path)


def test_a_foreign_file_is_refused(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "c")
    assert "no state or no check sum" in refusal(tmp_path / "c")
    for state in ("[]", "{", '{"epoch": NaN}', "[" * 10_000):
        save_file(
            {"a": torch.zeros(2)}, tmp_path / "c", {"state": state, "sha256": _digest({"a": torch.zeros(2)}, state)}
        )
        refusal(tmp_path / "c")


@pytest.mark.parametrize("length", [0, 1 << 40, (1 << 64) - 1])
def test_a_header_that_lies_about_its_length_is_refused(tmp_path, length):
    save_checkpoint(tmp_path / "c", TENSORS, STATE)
    content = (tmp_path / "c").read_bytes()
    (tmp_path / "c").write_bytes(np.uint64(length).tobytes() + content[8:])
    refusal(tmp_path / "c")


def test_tensors_that_overlap_or_lie_outside_are_refused(tmp_path):
    for offsets in ([0, 8], [8, 16], [4, 12], [0, 1 << 40]):
        fields = {"dtype": "F32", "shape": [2]}
        header = json.dumps({"a": fields | {"data_offsets": [0, 8]}, "b": fields | {"data_offsets": offsets}}).encode()
        (tmp_path / "c").write_bytes(np.uint64(len(header)).tobytes() + header + bytes(8))
        refusal(tmp_path / "c")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epoch": 0}, "its state.epoch must be at least 1; got 0"),
        ({"epoch": 5}, "5 finished epochs of 4"),
        ({"epoch": True}, "its state.epoch must be a whole number; got True"),
        ({"epoch": None}, "its state.epoch must be a whole number; got None"),
        ({"epoch": 2}, "2 finished epochs of 4, and its log is that of 1"),
        ({"log": {}}, "its state.log must be a list"),
        ({"log": [[]]}, r"its state.log\[0\] must be a table"),
        ({"log": [{"margin": None}]}, r"its state.log\[0\].margin must be "),
        ({"log": [{"margin": [[]]}]}, r"its state.log\[0\].margin.* must be "),
        ({"seconds": "1"}, "its state.seconds must be a number; got '1'"),
        ({"seconds": 0}, "its state.seconds must be above 0; got 0"),
        ({"seconds": -1.0}, "its state.seconds must be above 0; got -1.0"),
        ({"seconds": 10**400}, "its state.seconds must be .*; got "),
    ],
)
def test_a_state_of_another_form_is_refused(change, words):
    assert restored_log(STATE, 4) == (1, 0.5, STATE["log"])
    with pytest.raises(ValueError, match=words):
        restored_log(STATE | change, 4)
    if "seconds" in change:
        with pytest.raises(ValueError, match=words):
            restored_seconds(change)


def trained(kind):
    """An optimiser of two parameters after one step, and its tensors."""
    parameters = [torch.nn.Parameter(torch.ones(2, 3)), torch.nn.Parameter(torch.ones(4))]
    optimizer = kind(parameters, lr=0.1)
    sum(parameter.sum() for parameter in parameters).backward()
    optimizer.step()
    return optimizer, flatten_optimizer("o", optimizer)


def sgd(parameters, lr):
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam, sgd])
def test_an_optimiser_takes_its_own_tensors_and_no_others(kind):
    optimizer, tensors = trained(kind)
    restore_optimizer("o", optimizer, tensors)
    entry = next(name for name in tensors if name.startswith("o.0.") and not name.endswith("step"))
    for changed, words in (
        (tensors | {"o.2.step": torch.tensor(1.0)}, "o.2.step is of no parameter"),
        (tensors | {"o.x": torch.tensor(1.0)}, "o.x is of no parameter"),
        (tensors | {"o.0.more": torch.tensor(1.0)}, "o.0 has .*more"),
        ({name: value for name, value in tensors.items() if name != entry} | {"o.0.y": tensors[entry]}, "o.0 has"),
        (tensors | {entry: torch.zeros(3, 2)}, r"\[3, 2\], not \[2, 3\]"),
        (tensors | {entry: torch.zeros(2, 3, dtype=torch.int64)}, "int64"),
    ):
        with pytest.raises(ValueError, match=words):
            restore_optimizer("o", trained(kind)[0], changed)


def test_what_is_restored_has_the_layout_of_its_parameter(tmp_path):
    def convolution():
        weight = torch.arange(24.0).reshape(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
        parameter = torch.nn.Parameter(weight)
        return parameter, torch.optim.AdamW([parameter], fused=True)

    def step(parameter, optimizer):
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()

    parameter, optimizer = convolution()
    step(parameter, optimizer)
    save_checkpoint(tmp_path / "c.safetensors", flatten_optimizer("o", optimizer), {})
    again, other = convolution()
    restore_optimizer("o", other, load_checkpoint(tmp_path / "c.safetensors")[0])
    again.data.copy_(parameter.data)
    for entry in ("exp_avg", "exp_avg_sq"):
        assert other.state[again][entry].stride() == again.stride()
        assert torch.equal(other.state[again][entry], optimizer.state[parameter][entry])
    step(parameter, optimizer)
    step(again, other)
    assert torch.equal(again, parameter)


def test_a_module_takes_its_own_tensors_and_no_others():
    module = torch.nn.Linear(2, 3)
    tensors = {name: torch.zeros_like(value) for name, value in module.state_dict().items()}
    restore_module(module, tensors, whole=True)
    assert not module.weight.any()
    restore_module(module, {"bias": torch.ones(3)}, whole=False)
    for changed, words in (
        (tensors | {"other": torch.zeros(1)}, "other is not of this method"),
        ({"weight": tensors["weight"]}, "bias is missing"),
        (tensors | {"bias": torch.zeros(4)}, r"bias is torch.float32 \[4\], not torch.float32 \[3\]"),
        (tensors | {"bias": torch.zeros(3, dtype=torch.float64)}, "bias is torch.float64"),
    ):
        with pytest.raises(ValueError, match=words):
            restore_module(module, changed, whole=True)


@pytest.mark.parametrize(
    "value", [None, torch.zeros(2), torch.zeros(3, 3), torch.zeros(2, 3).double(), torch.full((2, 3), torch.inf)]
)
def test_a_matrix_of_another_form_is_refused(value):
    assert restored_matrix({"m": torch.ones(2, 5)}, "m", (2, None)).sum() == 10
    with pytest.raises(ValueError, match="m is "):
        restored_matrix({} if value is None else {"m": value}, "m", (2, None))


def test_going_on_from_another_training_says_so(make_dpq, split, training, tmp_path):
    path = tmp_path / "c.safetensors"
    make_dpq().fit(split, training, 0, Execution(checkpoint=path))
    tensors, state = load_checkpoint(path)
    first = next(name for name in tensors if name.startswith("optimizer0."))
    for other in (
        ({}, state),
        (tensors, state | {"epoch": 99}),
        (tensors, state | {"epoch": "a\nb"}),
        (tensors | {first: torch.zeros(7)}, state),
        ({name: value for name, value in tensors.items() if name != "method.backbone.embedding.bias"}, state),
    ):
        save_checkpoint(path, *other)
        with pytest.raises(InputError, match=r"c.safetensors is of another training \(.*delete it") as error:
            make_dpq().fit(split, training, 0, Execution(checkpoint=path))
        assert "\n" not in str(error.value)
