"""NUS-WIDE and ImageNet from end to end, on miniature copies in the official layouts."""

import json
import re
from dataclasses import replace

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.records.store import read_record
from benchmarks.setting.building import build_method, read_ingredients
from benchmarks.setting.experiment import load_experiment
from benchmarks.setting.methods import METHODS
from dpq.protocols import ReadOptions, load_protocol
from dpq.protocols.listed.listing import Listing
from dpq.protocols.listed.load import LISTINGS
from tests.benchmarks.conftest import TINY
from tests.dpq.protocols.miniatures import IMAGENET_SIZES, NUSWIDE_SIZES, write_mini_imagenet, write_mini_nuswide

CROPPED = "[training.augmentation]\ncrop = 0.875\nshift = 0.0625\n\n[methods.dpq]"
PROTOCOLS = sorted(LISTINGS)
SIZES = {"nuswide21": NUSWIDE_SIZES, "imagenet100": IMAGENET_SIZES, "imagenet100-hashnet": IMAGENET_SIZES}
PUBLISHED = {"nuswide21": 205_834, "imagenet100": 143_564, "imagenet100-hashnet": 146_503}


def write_mini(protocol, root):
    if protocol == "nuswide21":
        write_mini_nuswide(root)
    else:
        write_mini_imagenet(root, hashnet=protocol == "imagenet100-hashnet")


@pytest.fixture
def copy(tmp_path):
    return tmp_path / "copy"


@pytest.fixture
def run(configs, tmp_path, copy, monkeypatch):
    """Run the experiment that bears a protocol's name, on a miniature copy; returns the exit status."""
    monkeypatch.setenv("DPQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def start(protocol, *arguments, command="run"):
        if not copy.exists():
            write_mini(protocol, copy)
        text = TINY.replace('"digits"', f'"{protocol}"\nstored_side = 40').replace("[methods.dpq]", CROPPED)
        text = text.replace("embedding_dim = 16", "embedding_dim = 24")  # at least one per label
        (configs / f"{protocol}.toml").write_text(text)
        output = ["--output", str(tmp_path / "results")] if command == "run" else []
        return main([command, protocol, "--data-root", str(copy), *output, *arguments])

    return start


def records(tmp_path, protocol):
    return [read_record(path).raw for path in sorted((tmp_path / "results" / protocol / "runs").glob("*.json"))]


def lacking(protocol):
    return PUBLISHED[protocol] - sum(SIZES[protocol].values())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_copy_runs_through_all_methods_and_never_enters_the_published_table(run, protocol, tmp_path, capsys):
    assert run(protocol) == 2
    assert f"--allow-missing {lacking(protocol)}" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()  # refused before anything was decoded

    assert run(protocol, "--allow-missing", str(lacking(protocol))) == 0
    made = records(tmp_path, protocol)
    several_labels = {"label-code"} if protocol == "nuswide21" else set()  # which no label code can write
    assert {record["method"] for record in made} == {
        name for name, entry in METHODS.own.items() if entry.paper
    } - several_labels
    for record in made:
        assert {name: record["data"][name] for name in SIZES[protocol]} == SIZES[protocol]
        assert record["data"]["published"] is False
        assert sum(record["data"]["missing"].values()) == lacking(protocol)
        assert record["cut"] == (5000 if protocol == "nuswide21" else 1000)
        assert ("map_at" in record["lengths"][0]) == (protocol != "nuswide21")

    output = ["--output", str(tmp_path / "results")]
    assert main(["table", protocol, *output]) == main(["figures", protocol, *output]) == 0
    table = (tmp_path / "results" / protocol / "table.md").read_text()
    assert "**Not the published data: its lists are others and it lacks" in table
    assert "not comparable with any paper" in table
    assert not re.search(r"\| paper +\|", table)
    assert ("mAP@5000" in table) == (protocol != "nuswide21")


def test_a_label_code_of_several_labels_is_refused_before_anything_is_trained(run, tmp_path, capsys):
    assert run("nuswide21", "--allow-missing", str(lacking("nuswide21")), "--method", "dpq", "label-code") == 2
    assert "training images have several; leave it out of --method" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_finished_run_and_decoded_images_are_not_made_again(run, tmp_path, caplog):
    arguments = ["--allow-missing", str(lacking("nuswide21")), "--method", "pq"]
    assert run("nuswide21", *arguments) == 0
    stores = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    with caplog.at_level("INFO"):
        assert run("nuswide21", *arguments) == 0
    assert "nothing to do" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in stores} == stores


def test_ten_crops_need_no_new_training(run, tmp_path, monkeypatch):
    arguments = ["--allow-missing", str(lacking("nuswide21")), "--method", "dpq"]
    assert run("nuswide21", *arguments) == 0
    monkeypatch.setattr("dpq.learning.training.Trainer.step", None)
    assert run("nuswide21", *arguments, "--views", "ten-crop") == 0
    one, ten = records(tmp_path, "nuswide21")
    assert one["float_map"] != ten["float_map"]


def test_the_methods_learn_from_several_labels(run, copy, tmp_path):
    assert run("nuswide21", "--allow-missing", str(lacking("nuswide21")), "--method", "dpq", "--epochs", "1") == 0
    dataset = load_protocol("nuswide21", copy, tmp_path / "cache", ReadOptions(40, lacking("nuswide21")))
    assert (dataset.train.labels.sum(dim=1) > 1).any()
    experiment = replace(load_experiment("nuswide21"))
    method = build_method("dpq", experiment, read_ingredients(experiment, dataset), 0)
    assert method.multi_label
    method.training_config = experiment.training
    terms = method.losses(torch.zeros(4, 3, 32, 32), dataset.train.labels[:4], torch.arange(4), 0)
    logits = method.backbone(torch.zeros(4, 3, 32, 32))[1]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, dataset.train.labels[:4].float())
    assert terms["classification"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_check_names_everything_that_is_wrong(run, copy, tmp_path, capsys):
    write_mini("nuswide21", copy)
    images = sorted(copy.glob("Flickr/*/*.jpg"))
    unlabelled = {path for path in images if int(path.name[:4]) >= sum((84, 21, 42))}
    victims = [path for path in images if path not in unlabelled][:20]
    for path in victims[:15]:
        path.unlink()
    victims[15].write_bytes(victims[15].read_bytes()[:300])
    victims[17].write_bytes(victims[16].read_bytes())
    assert run("nuswide21", command="check-data") == 2
    printed = capsys.readouterr()
    assert "missing: 15" in printed.out
    assert "and 5 more, named in the report" in printed.out
    assert f"unreadable: 1\n  Flickr/{victims[15].parent.name}/{victims[15].name}: " in printed.out
    assert "of the same content as another image: 1" in printed.out
    assert "A run needs --allow-missing" in printed.out
    assert "is not the published nuswide21; check-nuswide21.txt names all of it" in printed.err
    report = (tmp_path / "check-nuswide21.txt").read_text()
    assert [path.name for path in victims[:15] if path.name not in report] == []


def test_what_the_check_asks_for_is_what_the_run_needs(run, copy, tmp_path, capsys):
    write_mini("imagenet100", copy)
    sorted(copy.glob("train/*/*.JPEG"))[0].unlink()
    broken = sorted(copy.glob("val/*.JPEG"))[0]
    broken.write_bytes(broken.read_bytes()[:200])
    assert run("imagenet100", command="check-data") == 2
    (needed,) = re.findall(r"needs --allow-missing (\d+)", capsys.readouterr().out)
    arguments = ["--method", "pq", "--allow-missing"]
    assert run("imagenet100", *arguments, str(int(needed) - 1)) == 2
    assert f"--allow-missing {needed}" in capsys.readouterr().err
    assert run("imagenet100", *arguments, needed) == 0
    assert records(tmp_path, "imagenet100")[0]["data"]["query"] == IMAGENET_SIZES["query"] - 1


def test_whole_copies_of_other_lists_are_called_that(run, copy, monkeypatch, capsys):
    monkeypatch.setattr(Listing, "shortfall", lambda self: dict.fromkeys(NUSWIDE_SIZES, 0))
    assert run("nuswide21", command="check-data") == 2
    printed = capsys.readouterr().out
    assert "whole, but its lists are not the published ones. Its records" in printed
    assert "--allow-missing" not in printed


@pytest.fixture
def published(monkeypatch):
    """Take the miniature lists for the published ones."""
    monkeypatch.setattr(Listing, "departures", lambda self: ())
    monkeypatch.setattr(Listing, "shortfall", lambda self: {"train": 0, "query": 0, "database": 0})


def test_a_whole_copy_stands_beside_the_papers(run, published, tmp_path, capsys):
    assert run("nuswide21", command="check-data") == 0
    printed = capsys.readouterr().out
    assert "fit: the published lists, whole and readable" in printed
    assert "Results may stand beside the printed rows of DPQ, DVSQ, SQ, DQN\n" in printed
    assert run("nuswide21", "--bits", "4,8", "--method", "dpq") == 0
    assert records(tmp_path, "nuswide21")[0]["data"]["published"] is True
    assert main(["table", "nuswide21", "--output", str(tmp_path / "results")]) == 0
    table = (tmp_path / "results/nuswide21/table.md").read_text()
    assert "0.786†" in table
    assert "0.795¶" in table
    assert "¶ transcribed without a check, and of NUS-WIDE-81, another data set" in table


def test_images_that_changed_are_other_data(run, copy, published, tmp_path):
    assert run("nuswide21", "--method", "pq") == 0
    path = next(copy.glob("Flickr/*/0000_*.jpg"))
    path.write_bytes(next(copy.glob("Flickr/*/0001_*.jpg")).read_bytes())
    assert run("nuswide21", "--method", "pq") == 0
    assert len({record["data"]["fingerprint"] for record in records(tmp_path, "nuswide21")}) == 2


def test_queries_in_the_training_list_are_refused(run, copy, capsys):
    write_mini("nuswide21", copy)
    lists = copy / "nuswide21"
    shared = (lists / "query.txt").read_text().splitlines()[0]
    with (lists / "train.txt").open("a") as train:
        train.write(shared + "\n")
    assert run("nuswide21", "--allow-missing", "999999") == 2
    told = capsys.readouterr().err
    assert f"have 1 images in both train and query, the first {shared.split()[0]!r}" in told
    assert "on the command line: python -m benchmarks check-data nuswide21 names everything" in told
    assert run("nuswide21", command="check-data") == 2
    assert "in both train and query: 1" in (printed := capsys.readouterr().out)
    assert "not fit: queries must be in no other list" in printed


def test_lists_of_another_machine_need_its_prefix(run, copy, tmp_path, capsys):
    write_mini("nuswide21", copy)
    for name in ("train.txt", "query.txt"):
        path = copy / "nuswide21" / name
        path.write_text("".join(f"/elsewhere/{line}  \r\n" for line in path.read_text().splitlines()))
    arguments = ["--method", "pq", "--allow-missing", str(lacking("nuswide21"))]
    assert run("nuswide21", *arguments) == 2
    assert "query.txt:1" in (error := capsys.readouterr().err) or "train.txt:1" in error
    assert "--strip-prefix" in error
    assert run("nuswide21", *arguments, "--strip-prefix", "/elsewhere/") == 0
    assert records(tmp_path, "nuswide21")[0]["data"]["train"] == NUSWIDE_SIZES["train"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_without_a_copy_the_guide_says_what_to_get(configs, protocol, monkeypatch, capsys):
    monkeypatch.delenv("DPQ_DATA_ROOT", raising=False)
    assert main(["check-data", protocol]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{protocol}: ")
    assert "train.txt" in printed.out
    assert max(map(len, printed.out.splitlines())) <= 120
    assert printed.err.count("\n") == 1
    (configs / "listed.toml").write_text(TINY.replace('"digits"', f'"{protocol}"'))
    assert main(["run", "listed"]) == 2
    told = capsys.readouterr().err
    assert f"--data-root DIR; python -m benchmarks check-data {protocol} says what to get" in told


def test_plain_protocols_are_checked_by_loading_them(capsys):
    assert main(["check-data", "digits"]) == 0
    assert "digits: 300 train, 200 query, 1,097 database" in capsys.readouterr().out
    assert main(["check-data", "flowers"]) == 2
    assert "unknown protocol 'flowers'" in capsys.readouterr().err


def test_metrics_at_further_cuts_are_renewed_from_the_codes(run, tmp_path, capsys):
    assert run("imagenet100", "--allow-missing", str(lacking("imagenet100")), "--method", "rq") == 0
    (path,) = (tmp_path / "results/imagenet100/runs").glob("*.json")
    record = json.loads(path.read_text())
    right = record["lengths"][0]["map_at"]["5000"]
    record["lengths"][0]["map_at"]["5000"] = 0.5
    path.write_text(json.dumps(record))
    assert main(["evaluate", str(path)]) == 0
    assert read_record(path).raw["lengths"][0]["map_at"]["5000"] == right
