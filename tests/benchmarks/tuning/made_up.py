from benchmarks.tuning.study import Images, Trial, TuningStudy


def make_study(method="dpq", values=(0.5,), **changes):
    """A study of `cifar10-cpu` with made-up trials of different settings; a value of None diverged."""
    trials = tuple(
        Trial(
            number=number,
            state="diverged" if value is None else "complete",
            settings={"training.learning_rate": 1e-3 * number, "method.margin": 4.0 + number},
            map={} if value is None else {"8": value - 0.1, "16": value + 0.1},
            value=value,
            seconds=10.0,
            reason="the loss became nan" if value is None else None,
            created="2026-01-01T00:00:00+00:00",
            environment={"device": "cpu", "optuna": "5.0.0"},
        )
        for number, value in enumerate(values, 1)
    )
    made = {
        "experiment": "cifar10-cpu",
        "method": method,
        "seed": 100,
        "batch": 2,
        "ranges": {"training.learning_rate": (1e-4, 1e-1, "log"), "method.margin": (1.0, 20.0, "log")},
        "data": Images(variant="a-validation", fingerprint="f-validation", train=80, query=10, database=10),
        "weights_sha256": "a" * 64,
        "label_vectors": None,
        "bits": (8, 16),
        "setting": {"training": {"epochs": 2}},
        "trials": trials,
    }
    return TuningStudy(**made | changes)
