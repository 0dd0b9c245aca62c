"""Every public function that takes labels, scores, codes, queries or counts: the right answer, or a refusal."""

import dataclasses
import importlib
import inspect
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import dpq
from baselines.deep.dqn import pairwise_cosine_loss
from baselines.deep.dtq import group_hard_triplet_loss
from baselines.quantizers.pq import product_kmeans
from dpq import DPQ, CodeIndex, ProgressiveQuantizer, ProgressiveQuantizerEstimator, metrics
from dpq.codes import additive, beam, icm
from dpq.codes.least_squares import least_squares_codebooks
from dpq.inputs.training import read_labels
from dpq.learning.distributed import shard
from dpq.learning.on_embeddings import EmbeddingQuantizer
from dpq.method import losses
from dpq.method.label_vectors import orthonormal_label_vectors
from dpq.ranking import evaluate, scores
from dpq.search import faiss

Q, N, D, M, K, L = 5, 40, 6, 2, 16, 3
DRAW = np.random.default_rng(0)
# Multiples of 1/4, so that every type of numbers holds them.
VALUES = {
    "scores": DRAW.integers(-8, 8, (Q, N)) / 4,
    "relevant": DRAW.random((Q, N)) < 0.3,
    "queries": DRAW.integers(-8, 8, (Q, D)) / 4,
    "embeddings": DRAW.integers(-8, 8, (N, D)) / 4,
    "query_labels": np.eye(L, dtype=bool)[DRAW.integers(0, L, Q)],
    "labels": np.eye(L, dtype=bool)[DRAW.integers(0, L, N)],
    "codes": DRAW.integers(0, K, (N, M)).astype(np.uint8),
    "query_codes": DRAW.integers(0, K, (Q, M)).astype(np.uint8),
}
BOOKS = torch.from_numpy(DRAW.integers(-8, 8, (M, K, D)) / 4).float()
X = torch.from_numpy(VALUES["embeddings"]).float()
CODES, FLAGS = torch.from_numpy(VALUES["codes"]), torch.from_numpy(VALUES["labels"])


def index(**more):
    return CodeIndex(CODES, BOOKS, **more)


def quantizer():
    made = ProgressiveQuantizer(M, K, D)
    made.codebooks.data.copy_(BOOKS)
    return made


def initialised(embeddings):
    made = quantizer()
    made.initialise(embeddings, 0)
    return made.codebooks


def trained():
    model = DPQ("test_resnet", weights=None, bits=8, codebook_size=K, embedding_dim=D)
    model._method = SimpleNamespace(codebooks=BOOKS)
    return model


def embedding_quantizer():
    made = EmbeddingQuantizer(None, 8, K)
    made._codebooks = BOOKS
    return made


def estimator(**more):
    return ProgressiveQuantizerEstimator(**{"levels": M, "codebook_size": K, "random_state": 0} | more)


def added(codes):
    grown = index()
    grown.add(codes)
    return grown.codes


def evaluated(**given):
    plain = {name: VALUES[name] for name in ("queries", "query_labels", "codes")} | {
        "database_labels": VALUES["labels"]
    }
    return evaluate.evaluate_codes(**plain | {"codebooks": BOOKS, "cut": 7, "ks": [1, 3]} | given)


def evaluated_real(**given):
    plain = {name: VALUES[name] for name in ("queries", "query_labels")}
    return evaluate.evaluate_embeddings(
        **plain | {"database": VALUES["embeddings"], "database_labels": VALUES["labels"], "cut": 7} | given
    )


def scored(metric, *more):
    return lambda **given: metric(**{name: VALUES[name] for name in ("scores", "relevant")} | given, **dict(more))


# By the name of a function: how it is called, and which values above its arguments take.
DOORS = {
    "average_precision": (scored(metrics.average_precision), {"scores": "scores", "relevant": "relevant"}),
    "mean_average_precision": (scored(metrics.mean_average_precision), {"scores": "scores", "relevant": "relevant"}),
    "precision_at_k": (scored(metrics.precision_at_k, ("k", 3)), {"scores": "scores", "relevant": "relevant"}),
    "precision_recall_curve": (scored(metrics.precision_recall_curve), {"scores": "scores", "relevant": "relevant"}),
    "evaluate_codes": (
        evaluated,
        {"queries": "queries", "query_labels": "query_labels", "codes": "codes", "database_labels": "labels"},
    ),
    "evaluate_embeddings": (
        evaluated_real,
        {"queries": "queries", "query_labels": "query_labels", "database": "embeddings", "database_labels": "labels"},
    ),
    "asymmetric_scores": (
        lambda queries=X, codes=CODES: scores.asymmetric_scores(queries, codes, BOOKS),
        {"queries": "queries", "codes": "codes"},
    ),
    "symmetric_scores": (
        lambda query_codes=CODES, codes=CODES: scores.symmetric_scores(query_codes, codes, BOOKS),
        {"query_codes": "query_codes", "codes": "codes"},
    ),
    "norm_offsets": (lambda codes: scores.norm_offsets(codes, BOOKS, "l2"), {"codes": "codes"}),
    "lookup_tables": (lambda queries: scores.lookup_tables(queries, BOOKS), {"queries": "queries, NaN too"}),
    "DistinctCodes.of": (lambda codes: scores.DistinctCodes.of(codes).codes, {"codes": "codes, of any range"}),
    "encode": (lambda x: additive.encode(x, BOOKS), {"x": "embeddings"}),
    "decode": (lambda codes: additive.decode(codes, BOOKS), {"codes": "codes"}),
    "kmeans": (lambda points: additive.kmeans(points, K, 0), {"points": "embeddings"}),
    "residual_kmeans": (lambda x: additive.residual_kmeans(x, M, K, 0), {"x": "embeddings"}),
    "icm_encode": (
        lambda x=X, start=CODES: icm.icm_encode(x, BOOKS, start=start),
        {"x": "embeddings", "start": "codes"},
    ),
    "local_search": (lambda x: icm.local_search(x, BOOKS), {"x": "embeddings"}),
    "beam_encode": (lambda x: beam.beam_encode(x, BOOKS), {"x": "embeddings"}),
    "use_every_codeword": (lambda x: icm.use_every_codeword(x, BOOKS), {"x": "embeddings"}),
    "product_kmeans": (lambda x: product_kmeans(x, M, K, 0), {"x": "embeddings"}),
    "least_squares_codebooks": (lambda codes: least_squares_codebooks(X, codes, BOOKS), {"codes": "codes"}),
    "adaptive_margin_loss": (
        lambda labels: losses.adaptive_margin_loss(X, torch.eye(L, D), labels),
        {"labels": "labels"},
    ),
    "classification_loss": (
        lambda labels: (
            losses.classification_loss(X[:, :L], labels, True) + losses.classification_loss(X[:, :L], labels, False)
        ),
        {"labels": "labels"},
    ),
    "group_hard_triplet_loss": (
        lambda labels: group_hard_triplet_loss(X, labels, 0.0).isfinite(),
        {"labels": "labels"},
    ),
    "pairwise_cosine_loss": (lambda labels: pairwise_cosine_loss(X, labels), {"labels": "labels"}),
    "faiss_index": (lambda codes: faiss.faiss_index(codes, BOOKS).search(X[:3].numpy(), 3)[0], {"codes": "codes"}),
    "inverted_index": (
        lambda codes: faiss.inverted_index(codes, BOOKS, X[:3].numpy()).search(X[:3].numpy(), 3)[0],
        {"codes": "codes"},
    ),
    "list_centroids": (lambda codes: faiss.list_centroids(codes, BOOKS, 2), {"codes": "codes"}),
    "CodeIndex": (lambda codes: CodeIndex(codes, BOOKS).codes, {"codes": "codes"}),
    "CodeIndex.add": (added, {"codes": "codes"}),
    "CodeIndex.search": (lambda queries: index().search(queries, 3), {"queries": "queries"}),
    "CodeIndex, centroids": (lambda queries: index(centroids=queries).search(X, 3), {"queries": "queries"}),
    "DPQ.decode": (lambda codes: trained().decode(codes), {"codes": "codes"}),
    "EmbeddingQuantizer.encode": (
        lambda embeddings: embedding_quantizer().encode(embeddings),
        {"embeddings": "embeddings"},
    ),
    "ProgressiveQuantizer.encode": (lambda x: quantizer().encode(x), {"x": "embeddings"}),
    "ProgressiveQuantizer.decode": (lambda codes: quantizer().decode(codes), {"codes": "codes"}),
    "ProgressiveQuantizer.forward": (lambda x: quantizer()(x).codes, {"x": "embeddings, NaN too"}),
    "ProgressiveQuantizer.initialise": (initialised, {"embeddings": "embeddings"}),
    "ProgressiveQuantizer.revive": (lambda embeddings: quantizer().revive(embeddings, 0), {"embeddings": "embeddings"}),
    "ProgressiveQuantizerEstimator.fit": (lambda X: estimator().fit(X).codebooks_, {"X": "embeddings"}),
    "ProgressiveQuantizerEstimator.transform": (
        lambda X: estimator().fit(VALUES["embeddings"]).transform(X),
        {"X": "embeddings"},
    ),
    "ProgressiveQuantizerEstimator.inverse_transform": (
        lambda codes: estimator().fit(X.numpy()).inverse_transform(codes),
        {"codes": "codes"},
    ),
}
NONE_IS_NONE = {("icm_encode", "start"), ("CodeIndex, centroids", "queries")}
ARGUMENTS = [(door, argument) for door, (_, arguments) in DOORS.items() for argument in arguments]

# What else public functions call by the names of these arguments, and why it is no door.
ELSEWHERE = {
    "centre": "a step of `affinities`",
    "centred": "a step of `icm_encode`",
    "cost_tables": "a step of `icm_encode`",
    "training_points": "a step of the quantizers that Faiss trains",
    "prepared": "a step of `asymmetric_scores`",
    "check_finite": "a checker",
    "embeddings_for": "a checker",
    "usable_embeddings": "a checker",
    "usable_codes": "a checker",
    "fitting": "a checker",
    "check_enough": "a checker",
    "shared_codebook": "takes a network's embeddings, which k-means checks",
    "quantization_terms": "takes what `ProgressiveQuantizer.forward` made",
}
NAMES = {"scores", "relevant", "labels", "query_labels", "database_labels", "codes", "query_codes", "start", "x", "X"}
NAMES |= {"queries", "database", "embeddings", "points"}
MODULES = ["dpq.metrics", "dpq.ranking.evaluate", "dpq.ranking.scores", "dpq.codes.additive", "dpq.codes.icm"]
MODULES += ["dpq.codes.estimator", "dpq.method.losses", "dpq.method.quantizer", "dpq.search.index", "dpq.search.faiss"]
MODULES += ["dpq.codes.least_squares", "dpq.codes.beam"]


def public_functions():
    for module in map(importlib.import_module, MODULES):
        for name, member in vars(module).items():
            if name.startswith("_") or getattr(member, "__module__", "") != module.__name__:
                continue
            if inspect.isfunction(member):
                yield name, member
            elif inspect.isclass(member) and not dataclasses.is_dataclass(member):
                yield name, member.__init__
                yield from (
                    (f"{name}.{method}", function)
                    for method, function in vars(member).items()
                    if inspect.isfunction(function) and not method.startswith("_")
                )


def test_no_door_is_left_out():
    taking = {name for name, function in public_functions() if NAMES & set(inspect.signature(function).parameters)}
    assert taking - DOORS.keys() == ELSEWHERE.keys()
    assert {name for name in dpq.__all__ if name.startswith(("Code", "Prog"))} < {door.split(".")[0] for door in DOORS}


def plain(answer):
    """The numbers of an answer, in one row."""
    if dataclasses.is_dataclass(answer):
        answer = [value for value in vars(answer).values() if not isinstance(value, str)]
    if isinstance(answer, dict):
        answer = [*answer, *answer.values()]
    if isinstance(answer, list | tuple | torch.Size | range):
        return np.concatenate([plain(each) for each in answer]) if answer else np.empty(0)
    return np.atleast_1d(np.asarray(answer.detach() if isinstance(answer, torch.Tensor) else answer)).ravel()


def forms(values):
    """The same numbers as other libraries and files give them."""
    numbers = values.astype(np.float32) if values.dtype == np.float64 else values
    yield "array", numbers
    yield "big-endian", np.array(numbers, dtype=numbers.dtype.newbyteorder(">"))
    yield "reversed view", numbers[::-1, ::-1].copy()[::-1, ::-1]
    yield "by columns", np.asfortranarray(numbers)
    yield "read-only", np.broadcast_to(numbers, numbers.shape)
    yield "nothing masked", np.ma.array(numbers, mask=False)
    yield "data frame", pd.DataFrame(numbers)
    yield "data frame of several types", pd.DataFrame(numbers).astype({0: object})
    yield "lists", numbers.tolist()
    yield "tensor", torch.from_numpy(numbers)
    yield "list of tensors", list(torch.from_numpy(numbers))
    if values.dtype == np.float64:
        yield "float64", values
        yield "half", values.astype(np.float16)
        yield "bfloat16", torch.from_numpy(numbers).bfloat16()
        yield "with gradient", torch.from_numpy(numbers).requires_grad_()
    else:
        for kind in (np.int8, np.uint16, np.int32, np.int64, np.uint64):
            yield kind.__name__, values.astype(kind)
        yield "tensor uint16", torch.from_numpy(values.astype(np.uint16))
    if values.dtype == np.bool_:
        yield "0.0 and 1.0", torch.from_numpy(values).float()


def faults(values, what):
    """What has no meaning at this door."""
    real = values.astype(np.float64)
    yield "complex", real + 1j
    yield "complex tensor", torch.from_numpy(real + 0j)
    yield "masked", np.ma.array(values, mask=np.eye(*values.shape, dtype=bool))
    yield "lists of several lengths", [[1, 0], [1]]
    yield "texts", values.astype(str)
    yield "None inside", none_inside(values)
    yield "None", None
    yield "sparse", sparse.csr_matrix(real)
    yield "sparse tensor", torch.from_numpy(real).to_sparse()
    yield "one number", 1
    if what != "scores" and what != "relevant":
        yield "one row", values[0]
    yield "three axes", values[None]
    kinds = {"nan": float("nan"), "inf": float("inf"), "-inf": -float("inf")}
    if "NaN too" in what:
        kinds = {}
    elif what == "scores":  # infinite ones have a rank
        kinds = {"nan": float("nan")}
    for name, value in kinds.items():
        yield name, spoiled(real, value)
    if values.dtype == np.bool_:
        yield "-1 and 1", values * 2 - 1
        yield "soft", real * 0.75 + 0.05
        yield "2", spoiled(values.astype(np.int64), 2)
        if what != "relevant":
            yield "class numbers", np.arange(len(values))
            yield "class numbers in a column", np.arange(len(values))[:, None] % 3
            yield "numbers of two classes in a column", np.arange(len(values))[:, None] % 2
    if values.dtype == np.uint8:
        yield "float", real
        yield "bool", values > 3
        if "any range" not in what:
            yield "negative", spoiled(values.astype(np.int64), -1)
            yield "too large", spoiled(values.astype(np.int64), K)
            yield "far too large", spoiled(values.astype(np.int64), 2**40)


def spoiled(values, value):
    values = values.copy()
    values[-1, 0] = value
    return values


def none_inside(values):
    values = values.astype(object)
    values[-1, 0] = None
    return values


@pytest.mark.parametrize(("door", "argument"), ARGUMENTS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_each_form_has_the_same_answer(door, argument):
    call, arguments = DOORS[door]
    values = VALUES[arguments[argument].split(",")[0]]
    right = None
    for form, given in forms(values):
        torch.manual_seed(0)
        answer = plain(call(**{argument: given}))
        right = answer if right is None else right
        np.testing.assert_allclose(answer, right, rtol=1e-5, atol=1e-6, err_msg=form)


@pytest.mark.parametrize(("door", "argument"), ARGUMENTS)
def test_what_cannot_be_meant_is_refused(door, argument):
    call, arguments = DOORS[door]
    what = arguments[argument]
    for fault, given in faults(VALUES[what.split(",")[0]], what):
        if fault == "None" and (door, argument) in NONE_IS_NONE:
            continue
        words = ValueError if "Estimator" in door else dpq.InputError
        if "Estimator" in door and fault in ("sparse", "None"):
            words = (ValueError, TypeError)  # scikit-learn's own
        try:
            call(**{argument: given})
        except words as error:
            assert not isinstance(error, dpq.InputError) or "\n" not in str(error), fault
        except Exception as error:
            pytest.fail(f"{fault}: {type(error).__name__} {error}")
        else:
            pytest.fail(f"{fault} is taken")


def small(**more):
    return DPQ("test_resnet", **{"weights": None, "bits": 8, "codebook_size": K, "embedding_dim": D} | more)


def grouped(search=None):
    made = index()
    made.divide(4)
    return made.search(X, 3, **(search or {}))


# Public functions by one of their whole numbers, with a value that they take; and whether None stands for none.
COUNTS = {
    "average_precision top_r": (lambda n: scored(metrics.average_precision, ("top_r", n))(), 3, True),
    "mean_average_precision top_r": (lambda n: scored(metrics.mean_average_precision, ("top_r", n))(), 3, True),
    "precision_at_k k": (lambda n: scored(metrics.precision_at_k, ("k", n))(), 3, False),
    "precision_recall_curve ranks": (lambda n: scored(metrics.precision_recall_curve, ("ranks", [n, 5]))(), 3, False),
    "evaluate_codes cut": (lambda n: evaluated(cut=n), 3, True),
    "evaluate_codes ks": (lambda n: evaluated(ks=(1, n)), 3, False),
    "evaluate_codes further_cuts": (lambda n: evaluated(further_cuts=[n]), 3, False),
    "evaluate_codes block": (lambda n: evaluated(block=n), 3, False),
    "evaluate_embeddings cut": (lambda n: evaluated_real(cut=n), 3, True),
    "evaluate_embeddings block": (lambda n: evaluated_real(block=n), 3, False),
    "levels_for bits": (lambda n: additive.levels_for(n, K), 8, False),
    "levels_for codebook_size": (lambda n: additive.levels_for(8, n), K, False),
    "prefix_levels bits": (lambda n: additive.prefix_levels(n, M, K), 4, False),
    "decode levels": (lambda n: additive.decode(CODES, BOOKS, n), 1, True),
    "kmeans clusters": (lambda n: additive.kmeans(X.numpy(), n, 0), 4, False),
    "kmeans iterations": (lambda n: additive.kmeans(X.numpy(), 4, 0, n), 4, False),
    "residual_kmeans levels": (lambda n: additive.residual_kmeans(X, n, 4, 0), 2, False),
    "icm_encode sweeps": (lambda n: icm.icm_encode(X, BOOKS, n), 2, False),
    "local_search rounds": (lambda n: icm.local_search(X, BOOKS, n), 2, False),
    "local_search moved": (lambda n: icm.local_search(X, BOOKS, moved=n), 2, False),
    "local_search sweeps": (lambda n: icm.local_search(X, BOOKS, sweeps=n), 2, False),
    "beam_encode beam": (lambda n: beam.beam_encode(X, BOOKS, n), 2, False),
    "use_every_codeword sweeps": (lambda n: icm.use_every_codeword(X, BOOKS, n), 2, False),
    "use_every_codeword rounds": (lambda n: icm.use_every_codeword(X, BOOKS, rounds=n), 2, False),
    "product_kmeans parts": (lambda n: product_kmeans(X, n, 4, 0), 2, False),
    "orthonormal_label_vectors classes": (lambda n: orthonormal_label_vectors(n, D), 3, False),
    "orthonormal_label_vectors dim": (lambda n: orthonormal_label_vectors(2, n), 3, False),
    "list_centroids lists": (lambda n: faiss.list_centroids(CODES, BOOKS, n), 3, False),
    "CodeIndex next_id": (lambda n: index(next_id=n).next_id, 50, True),
    "CodeIndex ids": (lambda n: index(ids=[n, *range(100, 99 + N)]).ids, 3, False),
    "CodeIndex.search k": (lambda n: index().search(X, n), 3, False),
    "CodeIndex.search probes": (lambda n: grouped({"probes": n}), 2, True),
    "CodeIndex.prefix bits": (lambda n: index().prefix(n).codes, 4, False),
    "CodeIndex.divide lists": (lambda n: index().divide(n), 3, False),
    "CodeIndex.divide seed": (lambda n: index().divide(3, n), 1, False),
    "CodeIndex.remove ids": (lambda n: index().remove([n]), 3, False),
    "ProgressiveQuantizer levels": (lambda n: ProgressiveQuantizer(n, K, D).levels, 3, False),
    "ProgressiveQuantizer codebook_size": (lambda n: ProgressiveQuantizer(2, n, D).codebooks.shape, 16, False),
    "ProgressiveQuantizer dim": (lambda n: ProgressiveQuantizer(2, K, n).codebooks.shape, 3, False),
    "ProgressiveQuantizer.decode levels": (lambda n: quantizer().decode(CODES, n), 1, True),
    "ProgressiveQuantizer.revive seed": (lambda n: quantizer().revive(X, n), 1, False),
    "ProgressiveQuantizerEstimator levels": (lambda n: estimator(levels=n).fit(X.numpy()).codebooks_, 2, False),
    "ProgressiveQuantizerEstimator codebook_size": (
        lambda n: estimator(codebook_size=n).fit(X.numpy()).codebooks_,
        8,
        False,
    ),
    "ProgressiveQuantizerEstimator iterations": (lambda n: estimator(iterations=n).fit(X.numpy()).codebooks_, 9, False),
    "DPQ bits": (lambda n: small(bits=n).bits, 4, False),
    "DPQ codebook_size": (lambda n: small(codebook_size=n).codebook_size, 16, False),
    "DPQ embedding_dim": (lambda n: small(embedding_dim=n).embedding_dim, 4, False),
    "DPQ image_size": (lambda n: small(image_size=n).side, 32, True),
    "DPQ epochs": (lambda n: small(epochs=n).training, 4, True),
    "DPQ batch_size": (lambda n: small(batch_size=n).training, 4, True),
    "shard index": (lambda n: shard(range(9), n, 4, batch_size=2), 1, False),
    "shard count": (lambda n: shard(range(9), 0, n, batch_size=2), 3, False),
}


@pytest.mark.parametrize("door", COUNTS)
def test_whole_numbers_of_any_library_count(door):
    call, number, none = COUNTS[door]
    right = plain(call(number))
    for kind in (np.int64, np.uint8, np.uint64, torch.tensor, np.array):
        np.testing.assert_array_equal(plain(call(kind(number))), right, str(kind))
    for bad in (
        float(number),
        2.5,
        str(number),
        float("nan"),
        float("inf"),
        -(2**65),
        *([] if none else [None]),
    ):
        with pytest.raises(dpq.InputError) as error:
            call(bad)
            pytest.fail(f"{bad!r} is taken")
        assert "\n" not in str(error.value)
    if not door.startswith("shard") and not door.endswith("ids"):
        for bad in (True, np.True_, torch.tensor(True), [number]):
            with pytest.raises(dpq.InputError):
                call(bad)


@pytest.mark.parametrize(
    "door", [door for door in COUNTS if door.startswith(("aver", "mean_", "precision_at", "eval"))]
)
def test_more_than_there_are_stands_for_all(door):
    call, _, _ = COUNTS[door]
    for many in (2**63 - 1, 2**63, np.uint64(2**64 - 1), 2**100):
        result, whole = call(many), call(N)
        if dataclasses.is_dataclass(result):  # dictionaries are by what was asked for
            result, whole = ([v for v in vars(each).values() if not isinstance(v, dict)] for each in (result, whole))
        np.testing.assert_equal(result, whole)


CHOICES = {
    "ties": lambda given: scored(metrics.average_precision, ("ties", given))(),
    "denominator": lambda given: scored(metrics.average_precision, ("denominator", given))(),
    "score": lambda given: evaluated(score=given),
    "score of embeddings": lambda given: evaluated_real(score=given),
    "score of an index": lambda given: index(score=given),
    "choice": lambda given: additive.encode(X, BOOKS, given),
    "choice of k-means": lambda given: additive.residual_kmeans(X, 2, 4, 0, given),
    **{
        name: lambda given, name=name: ProgressiveQuantizer(2, K, D, **{name: given})
        for name in ("hard_choice", "soft_assignment", "soft_residual", "joint_levels", "norm")
    },
}


@pytest.mark.parametrize("door", CHOICES)
def test_an_unknown_choice_is_refused(door):
    for given in ("L2", "", None, 1, ["l2"], np.array(["l2", "inner"])):
        with pytest.raises(dpq.InputError, match="must be one of"):
            CHOICES[door](given)


BOOKS_OF = {
    "encode": lambda books: additive.encode(X, books),
    "decode": lambda books: additive.decode(CODES, books),
    "icm_encode": lambda books: icm.icm_encode(X, books),
    "use_every_codeword": lambda books: icm.use_every_codeword(X, books, rounds=0),
    "asymmetric_scores": lambda books: scores.asymmetric_scores(X, CODES, books),
    "symmetric_scores": lambda books: scores.symmetric_scores(CODES, CODES, books),
    "evaluate_codes": lambda books: evaluated(codebooks=books),
    "faiss_index": lambda books: faiss.faiss_index(CODES, books).search(X.numpy(), 3)[0],
    "CodeIndex": lambda books: CodeIndex(CODES, books).search(X, 3),
}


@pytest.mark.parametrize("door", BOOKS_OF)
def test_codebooks_of_any_layout(door):
    books, call = BOOKS.numpy(), BOOKS_OF[door]
    right = plain(call(BOOKS))
    for form in (
        books.astype(">f4"),
        books[::-1].copy()[::-1],
        books.tolist(),
        list(BOOKS),
        BOOKS.half(),
        BOOKS.double(),
    ):
        np.testing.assert_allclose(plain(call(form)), right, rtol=1e-5)
    for bad in (
        books + 1j,
        books[0],
        None,
        np.ma.array(books, mask=True),
        books.astype(str),
        books.astype(int),
        books[:0],
    ):
        with pytest.raises(dpq.InputError):
            call(bad)


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint32, np.bool_])
def test_embeddings_may_be_whole_numbers(kind):
    x = (VALUES["embeddings"] > 0).astype(kind)
    for door, (call, arguments) in DOORS.items():
        for argument in (name for name, values in arguments.items() if values.startswith("embeddings")):
            right, given = plain(call(**{argument: x.astype(np.float32)})), plain(call(**{argument: x}))
            np.testing.assert_allclose(given, right, rtol=1e-5, err_msg=door)


def test_scores_rank_as_whole_numbers():
    for first in (2**53, 1_700_000_000_123_456_789, 2**62, 2**63 - 2, -(2**63)):
        for kind in (np.int64, np.uint64, np.longdouble) if first >= 0 else (np.int64, np.longdouble):
            given = np.array([[first, first + 1, first]], dtype=np.int64).astype(kind)
            for relevant, right in (([0, 1, 0], 1.0), ([1, 0, 0], (1 / 2 + 1 / 3) / 2)):
                assert float(metrics.average_precision(given, [relevant])[0]) == pytest.approx(right)
    with pytest.raises(dpq.InputError, match="NaN"):
        metrics.average_precision(np.array([[np.nan, 1]], dtype=np.longdouble), [[0, 1]])


def test_labels_of_training_keep_their_masks_and_types():
    assert read_labels([torch.tensor(1), torch.tensor(0)]).classes == ("0", "1")
    for bad in (np.ma.array([0, 1, 2], mask=[1, 0, 0]), torch.tensor([0.0, 1.0]).bfloat16(), [torch.tensor(0.5)] * 2):
        with pytest.raises(dpq.InputError):
            read_labels(bad)
