"""Metrics of all code lengths from a raw result; live runs and `evaluate` share this."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.records.raw import RawResult
from benchmarks.records.record import KS, Length, Record
from benchmarks.setting.methods import METHODS
from dpq.codes.additive import levels_for
from dpq.learning.settings import Score
from dpq.ranking.evaluate import evaluate_codes


def evaluate_lengths(
    raw: RawResult,
    errors: Mapping[int, float],
    cut: int | None,
    score: Score,
    query_precision: str,
    *,
    further_cuts: Sequence[int] = (),
    coarse: Sequence[str] = (),
    progress: bool = False,
    device: torch.device | None = None,
) -> tuple[tuple[Length, ...], NDArray[np.float32]]:
    """The metrics of each code length, and what `map` is the mean of: [T, Q], average precision by length and query.

    Args:
        raw: codes, codebooks, queries and labels.
        errors: mean squared reconstruction errors, which raw codes do not tell, by the lengths to read: bits, each of
            a prefix of the stored code.
        cut: mAP over the first `cut` ranks; None means all.
        score: "inner" or "l2".
        query_precision: "float16" rounds the queries, as the released code does.
        further_cuts: cuts at which mAP is reported as well.
        coarse: the coarse class of each label, for which mAP is reported as well; none for no such mAP.
        progress: show a bar on a terminal.
        device: a GPU to rank on; None stands for the CPU.
    """
    queries = ranked_queries(raw, query_precision)
    codes, codebooks = torch.from_numpy(raw.codes), torch.from_numpy(raw.codebooks)
    labels = torch.from_numpy(raw.query_labels), torch.from_numpy(raw.database_labels)
    coarse_labels = [_coarse_labels(each, coarse) for each in labels]
    lengths, averages = [], []
    for bits, error in errors.items():
        levels = levels_for(bits, codebooks.shape[1])
        result = evaluate_codes(
            queries,
            labels[0],
            codes[:, :levels],
            labels[1],
            codebooks[:levels],
            cut,
            KS,
            score,
            further_cuts=further_cuts,
            progress=progress,
            device=device,
        )
        measured: dict[str, Any] = {
            key: {str(rank): one for rank, one in value.items()} if isinstance(value, dict) else value
            for key, value in vars(result).items()  # with keys as JSON has them
        }
        averages.append(measured.pop("average_precisions"))
        ranks = min(cut or len(codes), len(codes))
        measured |= {"map_at_r": result.map, "r": ranks, "bytes_per_image": bits / 8, "reconstruction_mse": error}
        if coarse:
            asked, there = coarse_labels
            again = evaluate_codes(
                queries, asked, codes[:, :levels], there, codebooks[:levels], cut, KS, score, device=device
            )
            measured["map_coarse"] = again.map
        lengths.append(Length(bits=bits, **measured))
    return tuple(lengths), np.array(averages, dtype=np.float32)


def _coarse_labels(labels: Tensor, coarse: Sequence[str]) -> Tensor:
    """Labels [N, L] as those of the coarse classes, [N, C] bool."""
    names = sorted(set(coarse))
    members = torch.tensor([[of == name for name in names] for of in coarse])  # [L, C]
    return labels.float() @ members.float() > 0 if names else labels


def evaluate_again(
    record: Record, raw: RawResult, score: Score | None = None
) -> tuple[tuple[Length, ...], NDArray[np.float32]]:
    """The metrics of a record from its codes, as `evaluate_lengths` has them; by its own score, or by another."""
    return evaluate_lengths(
        raw,
        {length.bits: length.reconstruction_mse for length in record.lengths},
        record.cut,
        score or record.score,
        recorded_query_precision(record),
        further_cuts=record.further_cuts,
        coarse=record.data.coarse,
        progress=True,
    )


def recorded_query_precision(record: Record) -> str:
    """The precision that the queries of a record were rounded to (see `Experiment.ranking_of`)."""
    return str(record.config.methods[METHODS[record.method].configs[0]].get("query_precision", "float32"))


def ranked_queries(raw: RawResult, query_precision: str) -> Tensor:
    """The queries as they are ranked with, [Q, D] float32; "float16" rounds them, as the released code does."""
    queries = torch.from_numpy(raw.queries)
    return queries.half().float() if query_precision == "float16" else queries


def reconstruction_errors(embeddings: Tensor, codes: Tensor, codebooks: Tensor) -> list[float]:
    """Mean squared distance of embeddings [N, D] to their reconstruction, after each level."""
    errors, residual = [], embeddings
    for level, codebook in enumerate(codebooks):
        residual = residual - codebook[codes[:, level].long()]
        errors.append(float(residual.square().sum(dim=1).mean()))
    return errors


def differ(one: Any, other: Any) -> bool:
    """Whether two JSON-able values are not the same, but for what another order of summation does to a float."""
    if isinstance(one, float) and isinstance(other, float):
        return not math.isclose(one, other, abs_tol=1e-12)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() != other.keys() or any(differ(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) != len(other) or any(map(differ, one, other))
    return bool(one != other)
