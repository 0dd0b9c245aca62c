"""K-means, initialisation, encoding and iterated conditional modes, beside Faiss on the same data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.bench.measure import side_by_side
from benchmarks.bench.report import Options, Report, Row, Table
from benchmarks.bench.synthetic import ABOUT, DIM, clustered
from dpq.codes.additive import decode, encode, kmeans, residual_kmeans
from dpq.codes.icm import icm_encode
from dpq.method.quantizer import ProgressiveQuantizer
from dpq.search.faiss import set_codebooks

LEVELS, ITERATIONS, SEED = 4, 25, 0
Floats = NDArray[np.float32]
NOTES = (
    "Errors are mean squared distances in percent of the mean squared norm, of images that no codebook was fitted to "
    "except where the rows speak of training. Ratios are seconds divided by those of the first row with as many "
    "threads.",
    "What limits our k-means is scikit-learn's choice of first centres (k-means++): it picks one after the other, and "
    "measures distances in float64. From random centres, as in Faiss, the same library is several times as fast and "
    "ends with a larger error, level after level. k-means runs once per training, for seconds among minutes.",
    "Faiss's beam of 5 keeps the 5 best codes of an image while it adds levels: with the same codebooks, a lower error "
    "for several times the work. As Faiss trains by default, its codebooks are others as well. Our codes are the "
    "paper's greedy ones, for which a prefix of a code is the shorter code.",
    "Faiss's local search starts from random codes, which it perturbs and improves in rounds; ours starts from the "
    "greedy codes and improves them until nothing changes, three sweeps at most.",
)


def measure(options: Options) -> Report:
    """Time and error of four pieces of work, each done by both."""
    size, points, images = options.size(256, 16), options.size(5000, 300), options.size(20_000, 500)
    rounds = options.size(3, 1)
    train, fresh = clustered(points, "train"), clustered(images, "database")
    codebooks = residual_kmeans(train, LEVELS, size, SEED)
    most = options.threads
    return Report(
        "quantizers",
        f"Quantizers on the CPU, {LEVELS} levels of {size} codewords, beside Faiss {faiss.__version__}: fitted to "
        f"{points:,} embeddings, then {images:,} others coded. {ABOUT}",
        [
            Table(f"K-means, {size} centres", list(_kmeans(train, fresh, size, most, rounds))),
            Table(f"Initialisation of {LEVELS} levels", list(_initialisation(train, fresh, size, most, rounds))),
            Table("Codes with the same codebooks", list(_greedy(fresh, codebooks, most, rounds))),
            Table("Iterated conditional modes, with the same codebooks", list(_icm(fresh, codebooks, most, rounds))),
        ],
        notes=NOTES,
    )


def _kmeans(train: Tensor, fresh: Tensor, size: int, most_threads: int, rounds: int) -> Iterator[Row]:
    points = train.numpy()
    fits: dict[str, Callable[[], Floats]] = {
        "ours (scikit-learn, k-means++, until it converges)": lambda: kmeans(points, size, SEED),
        "scikit-learn, random centres": lambda: _random_start(points, size),
        f"Faiss, random centres, {ITERATIONS} iterations": lambda: _faiss_kmeans(points, size),
    }
    centres = {name: torch.from_numpy(fit())[None] for name, fit in fits.items()}
    errors = {name: [_coded(x, own) for x in (train, fresh)] for name, own in centres.items()}
    yield from _rows(fits, errors, most_threads, rounds)


def _random_start(points: Floats, size: int) -> Floats:
    from sklearn.cluster import KMeans

    centres: Floats = KMeans(size, init="random", n_init=1, max_iter=50, random_state=SEED).fit(points).cluster_centers_
    return centres


def _faiss_kmeans(points: Floats, size: int) -> Floats:
    fitted = faiss.Kmeans(points.shape[1], size, niter=ITERATIONS, seed=SEED, min_points_per_centroid=1)
    fitted.train(points)
    return np.asarray(fitted.centroids, np.float32)


def _initialisation(train: Tensor, fresh: Tensor, size: int, most_threads: int, rounds: int) -> Iterator[Row]:
    points = train.numpy()
    quantizer = ProgressiveQuantizer(LEVELS, size, DIM)
    greedy, beamed = (_residual_quantizer(size, beam) for beam in (1, 5))
    beam = f"Faiss residual quantizer, beam of 5, {beamed.cp.niter} progressive iterations"
    fits: dict[str, Callable[[], object]] = {
        "ours (residual k-means)": lambda: quantizer.initialise(train, SEED),
        f"Faiss residual quantizer, beam of 1, {ITERATIONS} iterations": lambda: greedy.train(points),
        beam: lambda: beamed.train(points),
    }
    for fit in fits.values():
        fit()
    ours = [_relative(x, quantizer.decode(quantizer.encode(x))) for x in (train, fresh)]
    theirs = [[_relative(x, _faiss_coded(own, x)) for x in (train, fresh)] for own in (greedy, beamed)]
    yield from _rows(fits, dict(zip(fits, [ours, *theirs], strict=True)), most_threads, rounds)


def _residual_quantizer(size: int, beam: int) -> Any:
    quantizer = faiss.ResidualQuantizer(DIM, LEVELS, size.bit_length() - 1)
    quantizer.max_beam_size = beam
    quantizer.cp.min_points_per_centroid = 1
    if beam == 1:
        quantizer.train_type = faiss.ResidualQuantizer.Train_default  # k-means in all dimensions at once, as ours
        quantizer.cp.niter = ITERATIONS
    return quantizer


def _greedy(fresh: Tensor, codebooks: Tensor, most_threads: int, rounds: int) -> Iterator[Row]:
    x = fresh.numpy()
    greedy, beamed = (_residual_quantizer(codebooks.shape[1], beam) for beam in (1, 5))
    for own in (greedy, beamed):
        set_codebooks(own, codebooks)
    codings: dict[str, Callable[[], object]] = {
        "ours, greedy": lambda: encode(fresh, codebooks),
        "Faiss residual quantizer, beam of 1": lambda: greedy.compute_codes(x),
        "Faiss residual quantizer, beam of 5": lambda: beamed.compute_codes(x),
    }
    errors = [_coded(fresh, codebooks), *(_relative(fresh, _faiss_coded(own, fresh)) for own in (greedy, beamed))]
    yield from _rows(codings, {name: [e] for name, e in zip(codings, errors, strict=True)}, most_threads, rounds, x)


def _icm(fresh: Tensor, codebooks: Tensor, most_threads: int, rounds: int) -> Iterator[Row]:
    x = fresh.numpy()
    codings: dict[str, Callable[[], object]] = {"ours, from greedy codes": lambda: icm_encode(fresh, codebooks)}
    errors = {"ours, from greedy codes": [_relative(fresh, decode(icm_encode(fresh, codebooks), codebooks))]}
    for perturbed in (1, 4, 16):
        own = faiss.LocalSearchQuantizer(DIM, LEVELS, codebooks.shape[1].bit_length() - 1)
        own.encode_ils_iters = perturbed
        set_codebooks(own, codebooks)
        name = f"Faiss local search, {perturbed} round{'s' * (perturbed > 1)} of {own.icm_iters} sweeps"
        codings[name] = partial(own.compute_codes, x)
        errors[name] = [_relative(fresh, _faiss_coded(own, fresh))]
    yield from _rows(codings, errors, most_threads, rounds, x)


def _rows(
    works: Mapping[str, Callable[[], object]],
    errors: Mapping[str, list[float]],
    most_threads: int,
    rounds: int,
    coded: Floats | None = None,
) -> Iterator[Row]:
    """A row for every way and number of threads: its time, against ours, and its errors; for codes, their speed."""
    for one in side_by_side(works, most_threads, rounds):
        row: dict[str, str | int | float] = {"method": one.name, "threads": one.threads}
        row |= {"seconds": f"{one.seconds:.3f}", "ratio": str(one.ratio)}
        if coded is not None:
            row["images/s"] = round(len(coded) / one.seconds)
        names = ("error in training", "error") if len(errors[one.name]) > 1 else ("error",)
        yield row | {name: f"{error:.3f}" for name, error in zip(names, errors[one.name], strict=True)}


def _coded(x: Tensor, codebooks: Tensor) -> float:
    return _relative(x, decode(encode(x, codebooks), codebooks))


def _faiss_coded(quantizer: Any, x: Tensor) -> Tensor:
    return torch.from_numpy(quantizer.decode(quantizer.compute_codes(x.numpy())))


def _relative(x: Tensor, reconstructed: Tensor) -> float:
    """Mean squared error in percent of the mean squared norm."""
    return 100 * float((x - reconstructed).square().sum() / x.square().sum())
