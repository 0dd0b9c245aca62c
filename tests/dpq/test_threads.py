"""What only answers: eight threads get what one gets, and asking changes neither the object nor the process."""

import logging
import os
import random
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from baselines.quantizers.pq import METHOD as PQ
from dpq import DPQ, CodeIndex, ProgressiveQuantizer, ProgressiveQuantizerEstimator, metrics
from dpq.codes.additive import decode, encode, residual_kmeans
from dpq.conformance import subject_of
from dpq.errors import ignored
from dpq.learning.backbone import Backbone
from dpq.learning.on_embeddings import FrozenFeatures
from dpq.learning.settings import Augmentation, TrainingConfig
from dpq.method.dpq import METHOD, DPQMethod
from dpq.method.label_vectors import orthonormal_label_vectors
from dpq.ranking.evaluate import evaluate_codes, evaluate_embeddings
from dpq.ranking.scores import DistinctCodes
from dpq.search.images import ImageIndex
from dpq.seeds import seeded

THREADS, ROUNDS = 8, 3
TRAINING = TrainingConfig(epochs=1, image_size=24, dropout=0.5, augmentation=Augmentation(crop=0.875))
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 24, 24, 3), dtype=np.uint8)
BATCH = torch.from_numpy(PIXELS).permute(0, 3, 1, 2).contiguous()
POINTS = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
BOOKS = residual_kmeans(POINTS, 2, 16, 0)
CODES = encode(POINTS, BOOKS)
LABELS = torch.eye(3, dtype=torch.bool)[torch.arange(300) % 3]
SMALL = dict(weights=None, bits=8, codebook_size=16, embedding_dim=8, image_size=24, epochs=1, batch_size=16)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    for number, pixels in enumerate(PIXELS):
        file = folder / "photos" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    model = DPQ("test_resnet", training=TRAINING, device="cpu", **SMALL).fit(folder / "photos")
    model.save(folder / "model")
    ImageIndex.build(folder / "model", folder / "photos", lists=3, device="cpu").save(folder / "photos.index")
    return folder, model


def vectors():
    return orthonormal_label_vectors(3, 8)


def asked_of_a_model(model):
    return [
        lambda: model.embed(PIXELS),
        lambda: model.encode(PIXELS, 4),
        lambda: model.decode(CODES),
        lambda: model.codebooks,
        lambda: model.method.predict(BATCH, views="mirror"),
    ]


def fitted(place):
    return place[1], asked_of_a_model(place[1])


def loaded(place):
    model = DPQ.from_pretrained(place[0] / "model", device="cpu")
    return model, [*asked_of_a_model(model), lambda: model.encode(place[0] / "photos")]


def loading(place):
    folder = place[0]
    return None, [
        lambda: DPQ.from_pretrained(folder / "model", device="cpu").embed(PIXELS),
        lambda: ImageIndex.load(folder / "photos.index", device="cpu").search(PIXELS[:2]),
        lambda: CodeIndex.load(folder / "photos.index").codes,
    ]


def in_training_mode(_):
    """A network that somebody goes on to train."""
    with seeded(0):
        method = DPQMethod(Backbone("test_resnet", 3, 8, dropout=0.5), vectors(), bits=8, codebook_size=16)
    method.training_config = TRAINING
    return method.train(), [lambda: method.embed(BATCH), lambda: method.encode(POINTS), lambda: method.predict(BATCH)]


def trained_method(_):
    subject = subject_of(METHOD)
    method = subject.make()
    method.fit(subject.dataset.train, subject.training)
    images = subject.dataset.train.images[:50]
    return method, [lambda: method.embed(images), lambda: method.encode(method.embed(images))]


def on_embeddings(_):
    subject = subject_of(PQ)
    method = subject.make()
    method.fit(subject.dataset.train, subject.training)
    images = subject.dataset.train.images[:50]
    return method, [lambda: method.embed(images), lambda: method.encode(method.embed(images)), lambda: method.codebooks]


def frozen(_):
    with seeded(0):
        network = FrozenFeatures("test_resnet", None, TRAINING, torch.device("cpu"))
    return network, [lambda: network.predict(BATCH, views="ten-crop")]


def quantizer(_):
    made = ProgressiveQuantizer(2, 16, 8)
    made.initialise(POINTS, 0)
    return made, [lambda: made.encode(POINTS), lambda: made.decode(CODES), lambda: made(POINTS), lambda: made.levels]


def estimator(_):
    made = ProgressiveQuantizerEstimator(levels=2, codebook_size=16, random_state=0).fit(POINTS.numpy())

    return made, [
        lambda: made.transform(POINTS.numpy()),
        lambda: made.inverse_transform(CODES.numpy()),
        lambda: made.get_feature_names_out(),
    ]


def index(_, score="inner", lists=0, shift=0.0):
    made = CodeIndex(CODES, BOOKS + shift, score)
    if lists:
        made.divide(lists)
    probes = [1, 2, None] if lists else [None]
    asked = [partial(made.search, POINTS[:40], 7, one) for one in probes]
    return made, [
        *asked,
        lambda: made.prefix(4).search(POINTS[:5]),
        lambda: made.codes,
        *([] if shift else [lambda: made.faiss.ntotal]),
    ]


def image_index(place):
    made = ImageIndex.load(place[0] / "photos.index", device="cpu")
    return made.codes, [lambda: made.search(PIXELS[:3]), lambda: made.search(PIXELS[:3], bits=4, probes=1)]


def rankers(_):
    distinct, scores = DistinctCodes.of(CODES), (POINTS[:9] @ decode(CODES, BOOKS).T).numpy()
    relevant = (LABELS[:9].float() @ LABELS.float().T).bool().numpy()
    measures = [partial(metrics.mean_average_precision, scores, relevant, ties=one) for one in ("expected", "best")]
    return distinct, [
        *measures,
        lambda: metrics.precision_recall_curve(scores, relevant),
        lambda: evaluate_codes(POINTS[:9], LABELS[:9], CODES, LABELS, BOOKS, 50),
        lambda: evaluate_embeddings(POINTS[:9], LABELS[:9], POINTS, LABELS, 50, "l2"),
        lambda: (distinct.by_code, distinct.start, distinct.scores(np.ones((2, 2, 16)), None)),
    ]


OBJECTS = {
    "fitted": fitted,
    "loaded": loaded,
    "loading": loading,
    "in training mode": in_training_mode,
    "method": trained_method,
    "on embeddings": on_embeddings,
    "frozen features": frozen,
    "quantizer": quantizer,
    "estimator": estimator,
    "index": index,
    "index l2": partial(index, score="l2", shift=100.0),
    "index with lists": partial(index, lists=5),
    "image index": image_index,
    "rankers": rankers,
}


def plain(value):
    """An answer as what `==` compares."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return np.asarray(value.detach() if isinstance(value, torch.Tensor) else value).tolist()
    if is_dataclass(value):
        return [plain(getattr(value, field.name)) for field in fields(value)]
    return [plain(one) for one in value] if isinstance(value, tuple | list) else value


def state_of(made):
    """All that asking could change of an object."""
    if isinstance(made, DPQ):
        made = made.method
    if isinstance(made, torch.nn.Module):
        tensors = {name: value.tolist() for name, value in made.state_dict().items()}
        return tensors, {name: module.training for name, module in made.named_modules()}
    if isinstance(made, CodeIndex):
        return plain((made.codes, made.codebooks, made.ids, made.names, made.next_id))
    return plain(getattr(made, "codebooks_", getattr(made, "codebooks", None)))


def state_of_the_process():
    os.umask(umask := os.umask(0))
    return {
        "torch's numbers": torch.get_rng_state().tolist(),
        "NumPy's numbers": str(np.random.get_state()),
        "Python's numbers": random.getstate(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "types": (torch.get_default_dtype(), torch.get_float32_matmul_precision()),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "warnings": list(warnings.filters),
        "logging": [logging.getLogger(name).level for name in (None, "timm", "huggingface_hub", "dpq", "faiss")],
        "place": (os.getcwd(), umask, dict(os.environ)),
        "threads' own": threading.stack_size(),
    }


@pytest.mark.parametrize("name", OBJECTS)
def test_eight_threads_get_what_one_gets_and_change_nothing(place, name):
    made, questions = OBJECTS[name](place)
    # Of another one, so that threads make the lazy parts of the first.
    alone = [plain(question()) for question in OBJECTS[name](place)[1]]
    before, process = state_of(made), state_of_the_process()
    begin = threading.Barrier(THREADS)

    def ask(first):
        begin.wait()
        order = [(first + step) % len(questions) for step in range(ROUNDS * len(questions))]
        return [number for number in order if plain(questions[number]()) != alone[number]]

    with ThreadPoolExecutor(THREADS) as threads:
        wrong = [number for numbers in threads.map(ask, range(THREADS)) for number in numbers]
    assert not wrong
    assert (state_of(made) == before) is True  # pytest would print all numbers
    now = state_of_the_process()
    if name == "estimator":  # scikit-learn's checks catch warnings, which is not for threads
        del process["warnings"]
    assert not [part for part in process if now[part] != process[part]]


def test_a_model_answers_in_evaluation_mode(place):
    folder, model = place
    for one in (model, DPQ.from_pretrained(folder / "model", device="cpu")):
        assert not any(module.training for module in one.method.modules())


def test_what_a_model_gives_may_be_written_to(place):
    model, before = place[1], place[1].embed(PIXELS)
    codes = model.encode(PIXELS)
    for values in (model.codebooks, model.decode(codes), model.embed(PIXELS), model.encode(PIXELS)):
        values.zero_()
    assert torch.equal(model.embed(PIXELS), before) and torch.equal(model.encode(PIXELS), codes)
    given = vectors()
    method = DPQMethod(Backbone("test_resnet", 3, 8), given, bits=8, codebook_size=16)
    given.zero_()
    assert torch.equal(method.label_vectors, vectors())


def test_warnings_are_ignored_by_threads_that_leave_in_any_order():
    before, first, second = list(warnings.filters), ignored(), ignored(UserWarning)
    with pytest.warns(DeprecationWarning, match="told"):
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        warnings.warn("not told", stacklevel=1)
        warnings.warn("told", DeprecationWarning, stacklevel=1)
        second.__exit__(None, None, None)
    assert warnings.filters == before
