"""What every method promises by being registered, as checks that any package can run on its own.

With pytest, where METHOD is the package's `MethodEntry`:

    @pytest.mark.parametrize("check", conformance_checks(METHOD))
    def test_conformance(check):
        check()
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial, update_wrapper
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpq.codes.additive import decode
from dpq.errors import InputError
from dpq.learning.backbone import Backbone, Head
from dpq.learning.entry import Decoder, Method, MethodContext, MethodEntry, Source
from dpq.learning.on_embeddings import FrozenFeatures
from dpq.learning.settings import Execution, TrainingConfig
from dpq.method.dpq import DPQMethod
from dpq.method.label_vectors import orthonormal_label_vectors
from dpq.protocols import Dataset
from dpq.protocols.digits import load_digits_protocol
from dpq.seeds import derive_seed, seeded

CODEBOOK_SIZE = 16  # codewords per level: 4 bits
LEVELS = 3
BITS = 12
DIM = 16
BATCH = 5  # 24 steps: after fewer, what batch norm has seen still changes more than images differ
NETWORK = "test_resnet"  # timm's, of a few thousand weights


@dataclass(frozen=True)
class Subject:
    """What is checked."""

    make: Callable[..., Method]  # untrained, of 16 codewords per level: of `bits`, its random weights from `seed`
    progressive: bool  # what its entry says
    dataset: Dataset  # small
    training: TrainingConfig  # short

    @cached_property
    def fitted(self) -> Method:
        """A trained method, which no check may change."""
        return self.fit()

    @cached_property
    def embeddings(self) -> Tensor:
        """Of the queries, [Q, D], by the trained method."""
        return self.fitted.embed(self.dataset.query.images)

    def fit(self, build_seed: int = 0, seed: int = 3, checkpoint: Path | None = None) -> Method:
        """A method of its own, trained."""
        method = self.make(seed=build_seed)
        execution = Execution(checkpoint=checkpoint, progress=False)
        method.fit(self.dataset.train, self.training, seed=seed, execution=execution)
        return method


def conformance_checks(entry: MethodEntry) -> list[Callable[[], None]]:
    """The checks of a method that a package offers, on bundled digits and a tiny network without trained weights.

    Each is named by a promise, and raises an `AssertionError` that says what is broken. Nothing is computed before the
    first one is called; they share one training.
    """
    return checks_of(cache(partial(subject_of, entry)))


def checks_of(subject: Callable[[], Subject]) -> list[Callable[[], None]]:
    """All checks of what `subject` gives, which it must give again and again."""
    # pytest shows the names
    return [update_wrapper(partial(lambda check: check(subject()), check), check) for check in CHECKS]


def subject_of(entry: MethodEntry) -> Subject:
    """A method in a setting that takes seconds."""
    dataset, training = small_dataset(), TrainingConfig(epochs=2, batch_size=BATCH, image_size=32)
    classes = len(dataset.classes)
    vectors = orthonormal_label_vectors(classes, DIM)

    def network(classes: int, embedding_dim: int = 0, head: Head = "tanh") -> Backbone:
        return Backbone(NETWORK, classes, embedding_dim or DIM, head=head)

    def make(bits: int = BITS, seed: int = 0) -> Method:
        source: Source | None = None
        with seeded(derive_seed(0, "weights")):
            if entry.source == "backbone":
                source = FrozenFeatures(NETWORK, None, training, torch.device("cpu"))
            elif entry.source == "dpq":
                source = DPQMethod(network(classes), vectors, bits=BITS, codebook_size=CODEBOOK_SIZE)
        with seeded(derive_seed(seed, "weights")):
            config = entry.config and entry.config()
            frozen = entry.source == "backbone"
            return entry.build(
                MethodContext(config, bits, CODEBOOK_SIZE, classes, vectors, network, source, frozen=frozen)
            )

    return Subject(make, entry.progressive, dataset, training)


@cache
def small_dataset() -> Dataset:
    """60 digits in every split, of all ten classes."""
    return load_digits_protocol(seen=10).limited(60)


def _require(kept: Any, promise: str) -> None:
    if not kept:
        raise AssertionError(promise)


def _decoded(method: Method, codes: Tensor) -> Tensor:
    """Reconstructions [N, D] in double precision, by the method's own decoder where it has one."""
    if isinstance(method, Decoder):
        return method.decode(codes).double()
    return decode(codes, method.codebooks.cpu().double()[: codes.shape[1]])


def _constant(method: Method) -> bool:
    """Whether training leaves the codebooks as they are, as those of signs."""
    return bool(getattr(method, "constant_codebooks", False))


def _coded(method: Method, embeddings: Tensor) -> Tensor:
    """Embeddings [N, D] that say whether codes stand for what they are made of: those of a short training.

    Of constant codebooks they are standardised. No codebook follows the scale and the mean that a network has to find,
    and signs of one that has learned for two epochs are the same for all images.
    """
    if not _constant(method):
        return embeddings
    return (embeddings - embeddings.mean(dim=0)) / embeddings.std(dim=0).clamp(min=torch.finfo().tiny)


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _require_refusal(call: Callable[[], object], promise: str, word: str) -> None:
    """The call must raise an `InputError` whose message has the word."""
    try:
        call()
    except InputError as error:
        _require(word in str(error), f"{promise}, in a message that says {word!r}; it says: {error}")
        return
    raise AssertionError(f"{promise}; nothing was raised")


def entry_and_method_agree(subject: Subject) -> None:
    """`progressive` is one value."""
    said = subject.make().progressive
    _require(said == subject.progressive, f"progressive is {subject.progressive} in the entry and {said} in the method")


def fit_logs_what_can_be_recorded(subject: Subject) -> None:
    """The log goes into a JSON record."""
    method = subject.make()
    log = method.fit(subject.dataset.train, subject.training, seed=3, execution=Execution(progress=False))
    _require(log.seconds > 0 and log.images_per_second > 0, "fit must return a TrainLog with its seconds and speed")
    json.dumps(log.epochs, allow_nan=False)
    flat = all(isinstance(value, int | float | list) for epoch in log.epochs for value in epoch.values())
    _require(flat, "TrainLog.epochs must be a list of tables that hold numbers, or lists of numbers or texts")


def codes_fit_the_codebooks(subject: Subject) -> None:
    """Shapes, types and range."""
    method, embeddings, count = subject.fitted, subject.embeddings, len(subject.dataset.query)
    codebooks, codes = method.codebooks, method.encode(_coded(method, embeddings))
    levels, codewords, dim = codebooks.shape
    _require((levels, codewords) == (LEVELS, CODEBOOK_SIZE), f"codebooks of {BITS} bits must be [3, 16, D]")
    _require(torch.isfinite(codebooks).all(), "codebooks must be finite")
    _require(
        embeddings.shape == (count, dim), f"embeddings must be [N, D] = [{count}, {dim}], as wide as the codebooks"
    )
    _require(embeddings.dtype == torch.float32 and embeddings.device.type == "cpu", "embeddings: float32, on the CPU")
    _require(codes.shape == (count, levels), f"codes must be [N, M] = [{count}, {levels}]; got {list(codes.shape)}")
    _require(codes.dtype == torch.uint8 and codes.device.type == "cpu", "codes must be uint8, on the CPU")
    _require(int(codes.max()) < codewords, f"codes must be below {codewords}; got {int(codes.max())}")
    _require(len(torch.unique(codes, dim=0)) > 4, "different images must get different codes")


def codes_decode_to_their_embeddings(subject: Subject) -> None:
    """An image's code stands for it, and not for another one in the list, however the codes are shifted."""
    # In double precision: of a network that has learned little the embeddings differ in their last digits.
    coded = _coded(subject.fitted, subject.embeddings)
    embeddings, decoded = coded.double(), _decoded(subject.fitted, subject.fitted.encode(coded))
    own, *others = (float((embeddings - decoded.roll(i, dims=0)).square().sum()) for i in range(len(decoded)))
    promise = "the sum of an image's codewords must be nearer to its embedding than that of another image"
    _require(own < min(others), promise)


def an_image_has_one_code(subject: Subject) -> None:
    """Codes do not depend on what else is encoded; of equal codewords either may be taken."""
    some, method = subject.embeddings[:7], subject.fitted
    alone, among = (_decoded(method, method.encode(those)) for those in (some, subject.embeddings))
    _require(torch.allclose(alone, among[:7], atol=1e-4), "the code of an image must not depend on the others")


def predictions_are_embeddings_and_logits(subject: Subject) -> None:
    """`predict` gives what `embed` gives, and class logits."""
    embeddings, logits = subject.fitted.predict(subject.dataset.query.images)
    classes = len(subject.dataset.classes)
    _require(_same(embeddings, subject.embeddings), "predict and embed must give the same embeddings")
    _require(
        len(logits) == len(embeddings) and logits.shape[1] in (0, classes),
        f"logits must be [N, {classes}], or [N, 0] without a classifier; got {list(logits.shape)}",
    )


def a_prefix_is_a_prefix(subject: Subject) -> None:
    """`bits` asks for the first levels."""
    shorter, whole = subject.fitted.encode(subject.embeddings, bits=8), subject.fitted.encode(subject.embeddings)
    _require(_same(shorter, whole[:, :2]), "encode(bits=8) must be the first two levels of the whole code")


def a_progressive_prefix_is_the_code_of_the_shorter_codebook(subject: Subject) -> None:
    """What `progressive` claims."""
    if not subject.progressive:
        return
    method = subject.fit()
    embeddings = _coded(method, method.embed(subject.dataset.query.images))
    whole = method.encode(embeddings)
    # In double precision: what a level adds may be small beside what no level reaches.
    errors = [float((embeddings - _decoded(method, whole[:, :m])).square().sum()) for m in range(1, LEVELS + 1)]
    _require(errors[0] > errors[1] > errors[2], f"every level must lower the reconstruction error; got {errors}")
    method.codebooks[LEVELS - 1].add_(1.0)
    first = method.encode(embeddings)[:, : LEVELS - 1]
    _require(_same(first, whole[:, : LEVELS - 1]), "the last codebook must have no say in the levels before it")


def the_seed_decides(subject: Subject) -> None:
    """The same seed gives the same codebooks, another seed gives different ones; of constant codebooks, embeddings."""
    images, what = subject.dataset.query.images, "embeddings" if _constant(subject.fitted) else "codebooks"

    def learned(method: Method) -> Tensor:
        return method.embed(images) if _constant(method) else method.codebooks

    again, other = (learned(subject.fit(build_seed=seed, seed=seed + 3)) for seed in (0, 1))
    _require(_same(again, learned(subject.fitted)), f"the same seed must give the same {what}, bit for bit")
    _require(not torch.equal(other, again), f"another seed must give other {what}")


def a_checkpoint_restores_the_method(subject: Subject) -> None:
    """What was trained is read, not trained again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "method.safetensors"
        trained = subject.fit(checkpoint=path)
        _require(path.is_file(), "fit must write execution.checkpoint")
        restored = subject.fit(seed=4, checkpoint=path)  # a training with this seed would end elsewhere
    _require(_same(trained.codebooks, subject.fitted.codebooks), "writing a checkpoint must change no number")
    _require(_same(restored.codebooks, trained.codebooks), "fit must go on from the checkpoint, not start again")
    embeddings = restored.embed(subject.dataset.query.images)
    _require(_same(embeddings, subject.embeddings), "a restored method must give the same embeddings")
    _require(_same(restored.encode(embeddings), trained.encode(embeddings)), "... and the same codes")


def bad_lengths_are_refused(subject: Subject) -> None:
    """When built, and when encoding."""
    for bits in (0, 6, -4):
        _require_refusal(partial(subject.make, bits=bits), f"{bits} bits must be refused when built", str(bits))
    some, promise = subject.embeddings[:2], f"bits of {BITS} must be refused when encoding"
    for bits in (16, 5, 0):
        _require_refusal(partial(subject.fitted.encode, some, bits=bits), f"{bits} {promise}", str(bits))


def unusable_data_are_refused(subject: Subject) -> None:
    """Fewer images than codewords, and embeddings of another width."""
    few = subject.dataset.train.take(torch.arange(10))
    promise = f"10 training images for {CODEBOOK_SIZE} codewords must be refused"
    _require_refusal(lambda: subject.make().fit(few, subject.training), promise, "10")
    _require_refusal(lambda: subject.fitted.encode(torch.zeros(4, 3)), "embeddings [4, 3] must be refused", "3")


CHECKS: tuple[Callable[[Subject], None], ...] = (
    entry_and_method_agree,
    fit_logs_what_can_be_recorded,
    codes_fit_the_codebooks,
    codes_decode_to_their_embeddings,
    an_image_has_one_code,
    predictions_are_embeddings_and_logits,
    a_prefix_is_a_prefix,
    a_progressive_prefix_is_the_code_of_the_shorter_codebook,
    the_seed_decides,
    a_checkpoint_restores_the_method,
    bad_lengths_are_refused,
    unusable_data_are_refused,
)
