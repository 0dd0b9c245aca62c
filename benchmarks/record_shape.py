"""What a record must hold for tables, figures and pages to be made of it; keys that nothing reads are let pass."""

from __future__ import annotations

import math
from typing import Any, get_args

from benchmarks.evaluation import KS
from benchmarks.methods import BUILT_IN, METHODS, VARIANTS, named
from benchmarks.shapes import (
    either,
    flag,
    label,
    nothing,
    number,
    one_of,
    refuse,
    row,
    scalar,
    share,
    table,
    text,
    whole,
)
from dpq.images import Views
from dpq.protocols.base import Denominator
from dpq.scores import Score

SCHEMA_VERSION = 1

_bits = whole(1, 1024)
_size = whole(1)
_some = number(0)
_digest = text("[0-9a-f]{64}", "64 hexadecimal digits")
_settings = table({}, others=scalar)
_LENGTH = table(
    {
        "bits": _bits,
        **dict.fromkeys(("map", "map_at_r", "map_total", "map_capped", "map_ties_index"), share),
        "r": _size,
        "map_bounds": row(share, 2, 2),
        "precision_at": table(dict.fromkeys(map(str, KS), share), others=share),
        "pr": row(row(share, 2, 2)),
        "distinct_codes": _size,
        "reconstruction_mse": _some,
        "bytes_per_image": _some,
    },
    {"queries_without_relevant": whole(), "map_at": table({}, others=share)},
)
_TRAINING = table(
    {
        "epochs": _size,
        "batch_size": _size,
        **dict.fromkeys(("optimizer", "schedule", "precision"), text()),
        **dict.fromkeys(("learning_rate", "head_multiplier", "layer_decay", "weight_decay", "dropout"), number()),
        "evaluation_views": one_of(*get_args(Views)),
        "augmentation": table({"flip": flag, "crop": number(), "shift": number()}, others=scalar),
    },
    others=scalar,
)
_CONFIG = table(
    {
        "training": _TRAINING,
        "backbone": table({"embedding_dim": _size}, others=scalar),
        "label_vectors": table({"source": text()}, others=scalar),
        "methods": table({}, others=_settings),
        "bits": row(_bits, 1),
        "codebook_size": one_of(2, 4, 8, 16, 32, 64, 128, 256),
        "split_seed": whole(),
        "limit": either(nothing, _size),
        "validation": flag,
    },
    {"source": table({"method": one_of(*BUILT_IN), "bits": _bits}), "stored_side": either(nothing, _size)},
)
_PLUGIN = table({"package": label, "version": text(r"[A-Za-z0-9.+!_-]+", "a version")})
_RECORD = table(
    {
        "schema_version": one_of(SCHEMA_VERSION),
        **dict.fromkeys(("id", "experiment", "protocol"), label),
        "method": lambda value, place: one_of(*METHODS)(value, place),  # other packages' are looked up when needed
        "variant": one_of(*VARIANTS),
        "seed": whole(),
        "created": text(),
        "data": table(
            {"name": text(), "variant": text(), "fingerprint": label}
            | dict.fromkeys(("train", "query", "database"), _size),
            {
                **dict.fromkeys(("seen", "unseen"), row(text())),
                **dict.fromkeys(("published", "lists_as_published"), flag),
                "fingerprint_of_all": label,
                "missing": table({}, others=whole()),
                "side": _size,
            },
        ),
        "backbone": table(
            {"name": text(), "weights": text(), "weights_sha256": either(nothing, _digest)}
            | dict.fromkeys(("image_size", "embedding_dim"), _size)
        ),
        "score": one_of(*get_args(Score)),
        "ap_denominator": one_of(*get_args(Denominator)),
        "cut": either(nothing, _size),
        "lengths": row(_LENGTH, 1),
        "float_map": share,
        "embedding_mean_squared_norm": _some,
        "codewords_used": row(whole()),
        "codeword_perplexity": row(_some),
        "training_log": row(table({}, others=either(number(), row(text()), row(number())))),
        "classification_accuracy": either(nothing, share),
        "queries_without_relevant": whole(),
        "seconds": table(dict.fromkeys(("train", "encode", "evaluate"), _some)),
        "images_per_second": table(dict.fromkeys(("train", "encode"), _some)),
        "peak_memory_mb": _some,
        "environment": table({"device": text(), "cpu": text(), "threads": _size, "commit": text()}, others=scalar),
        "config": _CONFIG,
    },
    {
        "ablation": label,
        "ablation_of": label,
        "plugin": _PLUGIN,
        "further_cuts": row(_size),
        "warnings": row(text()),
    },
)


def package_to_install(record: dict[str, Any]) -> str | None:
    """The package and version that a record's method is of, if it is not there to say how the record is read."""
    if record.get("method") in list(METHODS):
        return None
    try:
        _PLUGIN(record.get("plugin"), "plugin")
    except ValueError:  # the record is checked as a whole where it names no package
        return None
    return named(record["plugin"])


def check_record(record: Any) -> None:
    """Check types, ranges, and that the parts of a record fit each other.

    Raises:
        ValueError: names the first place that is wrong, what it must hold and what it holds.
        InputError: the method is of a package that is broken.
    """
    _RECORD(record, "")
    config, lengths = record["config"], record["lengths"]
    bits = [entry["bits"] for entry in lengths]
    if bits != sorted(set(bits)) or sorted(config["bits"]) != bits:
        refuse("config.bits", f"those of lengths, {bits}, ascending", config["bits"])
    for index, entry in enumerate(lengths):
        _check_length(entry, record, f"lengths[{index}]")
    _check_method(record)
    if ("ablation" in record) != ("ablation_of" in record):
        refuse("ablation_of", "beside ablation", record.get("ablation_of"))


def _check_length(entry: dict[str, Any], record: dict[str, Any], place: str) -> None:
    levels, size = entry["bits"], int(math.log2(record["config"]["codebook_size"]))
    if levels % size:
        refuse(f"{place}.bits", f"a multiple of {size} (log2 of the codebook's size)", levels)
    worst, best = entry["map_bounds"]
    if worst > best:  # whether the mean lies between them is for `evaluate` to mend
        refuse(f"{place}.map_bounds", "the worst before the best", entry["map_bounds"])
    if entry["distinct_codes"] > record["data"]["database"]:
        refuse(f"{place}.distinct_codes", "no more than database images", entry["distinct_codes"])
    recalls = [recall for recall, _ in entry["pr"]]
    if recalls != sorted(recalls):
        refuse(f"{place}.pr", "of ascending recall", recalls)


def _check_method(record: dict[str, Any]) -> None:
    method, config = METHODS[record["method"]], record["config"]
    if not config["methods"]:
        refuse("config.methods", "the settings of the method", config["methods"])
    if method.source in METHODS and "source" not in config:
        raise ValueError(f"config.source is missing, and {record['method']} quantizes embeddings of {method.source}")
    _check_package(record, None if method.plugin is None else method.plugin.package)


def _check_package(record: dict[str, Any], package: str | None) -> None:
    """A record says of whom its method is: pages of this project's own methods trust it."""
    method, said = record["method"], record.get("plugin")
    if package is None and said is not None:
        refuse("plugin", f"absent, as {method} is a method of this project", said)
    if package is not None and (said is None or said["package"] != package):
        refuse("plugin.package", f"{package}, which has the method {method}", said and said["package"])
    if package is not None and method not in record["config"]["methods"]:
        raise ValueError(f"config.methods.{method} is missing")
