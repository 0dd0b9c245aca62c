"""All metrics of a database at the size of NUS-WIDE, at every code length: time, and memory beside the input."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.bench.measure import extra_memory
from benchmarks.bench.report import Options, Promise, Report
from benchmarks.bench.synthetic import LEVELS, NUSWIDE, CodedSet, coded_set
from dpq.ranking.evaluate import evaluate_codes

CUT = 5000


def measure(options: Options) -> Report:
    """Evaluate at every length, in a process of its own; memory is how far its peak grows beyond the input."""
    queries, database = options.size(5000, 20), options.size(190_834, 5000)
    rows, extra = extra_memory(coded_set, (NUSWIDE, queries, database), evaluate_all)
    return Report(
        "scale",
        f"All metrics of {queries:,} queries among {database:,} images with several of 21 labels each, at every code "
        f"length, with mAP over the first {CUT:,} ranks. CPU seconds are summed over threads.",
        {"By code length": rows},
        [Promise("memory beside codes, codebooks, queries and labels, in MiB", round(extra, 1), 1024, "at most")],
    )


def evaluate_all(data: CodedSet) -> list[dict[str, Any]]:
    """A row per code length."""
    rows, labels = [], (data.query_labels, data.database_labels)
    for levels in range(1, LEVELS + 1):
        codes, codebooks = data.codes[:, :levels], data.codebooks[:levels]
        started, busy = time.perf_counter(), time.process_time()
        result = evaluate_codes(data.queries, labels[0], codes, labels[1], codebooks, CUT, progress=True)
        rows.append(
            {
                "bits": 8 * levels,
                "distinct codes": result.distinct_codes,
                "mAP": round(result.map, 4),
                "seconds": round(time.perf_counter() - started, 1),
                "CPU seconds": round(time.process_time() - busy, 1),
            }
        )
    return rows
