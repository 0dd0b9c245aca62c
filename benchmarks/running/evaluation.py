"""Metrics of all code lengths from a raw result; live runs and `evaluate` share this."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.records.raw import RawResult
from benchmarks.records.record import KS, Length, Record
from benchmarks.setting.methods import METHODS
from dpq.codes.additive import decode, levels_for
from dpq.errors import InputError
from dpq.learning.entry import Decoder
from dpq.learning.settings import RankedBy, Score
from dpq.ranking.evaluate import evaluate_codes
from dpq.ranking.scores import DistinctCodes


def evaluate_lengths(
    raw: RawResult,
    errors: Mapping[int, float],
    cut: int | None,
    score: RankedBy,
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
        score: "inner" or "l2"; "symmetric" is the inner product with reconstructed queries, which for codes of signs is
            the order of Hamming distances.
        query_precision: "float16" rounds the queries, as the released code does.
        further_cuts: cuts at which mAP is reported as well.
        coarse: the coarse class of each label, for which mAP is reported as well; none for no such mAP.
        progress: show a bar on a terminal.
        device: a GPU to rank on; None stands for the CPU.

    Raises:
        InputError: a symmetric score of raw codes without those of the queries.
    """
    labels = torch.from_numpy(raw.query_labels), torch.from_numpy(raw.database_labels)
    coarse_labels = [_coarse_labels(each, coarse) for each in labels]
    lengths, averages = [], []
    real, by = ranked_queries(raw, query_precision), float_score(score)
    ranked = to_rank(raw, list(errors), score, query_precision)
    for (bits, error), (queries, codes, codebooks) in zip(errors.items(), ranked, strict=True):
        result = evaluate_codes(
            queries,
            labels[0],
            codes,
            labels[1],
            codebooks,
            cut,
            KS,
            by,
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
        if score == "symmetric":
            again = evaluate_codes(real, labels[0], codes, labels[1], codebooks, cut, KS, by, device=device)
            measured["map_asymmetric"] = again.map
        measured |= {"map_at_r": result.map, "r": ranks, "bytes_per_image": bits / 8, "reconstruction_mse": error}
        if coarse:
            asked, there = coarse_labels
            again = evaluate_codes(queries, asked, codes, there, codebooks, cut, KS, by, device=device)
            measured["map_coarse"] = again.map
        lengths.append(Length(bits=bits, **measured))
    return tuple(lengths), np.array(averages, dtype=np.float32)


def float_score(score: RankedBy) -> Score:
    """What queries are ranked by once the symmetric score has reconstructed them; also of unquantized search."""
    return "inner" if score == "symmetric" else score


def to_rank(
    raw: RawResult, bits: Sequence[int], score: RankedBy, query_precision: str
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Queries [Q, D], codes [N, m] and codebooks [m, K, D] that each length is ranked with, by `float_score`.

    Args:
        raw: codes that are sums of codewords; or with `reconstructions`, which become the codewords of a single level.
        bits: all lengths of the record.
        score: as for `evaluate_lengths`.
        query_precision: as for `evaluate_lengths`.

    Raises:
        InputError: as for `evaluate_lengths`.
    """
    codes, codebooks = torch.from_numpy(raw.codes), torch.from_numpy(raw.codebooks)
    queries, decoded = ranked_queries(raw, query_precision), 0
    for levels in (levels_for(each, codebooks.shape[1]) for each in bits):
        if raw.reconstructions is not None:
            distinct = DistinctCodes.of(codes, levels)
            words = torch.from_numpy(raw.reconstructions[decoded : decoded + len(distinct.codes)])
            decoded += len(words)
            shown = torch.from_numpy(distinct.inverse)[:, None], words[None]
        else:
            shown = codes[:, :levels], codebooks[:levels]
        yield (_reconstructed(raw, shown[1]) if score == "symmetric" else queries, *shown)


def _reconstructed(raw: RawResult, codebooks: Tensor) -> Tensor:
    """The queries as their codes have them, [Q, D].

    Raises:
        InputError: there are no such codes.
    """
    if raw.query_codes is None or raw.reconstructions is not None:
        raise InputError(
            "the symmetric score needs codes of the queries that are sums of codewords, and there are none here; rank "
            "by inner or l2, or run the experiment again with --force"
        )
    return decode(torch.from_numpy(raw.query_codes), codebooks, len(codebooks))


def _coarse_labels(labels: Tensor, coarse: Sequence[str]) -> Tensor:
    """Labels [N, L] as those of the coarse classes, [N, C] bool."""
    names = sorted(set(coarse))
    members = torch.tensor([[of == name for name in names] for of in coarse])  # [L, C]
    return labels.float() @ members.float() > 0 if names else labels


def evaluate_again(
    record: Record, raw: RawResult, score: RankedBy | None = None
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


def decoded_lengths(
    method: Decoder, embeddings: Tensor, codes: Tensor, levels: Sequence[int]
) -> tuple[list[float], NDArray[np.float32]]:
    """For a method with a decoder: mean squared errors of each number of levels, and `RawResult.reconstructions`."""
    errors, parts = [], []
    for count in levels:
        distinct = DistinctCodes.of(codes, count)
        parts.append(method.decode(distinct.codes).float())
        left = embeddings - parts[-1][torch.from_numpy(distinct.inverse)]
        errors.append(float(left.square().sum(dim=1).mean()))
    return errors, torch.cat(parts).numpy()


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
