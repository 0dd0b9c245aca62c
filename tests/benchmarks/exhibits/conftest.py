import hashlib

import numpy as np
import torch

from benchmarks.records.raw import RawResult
from benchmarks.records.store import as_record
from benchmarks.running.evaluation import evaluate_lengths
from dpq.protocols.base import Dataset, Split
from tests.benchmarks.conftest import make_record

BITS = (2, 4, 6)  # of 4 codewords a level
CLASSES = ("cat", "dog", "owl", "yak")


def coded(score="inner", cut=None, precision="float32", items=90, queries=12):
    """A record and codes with many ties, in small whole numbers, so that every sum is exact in any order.

    Images have up to two of four labels; some have none.
    """
    random = np.random.default_rng(3)
    raw = RawResult(
        random.integers(0, 4, (items, 3)).astype(np.uint8),
        random.integers(-3, 4, (3, 4, 5)).astype(np.float32),
        random.integers(1, 4, (queries, 5)).astype(np.float32),
        random.random((queries, 4)) < 0.3,
        random.random((items, 4)) < 0.3,
    )
    return record_of(raw, score, cut, precision), raw


def record_of(raw, score="inner", cut=None, precision="float32"):
    lengths, _ = evaluate_lengths(raw, dict.fromkeys(BITS, 1.0), cut, score, precision)
    tables = [length.table for length in lengths]
    record = make_record(bits=BITS, maps=[0.5] * len(BITS), score=score, cut=cut, lengths=tables)
    record["config"]["methods"]["dpq"]["query_precision"] = precision
    record["config"]["codebook_size"] = 4
    return as_record(record)


def reference_scores(raw, bits, score, queries=None):
    """[Q, N], of reconstructions."""
    rebuilt = sum(raw.codebooks[m][raw.codes[:, m]] for m in range(bits // 2))
    products = (raw.queries if queries is None else queries) @ rebuilt.T
    return 2 * products - (rebuilt**2).sum(axis=1) if score == "l2" else products


def seeded(seed, keys):
    """Keys in the order of their seeded digests."""
    return sorted(keys, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())


def dataset_of(raw, side=8, **changes):
    """Images of noise, with the labels of `raw`."""
    generator = torch.Generator().manual_seed(0)

    def split(labels):
        images = torch.randint(0, 256, (len(labels), 3, side, side), generator=generator, dtype=torch.uint8)
        return Split(images, torch.from_numpy(labels))

    query, database = split(raw.query_labels), split(raw.database_labels)
    classes = (*CLASSES, *map(str, range(4, raw.query_labels.shape[1])))
    return Dataset("made-up", "made-up", classes, query, query, database, "f" * 64, **changes)
