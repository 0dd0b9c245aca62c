"""Checkpoints, weights and label vectors."""

import io
import json
from hashlib import sha256

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from dpq.files.checkpoint import flatten_optimizer, load_checkpoint
from dpq.learning.backbone import read_weights
from dpq.learning.settings import Execution, Preprocessing, TrainingConfig
from dpq.learning.training import Trainer
from dpq.method.label_vectors import read_label_vectors
from dpq.protocols.base import Split
from dpq.protocols.store.files import Record, StoreFiles, journal_lines, read_about, read_journal, write_about
from tests.fuzz.damage import changed, checked, damaged, json_texts

SPLIT = Split(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.ones(4, 1, dtype=torch.bool))
STATE = {"epoch": 1, "seconds": 0.5, "log": [{"margin": 0.25, "codewords_used": [3], "warnings": ["a sign"]}]}
TOKENS = (b'"F32"', b'"I64"', b'"BF16"', b"[2]", b"[]", b"[0,8]", b"\0", b"\xff" * 8, b"{", b'"')


class Method(nn.Module):
    """As little as the training loop needs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.codewords = nn.Parameter(torch.ones(2, 3))

    def network_parameters(self, config):
        return [{"params": list(self.layer.parameters())}]

    def codebook_parameters(self):
        return [{"params": [self.codewords]}]


def trainer(path):
    return Trainer(Method(), SPLIT, TrainingConfig(epochs=3, batch_size=2, image_size=8), 0, Execution(checkpoint=path))


def stepped(one):
    for parameter in one.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    for optimizer in one.optimizers:
        optimizer.step()
    return one


def tensors_of(one):
    tensors = {f"method.{name}": value.detach() for name, value in one.module.state_dict().items()}
    for index, optimizer in enumerate(one.optimizers):
        tensors |= flatten_optimizer(f"optimizer{index}", optimizer)
    return tensors


TENSORS = tensors_of(stepped(trainer(None)))


@st.composite
def checkpoints(draw):
    """Damaged ones, and ones of other trainings whose check sum is right."""
    if draw(st.booleans()):
        return draw(damaged(checked(TENSORS, json.dumps(STATE)), TOKENS))
    tensors = dict(TENSORS)
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(sorted(tensors)))
        value = tensors.pop(name)
        other = [
            None,
            value.double(),
            value.reshape(-1),
            value[None],
            torch.zeros(0),
            torch.full(value.shape, torch.nan),
        ]
        other = draw(st.sampled_from([*other, value.half(), value.long(), value > 0]))
        if other is not None:
            names = [name] * 4 + ["method.x", "optimizer0.9.step", "optimizer1.0.x", "optimizer0.x.step", "optimizer0."]
            tensors[draw(st.sampled_from(names))] = other.contiguous().clone()
    if draw(st.booleans()):
        return checked(tensors, draw(json_texts(STATE)).decode("utf-8", "replace"))
    return checked(tensors, json.dumps(STATE))


def resumed(path):
    one = trainer(path)
    one._resume()
    return one


@given(content=checkpoints())
def test_going_on_from_a_checkpoint(read, content):
    one = read("c.safetensors", content, resumed)
    if one is not None:
        assert 1 <= one.epoch == len(one.log.epochs) <= 3
        json.dumps(one.log.epochs, allow_nan=False)
        stepped(one)


@given(data=st.data())
def test_checkpoints_whose_header_was_written_by_hand(read, data):
    whole = checked({"a": torch.ones(2), "b": torch.zeros(2, 2)}, json.dumps(STATE))
    length = int.from_bytes(whole[:8], "little")
    header = data.draw(json_texts(json.loads(whole[8 : 8 + length])))
    claimed = data.draw(st.sampled_from([len(header)] * 9 + [0, len(header) - 1, len(header) + 9, 2**40, 2**64 - 1]))
    content = (claimed % 2**64).to_bytes(8, "little") + header + whole[8 + length :]
    read("c.safetensors", content, load_checkpoint)


STATE_DICT = {"conv.weight": torch.ones(2, 3), "bn.bias": torch.zeros(2)}


def torch_file(state, **options):
    stream = io.BytesIO()
    torch.save(state, stream, **options)
    return stream.getvalue()


TORCH = [torch_file(STATE_DICT), torch_file({"state_dict": STATE_DICT, "epoch": 3})]
TORCH += [torch_file(STATE_DICT, _use_new_zipfile_serialization=False)]
TORCH += [torch_file([1, 2]), torch_file({1: torch.ones(1)}), torch_file({"a": "b"})]
SIDECAR = {"mean": [0.5, 0.5, 0.5], "std": "[0.5, 0.5, 0.5]", "interpolation": "bilinear", "pad_type": "same"}


def check_weights(weights):
    if weights is not None:
        assert all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in weights.tensors.items())
        assert weights.preprocessing is None or isinstance(weights.preprocessing, Preprocessing)
        if weights.preprocessing is not None:
            assert len(weights.preprocessing.mean) == len(weights.preprocessing.std) == 3
            assert min(weights.preprocessing.std) > 0


@given(data=st.data())
def test_safetensors_weights(read, data):
    valid = save(STATE_DICT, {key: json.dumps(value) for key, value in SIDECAR.items()})
    check_weights(read("w.safetensors", data.draw(damaged(valid, TOKENS)), read_weights))


@given(data=st.data())
def test_safetensors_weights_with_other_metadata(read, data):
    document = data.draw(changed(SIDECAR))
    document = document if isinstance(document, dict) else {}
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in document.items()}
    metadata = {
        k.encode("utf-8", "replace").decode(): v.encode("utf-8", "replace").decode() for k, v in metadata.items()
    }
    check_weights(read("w.safetensors", save(STATE_DICT, metadata), read_weights))


@given(data=st.data())
def test_torch_weights(read, data):
    tokens = (
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"\x80\x02",
        b"cos\nsystem\n",
        b"cbuiltins\neval\n",
        b"R",
        b".",
        b"\xff" * 8,
    )
    content = data.draw(st.sampled_from(TORCH).flatmap(lambda valid: damaged(valid, tokens)))
    check_weights(read("w.pth", content, read_weights))


@given(
    content=st.one_of(
        damaged(b"# cat\n1 0 0.5\n0 1 -2e-3\n", (b"nan", b"1e999", b"1e39", b"\t", b"0 0 0", b"0x1p3")),
        st.binary(max_size=60),
    )
)
def test_label_vectors(read, content):
    vectors = read("v.txt", content, lambda path: read_label_vectors(path, 2, 3))
    if vectors is not None:
        assert vectors.shape == (2, 3)
        assert vectors.dtype == torch.float32
        assert vectors.isfinite().all()
        assert vectors.abs().sum(dim=1).all()


RECORDS = [Record("p" * 64, "f" * 64, None, "3 4"), Record("q" * 64, None, "unreadable: x", "missing")]


@given(data=st.data())
def test_what_an_image_store_knows_of_its_rows(read, tmp_path_factory, data):
    made = tmp_path_factory.getbasetemp() / "about.json"
    write_about(made, RECORDS, 1)
    about = read(
        "about.json", data.draw(json_texts(json.loads(made.read_text()))), lambda path: (read_about(path, 2),)
    )[0]
    assert about is None or about[0] == RECORDS
    lines = st.one_of(damaged(journal_lines(dict(enumerate(RECORDS))).encode()), json_texts([0, *RECORDS[0]]))
    for row, record in read("journal", data.draw(lines), read_journal).items():
        assert type(row) is int
        assert isinstance(record, Record)
        assert all(isinstance(text, str) for text in (record.pixels, record.state))


@given(data=st.data())
def test_decoded_images_in_the_cache(read, data):
    """A cache that cannot be used is none; whatever else it holds is what was decoded."""
    images = np.arange(2 * 3 * 2 * 2, dtype=np.uint8).reshape(2, 12)
    records = [
        Record(sha256(row.tobytes()).hexdigest(), "f" * 64, None, f"PNG a/b/{i}.png") for i, row in enumerate(images)
    ]

    def reader(path):
        store = StoreFiles(path.parent, "cache", 12, None)
        store.keep(records, images.tobytes())
        about = path.with_name("cache.json")
        about.write_bytes(data.draw(st.one_of(st.just(about.read_bytes()), json_texts(json.loads(about.read_text())))))
        if data.draw(st.booleans()):
            store.pixels.write_bytes(path.read_bytes())
        try:
            return store.load(), store.pixels.read_bytes()
        finally:
            about.unlink()
            store.pixels.unlink()

    found, pixels = read("images", data.draw(damaged(images.tobytes(), (b"\0",))), reader)
    if found is not None:
        assert pixels == images.tobytes()
        assert found == records
