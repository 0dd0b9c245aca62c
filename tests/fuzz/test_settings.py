"""Experiments: settings out of which a run could be planned, or one line that says what is wrong."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.setting.experiment import CONFIGS, Experiment, describe, known_tables, read_experiment, with_settings
from tests.fuzz.damage import DEEP, changed, damaged

DOCUMENT = {
    "protocol": "digits",
    "bits": [8, 16],
    "seeds": [0],
    "split_seeds": [0, 1],
    "codebook_size": 256,
    "limit": 100,
    "validation": False,
    "label_vectors": "orthonormal",
    "backbone": {"name": "resnet18", "weights": "none", "embedding_dim": 8},
    "training": {
        "epochs": 3,
        "learning_rate": 0.1,
        "optimizer": "sgd",
        "precision": "32",
        "evaluation_views": "centre",
        "augmentation": {"flip": True, "crop": 0.9, "shift": 0.1},
    },
    "methods": {"dpq": {"tau": 0.1, "margin": 1.0, "hard_choice": "l2", "lost_epoch": False}, "dtq": {"sweeps": 3}},
}


def toml(value):
    """A value as an inline TOML value; what TOML has not becomes something that it refuses."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if value == DEEP:
        return "[" * 3000 + "]" * 3000
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    return json.dumps(value)


@st.composite
def contents(draw):
    document = draw(changed(DOCUMENT))
    lines = [f"{json.dumps(key)} = {toml(value)}" for key, value in document.items()]
    if lines and draw(st.integers(0, 9)) == 0:
        lines.append(
            draw(st.sampled_from([*lines, "x = 1979-05-27T07:32:00Z", "name = '../../x'", "bits = 0x" + "f" * 9]))
        )
    text = "\n".join(lines).encode("utf-8", "surrogatepass")
    return (
        draw(damaged(text, (b"=", b"[", b"]", b'"', b"\n", b"{", b"_", b"1e999", b"'''")))
        if draw(st.booleans())
        else text
    )


SHIPPED = st.sampled_from(sorted(CONFIGS.glob("*.toml"))).flatmap(lambda path: damaged(path.read_bytes()))


@given(content=st.one_of(contents(), SHIPPED))
def test_experiments(read, content):
    experiment = read("x.toml", content, lambda path: with_settings(read_experiment("x", path)))
    if experiment is not None:
        assert isinstance(experiment, Experiment)
        assert experiment.name == "x"
        assert experiment.training.epochs >= 1
        for one in experiment.splits():
            json.dumps(describe(one, known_tables()), allow_nan=False)
