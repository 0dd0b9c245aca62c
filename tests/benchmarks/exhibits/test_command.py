"""`exhibit` from end to end."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.exhibits import make
from benchmarks.exhibits.store import PARTS, exhibit_path, exhibits_of, read_exhibit, read_sprite
from benchmarks.records.raw import read_raw, run_of, write_raw
from benchmarks.records.store import read_record
from dpq.protocols import load_protocol
from tests.benchmarks.conftest import TINY
from tests.benchmarks.exhibits.test_gallery import reference_draw, tile
from tests.benchmarks.shipped import identity_of
from tests.dpq.protocols.miniatures import NUSWIDE_SIZES, write_mini_nuswide


def exhibit(*arguments):
    return main(["exhibit", *map(str, arguments)])


def exhibits_in(record):
    folder = record.parents[1] / "exhibits"
    return sorted(folder.iterdir()) if folder.exists() else []


@pytest.fixture
def refuse(capsys):
    """Call `exhibit` with what has to be refused; returns the line on stderr."""

    def call(*arguments):
        capsys.readouterr()
        assert exhibit(*arguments) == 2
        error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(error) == 1
        return error[0]

    return call


def test_all_parts_are_written_beside_the_records_and_named(run_tiny, tmp_path, capsys):
    (path,) = run_tiny()
    capsys.readouterr()
    assert exhibit(path) == 0
    places = [exhibit_path(tmp_path / "results", "tiny", path.stem, part) for part in PARTS]
    assert capsys.readouterr().out.split() == [str(place) for place in places]
    assert exhibits_in(path) == sorted([*places, places[2].with_suffix(".png")])
    for part, place in zip(PARTS, places, strict=True):
        made = read_exhibit(place)
        assert (made.kind, made.run) == (part, path.stem)
        assert set(made.environment) == set(read_record(path).raw["environment"])
        assert [length.bits for length in (made.queries[0] if part == "gallery" else made).lengths] == [4, 8]
        assert exhibits_of(tmp_path / "results", "tiny", part) == [made]


def test_the_orders_lie_within_the_bounds_of_the_record(run_tiny):
    (path,) = run_tiny()
    assert exhibit(path, "--parts", "ties") == 0
    (place,) = exhibits_in(path)
    for entry, recorded in zip(read_exhibit(place).lengths, read_record(path).lengths, strict=True):
        worst, best = recorded.map_bounds
        assert set(entry.orders) == {"class-sorted", "shuffled", "reversed"}
        assert all(worst - 1e-12 <= value <= best + 1e-12 for value in entry.orders.values())


def test_the_gallery_shows_the_digits_themselves(run_tiny):
    (path,) = run_tiny("--limit", "300")
    assert exhibit(path, "--parts", "gallery") == 0
    place, _ = exhibits_in(path)
    gallery, raw = read_exhibit(place), read_raw(path.with_suffix(".npz"))
    sprite, dataset = read_sprite(place, gallery), load_protocol("digits").limited(300)
    assert gallery.side == 8
    assert gallery.classes == tuple(str(digit) for digit in range(10))
    for query, row in zip(gallery.queries, reference_draw(raw.query_labels), strict=True):
        assert np.array_equal(tile(sprite, gallery, query.image), dataset.query.images[row].permute(1, 2, 0))
        for levels, entry in enumerate(query.lengths, 1):
            # Of distinct codes, as a product may differ in its last digits from row to row.
            codes, inverse = np.unique(raw.codes[:, :levels], axis=0, return_inverse=True)
            rebuilt = sum(raw.codebooks[m][codes[:, m]] for m in range(levels)).astype(float)
            scores = (rebuilt @ raw.queries[row])[inverse.ravel()]
            expected = np.argsort(-scores, kind="stable")[:10]
            assert entry.tied == (scores == scores[expected[-1]]).sum()
            for k, i in zip(entry.nearest, expected.tolist(), strict=True):
                assert np.array_equal(tile(sprite, gallery, k), dataset.database.images[i].permute(1, 2, 0))
                assert gallery.images[k].labels == tuple(np.flatnonzero(raw.database_labels[i]).tolist())


def test_what_exists_is_made_again_only_by_force(run_tiny, capsys, monkeypatch):
    (path,) = run_tiny()
    assert exhibit(path, "--parts", "ties", "gallery") == 0
    before = {file: file.stat().st_mtime_ns for file in exhibits_in(path)}
    assert len(before) == 3
    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr(make, "_content", None)
        assert exhibit(path, "--parts", "gallery", "ties") == 0
    assert capsys.readouterr().out.count("exists (--force makes it anew)") == 2
    assert {file: file.stat().st_mtime_ns for file in exhibits_in(path)} == before
    assert exhibit(path, "--parts", "ties", "gallery", "--force") == 0
    assert all(file.stat().st_mtime_ns > time for file, time in before.items())
    path.with_suffix(".npz").unlink()
    assert exhibit(path, "--parts", "ties") == 0  # nothing to make, so no codes are needed


def test_a_gallery_that_was_interrupted_is_made_again(run_tiny, monkeypatch):
    (path,) = run_tiny()

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(make, "write_exhibit", interrupted)
        assert exhibit(path, "--parts", "gallery") == 130
    assert [file.suffix for file in exhibits_in(path)] == [".png"]
    assert exhibit(path, "--parts", "gallery") == 0
    place, _ = exhibits_in(path)
    read_sprite(place, read_exhibit(place))


def test_controls_and_ablations_have_exhibits_too(configs, tmp_path, monkeypatch):
    """And their images are loaded once."""
    run = ["run", "tiny", "--limit", "100", "--output", str(tmp_path / "results"), "--epochs", "1"]
    assert main([*run, "--method", "pq-dpq", "label-code"]) == main([*run, "--ablation", "no-margin"]) == 0
    paths = sorted((tmp_path / "results/tiny/runs").glob("*.json"))
    loaded, load = [], make.load_data_of

    def counted(*arguments):
        loaded.append(arguments)
        return load(*arguments)

    monkeypatch.setattr(make, "load_data_of", counted)
    assert exhibit(*paths) == 0
    assert len(loaded) == 1
    for part in PARTS:
        made = exhibits_of(tmp_path / "results", "tiny", part)
        assert [one.run for one in made] == [path.stem for path in paths]
        assert len(made) == 4  # PQ at two lengths


def test_a_part_that_is_unknown(run_tiny, refuse):
    (path,) = run_tiny()
    assert "unknown part 'tie'; choose from ties, projection, gallery" in refuse(path, "--parts", "ties", "tie")
    assert exhibits_in(path) == []


def test_raw_codes_that_are_missing_or_of_another_run(run_tiny, refuse):
    (path,) = run_tiny()
    raw = read_raw(path.with_suffix(".npz"))
    raw.codes[:] = raw.codes[0]
    write_raw(path.with_suffix(".npz"), raw)
    assert "are of another run: 1 different codes of 4 bits" in refuse(path)
    path.with_suffix(".npz").unlink()
    assert "not committed" in refuse(path)
    assert exhibits_in(path) == []


def test_images_that_are_not_those_of_the_record_are_refused_before_anything_is_made(run_tiny, refuse):
    (path,) = run_tiny()
    record = read_record(path).raw
    record["data"]["fingerprint"] = "0" * 64
    other = path.with_stem(identity_of(record))
    other.write_text(json.dumps(record | {"id": other.stem}))
    raw = read_raw(path.with_suffix(".npz"))
    write_raw(other.with_suffix(".npz"), replace(raw, run=run_of(record | {"id": other.stem})))
    assert "give --data-root the copy that the run was made on" in refuse(other)
    assert exhibits_in(path) == []
    assert exhibit(other, "--parts", "ties") == 0


def test_a_record_that_does_not_lie_where_records_do(run_tiny, refuse, tmp_path):
    (path,) = run_tiny()
    refusals = {"moved": f"move it to <output>/<experiment>/runs/{path.stem}.json", "renamed": "remove the copy"}
    for other, words in zip((tmp_path / path.name, path.with_stem("renamed")), refusals.values(), strict=True):
        other.write_text(path.read_text())
        assert words in refuse(path, other, "--parts", "ties")
    assert exhibits_in(path) == []


def test_a_record_may_be_named_from_its_own_folder(run_tiny, monkeypatch):
    (path,) = run_tiny()
    monkeypatch.chdir(path.parent)
    assert exhibit(Path(path.name), "--parts", "ties") == 0
    assert [file.name for file in exhibits_in(path)] == [f"{path.stem}-ties.json"]


def test_images_on_disk_with_several_labels(configs, tmp_path, monkeypatch):
    """A copy that lacks images is taken as the run took it; its images come in the side that the run asked for."""
    monkeypatch.setenv("DPQ_CACHE", str(tmp_path / "cache"))
    write_mini_nuswide(tmp_path / "copy")
    text = TINY.replace('"digits"', '"nuswide21"\nstored_side = 72').replace("embedding_dim = 16", "embedding_dim = 24")
    (configs / "nuswide21.toml").write_text(text)
    lacking = str(205_834 - sum(NUSWIDE_SIZES.values()))
    where = ["--data-root", str(tmp_path / "copy")]
    run = ["run", "nuswide21", "--method", "rq", "--allow-missing", lacking, "--output", str(tmp_path / "results")]
    assert main([*run, *where]) == 0
    (path,) = (tmp_path / "results/nuswide21/runs").glob("*.json")
    stored = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*") if file.is_file()}
    assert stored
    assert exhibit(path, *where) == 0
    gallery = read_exhibit(exhibit_path(tmp_path / "results", "nuswide21", path.stem, "gallery"))
    assert gallery.side == 64
    assert len(gallery.classes) == 21
    assert any(len(image.labels) > 1 for image in gallery.images)
    assert {file: file.stat().st_mtime_ns for file in stored} == stored  # nothing is decoded again
