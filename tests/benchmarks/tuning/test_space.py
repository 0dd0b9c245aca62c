from dataclasses import replace

import pytest

from benchmarks.commands.tune import tunable
from benchmarks.setting.experiment import known_experiments, load_experiment
from benchmarks.tuning import space
from benchmarks.tuning.space import STARTUP, applied, is_choice, own_settings, propose, space_of
from dpq import InputError

RANGES = {
    "rate": (1e-4, 1e-2, "log"),
    "share": (0.0, 0.5),
    "count": (2, 9),
    "word": ("a", "b", "c"),
    "number": (0.0, 0.9, 0.99),
}
OWN = {"rate": 1e-3, "share": 0.0, "count": 4, "word": "a", "number": 0.0}


def within(value, range_):
    return value in range_ if is_choice(range_) else range_[0] <= value <= range_[1]


def search(seed, trials, objective=lambda settings: settings["share"]):
    known = []
    for number in range(1, trials + 1):
        settings = propose(RANGES, OWN, seed, number, known)
        known.append((settings, objective(settings)))
    return [settings for settings, _ in known]


def test_the_first_trial_is_the_experiments_own_and_all_are_within_their_ranges():
    tried = search(0, 12)
    assert tried[0] == OWN
    assert all(within(settings[path], range_) for settings in tried for path, range_ in RANGES.items())
    assert all(type(settings["count"]) is int for settings in tried)
    assert {settings["word"] for settings in tried} == {"a", "b", "c"}
    assert len({str(settings) for settings in tried}) == len(tried)


def test_a_search_is_a_function_of_seed_and_results():
    whole = search(0, STARTUP + 3)
    assert search(0, STARTUP + 3) == whole
    assert search(0, STARTUP + 1) == whole[:-2]
    assert search(1, 3)[1:] != whole[1:3]
    other = search(0, STARTUP + 3, lambda settings: -settings["share"])
    assert other[:STARTUP] == whole[:STARTUP]  # drawn
    assert other[STARTUP:] != whole[STARTUP:]  # from what was seen


def test_numbers_can_be_written_down():
    assert all(float(f"{settings['rate']:.4g}") == settings["rate"] for settings in search(3, 4))
    assert space._rounded(0.123449, (0.12345, 1.0)) == 0.12345  # never out of the range


def test_what_diverged_ranks_below_all_others():
    known = [({**OWN, "share": 0.02 * n}, None if n % 2 else 0.02 * n) for n in range(STARTUP + 2)]
    settings = propose(RANGES, OWN, 0, STARTUP + 3, known)
    assert settings == propose(RANGES, OWN, 0, STARTUP + 3, [(s, -1.0 if v is None else v) for s, v in known])


def test_choices_alone_are_a_grid_that_begins_with_the_own_setting_and_starts_again():
    ranges = {"normalise": (False, True), "score": ("l2", "inner")}
    own = {"normalise": True, "score": "l2"}
    tried = [propose(ranges, own, 0, number, ()) for number in range(1, 10)]
    assert tried[0] == own
    assert len({str(settings) for settings in tried[:4]}) == 4
    assert tried[4:8] == tried[:4]
    assert propose({}, {}, 0, 7, ()) == {}


@pytest.mark.parametrize("name", known_experiments())
@pytest.mark.parametrize("method", tunable())
def test_every_experiments_own_setting_is_within_the_ranges(name, method):
    experiment = load_experiment(name)
    found = space_of(experiment, method, experiment.training.epochs)
    own = own_settings(experiment, method, found)
    assert all(within(own[path], range_) for path, range_ in found.items())
    assert applied(experiment, method, own).training == experiment.training


def test_values_change_what_they_name_and_nothing_else(tmp_path):
    experiment, words = load_experiment("digits"), str(tmp_path / "words.txt")
    found = space_of(experiment, "dpq", 30, words)
    assert found["training.epochs"] == (10, 30) and found["label_vectors"] == ("orthonormal", "words.txt")
    assert own_settings(experiment, "dpq", found)["label_vectors"] == "orthonormal"
    settings = {"training.learning_rate": 2e-3, "method.margin": 8.0, "label_vectors": "words.txt"}
    changed = applied(experiment, "dpq", settings, words)
    assert changed.training == replace(experiment.training, learning_rate=2e-3)
    assert changed.settings_of("dpq") == replace(experiment.settings_of("dpq"), margin=8.0)
    assert changed.label_vectors == words
    assert applied(experiment, "dpq", {"label_vectors": "orthonormal"}, words).label_vectors == "orthonormal"
    assert "label_vectors" not in space_of(experiment, "dqn", 30, words)  # no loss of which reads them
    assert not any(path.startswith("training.") for path in space_of(experiment, "pq", 30))


def test_what_cannot_be_searched_is_refused():
    experiment = load_experiment("digits")
    with pytest.raises(InputError, match="the experiment's own 20 epochs; give --most-epochs as many"):
        space_of(experiment, "dpq", 19)
    with pytest.raises(InputError, match="rq-dpq quantizes embeddings of dpq; tune dpq"):
        space_of(experiment, "rq-dpq", 30)
    stopped = replace(experiment, training=replace(experiment.training, learning_rate=0.0))
    with pytest.raises(InputError, match=r"training\.learning_rate is searched on a logarithmic scale"):
        space_of(stopped, "dqn", 30)
