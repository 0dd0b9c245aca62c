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
