import dataclasses
from dataclasses import replace

import pytest
import torch

from dpq import DPQConfig, InputError
from dpq.learning.augment import draw_crops, to_input
from dpq.learning.settings import Augmentation
from dpq.method.dpq import DPQMethod, codeword_usage
from dpq.method.label_vectors import orthonormal_label_vectors


def gradients(method, split, training):
    """Gradient of the quantization term alone, with the codebooks started."""
    method.training_config = training
    embeddings, _ = method.predict(split.images)
    method.quantizer.initialise(embeddings, seed=0)
    method.train()
    inputs = to_input(split.images[:32], 32, method.backbone.preprocessing, training.augmentation)
    terms = method.losses(inputs, split.labels[:32], torch.arange(32), epoch=3)
    sum(terms[name] for name in ("soft", "hard", "joint")).backward()
    return method


@pytest.mark.parametrize(("variant", "reaches"), [("paper", True), ("released", False)])
def test_quantization_gradient_reaches_the_backbone_in_paper_and_the_codebooks_alone_in_released(
    make_dpq, split, training, variant, reaches
):
    method = make_dpq()
    if variant == "released":
        method = make_dpq(**vars(method.config.released()))
    gradients(method, split, training)
    touched = [
        name
        for name, parameter in method.backbone.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    ]
    assert bool(touched) == reaches
    assert any(name.startswith("body") for name in touched) == reaches
    assert method.quantizer.codebooks.grad.abs().sum() > 0


def test_released_turns_every_switch_that_it_names():
    paper, released = DPQConfig(), DPQConfig().released()
    differing = {f.name for f in dataclasses.fields(DPQConfig) if getattr(paper, f.name) != getattr(released, f.name)}
    assert differing == {
        "hard_choice",
        "soft_assignment",
        "quantization_gradient",
        "norm",
        "multipliers",
        "negatives",
        "query_precision",
        "lost_epoch",
    }


def test_released_multipliers_are_learning_rates(make_dpq, training):
    method = make_dpq(multipliers="released")
    rate = {}
    for group in method.network_parameters(training):
        for parameter in group["params"]:
            rate[id(parameter)] = group["lr"] / training.learning_rate
    named = dict(method.backbone.named_parameters())
    assert rate[id(named["embedding.weight"])] == pytest.approx(10)
    assert rate[id(named["classifier.bias"])] == pytest.approx(20)
    for name, parameter in named.items():
        if name.startswith("body"):
            assert rate[id(parameter)] == pytest.approx(1.0 if name.endswith("bias") else 0.5)
    assert len(rate) == len(named)


def test_every_parameter_is_in_exactly_one_group(make_dpq, training):
    method = make_dpq()
    grouped = [p for g in method.network_parameters(training) + method.codebook_parameters() for p in g["params"]]
    assert len(grouped) == len({id(p) for p in grouped})
    assert {id(p) for p in grouped} == {id(p) for p in method.parameters()}


def test_layer_decay_slows_earlier_layers(make_dpq, training):
    groups = make_dpq().network_parameters(replace(training, layer_decay=0.5, head_multiplier=3))
    rates = sorted({group["lr"] for group in groups})
    assert rates[-1] == pytest.approx(3 * training.learning_rate)
    assert rates[0] < 0.3 * training.learning_rate


def test_codebooks_wait_for_their_epochs(make_dpq, split, training):
    method = make_dpq(feature_epochs=0.5)
    log = method.fit(split, training, seed=0)
    assert ["hard" in epoch for epoch in log.epochs] == [False, False, True, True]


def test_the_lost_epoch_is_lost(make_dpq, split, training):
    assert len(make_dpq(lost_epoch=True).fit(split, training, seed=0).epochs) == training.epochs - 1


def test_embeddings_and_codes_repeat_and_fit(make_dpq, split, training):
    method = make_dpq()
    method.fit(split, training, seed=0)
    embeddings = method.embed(split.images)
    assert torch.equal(embeddings, method.embed(split.images))
    assert embeddings.shape == (96, 16)
    assert embeddings.abs().max() <= 1
    codes = method.encode(embeddings)
    assert codes.shape == (96, 2)
    assert codes.dtype == torch.uint8
    assert torch.equal(codes, method.quantizer.encode(embeddings))
    assert torch.equal(method.encode(embeddings, bits=4), codes[:, :1])
    with pytest.raises(InputError, match="12 bits exceed the 8 bits that were trained"):
        method.encode(embeddings, bits=12)


def test_random_crops_at_evaluation_move_the_embeddings(make_dpq, split, training):
    centre, random = make_dpq(), make_dpq(evaluation_crop="random")
    for method in (centre, random):
        method.training_config = training
    assert not torch.equal(centre.embed(split.images), random.embed(split.images))
    assert torch.equal(random.embed(split.images), random.embed(split.images))


def test_mirrored_views_are_averaged(make_dpq, split, training):
    method = make_dpq()
    method.training_config = replace(training, evaluation_views="mirror")
    both = method.embed(split.images)
    method.training_config = training
    expected = (method.embed(split.images) + method.embed(split.images.flip(3))) / 2
    assert torch.allclose(both, expected, atol=1e-5)
    assert not torch.allclose(both, method.embed(split.images), atol=1e-5)


def test_codeword_usage_against_counting():
    codes = torch.tensor([[0, 1], [0, 1], [3, 1], [3, 1]])
    usage = codeword_usage(codes, 4)
    assert usage["codewords_used"] == [2, 1]
    assert usage["codeword_perplexity"] == [2.0, 1.0]


def test_training_separates_the_classes(make_dpq, split, training):
    method = make_dpq()
    method.fit(split, replace(training, epochs=12), seed=0)
    _, logits = method.predict(split.images)
    assert (logits.argmax(dim=1) == split.labels.int().argmax(dim=1)).float().mean() > 0.9


def test_multi_label_training_runs(make_dpq, split, training):
    both = dataclasses.replace(split, labels=split.labels | split.labels.roll(1, dims=1))
    source = make_dpq()
    method = DPQMethod(
        source.backbone, orthonormal_label_vectors(4, 16), source.config, bits=8, codebook_size=16, multi_label=True
    )
    log = method.fit(both, training, seed=0)
    assert log.epochs[-1]["classification"] < log.epochs[0]["classification"]


def test_refusals(make_dpq, split, training):
    method = make_dpq()
    with pytest.raises(InputError, match="multiples of 4 bits"):
        make_dpq(bits=10)
    with pytest.raises(InputError, match=r"label vectors are \[3, 16\]"):
        DPQMethod(method.backbone, orthonormal_label_vectors(3, 16))
    with pytest.raises(InputError, match="at least as many training images; got 15"):
        method.fit(split.take(torch.arange(15)), training)


def test_augmentation_draws_do_not_depend_on_the_flip_switch(split, make_dpq):
    preprocessing = make_dpq().backbone.preprocessing

    def sample(flip, seed=0):
        augmentation = Augmentation(flip=flip, shift=0.0)
        crops = draw_crops(len(split), augmentation, torch.Generator().manual_seed(seed))
        return to_input(split.images, 16, preprocessing, augmentation, crops)

    plain = to_input(split.images, 16, preprocessing, Augmentation(shift=0.0))
    assert torch.allclose(sample(False), plain, atol=1e-5)
    same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(sample(True), plain, strict=True)]
    mirrored = [torch.allclose(a, b.flip(2), atol=1e-4) for a, b in zip(sample(True), plain, strict=True)]
    assert all(a or b for a, b in zip(same, mirrored, strict=True))
    assert any(same)
    assert any(mirrored)


def test_features_alone_in_every_epoch_still_end_with_codebooks(make_dpq, split, training):
    method = make_dpq(feature_epochs=1.0)
    log = method.fit(split, training)
    assert not any("hard" in epoch for epoch in log.epochs)
    assert len(method.encode(method.embed(split.images)).unique(dim=0)) > 4
