import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.setting import experiment
from benchmarks.setting.methods import METHODS

TINY = """
protocol = "digits"
bits = [4, 8]
codebook_size = 16

[backbone]
name = "test_resnet"
weights = "none"
embedding_dim = 16

[training]
epochs = 2
batch_size = 50
image_size = 32

[methods.dpq]
classification = 1.0
tau = 0.1
"""


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """A folder of experiments with one tiny experiment, `tiny`."""
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "tiny.toml").write_text(TINY)
    monkeypatch.setattr(experiment, "CONFIGS", folder)
    return folder


@pytest.fixture
def run_tiny(configs, tmp_path):
    """Run `tiny` into `results` and return its one record's path; arguments are appended."""

    def run(*arguments):
        only = ["--limit", "100", "--output", str(tmp_path / "results"), "--method", "dpq"]
        status = main(["run", "tiny", *only, *arguments])
        assert status == 0
        return sorted((tmp_path / "results/tiny/runs").glob("*.json"))

    return run


def make_record(method="dpq", variant="paper", seed=0, bits=(8, 16), maps=(0.5, 0.6), **changes):
    """A record as the runner writes it, with made-up numbers and identity."""
    lengths = [
        {
            "bits": b,
            "map": m,
            "map_at_r": m,
            "r": 54000,
            "map_total": max(m - 0.02, 0.0),
            "map_capped": max(m - 0.01, 0.0),
            "map_bounds": [max(m - 0.1, 0.0), min(m + 0.1, 1.0)],
            "map_ties_index": min(m + 0.001, 1.0),
            "precision_at": {str(k): 0.9 - i / 10 for i, k in enumerate((1, 10, 100, 500, 1000))},
            "pr": [[r, 1 - r / 2] for r in np.linspace(0.1, 1, 10).tolist()],
            "distinct_codes": min(100 * b, 2**b),
            "reconstruction_mse": 4.0 / b,
            "bytes_per_image": b / 8,
        }
        for b, m in zip(bits, maps, strict=True)
    ]
    record = {
        "schema_version": 1,
        "id": f"{method}-{variant}-seed{seed}-0123456789",
        "experiment": "cifar10",
        "protocol": "cifar10",
        "method": method,
        "variant": variant,
        "seed": seed,
        "created": "2026-01-01T00:00:00+00:00",
        "data": {"name": "cifar10", "variant": "cifar10-jpeg", "fingerprint": "f" * 64}
        | {"train": 5000, "query": 1000, "database": 54000},
        "backbone": {"name": "mobilenetv2_100", "weights": "w.safetensors", "weights_sha256": "a" * 64}
        | {"image_size": 224, "embedding_dim": 300},
        "score": "inner",
        "ap_denominator": "hits",
        "cut": None,
        "lengths": lengths,
        "float_map": 0.7,
        "embedding_mean_squared_norm": 10.0,
        "codewords_used": [256 - i for i, _ in enumerate(bits)],
        "codeword_perplexity": [200.0 - 10 * i for i, _ in enumerate(bits)],
        "training_log": [],
        "classification_accuracy": 0.8,
        "queries_without_relevant": 0,
        "seconds": {"train": 100.0, "encode": 10.0, "evaluate": 1.0},
        "images_per_second": {"train": 50.0, "encode": 500.0},
        "peak_memory_mb": 1000.0,
        "environment": {"device": "cpu", "cpu": "a processor", "threads": 2, "commit": "c" * 40},
        "config": {
            "name": "cifar10",
            "protocol": "cifar10",
            "training": {
                "epochs": 4,
                "image_size": 224,
                "batch_size": 64,
                "optimizer": "adamw",
                "learning_rate": 1e-3,
                "precision": "32",
            }
            | {"schedule": "cosine", "head_multiplier": 3.0, "layer_decay": 0.9, "weight_decay": 0.05, "dropout": 0.2}
            | {"evaluation_views": "centre", "augmentation": {"flip": True, "crop": 1.0, "shift": 0.125}},
            "backbone": {"name": "mobilenetv2_100", "weights": "w.safetensors", "embedding_dim": 300},
            "label_vectors": {"source": "orthonormal"},
            "methods": {table: {"tau": 1.0} for table in (METHODS[method].configs if method in METHODS else [method])},
            "bits": list(bits),
            "codebook_size": 256,
            "split_seed": 0,
            "limit": None,
            "validation": False,
        },
    }
    if method.endswith("-dpq") or method == "label-code":
        record["config"]["source"] = {"method": "dpq", "bits": max(bits)}
    return record | changes
