"""Any timm model at another image size than its own: over 40 families, on torch's meta device."""

import pytest
import timm
import torch

from dpq import DPQ, InputError
from dpq.learning.backbone import Backbone, check_backbone, create_body, layout_of
from dpq.learning.settings import TrainingConfig

# Of each family a small one.
SIZED = (
    "cait_xxs24_224 convit_tiny deit_tiny_patch16_224 eva02_tiny_patch14_224 gmlp_ti16_224 "
    "levit_128s mixer_s32_224 nest_tiny pit_ti_224 resmlp_12_224 swin_tiny_patch4_window7_224 "
    "swinv2_cr_tiny_224 visformer_tiny vit_tiny_patch16_224 volo_d1_224"
)
PLAIN = (
    "convnext_atto crossvit_tiny_240 edgenext_xx_small efficientnet_b0 efficientvit_b0 fastvit_t8 "
    "ghostnet_050 lcnet_035 mnasnet_small mobilenetv2_100 mobilenetv3_small_050 mobilevit_xxs "
    "poolformerv2_s12 pvt_v2_b0 regnetx_002 repvgg_a0 resnet18 resnet18.a1_in1k rexnet_100 "
    "test_resnet twins_svt_small vgg11 xcit_nano_12_p8_224"
)
FIXED = "coat_tiny efficientformer_l1 gcvit_xxtiny halonet_h1 hiera_tiny_224 lambda_resnet26t test_coatnet"


def check(name, size=128):
    check_backbone(name, None, TrainingConfig(1, image_size=size))


@pytest.mark.parametrize("name", f"{SIZED} {PLAIN}".split())
def test_another_size_than_its_own(name):
    check(name)


@pytest.mark.parametrize("name", FIXED.split())
def test_one_that_takes_no_other_is_refused_in_one_line(name):
    own = timm.get_pretrained_cfg(name).input_size[-1]
    with pytest.raises(InputError, match=f"^{name} takes no images of 80 pixels .* own size, {own}, or") as told:
        check(name, 80)
    assert "\n" not in str(told.value) and len(str(told.value)) < 300


def test_an_image_too_small_for_a_network_is_refused():
    with pytest.raises(InputError, match="vgg11 takes no images of 8 pixels"):
        check("vgg11", 8)


def test_a_size_changes_nothing_where_none_is_needed():
    bodies = []
    for size in (None, 32, 48):
        torch.manual_seed(0)
        bodies.append(create_body("test_resnet", None, size)[0].state_dict())
    assert all(torch.equal(body[key], value) for body in bodies[1:] for key, value in bodies[0].items())


def test_a_vision_transformer_sees_its_size():
    backbone = Backbone("test_vit", 3, 8, image_size=64)
    assert backbone(torch.zeros(2, 3, 64, 64))[0].shape == (2, 8)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet18.nonsense", "unknown weights 'nonsense' of backbone resnet18; give resnet18, or one of its a1_in1k"),
        ("resnet18.", "unknown weights '' of backbone resnet18"),
        ("resnet1000.a1_in1k", "unknown backbone 'resnet1000.a1_in1k'; give a timm model name"),
        ("hf-hub:timm/resnet18", "unknown backbone"),
    ],
)
def test_a_name_that_is_none(name, words):
    with pytest.raises(InputError, match=words):
        check(name)


def test_weights_that_timm_does_not_have():
    with pytest.raises(InputError, match="timm has no weights of botnet50ts_256; give a file of them, or none"):
        check_backbone("botnet50ts_256", "timm", TrainingConfig(1, image_size=256))
    check_backbone("botnet50ts_256", None, TrainingConfig(1, image_size=256))


def test_batches_of_one_image_teach_batch_norm_nothing():
    one = TrainingConfig(1, image_size=32, batch_size=1)
    with pytest.raises(InputError, match="batches of two images or more"):
        check_backbone("test_resnet", None, one)
    check_backbone("test_resnet", None, one, learns=False)


@pytest.mark.parametrize("name", ["fastvit_t8", "mobileone_s0", "repvgg_a0"])
def test_strided_convolutions_of_single_pixels_run_in_the_default_format(name):
    body, _ = create_body(name, None, 32)
    assert layout_of(body) == torch.contiguous_format
    seen = []
    conv = next(m for m in body.modules() if isinstance(m, torch.nn.Conv2d))
    conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous()))
    body(torch.zeros(2, 3, 32, 32).contiguous(memory_format=torch.channels_last))
    assert seen == [True]


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet18", "test_resnet", "tf_efficientnet_lite0", "vgg16"])
def test_others_run_with_channels_last(name):
    with torch.device("meta"):
        assert layout_of(timm.create_model(name)) == torch.channels_last


def test_a_trained_vision_transformer_is_saved_and_loaded(tmp_path):
    images = torch.randint(0, 256, (16, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    size = dict(bits=3, codebook_size=8, embedding_dim=8, image_size=48, epochs=1, batch_size=8)
    model = DPQ("pit_ti_224", weights=None, device="cpu", **size).fit(images, ["a", "b"] * 8)
    model.save(tmp_path / "m")
    assert torch.equal(DPQ.from_pretrained(tmp_path / "m", device="cpu").encode(images), model.encode(images))
