"""Metrics of all code lengths from a raw result; live runs and `evaluate` share this."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.raw_results import RawResult
from benchmarks.record import KS
from dpq.additive import levels_for
from dpq.ranking import RankingResult, Score, evaluate_codes


def evaluate_lengths(
    raw: RawResult,
    bits: list[int],
    cut: int | None,
    score: Score,
    query_precision: str,
    *,
    further_cuts: Sequence[int] = (),
    progress: bool = False,
) -> list[dict[str, Any]]:
    """One entry a code length, as the record's `lengths` hold them, without the reconstruction error.

    Args:
        raw: codes, codebooks, queries and labels.
        bits: lengths to read; each a prefix of the stored code.
        cut: mAP over the first `cut` ranks; None means all.
        score: "inner" or "l2".
        query_precision: "float16" rounds the queries, as the released code does.
        further_cuts: cuts at which mAP is reported as well.
        progress: show a bar on a terminal.
    """
    queries = ranked_queries(raw, query_precision)
    codes, codebooks = torch.from_numpy(raw.codes), torch.from_numpy(raw.codebooks)
    labels = torch.from_numpy(raw.query_labels), torch.from_numpy(raw.database_labels)
    entries = []
    for length in bits:
        levels = levels_for(length, codebooks.shape[1])
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
        )
        entries.append(_entry(length, result, min(cut or len(codes), len(codes))))
    return entries


def ranked_queries(raw: RawResult, query_precision: str) -> Tensor:
    """The queries as they are ranked with, [Q, D] float32; "float16" rounds them, as the released code does."""
    queries = torch.from_numpy(raw.queries)
    return queries.half().float() if query_precision == "float16" else queries


def _entry(bits: int, result: RankingResult, ranks: int) -> dict[str, Any]:
    entry = {
        "bits": bits,
        "map": result.map,
        "map_at_r": result.map,
        "r": ranks,
        "map_total": result.map_total,
        "map_capped": result.map_capped,
        "map_bounds": list(result.map_bounds),
        "map_ties_index": result.map_ties_index,
        "precision_at": {str(k): value for k, value in result.precision_at.items()},
        "pr": [list(point) for point in result.pr],
        "distinct_codes": result.distinct_codes,
        "queries_without_relevant": result.queries_without_relevant,
        "bytes_per_image": bits / 8,
    }
    if result.map_at:
        entry["map_at"] = {str(further): value for further, value in result.map_at.items()}
    return entry


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
