"""Work in several processes, one per GPU or machine: what they share of a batch, a loss, its gradients, or a data set.

Torch's launcher starts the processes (`torchrun --nproc-per-node 2 ...`) and tells each its rank. Every process puts
its share of a batch through the network; the features of the whole batch are gathered, so that each computes the loss
over all pairs and triplets. In one process every function here gives back what it was given.
"""

from __future__ import annotations

import logging
import operator
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from dpq.errors import InputError, one_line

log = logging.getLogger(__name__)

PATIENCE = timedelta(days=1)  # the others wait while the first process evaluates
MEETING = timedelta(minutes=5)  # until all have begun
_joined = False  # by `start`: a caller may have processes of its own that do different things


def start(device: torch.device) -> bool:
    """Join the other processes, if torch's launcher started this one; a GPU of its own becomes the current one.

    Returns:
        Whether there are others.

    Raises:
        InputError: more processes than GPUs on this machine; the others do not come; or variables of the environment
            name others but not where they are, as a cluster's may that mean something else.
    """
    global _joined
    if not distributed.is_available() or not os.environ.get("RANK") or not os.environ.get("WORLD_SIZE"):
        return False
    rank, count = (_variable(name) for name in ("RANK", "WORLD_SIZE"))
    if count == 1:
        return False
    if not rank < count:
        raise InputError(f"RANK={rank} is not below WORLD_SIZE={count}; {_ALONE}")
    if not _joined:
        if device.type == "cuda":
            local = _variable("LOCAL_RANK", "0")
            if local >= torch.cuda.device_count():
                raise InputError(
                    f"process {local + 1} of this machine has no GPU of its own; start one process for each of the "
                    f"{torch.cuda.device_count()} GPUs, or train on the CPU",
                    "device",
                )
            torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, store=_meet(rank, count), rank=rank, world_size=count, timeout=PATIENCE)
        _joined = True
    return True


_ALONE = "start processes with torchrun, or unset RANK and WORLD_SIZE for a single one"


def _variable(name: str, default: str = "") -> int:
    """A count that the launcher has put into the environment."""
    text = os.environ.get(name) or default
    if not text.isdecimal() or (name == "WORLD_SIZE" and not int(text)):
        raise InputError(f"{name}={text!r} in the environment is no number of processes; {_ALONE}")
    return int(text)


def _meet(rank: int, count: int) -> Any:
    """The store of all processes, once all of them are there.

    Raises:
        InputError: the environment does not say where, or not all have come in time.
    """
    said = f"RANK={rank} and WORLD_SIZE={count} in the environment call for {count - 1} more"
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
        raise InputError(f"{said}, but {missing[0]} is not set; {_ALONE}")
    _variable("MASTER_PORT")
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    others = "another process" if count == 2 else f"{count - 1} other processes"
    log.info("waiting for %s at %s", others, place)
    own: Any = distributed  # whose names are there where it is available, which checkers do not see
    try:
        store, _, _ = next(own.rendezvous("env://", rank, count, timeout=MEETING))
        store = own.PrefixStore("dpq", store)
        store.set(f"here {rank}", "")
        store.wait([f"here {one}" for one in range(count)], MEETING)
    except (RuntimeError, ValueError) as error:  # torch's own errors of stores and networks are of the former
        raise InputError(
            f"{said}, and not all have come to {place} within {MEETING.seconds // 60} minutes or it cannot be had "
            f"({one_line(error)[:120]}); {_ALONE}"
        ) from error
    store.set_timeout(PATIENCE)
    return store


def stop() -> None:
    """Leave the other processes, if there are any."""
    global _joined
    if _joined:
        _joined = False
        distributed.destroy_process_group()


def processes() -> int:
    """How many work together; 1 unless `start` joined others."""
    return distributed.get_world_size() if _joined else 1


def leads() -> bool:
    """Whether this is the process that writes files and speaks."""
    return processes() == 1 or distributed.get_rank() == 0


@contextmanager
def leader_first() -> Iterator[None]:
    """What the first process does inside is done when the others enter: they find its files."""
    if not leads():
        distributed.barrier()
    yield
    if leads() and processes() > 1:
        distributed.barrier()


@contextmanager
def ended_with_others() -> Iterator[None]:
    """Inside, another process that ends is no fault of this one.

    Raises:
        InputError: another process has ended before its time.
    """
    try:
        yield
    except RuntimeError as error:
        if processes() == 1 or not re.search(r"by peer|remote process", str(error)):  # gloo's words, NCCL's words
            raise
        raise InputError(
            "another of the processes has ended; do what its own message says, and start all again"
        ) from error


def share(count: int) -> slice:
    """Which of `count` rows are this process's: neighbours, and as many as any other's, give or take one."""
    return _part(count, distributed.get_rank(), processes()) if processes() > 1 else slice(0, count)


def gather(rows: Tensor, count: int) -> Tensor:
    """All `count` rows [count, ...] of which each process has its `share`; a gradient returns to the own ones.

    Every process goes on with the same rows to the same loss, so that the own rows' gradient is all that they need.
    """
    if processes() == 1:
        return rows
    mine, whole = share(count), rows.new_zeros(count, *rows.shape[1:])
    whole[mine] = rows.detach()
    distributed.all_reduce(whole)  # shares may differ in size, which gathering would refuse
    return torch.cat([whole[: mine.start], rows, whole[mine.stop :]])


@torch.no_grad()
def join_gradients(module: nn.Module, body: nn.Module) -> None:
    """Make gradients those of the whole batch, and the same in every process to the last bit.

    Args:
        module: what is trained.
        body: its part before `gather`, through which each process put its own rows: their gradients add up. Those of
            the rest are of the whole batch already; their mean undoes what rounds differently.
    """
    if processes() == 1:
        return
    own = set(body.parameters())
    parts = [p.grad if p in own else p.grad.div_(processes()) for p in module.parameters() if p.grad is not None]
    message = torch.cat([part.flatten() for part in parts])  # one, not one for each parameter
    distributed.all_reduce(message)
    for part, summed in zip(parts, torch.split(message, [part.numel() for part in parts]), strict=True):
        part.copy_(summed.view(part.shape))


@torch.no_grad()
def follow_leader(module: nn.Module) -> None:
    """Take over the first process's parameters and buffers."""
    if processes() > 1:
        for tensor in module.state_dict().values():
            message = tensor.contiguous()
            distributed.broadcast(message, 0)
            tensor.copy_(message)


def agree(number: int) -> bool:
    """Whether every process has the same number."""
    if processes() == 1:
        return True
    extremes = torch.tensor([number, -number])
    distributed.all_reduce(extremes, distributed.ReduceOp.MAX)
    return bool(extremes.sum() == 0)


def tell(text: str = "") -> str:
    """What the first process says to all; the others give nothing and get it."""
    told = [text]
    if processes() > 1:
        distributed.broadcast_object_list(told, device=torch.device("cpu"))
    return told[0]


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> None:
    """Let the batch norm inside a network take the statistics of the whole batch on GPUs.

    Parameters and the names of the state stay. On the CPU, where torch has no such layer, see `whole_batch_statistics`.
    """
    if processes() > 1 and device.type == "cuda":
        from timm.layers import convert_sync_batchnorm

        convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]


def whole_batch_statistics(device: torch.device) -> AbstractContextManager[Any]:
    """Inside, batch norm on the CPU takes the statistics of the whole batch."""
    return nullcontext() if processes() == 1 or device.type == "cuda" else _WholeBatchStatistics()


class _WholeBatchStatistics(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        function = _batch_norm if func is F.batch_norm else func
        return function(*args, **(kwargs or {}))


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.batch_norm` of [b, C, ...], with mean and variance over the rows of all processes."""
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    from torch.distributed.nn import functional

    all_reduce: Any = functional.all_reduce  # with gradient, which is summed as well
    axes = [0, *range(2, x.ndim)]
    shape = [1, -1] + [1] * (x.ndim - 2)
    sums = all_reduce(torch.cat([x.sum(axes), x.new_tensor([x.numel() // x.shape[1]])]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    centred = x - mean.view(shape)
    var = all_reduce(centred.square().sum(axes)) / count
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.detach(), momentum)
        running_var.lerp_(var.detach() * count / (count - 1), momentum)
    scale = torch.rsqrt(var + eps) * (1 if weight is None else weight)
    scaled: Tensor = centred * scale.view(shape)
    return scaled if bias is None else scaled + bias.view(shape)


def _part(count: int, index: int, of: int) -> slice:
    """The rows of part `index` of `of`: neighbours among `count` rows, as many as in any other part or one more."""
    return slice(index * count // of, (index + 1) * count // of)


def shard(items: Any, index: int, count: int, *, batch_size: int = 64) -> Any:
    """One of `count` parts of what several machines encode: neighbours, cut between batches, about as many in each.

    So the codes of the parts, one after the other, are those of the whole to the last bit: every image is in the batch
    that it would be in.

    >>> [list(shard(range(10), index, 3, batch_size=2)) for index in (0, 1, 2)]
    [[0, 1], [2, 3, 4, 5], [6, 7, 8, 9]]

    Args:
        items: list, array or tensor of N images or paths, in the order that every process sees.
        index: of this part, from 0.
        count: of parts.
        batch_size: that they are encoded with.

    Returns:
        A slice of `items`; empty where there are fewer batches than parts.

    Raises:
        InputError: there is no such part, or no such batch.
    """
    given = index, count, batch_size
    try:
        index, count, batch_size = map(operator.index, given)
    except TypeError:
        raise InputError(f"index, count and batch_size are whole numbers; got {given!r}") from None
    if not 0 <= index < count:
        raise InputError(f"there is no part {index} of {count}; parts are counted from 0, and the last is count - 1")
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1; got {batch_size}")
    batches = -(-len(items) // batch_size)
    mine = _part(batches, index, count)
    return items[mine.start * batch_size : mine.stop * batch_size]
