"""Checkpoints: one safetensors file, written whole or not at all, with its JSON in the file's metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor

from dpq.errors import InputError, one_line
from dpq.files.atomic import write_atomically
from dpq.files.json import parse_json
from dpq.files.schema import Scalar, Size, read_table
from dpq.files.tensors import check_finite


@dataclass(frozen=True)
class _Timed:
    seconds: Annotated[float, Interval(gt=0, lt=1e12)]


@dataclass(frozen=True)
class _Placed:
    environments: list[dict[str, Scalar] | None] | None = None


@dataclass(frozen=True)
class _Training(_Timed):
    epoch: Size
    log: list[dict[str, float | list[str | float]]]
    environments: list[dict[str, Scalar] | None] | None = None


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-able state to `path`, replacing what was there in one step."""
    from safetensors.torch import save

    whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    text = json.dumps(state)
    write_atomically(path, save(whole, metadata={"state": text, "sha256": _digest(whole, text)}))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and state of a checkpoint, as they were saved.

    Raises:
        InputError: the file is damaged, or none that `save_checkpoint` wrote.
    """
    try:
        return read_checked(path)
    except Exception as error:  # whatever the reader raises, the file is unusable
        raise unusable(path, f"is damaged ({one_line(error)})") from error


def read_checked(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """As `load_checkpoint`, for whoever calls the file something else.

    Raises:
        Exception: of any kind where the file is not what `save_checkpoint` wrote; the reader's own ones among them.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        if not {"state", "sha256"} <= metadata.keys():
            raise ValueError("it has no state or no check sum")
        state = parse_json(metadata["state"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if _digest(tensors, metadata["state"]) != metadata["sha256"]:
        raise ValueError("its check sum differs from that of its contents")
    if not isinstance(state, dict):
        raise ValueError("its state is no table")
    return tensors, state


def unusable(path: Path, why: str) -> InputError:
    """The exception that says what is wrong with a checkpoint and what to do."""
    return InputError(f"checkpoint {path} {why}; delete it, and the same command makes it anew")


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    """SHA-256 over the state and the names, types, shapes and bytes of all tensors."""
    whole = hashlib.sha256(state.encode())
    for name, value in sorted(tensors.items()):
        whole.update(repr((name, str(value.dtype), list(value.shape))).encode())
        if value.numel():  # torch cannot see no number as bytes
            whole.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return whole.hexdigest()


def flatten_optimizer(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors of an optimiser's state, named `<prefix>.<parameter>.<entry>`."""
    return {
        f"{prefix}.{index}.{entry}": value
        for index, entries in optimizer.state_dict()["state"].items()
        for entry, value in entries.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(prefix: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `flatten_optimizer` named; learning rates are the schedule's business.

    Raises:
        ValueError: a tensor is of no parameter of the optimiser, or not what it keeps of one.
    """
    keeps = {"momentum_buffer"} if isinstance(optimizer, torch.optim.SGD) else {"step", "exp_avg", "exp_avg_sq"}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    known = {f"{prefix}.{index}": index for index in range(len(parameters))}
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if not name.startswith(f"{prefix}."):
            continue
        owner, _, entry = name.rpartition(".")
        if owner not in known:
            raise ValueError(f"{name} is of no parameter")
        state.setdefault(known[owner], {})[entry] = value
    for index, entries in state.items():
        parameter = parameters[index]
        if entries.keys() != keeps:
            raise ValueError(
                f"{prefix}.{index} has {', '.join(entries)}; the optimiser keeps {', '.join(sorted(keeps))}"
            )
        for entry, value in entries.items():
            shape = torch.Size() if entry == "step" else parameter.shape
            if value.shape != shape or not value.dtype.is_floating_point:
                raise ValueError(f"{prefix}.{index}.{entry} is {value.dtype} {list(value.shape)}, not {list(shape)}")
            if entry != "step":  # in the memory layout of the parameter, which files lose and fused updates need
                empty = torch.empty_like(parameter, dtype=value.dtype, device=value.device)
                entries[entry] = empty.copy_(value)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def restore_module(module: torch.nn.Module, tensors: Mapping[str, Tensor], *, whole: bool) -> None:
    """Put back parameters and buffers.

    Args:
        module: they are of.
        tensors: by name.
        whole: none may be missing.

    Raises:
        ValueError: one is unknown, missing, of another shape or type, or not finite.
    """
    wanted = module.state_dict()
    check_finite(tensors)
    for name, value in tensors.items():
        if name not in wanted:
            raise ValueError(f"{name} is not of this method")
        if (value.shape, value.dtype) != (wanted[name].shape, wanted[name].dtype):
            raise ValueError(
                f"{name} is {value.dtype} {list(value.shape)}, not {wanted[name].dtype} {list(wanted[name].shape)}"
            )
    if whole and (missing := sorted(wanted.keys() - tensors.keys())):
        raise ValueError(f"{missing[0]} is missing")
    module.load_state_dict(dict(tensors), strict=whole)


def restored_log(state: Mapping[str, Any], epochs: int) -> tuple[int, float, list[dict[str, Any]]]:
    """Finished epochs, seconds and one report per epoch, from a checkpoint's state.

    Args:
        state: as it was read.
        epochs: of the whole training.

    Raises:
        ValueError: one is missing, of another type, out of range, or they do not fit each other.
    """
    read = read_table(_Training, state, "its state")
    if not read.epoch == len(read.log) <= epochs:
        raise ValueError(f"it has {read.epoch} finished epochs of {epochs}, and its log is that of {len(read.log)}")
    return read.epoch, read.seconds, state["log"]


def restored_seconds(state: Mapping[str, Any]) -> float:
    """How long it took to make what a checkpoint holds.

    Raises:
        ValueError: missing, no number, or not above zero.
    """
    return read_table(_Timed, state, "its state", extra="ignore").seconds


def restored_environments(state: Mapping[str, Any]) -> list[Mapping[str, Any] | None]:
    """Where the parts of what a checkpoint holds were computed; [None] where it does not say.

    Raises:
        ValueError: it is no list of such tables.
    """
    read_table(_Placed, state, "its state", extra="ignore")
    return list(state.get("environments") or [None])


def with_environment(
    parts: Sequence[Mapping[str, Any] | None], own: Mapping[str, Any] | None
) -> list[Mapping[str, Any] | None]:
    """Where the parts of a computation were, each place once, when it goes on in its `own`."""
    every = [*parts, own]
    return [part for index, part in enumerate(every) if part not in every[:index]]


def restored_matrix(tensors: Mapping[str, Tensor], name: str, shape: tuple[int | None, ...]) -> Tensor:
    """A tensor of finite float32 numbers; None in its shape stands for any length.

    Raises:
        ValueError: it is missing or another.
    """
    value = tensors.get(name)
    if value is None:
        raise ValueError(f"{name} is missing")
    fits = len(value.shape) == len(shape) and all(w in (None, n) for n, w in zip(value.shape, shape, strict=True))
    if value.dtype != torch.float32 or not fits or not value.isfinite().all():
        raise ValueError(f"{name} is {value.dtype} {list(value.shape)}; needs finite float32 of {list(shape)}")
    return value
