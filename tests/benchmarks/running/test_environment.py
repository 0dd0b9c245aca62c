import subprocess

import pytest
import torch

from benchmarks.running import environment
from dpq import InputError


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_the_commit_says_when_sources_differ_and_ignores_results(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    (tmp_path / "dpq").mkdir()
    (tmp_path / "dpq/code.py").write_text("1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    clean = environment.commit()
    assert len(clean) == 40
    (tmp_path / "results").mkdir()
    (tmp_path / "results/table.md").write_text("new")
    assert environment.commit() == clean
    (tmp_path / "dpq/code.py").write_text("2")
    assert environment.commit() == clean + "-dirty"


def commit_all(folder):
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")


@pytest.mark.parametrize("ignored", [True, False])
def test_the_commit_of_an_outer_repository_is_not_ours(tmp_path, monkeypatch, ignored):
    root = tmp_path / "tools"
    (root / "dpq").mkdir(parents=True)
    (root / "dpq/code.py").write_text("1")
    (tmp_path / ".gitignore").write_text("tools/" if ignored else "")
    commit_all(tmp_path)
    monkeypatch.setattr(environment, "ROOT", root)
    assert environment.commit() == "unknown"
    monkeypatch.setenv("DPQ_COMMIT", "abc")
    assert environment.commit() == "abc"


def test_a_repository_that_does_not_hold_the_sources_says_nothing_of_them(tmp_path, monkeypatch):
    (tmp_path / "dpq").mkdir()
    (tmp_path / "dpq/code.py").write_text("1")
    (tmp_path / ".gitignore").write_text("dpq/")
    commit_all(tmp_path)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert environment.commit() == "unknown"


def test_variables_of_git_that_name_another_repository_are_not_heard(tmp_path, monkeypatch):
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        (folder / "dpq").mkdir(parents=True)
        (folder / "dpq/code.py").write_text(folder.name)
        commit_all(folder)
    monkeypatch.setattr(environment, "ROOT", own)
    right = environment.commit()
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert environment.commit() == right
    assert len(right) == 40


def test_a_record_names_every_part_that_was_elsewhere():
    here, there = {"threads": 2, "commit": "a"}, {"threads": 1, "commit": "a"}
    assert environment.with_parts(here, [here, here]) == here
    assert environment.with_parts(here, [there, here, there]) == here | {"earlier": [there]}
    assert environment.with_parts(here, [None, there]) == here | {"earlier": ["unknown", there]}


def test_without_a_checkout_the_commit_is_given_or_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment.commit() == "unknown"
    monkeypatch.setenv("DPQ_COMMIT", "abc")
    assert environment.commit() == "abc"


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert environment.resolve_device("auto").type == "cpu"
    with pytest.raises(InputError, match="no CUDA device"):
        environment.resolve_device("cuda")


def test_the_description_names_what_made_a_number():
    described = environment.describe_environment(torch.device("cpu"))
    assert described["device"] == "cpu"
    assert described["torch"] == torch.__version__
    assert described["cpu"]
