import json

import numpy as np
import pytest
from scipy import stats

from benchmarks.__main__ import main
from benchmarks.running import regression
from benchmarks.running.loading import load_data
from benchmarks.running.regression import Reference, interval, read_reference
from benchmarks.setting.building import read_ingredients
from benchmarks.setting.methods import METHODS
from dpq import InputError
from tests.benchmarks.conftest import TINY


@pytest.fixture
def suite(tmp_path, monkeypatch, configs):
    """A folder of references with one tiny suite, `digits`, of two seeds and two methods."""
    (tmp_path / "digits.toml").write_text("limit = 100\n" + TINY)
    monkeypatch.setattr(regression, "REFERENCES", tmp_path)
    monkeypatch.setattr(regression, "SEEDS", (0, 1))
    monkeypatch.delenv("DPQ_DATA_ROOT", raising=False)
    registered = dict(METHODS.own)
    for name in set(METHODS.own) - {"dpq", "dqn"}:
        del METHODS.own[name]
    assert main(["regress", "--update"]) == 0
    yield tmp_path / "digits.json"
    METHODS.own.clear()  # all at once, for the order
    METHODS.own.update(registered)


def test_an_unchanged_project_passes(suite, capsys):
    reference = json.loads(suite.read_text())
    assert all(len(values) == 2 for values in reference["metrics"].values())
    assert {"dqn, 8 bits, map", "dqn, 4 bits truncated, map", "dpq, 8 bits, precision at 10"} <= set(
        reference["metrics"]
    )
    assert {"dpq, margin", "dpq, hard", "dqn, pairwise", "dqn, quantization"} <= set(reference["terms"])
    assert main(["regress"]) == 0
    assert "values of 2 methods hold" in capsys.readouterr().out


def test_a_changed_coefficient_in_the_code_fails(suite, monkeypatch, capsys):
    from baselines.deep.dqn import DQN

    error = DQN.quantization_error
    monkeypatch.setattr(DQN, "quantization_error", lambda self, *batch: 1.1 * error(self, *batch))
    assert main(["regress"]) == 1
    assert "digits: dqn, quantization loss of random embeddings is" in (printed := capsys.readouterr().err)
    assert "(+10.0 %)" in printed
    assert "dpq" not in printed


def test_loss_terms_are_of_embeddings_as_wide_as_a_method_makes_them(suite, tmp_path):
    (tmp_path / "other.toml").write_text(suite.with_suffix(".toml").read_text() + "[methods.dqn]\nembedding_dim = 24\n")
    terms = {}
    for name in ("digits", "other"):
        experiment = regression.load_suite(name, "none")
        terms[name] = regression.probe(experiment, read_ingredients(experiment, load_data(experiment, None)))
    assert terms["digits"] == json.loads(suite.read_text())["terms"]
    changed = {term for term, value in terms["other"].items() if value != terms["digits"][term]}
    assert changed == {"dqn, pairwise", "dqn, quantization"}


def test_a_changed_setting_fails(suite, capsys):
    path = suite.with_suffix(".toml")
    path.write_text(path.read_text().replace("tau = 0.1", "tau = 0.2"))
    assert main(["regress"]) == 1
    assert "digits: setting methods.dpq.tau is 0.2; the reference has 0.1" in capsys.readouterr().err


def test_a_moved_metric_is_named_with_method_length_and_amount(suite, monkeypatch, capsys):
    monkeypatch.setattr(regression, "CONFIDENCE", 0.9)  # with two seeds the interval is very wide
    reference = json.loads(suite.read_text())
    reference["metrics"]["dqn, 8 bits, map"] = [0.1, 0.1]
    suite.write_text(json.dumps(reference))
    assert main(["regress"]) == 1
    assert "digits: dqn, 8 bits, map is" in (printed := capsys.readouterr().err)
    assert "% of the reference's mean" in printed


def test_a_metric_that_is_gone_or_new_fails(suite, capsys):
    reference = json.loads(suite.read_text())
    reference["metrics"]["svm, 8 bits, map"] = reference["metrics"].pop("dqn, 8 bits, map")
    suite.write_text(json.dumps(reference))
    assert main(["regress"]) == 1
    printed = capsys.readouterr().err
    assert "svm, 8 bits, map is gone" in printed
    assert "dqn, 8 bits, map is new" in printed


def test_a_missing_reference_says_how_to_make_it(suite, capsys):
    suite.unlink()
    assert main(["regress"]) == 2
    assert "regress --update" in capsys.readouterr().err


def test_the_interval_holds_a_further_value_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(regression, "CONFIDENCE", 0.9)
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(4000):
        *seen, new = generator.normal(1, 0.3, size=6)
        low, high = interval(seen)
        inside += low <= new <= high
    assert inside / 4000 == pytest.approx(0.9, abs=0.02)


def test_the_interval_never_closes():
    low, high = interval([0.5] * 5)
    assert (low, high) == pytest.approx((0.495, 0.505))


def test_the_interval_is_students_where_seeds_differ():
    seen = [0.4, 0.5, 0.6, 0.5, 0.5]
    low, high = interval(seen)
    expected = stats.t(4, np.mean(seen), np.std(seen, ddof=1) * 1.2**0.5).interval(regression.CONFIDENCE)
    assert (low, high) == pytest.approx(expected)


def test_other_data_are_refused_before_anything_is_trained(suite, capsys):
    reference = json.loads(suite.read_text())
    reference["made_of"]["fingerprint"] = "0" * 64
    suite.write_text(json.dumps(reference))
    assert main(["regress"]) == 2
    assert "the reference was made of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (None, "there is no reference"),
        ("{", "cannot use reference"),
        ("[]", "it must be a table"),
        ({"terms": {"dpq, margin": "x"}}, "terms.dpq, margin must be a number"),
        ({"metrics": {"dpq, 8 bits, map": [0.5]}}, "metrics.dpq, 8 bits, map must have at least 2 items, not 1"),
        ({"settings": None}, "settings must be a table"),
    ],
)
def test_a_reference_that_nothing_can_be_compared_with_is_refused(tmp_path, changes, words):
    path = tmp_path / "r.json"
    whole = {"settings": {}, "made_of": {}, "terms": {}, "metrics": {"m": [0.5, 0.25]}}
    path.write_text(json.dumps(whole))
    assert read_reference(path) == Reference({}, {}, {}, {"m": (0.5, 0.25)})
    path.unlink()
    if changes is not None:
        path.write_text(changes if isinstance(changes, str) else json.dumps(whole | changes))
    with pytest.raises(InputError, match=words):
        read_reference(path)
