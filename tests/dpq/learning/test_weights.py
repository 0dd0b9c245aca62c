import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from dpq import InputError
from dpq.learning.backbone import Backbone, check_backbone, read_weights
from dpq.learning.settings import Preprocessing, TrainingConfig

NAME = "test_resnet"


@pytest.fixture(scope="module")
def tensors():
    torch.manual_seed(1)
    return {key: value.clone() for key, value in timm.create_model(NAME, num_classes=7).state_dict().items()}


def loads(path, tensors):
    body = Backbone(NAME, 3, 8, weights=read_weights(path)).body
    return all(torch.equal(value, tensors[key]) for key, value in body.state_dict().items())


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "backbone.", "net.encoder."]
)
def test_names_may_have_a_prefix(tmp_path, tensors, prefix):
    named = {prefix + key: value for key, value in tensors.items()}
    for content in (named, {"epoch": 3, "state_dict": named}, {"model": named}):
        torch.save(content, tmp_path / "w.pth")
        assert loads(tmp_path / "w.pth", tensors)
    save_file(named, tmp_path / "w.safetensors")
    assert loads(tmp_path / "w.safetensors", tensors)


def test_two_networks_in_one_file_are_not_chosen_from(tmp_path, tensors):
    save_file(
        {f"{who}.{k}": v.clone() for who in ("student", "teacher") for k, v in tensors.items()},
        tmp_path / "w.safetensors",
    )
    with pytest.raises(InputError, match=r"holds 2 networks \(student\., teacher\.\)"):
        Backbone(NAME, 3, weights=read_weights(tmp_path / "w.safetensors"))


def test_a_misfit_names_the_prefix(tmp_path, tensors):
    save_file({f"module.{key}": value for key, value in tensors.items()}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"does not fit resnet10t: .* its keys begin with module\."):
        Backbone("resnet10t", 3, weights=read_weights(tmp_path / "w.safetensors"))


def test_a_saved_model_brings_its_preprocessing(tmp_path, tensors):
    save_file({f"backbone.body.{key}": value for key, value in tensors.items()}, tmp_path / "model.safetensors")
    said = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "interpolation": "bilinear"}
    table = {"dpq_version": "0.1.0", "backbone": {"pad_type": "", "preprocessing": said}}
    (tmp_path / "config.json").write_text(json.dumps(table))
    assert loads(tmp_path / "model.safetensors", tensors)
    expected = Preprocessing((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), "bilinear")
    assert read_weights(tmp_path / "model.safetensors").preprocessing == expected
    with pytest.raises(InputError, match=r"is a folder; give .*model\.safetensors"):
        read_weights(tmp_path)


KEY = "conv1.0.weight"


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        (KEY, lambda x: x.fill_(float("nan")), f"{KEY} holds NaN or infinity"),
        (KEY, lambda x: x.double() * 1e300, f"{KEY} holds NaN or infinity"),
        (KEY, lambda x: x.to(torch.complex64), f"{KEY} holds complex numbers"),
        (KEY, lambda x: x.to_sparse(), f"{KEY} is sparse"),
        (KEY, lambda x: x[:0], f"{KEY} is empty"),
        (KEY, lambda x: x.to(torch.int8), rf"1 not of floating-point numbers \({KEY}\)"),
        (KEY, lambda x: x > 0, rf"1 not of floating-point numbers \({KEY}\)"),
        (KEY, lambda x: x[:1], rf"1 of another shape \({KEY}\)"),
        ("bn1.running_var", lambda x: x - 2, "bn1.running_var holds variances below zero"),
    ],
)
def test_tensors_that_cannot_be_weights_are_named_before_training(tmp_path, tensors, key, change, words):
    torch.save(tensors | {key: change(tensors[key].clone())}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=words):
        check_backbone(NAME, read_weights(tmp_path / "w.pth"), TrainingConfig(1, image_size=32))


def test_numbers_of_other_widths_are_weights(tmp_path, tensors):
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        torch.save({k: v.to(kind) if v.is_floating_point() else v for k, v in tensors.items()}, tmp_path / "w.pth")
        check_backbone(NAME, read_weights(tmp_path / "w.pth"), TrainingConfig(1, image_size=32))


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 13\n", "it is a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>sign in</html>", "it is a web page"),
        (b"\xef\xbb\xbf\n <html>", "it is a web page"),
        (b'{"error": "not found"}', "it is a text"),
        (b"\0\1\2 other", "no readable weight file"),
    ],
)
def test_what_stands_in_place_of_weights_is_named_in_a_short_line(tmp_path, suffix, content, words):
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as told:
        read_weights(path)
    assert len(str(told.value).removeprefix(str(path))) < 250


def test_a_pickled_module_is_told_what_to_save_instead(tmp_path):
    for zipped in (True, False):
        torch.save(timm.create_model(NAME), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
        with pytest.raises(InputError, match=r"it holds Python objects, .*: save model.state_dict\(\)\)") as told:
            read_weights(tmp_path / "w.pth")
        assert len(str(told.value).removeprefix(str(tmp_path))) < 200 and "\033" not in str(told.value)


def test_position_embeddings_of_a_file_are_resized(tmp_path):
    torch.manual_seed(0)
    whole = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=64)
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    weights = read_weights(tmp_path / "w.safetensors")
    at = {size: Backbone("vit_tiny_patch16_224", 3, 8, weights=weights, image_size=size).body for size in (64, 96)}
    assert torch.equal(at[64].pos_embed, whole.pos_embed)
    assert at[96].pos_embed.shape[1] > whole.pos_embed.shape[1]
    assert torch.equal(at[96].blocks[0].attn.qkv.weight, whole.blocks[0].attn.qkv.weight)
