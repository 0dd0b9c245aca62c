from benchmarks.figures.tuning import tuning_figure
from benchmarks.tuning.study import study_path, write_study
from tests.benchmarks.conftest import make_record
from tests.benchmarks.tuning.made_up import make_study


def test_without_studies_there_is_no_figure(material):
    assert tuning_figure(material(make_record(experiment="cifar10"))) is None


def test_a_panel_for_each_setting_has_every_trial_that_has_a_value(material, tmp_path):
    section = material(make_record(experiment="cifar10"))
    for method, values in (("dpq", (0.5, None, 0.75)), ("dqn", (0.25, 0.5)), ("dtq", (None,))):
        study = make_study(method, values, experiment="cifar10")
        write_study(study_path(tmp_path, "cifar10", method), study)
    figure = tuning_figure(section)
    assert [axes.get_xlabel() for axes in figure.axes] == ["learning rate", "margin"]
    places = [tuple(point.get_offsets()[0]) for point in figure.axes[0].collections if len(point.get_offsets())]
    assert places == [(1e-3, 0.5), (3e-3, 0.75), (1e-3, 0.25), (2e-3, 0.5)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["DPQ", "DQN"]
    assert "1 to 3" not in figure.get_suptitle() and "2 to 3 trials a method" in figure.get_suptitle()
    sizes = [float(point.get_sizes()[0]) for point in figure.axes[1].collections if len(point.get_offsets())]
    assert sizes == [18, 70, 18, 70]  # the best is large
    assert figure.axes[0].get_xscale() == "log"
