"""A method of another package, from its metadata to the table; and what a bad package cannot break."""

import importlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.commands.results import make_all
from benchmarks.figures.style import look_of, style_of
from benchmarks.records.store import read_record, read_records, write_record
from benchmarks.setting import experiment as config
from benchmarks.setting.experiment import describe, parse_experiment, with_settings
from benchmarks.setting.methods import METHODS
from dpq import InputError
from tests.benchmarks.conftest import TINY, make_record
from tests.benchmarks.shipped import sealed
from tests.plugin.installed import EXAMPLE, install, install_example, write_metadata

RUN = ("run", "tiny", "--limit", "60", "--method")
MODULES = ("dpq_example_method", "dpq_broken", "dpq_other")  # of the packages


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, and one tiny experiment; what is installed is looked up anew."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "site").mkdir()
    (tmp_path / "configs/tiny.toml").write_text(TINY)
    monkeypatch.setattr(config, "CONFIGS", tmp_path / "configs")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    for module in MODULES:
        monkeypatch.delitem(sys.modules, module, raising=False)
    _forget()
    yield tmp_path / "site"
    _forget()
    for module in MODULES:
        sys.modules.pop(module, None)


def _forget():
    METHODS.__dict__.pop("declared", None)
    METHODS._loaded.clear()
    importlib.invalidate_caches()


@pytest.fixture
def example(site):
    install_example(site)
    return site


def run(output, *arguments):
    return main([*RUN, *arguments, "--output", str(output)])


def test_an_installed_method_is_run_and_tabulated(example, tmp_path, capsys):
    output = tmp_path / "out"
    assert run(output, "rotated-pq", "pq") == 0
    records = {(r.method, max(r.config.bits)): r.raw for r in read_records(output, "tiny")}
    assert set(records) == {(method, bits) for method in ("pq", "rotated-pq") for bits in (4, 8)}
    record = records["rotated-pq", 8]
    assert record["plugin"] == {"package": "dpq-example-method", "version": "0.1.0"}
    assert record["config"]["methods"] == {"rotated-pq": {"score": "l2", "rotate": True}}
    assert [entry["bits"] for entry in record["lengths"]] == [4, 8]
    assert "plugin" not in records["pq", 8]
    assert record["lengths"][1]["map"] != records["pq", 8]["lengths"][1]["map"]

    assert main(["table", "tiny", "--output", str(output)]) == 0
    table = (output / "tiny/table.md").read_text()
    rows = [line.split("|")[1].strip() for line in table.split("mAP:")[1].splitlines() if "| ours" in line]
    title = "Rotated PQ on frozen features (dpq-example-method)"
    assert rows == [
        "PQ on frozen features",
        "PQ on frozen features, trained at 8 bits and truncated",
        title,
        f"{title}, trained at 8 bits and truncated",
    ]
    assert f"- {title}: package dpq-example-method 0.1.0, score l2, rotate True." in table
    assert "- **Has methods that this project does not ship: of dpq-example-method 0.1.0." in table
    capsys.readouterr()
    assert run(output, "rotated-pq", "--dry-run") == 0
    assert "nothing to do" in capsys.readouterr().out


ON_DPQ = """
from dataclasses import replace
from dpq_example_method import METHOD
METHOD = replace(METHOD, source="dpq")
"""
DEEP = """
from dpq.method.dpq import DPQMethod
from dpq.registry import MethodEntry
def build(context):
    network = context.backbone(context.classes)
    return DPQMethod(network, context.label_vectors, bits=context.bits, codebook_size=context.codebook_size)
METHOD = MethodEntry(build, "Deep", progressive=True)
"""


@pytest.mark.parametrize(
    ("module", "tables", "title", "planned"),
    [
        (ON_DPQ, {"dpq", "other"}, "Rotated PQ on DPQ's embedding (dpq-other)", "1 trainings on cpu"),
        (DEEP, {"other"}, "Deep (dpq-other)", "1 trainings of other packages' methods"),
    ],
)
def test_it_may_quantize_a_trained_dpq_or_train_itself(example, tmp_path, capsys, module, tables, title, planned):
    install(example, "dpq-other", module, {"other": "dpq_other:METHOD"})
    output = tmp_path / "out"
    assert run(output, "other", "--dry-run") == 0
    assert planned in capsys.readouterr().out
    assert run(output, "other") == 0
    assert all(set(record.config.methods) == tables for record in read_records(output, "tiny"))
    assert main(["table", "tiny", "--output", str(output)]) == 0
    assert f"| {title} " in (output / "tiny/table.md").read_text()


def test_its_curve_is_unlike_those_of_this_repository(example):
    look = look_of("rotated-pq", "paper", "Rotated PQ")
    assert look["color"] not in {style_of(name)[0] for name in METHODS.own}


def test_all_stays_the_methods_of_this_repository(example, tmp_path, capsys):
    assert run(tmp_path / "out", "all", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "rotated-pq" not in printed
    assert "dtq" in printed


def test_help_names_it_and_imports_nothing(example, capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert "rotated-pq" in "".join(capsys.readouterr().out.split())  # lines break at hyphens
    assert "dpq_example_method" not in sys.modules


def test_another_version_is_another_run(example, tmp_path, capsys):
    assert run(tmp_path / "out", "rotated-pq", "--dry-run") == 0
    first = set(re.findall(r"rotated-pq-\S+\.json", capsys.readouterr().out))
    install_example(example, "0.2.0")
    _forget()
    assert run(tmp_path / "out", "rotated-pq", "--dry-run") == 0
    second = set(re.findall(r"rotated-pq-\S+\.json", capsys.readouterr().out))
    assert len(first) == len(second) == 2
    assert first.isdisjoint(second)


def test_an_experiment_sets_what_the_package_lets_it(example):
    experiment = parse_experiment("tiny", TINY + "\n[methods.rotated-pq]\nrotate = false\n")
    own = describe(replace(experiment, split_seeds=(0,)), ("rotated-pq",))["methods"]
    assert own == {"rotated-pq": {"score": "l2", "rotate": False}}
    assert "plugins" not in describe(experiment, ("pq",))
    with pytest.raises(InputError, match=r"unknown key 'turn' in tiny.methods.rotated-pq; known are rotate, score"):
        with_settings(parse_experiment("tiny", TINY + "\n[methods.rotated-pq]\nturn = 1\n"))
    with pytest.raises(InputError, match=r"rotated-pq\.rotate must be true or false"):
        with_settings(parse_experiment("tiny", TINY + "\n[methods.rotated-pq]\nrotate = 1\n"))
    with pytest.raises(InputError, match="unknown key 'plugins'"):
        parse_experiment("tiny", "plugins = [1]\n" + TINY)


def test_a_method_that_is_not_installed_is_an_unknown_key(site):
    with pytest.raises(InputError, match=r"unknown key 'rotated-pq' in tiny\.methods"):
        parse_experiment("tiny", TINY + "\n[methods.rotated-pq]\nrotate = false\n")


def test_records_of_a_method_that_is_gone_are_named(example, tmp_path, capsys):
    record = _record_of_the_example() | {"experiment": "tiny"}
    record["config"]["name"] = "tiny"
    record = sealed(record)
    write_record(tmp_path / f"out/tiny/runs/{record['id']}.json", record)
    assert main(["table", "tiny", "--output", str(tmp_path / "out")]) == 0
    sys.path.remove(str(example))
    _forget()
    assert main(["table", "tiny", "--output", str(tmp_path / "out")]) == 2
    assert "is not installed; install dpq-example-method 0.1.0, or move the record away" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "change", "said"),
    [
        ("rotated-pq", {"plugin": None}, r"plugin\.package must be dpq-example-method, .* got None"),
        ("rotated-pq", {"plugin": 3}, r"plugin must be a table; got 3"),
        ("rotated-pq", {}, r"plugin\.package must be dpq-example-method, which has the method rotated-pq; got None"),
        ("rotated-pq", {"plugin": {"package": "dpq-other", "version": "2.0"}}, r"got 'dpq-other'"),
        ("rotated-pq", {"plugin": {"package": "dpq-example-method", "version": "a\nb"}}, r"must be a version"),
        ("pq", {"plugin": {"package": "dpq-other", "version": "2.0"}}, "plugin must be absent, as pq is a method of"),
        ("gone", {}, "method must be one of"),
        ("gone", {"plugin": {"package": "dpq-other", "version": "a\nb"}}, r"must be a version"),
    ],
)
def test_a_record_that_is_unclear_about_its_package_is_refused(example, tmp_path, method, change, said):
    path = tmp_path / "record.json"
    record = {key: value for key, value in _record_of_the_example().items() if key != "plugin"}
    record["config"]["methods"]["pq"] = {}
    path.write_text(json.dumps(record | {"method": method} | change))
    with pytest.raises(InputError, match=said) as refusal:
        read_record(path)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_record_of_a_broken_package_is_not_blamed(example, tmp_path):
    record = _record_of_the_example()
    path = tmp_path / f"{record['id']}.json"
    write_record(path, record)
    assert read_record(path).raw["method"] == "rotated-pq"
    (example / "dpq_example_method.py").write_text("import nothing_of_this_name")
    del sys.modules["dpq_example_method"]
    _forget()
    with pytest.raises(InputError, match=r"^method 'rotated-pq' of dpq-example-method 0\.1\.0 is unusable"):
        read_record(path)


def test_published_pages_refuse_it(example, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.commands.results.published", lambda output: ["cifar10"])
    (tmp_path / "configs/cifar10.toml").write_text(TINY)
    record = _record_of_the_example()
    write_record(tmp_path / f"out/cifar10/runs/{record['id']}.json", record)
    with pytest.raises(InputError, match="is of a method of dpq-example-method, and these pages are of this"):
        make_all(tmp_path / "out")


def _record_of_the_example():
    record = make_record(method="rotated-pq", plugin={"package": "dpq-example-method", "version": "0.1.0"})
    return sealed(record)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("METHOD = 1", "dpq_broken:METHOD is no dpq.registry.MethodEntry"),
        ("", "AttributeError: module 'dpq_broken' has no attribute 'METHOD'"),
    ],
)
def test_a_broken_package_is_named_in_one_line_and_breaks_no_other_method(site, tmp_path, capsys, module, said):
    install(site, "dpq-broken", module, {"broken": "dpq_broken:METHOD"})
    assert run(tmp_path / "out", "broken") == 2
    assert capsys.readouterr().err == (
        f"error: method 'broken' of dpq-broken 2.0 is unusable ({said}); correct or uninstall that package\n"
    )
    assert run(tmp_path / "out", "pq", "--dry-run") == 0
    assert list(METHODS) == [*METHODS.own, "broken"]


@pytest.mark.parametrize(
    ("name", "why"),
    [("dpq", "is taken"), ("all", "is taken"), ("backbone", "is taken"), ("Re/name", "must be lower-case letters")],
)
def test_a_name_that_is_taken_or_no_name_is_refused(site, caplog, name, why):
    install(site, "dpq-other", "raise ValueError", {name: "dpq_other:METHOD"})
    own = METHODS.own["dpq"]
    assert METHODS["dpq"] is own
    assert list(METHODS) == list(METHODS) == list(METHODS.own)
    assert name in METHODS.own or name not in METHODS
    (line,) = caplog.messages  # said once
    assert line.startswith(f"method {name!r} of dpq-other 2.0 is left out: its name {why}")


def test_two_packages_of_one_method_are_refused(example, tmp_path, capsys):
    write_metadata(example, "dpq_Other", {"rotated-pq": "dpq_example_method:METHOD"}, "2.0")
    assert run(tmp_path / "out", "rotated-pq") == 2
    assert "declared by dpq-example-method 0.1.0 and dpq-other 2.0; uninstall all but one" in capsys.readouterr().err


def test_committed_records_are_of_no_other_package():
    root = Path(__file__).parents[2] / "results"
    paths = list(root.glob("*/runs/*.json"))
    assert paths
    assert [path for path in paths if "plugin" in json.loads(path.read_text())] == []


def test_the_page_shows_the_tested_files():
    page = (Path(__file__).parents[2] / "docs/own-method.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", page, re.DOTALL)
    for name in ("dpq_example_method.py", "pyproject.toml", "test_rotated_pq.py"):
        assert (EXAMPLE / name).read_text(encoding="utf-8") in blocks, name
