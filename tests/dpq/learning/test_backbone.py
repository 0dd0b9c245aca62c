import logging
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dpq import InputError
from dpq.learning.backbone import Backbone, read_weights
from dpq.learning.deep import decayed_groups
from dpq.learning.settings import Preprocessing, TrainingConfig

NAME = "test_resnet"


@pytest.fixture
def weight_file(tmp_path):
    """Weights of a network with a classifier of its own, as a weight file of timm would have."""
    import timm

    torch.manual_seed(1)
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model(NAME, num_classes=7).state_dict(), path)
    return path


def test_shapes_and_range():
    backbone = Backbone(NAME, classes=5, embedding_dim=12)
    embeddings, logits = backbone(torch.randn(3, 3, 32, 32))
    assert embeddings.shape == (3, 12)
    assert logits.shape == (3, 5)
    assert embeddings.abs().max() < 1


def test_the_classifier_reads_the_pooled_feature():
    backbone = Backbone(NAME, classes=5, embedding_dim=12).eval()
    images = torch.randn(2, 3, 32, 32)
    feature = backbone.body(images)
    embeddings, logits = backbone(images)
    assert torch.allclose(logits, backbone.classifier(feature))
    assert torch.allclose(embeddings, torch.tanh(backbone.embedding(feature)))


@pytest.mark.parametrize("head", ["none", "unit", "batchnorm"])
def test_other_heads_follow_the_linear_map(head):
    backbone = Backbone(NAME, classes=0, embedding_dim=12, head=head)
    images = torch.randn(6, 3, 32, 32)
    embeddings = backbone(images)[0]
    linear = backbone.embedding(backbone.body(images))
    if head == "none":
        assert torch.equal(embeddings, linear)
    elif head == "unit":
        assert torch.allclose(embeddings, linear / linear.norm(dim=1, keepdim=True), atol=1e-6)
    else:
        assert torch.allclose(embeddings.mean(dim=0), torch.zeros(12), atol=1e-5)
        assert not torch.equal(embeddings, backbone.eval()(images)[0])  # by running statistics, not the batch's
    assert [id(layer) for layer in backbone.heads] == [id(backbone.embedding)]
    assert {id(p) for p in backbone.parameters()} - {id(p) for p in backbone.body.parameters()} == {
        id(p) for p in backbone.embedding.parameters()
    }, "a head has no parameters of its own, which no group would train"


def test_a_head_that_a_method_adds_starts_and_learns_as_the_others():
    backbone = Backbone(NAME, 0, embedding_dim=16)
    before = backbone.state_dict().keys()
    backbone.add_head(16, 300)
    (added,) = backbone.further
    assert backbone.heads == [backbone.embedding, added]
    assert backbone.state_dict().keys() - before == {"further.0.weight", "further.0.bias"}
    assert added.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not added.bias.any()
    groups = decayed_groups(backbone, TrainingConfig(epochs=1, head_multiplier=3.0))
    assert all(any(p is added.bias for p in group["params"]) for group in groups[-2:-1])
    assert all(any(p is added.weight for p in group["params"]) for group in groups[-1:])


def test_an_unknown_head_is_refused():
    with pytest.raises(InputError, match="head"):
        Backbone(NAME, classes=0, head="sigmoid")


def test_weights_are_loaded_and_their_digest_recorded(weight_file):
    import hashlib

    weights = read_weights(weight_file)
    assert weights.sha256 == hashlib.sha256(weight_file.read_bytes()).hexdigest()
    backbone = Backbone(NAME, 5, weights=weights)
    for name, value in backbone.body.state_dict().items():
        assert torch.equal(value, weights.tensors[name])


def test_a_torch_file_is_read_without_unpickling_objects(weight_file, tmp_path):
    tensors = dict(read_weights(weight_file).tensors)
    plain = tmp_path / "weights.pth"
    torch.save({"state_dict": tensors}, plain)
    assert read_weights(plain).tensors.keys() == tensors.keys()
    torch.save({"state_dict": tensors, "object": Path("x")}, plain)
    with pytest.raises(InputError, match="no readable weight file"):
        read_weights(plain)


def test_a_torch_file_runs_nothing(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    for zipped in (True, False):
        torch.save({"w": Bomb()}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
        with pytest.raises(InputError, match="no readable weight file"):
            read_weights(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()


def test_a_torch_file_that_unpacks_to_more_than_it_is_is_not_opened(tmp_path, monkeypatch):
    torch.save({"w": torch.zeros(1 << 16)}, tmp_path / "stored.pth")
    with zipfile.ZipFile(tmp_path / "stored.pth") as stored, zipfile.ZipFile(tmp_path / "w.pth", "w") as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name), zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(InputError, match="it unpacks to more than its own size"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("state", [[1, 2], {"state_dict": 3}, {"w": "x"}, {1: torch.zeros(1)}, torch.zeros(2)])
def test_what_is_no_table_of_tensors_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError, match="no readable weight file"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ('{"mean": [0, 0], "std": [1, 1, 1]}', r"mean\[2\] is missing"),
        ('{"mean": "[0, 0, true]", "std": [1, 1, 1]}', r"mean\[2\] must be a number; got True"),
        ('{"mean": 0.5, "std": [1, 1, 1]}', "mean must be a list; got 0.5"),
        ('{"mean": [0, 0, 0], "std": [1, 0, 1]}', r"std\[1\] must be at least 0.001; got 0"),
        ('{"mean": [0, 0, 1e9], "std": [1, 1, 1]}', r"mean\[2\] must be at most 1000; got 1000000000"),
        ('{"mean": [0, 0, NaN], "std": [1, 1, 1]}', "NaN is no JSON number"),
        (
            '{"mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "lanczos"}',
            "be 'bilinear' or 'bicubic'; got 'l",
        ),
        ('{"pad_type": "reflect"}', "pad_type must be '', 'same' or 'valid'; got 'reflect'"),
        ('{"pad_type": []}', "pad_type must be '', 'same' or 'valid'; got "),
        ("[1]", "no readable weight file"),
    ],
)
def test_metadata_that_cannot_be_used_are_refused(weight_file, tmp_path, options, words):
    (tmp_path / "weights.safetensors.json").write_text(options)
    with pytest.raises(InputError, match=words):
        read_weights(weight_file)


def test_padding_that_a_backbone_does_not_take_is_refused(weight_file, tmp_path):
    (tmp_path / "weights.safetensors.json").write_text('{"pad_type": "same"}')
    with pytest.raises(InputError, match=rf"asks for pad_type, which {NAME} does not take"):
        Backbone(NAME, 5, weights=read_weights(weight_file))


def test_preprocessing_follows_the_weights(weight_file, tmp_path):
    assert Backbone(NAME, 5, weights=read_weights(weight_file)).preprocessing.std == (0.5, 0.5, 0.5)  # timm's own
    sidecar = tmp_path / "weights.safetensors.json"
    sidecar.write_text('{"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bilinear"}')
    expected = Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear")
    assert Backbone(NAME, 5, weights=read_weights(weight_file)).preprocessing == expected


def test_padding_follows_the_metadata(tmp_path):
    import timm

    path = tmp_path / "mobile.safetensors"
    save_file(timm.create_model("mobilenetv2_035", pad_type="same").state_dict(), path, {"pad_type": "same"})
    weights = read_weights(path)
    assert weights.model_options == {"pad_type": "same"}
    body = Backbone("mobilenetv2_035", 5, weights=weights).body
    assert "Same" in type(body.conv_stem).__name__


def test_weights_of_another_network_are_refused_by_key(weight_file):
    with pytest.raises(InputError, match=r"does not fit resnet10t: \d+ keys missing .*conv1"):
        Backbone("resnet10t", 5, weights=read_weights(weight_file))


def test_weights_of_another_shape_are_refused_by_key(weight_file, tmp_path):
    tensors = dict(read_weights(weight_file).tensors)
    key = next(iter(tensors))
    tensors[key] = tensors[key][:1].clone()
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=rf"0 keys missing and 1 of another shape \({key}\)"):
        Backbone(NAME, 5, weights=read_weights(tmp_path / "other.safetensors"))


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist; give another, or none to start from scratch"):
        read_weights(tmp_path / "nowhere.safetensors")
    for name in ("damaged.safetensors", "damaged.pth"):
        (tmp_path / name).write_bytes(b"not a weight file")
        with pytest.raises(InputError, match="no readable weight file"):
            read_weights(tmp_path / name)


def test_an_unknown_backbone_is_refused_with_suggestions():
    with pytest.raises(InputError, match=r"unknown backbone 'resnet1000'; give a timm model name"):
        Backbone("resnet1000", 5)


def test_no_network_names_both_ways_out_in_one_line(monkeypatch, caplog):
    import timm

    create = timm.create_model

    def offline(*names, pretrained=False, **options):
        if not pretrained:
            return create(*names, **options)
        logging.getLogger("huggingface_hub.utils").warning("Retrying in 8s")
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(InputError, match=r"could not download .* go online, give a file of weights, or none to start"):
        Backbone(NAME, 5, weights="timm")
    assert caplog.records == []
    logging.getLogger("huggingface_hub.utils").warning("heard again")
    assert len(caplog.records) == 1


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_weights_that_are_not_finite_are_refused(tmp_path, name, number):
    tensors = {"good": torch.zeros(2), "count": torch.zeros(1, dtype=torch.int64), "bad": torch.tensor([0, number])}
    (save_file if name.endswith("safetensors") else torch.save)(tensors, tmp_path / name)
    with pytest.raises(InputError, match=r"no readable weight file \(bad holds NaN or infinity\)"):
        read_weights(tmp_path / name)
