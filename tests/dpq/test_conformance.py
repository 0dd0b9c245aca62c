"""That the checks find methods which break a promise; those that keep them all are in `tests/benchmarks`."""

from dataclasses import replace

import pytest
import torch

from dpq.codes.additive import residual_kmeans
from dpq.conformance import conformance_checks, subject_of
from dpq.learning.on_embeddings import EmbeddingQuantizer
from dpq.registry import MethodEntry


class Kept(EmbeddingQuantizer):
    name = "kept"
    progressive = True

    def learn(self, embeddings, seed):
        return residual_kmeans(embeddings, self.levels, self.codebook_size, seed)


class Unseeded(Kept):
    def learn(self, embeddings, seed):
        return super().learn(embeddings, 0)


class Forgetful(Kept):
    def fit(self, train, training, seed=0, execution=None):
        return super().fit(train, training, seed)


class Retraining(Kept):
    def fit(self, train, training, seed=0, execution=None):
        if execution and execution.checkpoint:
            execution.checkpoint.unlink(missing_ok=True)
        return super().fit(train, training, seed, execution)


class Shuffled(Kept):
    def encode(self, embeddings, bits=None):
        return super().encode(embeddings, bits).roll(1, dims=0)


class Wide(Kept):
    def encode(self, embeddings, bits=None):
        return super().encode(embeddings, bits).long()


class Doubled(Kept):
    def embed(self, images, *, views=None, progress=False):
        return 2 * super().embed(images, views=views, progress=progress)


class Backwards(Kept):
    def encode(self, embeddings, bits=None):
        codes = super().encode(embeddings)
        return codes if bits is None else codes[:, -self.levels + 1 :]


class Centred(Kept):
    def encode(self, embeddings, bits=None):
        return super().encode(embeddings - embeddings.mean(dim=0) + 0.5, bits)


class Lenient(Kept):
    def __init__(self, source, bits, codebook_size):
        super().__init__(source, max(4, bits // 4 * 4), codebook_size)


class Idle(Kept):
    def learn(self, embeddings, seed):
        return super().learn(embeddings, seed) * torch.tensor([1.0, 1.0, 0.0])[:, None, None]


def entry_of(kind, progressive=True):
    return MethodEntry(lambda c: kind(c.source(), c.bits, c.codebook_size), "Made up", progressive, source="backbone")


def broken(entry, *names):
    """Which of these promises are broken, or of all."""
    found = set()
    for check in conformance_checks(entry):
        try:
            if check.__name__ in names or not names:
                check()
        except AssertionError:
            found.add(check.__name__)
    return found


def test_a_method_that_keeps_its_promises_passes():
    assert broken(entry_of(Kept)) == set()


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (Unseeded, "the_seed_decides"),
        (Forgetful, "a_checkpoint_restores_the_method"),
        (Retraining, "a_checkpoint_restores_the_method"),
        (Shuffled, "codes_decode_to_their_embeddings"),
        (Wide, "codes_fit_the_codebooks"),
        (Doubled, "predictions_are_embeddings_and_logits"),
        (Backwards, "a_prefix_is_a_prefix"),
        (Centred, "an_image_has_one_code"),
        (Lenient, "bad_lengths_are_refused"),
        (Idle, "a_progressive_prefix_is_the_code_of_the_shorter_codebook"),
    ],
)
def test_a_broken_promise_is_found(kind, promise):
    assert broken(entry_of(kind), promise) == {promise}


def test_entry_and_method_must_agree():
    promise = "entry_and_method_agree"
    assert broken(entry_of(Kept, progressive=False), promise) == {promise}


def test_few_images_and_what_no_record_holds_are_found():
    class Careless(Kept):
        def fit(self, train, training, seed=0, execution=None):
            repeated = train.take(torch.arange(60) % len(train))
            log = super().fit(repeated, training, seed, execution)
            return replace(log, epochs=[{"note": "fine"}])

    promises = {"unusable_data_are_refused", "fit_logs_what_can_be_recorded"}
    assert broken(entry_of(Careless), *promises) == promises


def test_checks_are_named_and_cost_nothing_before_they_are_called():
    calls = []
    checks = conformance_checks(MethodEntry(calls.append, "Made up", progressive=True))
    assert len({check.__name__ for check in checks}) == len(checks)
    assert calls == []


def test_a_method_on_dpq_gets_one():
    subject = subject_of(replace(entry_of(Kept), source="dpq"))
    assert subject.make().source.progressive
