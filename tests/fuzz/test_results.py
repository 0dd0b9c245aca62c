"""Records, what lies beside them, and what they are compared with: a table can be made of whatever is read."""

import io
import json
import math
import tomllib
import zipfile
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.brought.codes import read_codes
from benchmarks.exhibits.store import check_run, read_exhibit, read_sprite
from benchmarks.records.raw import RawResult, read_raw
from benchmarks.records.record import digest
from benchmarks.records.reported import MARKS, REPORTED, read_reported
from benchmarks.records.store import read_record
from benchmarks.report.sides import read_numbers
from benchmarks.report.statistics import row_title, tidy
from benchmarks.report.study import Section, setting_of
from benchmarks.report.tables import describe_setting
from benchmarks.running import call
from benchmarks.running.evaluation import evaluate_lengths
from benchmarks.running.regression import REFERENCES, interval, read_reference
from benchmarks.tuning.study import as_toml, read_study, write_study
from tests.benchmarks.conftest import make_record
from tests.benchmarks.exhibits.test_store import EXHIBIT, GALLERY, PROJECTION, typed
from tests.benchmarks.made_up import made_up_identities
from tests.benchmarks.tuning.made_up import make_study
from tests.fuzz.damage import damaged, json_texts

__all__ = ["made_up_identities"]  # what is damaged is at odds with its identity, which would hide the rest

ROOT = Path(__file__).parents[2]
RECORDS = [
    make_record(),
    make_record("rq-dpq", warnings=["a sign"]),
    make_record("dqn", ablation="frozen", ablation_of="dqn-paper-seed0-0", further_cuts=[5000], cut=1000),
    json.loads(next((ROOT / "results/cifar10/runs").glob("dpq-paper-*.json")).read_text()),
]


@given(content=json_texts(json.loads(json.dumps(asdict(make_study(values=(0.5, None, 0.75)))))))
def test_studies(folder, read, content):
    def reader(path):
        study = read_study(path)
        write_study(path, study)
        return study

    study = read("dpq.json", content.replace(b"cifar10-cpu", folder.name.encode()), reader)
    if study is not None and study.best is not None:
        tomllib.loads(as_toml(study, study.best))


NUMBERS = b'method,bits,seed,map,split_seed\r\nx,8,0,0.5,0\nx,16,0,0.25,0\n"y, z",8,1,1e-3,2\n'


@given(
    content=st.one_of(
        damaged(NUMBERS, tokens=(b",", b'"', b"\n", b"\0", b"\xff", b"nan", b"-1", b"1e400")), st.binary(max_size=80)
    )
)
def test_numbers_of_others(read, content):
    table = read("x.csv", content, read_numbers)
    if table is not None:
        assert table["map"].between(0, 1).all()
        assert (table["bits"] >= 1).all()
        assert (table["seed"] >= 0).all()
        assert not table.duplicated(["method", "split_seed", "seed", "bits"]).any()


@given(content=st.sampled_from([record | {"id": "r"} for record in RECORDS]).flatmap(json_texts))
def test_records(read, content):
    record = read("r.json", content, read_record)
    if record is not None:
        json.dumps(record.raw, allow_nan=False, ensure_ascii=False).encode()
        rows = tidy([record])
        assert rows["map"].between(0, 1).all()
        assert {"mAP", record.id} & set(call.summary(SimpleNamespace(record="r.json"), record).split())
        digest(setting_of(record))
        section = Section("cifar10", [record])
        assert all([describe_setting(section), record.environment.processor, section.title])
        assert record.environment.short_commit is not None
        row_title(record.method, record.variant, "each", 8)


@given(content=st.sampled_from([EXHIBIT, PROJECTION, GALLERY]).flatmap(json_texts))
def test_exhibits(read, content):
    exhibit = read("r-gallery.json", content, read_exhibit)
    if exhibit is not None:
        lengths = (exhibit.queries[0] if exhibit.kind == "gallery" else exhibit).lengths
        check_run(exhibit, SimpleNamespace(id="r", lengths=lengths))
        if exhibit.kind == "projection":
            points = np.array([length.points for length in exhibit.lengths])
            assert points.shape == (len(lengths), len(exhibit.labels), 2)
            assert np.isfinite(points).all()
            assert max(exhibit.labels) < len(exhibit.classes)


@given(data=st.data())
def test_sprites(read, data):
    """The digest is that of the file, as a forger would make it."""
    from hashlib import sha256

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.zeros((6, 32, 3), np.uint8)).save(stream, format="png")
    content = data.draw(damaged(stream.getvalue(), (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")))
    exhibit = typed(GALLERY | {"sprite_sha256": sha256(content).hexdigest()})
    pixels = read("r-gallery.png", content, lambda path: read_sprite(path.with_suffix(".json"), exhibit))
    assert pixels is None or (pixels.shape == (6, 32, 3) and pixels.dtype == np.uint8)


REFERENCE = json.loads((REFERENCES / "digits.json").read_text())
SHORT = {key: dict(list(value.items())[:3]) for key, value in REFERENCE.items() if isinstance(value, dict)}


@given(content=json_texts(SHORT))
def test_references(read, content):
    reference = read("reference.json", content, read_reference)
    if reference is not None:
        assert all(math.isfinite(value) for value in reference.terms.values())
        for values in reference.metrics.values():
            low, high = interval(values)
            assert not low > high


@given(
    content=damaged(
        b"".join(REPORTED.read_bytes().splitlines(True)[:5]), (b",", b'"', b"\n", b"nan", b"NA", b"-", b"9")
    )
)
def test_reported_values(read, content):
    table = read("reported.csv", content, read_reported)
    if table is not None:
        assert table["map"].between(0, 1).all()
        assert table["bits"].between(1, 9999).all()
        assert set(table["status"]) <= set(MARKS)
        assert not table.isna().any().any()


def raw(items=5, queries=2):
    rng = np.random.default_rng(0)
    return RawResult(
        rng.integers(4, size=(items, 2), dtype=np.uint8),
        rng.normal(size=(2, 4, 3)).astype(np.float32),
        rng.normal(size=(queries, 3)).astype(np.float32),
        rng.random((queries, 2)) < 0.5,
        rng.random((items, 2)) < 0.5,
    )


def npz(arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@st.composite
def headers(draw):
    """An array whose header was written by hand."""
    kind = draw(
        st.sampled_from(["|u1", "|b1", "<f4", ">f4", "<f8", "|O", "|V4", "<M8[s]", "<U9", "x", "|S0", "(3,)<f4"])
    )
    lengths = st.sampled_from([0, 1, 2, 3, 4, 5, -1, 10**6, 2**40, 2**63, 2**64, 10**30, True, 2.0, None, "(" * 200])
    shape = tuple(draw(st.lists(lengths, max_size=4)))
    text = repr({"descr": kind, "fortran_order": draw(st.sampled_from([False, True, 0, None])), "shape": shape})
    text = draw(
        st.sampled_from([text, text, text[:-1], text + "\n", "[" * 100, "{" + text, text.replace("'", "L"), ""])
    )
    body = text.encode().ljust(118)
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body + draw(st.binary(max_size=64))


@st.composite
def raw_files(draw):
    arrays = raw().arrays
    if draw(st.integers(0, 2)) == 0:
        return draw(damaged(npz(arrays), (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"\xff\xff\xff\xff", b"\x08\0")))
    stream = io.BytesIO()
    packing = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]))
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name, array in arrays.items():
            inner = io.BytesIO()
            match draw(st.integers(0, 7)):
                case 0:
                    content = draw(headers())
                case 1:
                    np.save(inner, draw(st.sampled_from([array[:0], array[:1], array.astype(np.float64), array.T])))
                    content = inner.getvalue()
                case 2 if array.dtype == np.float32:
                    np.save(inner, np.where(array > 0, draw(st.sampled_from([np.nan, np.inf, 1e38])), array))
                    content = inner.getvalue()
                case _:
                    np.save(inner, array)
                    content = inner.getvalue()
            archive.writestr(draw(st.sampled_from([name] * 9 + ["../x", "", "codes"])) + ".npy", content)
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(content=raw_files())
def test_raw_results(read, content):
    result = read("r.npz", content, read_raw)
    if result is not None:
        ((entry,), _) = evaluate_lengths(result, {2: 0.0}, None, "inner", "float32")
        assert math.isnan(entry.map) or 0 <= entry.map <= 1


@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(content=raw_files())
def test_brought_codes(read, content):
    result = read("r.npz", content, read_codes)
    assert result is None or all(np.isfinite(array).all() for array in result.arrays.values())


def test_a_raw_result_that_is_sound_is_read(read):
    assert read("r.npz", npz(raw().arrays), read_raw) is not None
    assert read("r.npz", npz(raw().arrays), read_codes) is not None
