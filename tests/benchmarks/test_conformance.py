"""What every method promises by being registered."""

from dataclasses import replace

import pytest
import torch

from benchmarks.config import parse_experiment
from benchmarks.methods import METHODS, Context, build_method, frozen_features, read_ingredients, score_of
from dpq import InputError
from dpq.additive import decode
from dpq.protocols import load_protocol
from dpq.settings import Execution
from tests.benchmarks.conftest import TINY

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset():
    return load_protocol("digits").limited(60)


@pytest.fixture(scope="module")
def experiment():
    return parse_experiment("tiny", TINY.replace("bits = [4, 8]", "bits = [4, 8, 12]"))


@pytest.fixture(params=METHODS)
def make(request, experiment, dataset):
    """Builds a method; those that quantize another's predictions get that one, untrained, as their source."""

    def build(bits=12, seed=0):
        chosen = replace(experiment, bits=(bits,))
        context = Context(chosen, dataset, read_ingredients(experiment, dataset), seed, CPU)
        source, read = None, METHODS[request.param].source
        if read is not None:
            source = frozen_features(context) if read == "backbone" else build_method(read, context)
        return build_method(request.param, replace(context, source=source))

    build.entry = METHODS[request.param]
    return build


@pytest.fixture
def fitted(make, experiment, dataset):
    method = make()
    method.fit(dataset.train, experiment.training, seed=3)
    return method


def test_the_entry_says_what_the_method_says(make, experiment):
    method = make()
    assert make.entry.progressive == method.progressive
    assert make.entry.configs
    assert all(hasattr(experiment.methods, table) for table in make.entry.configs)
    name = next(name for name, entry in METHODS.items() if entry is make.entry)
    assert score_of(name, experiment) in ("inner", "l2")
    assert name.startswith(method.name)


def test_codes_fit_the_codebooks_and_decode_to_embeddings(fitted, dataset):
    embeddings = fitted.embed(dataset.query.images)
    codes = fitted.encode(embeddings)
    levels, codewords, dim = fitted.codebooks.shape
    assert (levels, codewords) == (3, 16)
    assert embeddings.shape == (len(dataset.query), dim)
    assert embeddings.dtype == torch.float32
    assert torch.isfinite(fitted.codebooks).all()
    assert codes.shape == (len(embeddings), levels)
    assert codes.dtype == torch.uint8
    assert codes.max() < codewords
    assert len(codes.unique(dim=0)) > 4
    own, anothers = (
        (embeddings - decode(chosen, fitted.codebooks)).square().sum() for chosen in (codes, codes.roll(1, dims=0))
    )
    assert own < anothers


def test_predictions_are_embeddings_and_logits(fitted, dataset):
    embeddings, logits = fitted.predict(dataset.query.images)
    assert torch.equal(embeddings, fitted.embed(dataset.query.images))
    assert logits.shape[0] == len(embeddings)
    assert logits.shape[1] in (0, len(dataset.classes))


def test_a_prefix_is_a_prefix(fitted, dataset):
    embeddings = fitted.embed(dataset.query.images)
    assert torch.equal(fitted.encode(embeddings, bits=8), fitted.encode(embeddings)[:, :2])


def test_a_progressive_prefix_is_the_code_of_the_shorter_codebook(fitted, dataset):
    if not fitted.progressive:
        pytest.skip("claims no prefix property")
    embeddings = fitted.embed(dataset.query.images)
    whole = fitted.encode(embeddings)
    # In double precision: what a level adds may be small beside what no level reaches.
    codebooks = fitted.codebooks.double()
    errors = [(embeddings - decode(whole, codebooks, m)).square().sum() for m in (1, 2, 3)]
    assert errors[0] > errors[1] > errors[2]
    # The last codebook has no say in the first two levels.
    fitted.codebooks[2].add_(1.0)
    assert torch.equal(fitted.encode(embeddings)[:, :2], whole[:, :2])


def test_the_same_seed_gives_the_same_codes_and_another_one_others(make, experiment, dataset):
    codebooks = []
    for seed in (3, 3, 4):
        method = make(seed=seed)
        method.fit(dataset.train, experiment.training, seed=seed)
        codebooks.append(method.codebooks)
    assert torch.equal(codebooks[0], codebooks[1])
    assert not torch.equal(codebooks[0], codebooks[2])


def test_a_checkpoint_restores_the_method(make, fitted, experiment, dataset, tmp_path, monkeypatch):
    path = tmp_path / "method.safetensors"
    trained = make()
    trained.fit(dataset.train, experiment.training, seed=3, execution=Execution(CPU, path))
    monkeypatch.setattr("dpq.training.Trainer.step", None)
    monkeypatch.setattr("dpq.additive.kmeans", None)
    restored = make()
    restored.fit(dataset.train, experiment.training, seed=3, execution=Execution(CPU, path))
    assert torch.equal(restored.codebooks, fitted.codebooks)
    embeddings = restored.embed(dataset.query.images)
    assert torch.equal(embeddings, fitted.embed(dataset.query.images))
    assert torch.equal(restored.encode(embeddings), fitted.encode(embeddings))


@pytest.mark.parametrize("bits", [0, 6, -4])
def test_bad_lengths_are_refused_when_built(make, bits):
    with pytest.raises(InputError, match=f"code lengths must be multiples of 4 bits .* got {bits}"):
        make(bits=bits)


@pytest.mark.parametrize(
    ("bits", "words"), [(16, "16 bits exceed the 12 bits"), (5, "multiples of 4 bits"), (0, "got 0")]
)
def test_bad_lengths_are_refused_when_encoding(fitted, dataset, bits, words):
    embeddings = fitted.embed(dataset.query.images[:2])
    with pytest.raises(InputError, match=words):
        fitted.encode(embeddings, bits=bits)


def test_fewer_images_than_codewords_and_other_dimensions_are_refused(make, fitted, experiment, dataset):
    with pytest.raises(InputError, match="at least as many training images; got 10"):
        make().fit(dataset.train.take(torch.arange(10)), experiment.training)
    with pytest.raises(InputError, match="expected embeddings"):
        fitted.encode(torch.zeros(4, 3))
