"""Index files."""

import json

import torch
from hypothesis import given
from hypothesis import strategies as st

from dpq.search.file import Origin, write_index
from dpq.search.images import load_named
from dpq.search.index import CodeIndex
from tests.fuzz.damage import checked, damaged, json_texts

TENSORS = {
    "codes": torch.tensor([[0, 1], [1, 0], [1, 1]], dtype=torch.uint8),
    "codebooks": torch.arange(12.0).view(2, 2, 3),
    "ids": torch.tensor([4, 0, 7]),
    "names": torch.tensor(list(b"a\0b/c\0d"), dtype=torch.uint8),
    "centroids": torch.ones(2, 3),
    "removed": torch.tensor([1, 5]),
}
STATE = {"schema_version": 1, "dpq_version": "0", "score": "l2"}
STATE |= {"origin": {"model": "model", "model_sha256": "a" * 64, "images": "photos"}}
TOKENS = (b'"F32"', b'"U8"', b'"I64"', b"[3]", b"[]", b"[0,8]", b"\0", b"\xff" * 8, b"{", b'"', b"../")


@st.composite
def files(draw):
    """Damaged ones, and ones of other contents whose check sum is right."""
    if draw(st.booleans()):
        return draw(damaged(checked(TENSORS, json.dumps(STATE)), TOKENS))
    tensors = dict(TENSORS)
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(sorted(tensors)))
        value = tensors.pop(name)
        other = [None, value.double(), value.flatten(), value[None], value[:0], value[:-1], torch.cat([value, value])]
        other += [torch.full_like(value, most) for most in (0, 1, 127, 200)]
        other += [torch.full_like(value, torch.nan)] if value.is_floating_point() else []
        other += [torch.full_like(value, 2**63 - 1), -value] if value.dtype == torch.int64 else []
        chosen = draw(st.sampled_from(other))
        if chosen is not None:
            tensors[draw(st.sampled_from([name] * 4 + ["x", *TENSORS]))] = chosen.contiguous().clone()
    if draw(st.booleans()):
        return checked(tensors, draw(json_texts(STATE)).decode("utf-8", "replace"))
    return checked(tensors, json.dumps(STATE))


@given(content=files())
def test_an_index_that_is_read_can_be_changed(read, content):
    index = read("i.index", content, CodeIndex.load)
    if index is not None:
        assert len(index) == len(index.codes) == len(index.ids)
        assert len(index.names) in (0, len(index))
        assert index.codebooks.isfinite().all()
        index.add(index.codes[:1], names=["new"] if index.names else ())
        index.remove(index.ids)


@given(content=files())
def test_names_stay_in_their_folder(read, content):
    index = read("i.index", content, load_named)
    assert index is None or not any(name.startswith("/") or ".." in name.split("/") for name in index.names)


def test_the_sound_file_is_read(tmp_path):
    tensors = {name: TENSORS[name] for name in ("codes", "codebooks", "ids")}
    write_index(tmp_path / "i.index", tensors, ("a", "b/c", "d"), "l2", Origin())
    assert CodeIndex.load(tmp_path / "i.index").names == ("a", "b/c", "d")
    (tmp_path / "whole.index").write_bytes(checked(TENSORS, json.dumps(STATE)))
    assert load_named(tmp_path / "whole.index").ids.tolist() == [4, 0, 7]
