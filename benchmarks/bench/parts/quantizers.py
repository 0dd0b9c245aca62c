"""K-means, initialisation, encoding and iterated conditional modes, beside Faiss on the same data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor

from benchmarks.bench.measure import Work, side_by_side
from benchmarks.bench.report import Options, Report, Row
from benchmarks.bench.synthetic import ABOUT, DIM, clustered
from dpq.codes.additive import decode, encode, kmeans, residual_kmeans
from dpq.codes.icm import icm_encode
from dpq.method.quantizer import ProgressiveQuantizer
from dpq.search.faiss import set_codebooks

LEVELS, ITERATIONS, SEED = 4, 25, 0
Floats = NDArray[np.float32]
Ways = Mapping[str, tuple[Work, list[float]]]  # by name: the work, and its errors, of training too where it trains
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
    train, fresh = clustered(points, "train"), clustered(images, "database")
    codebooks = residual_kmeans(train, LEVELS, size, SEED)
    tables = {
        f"K-means, {size} centres": _kmeans(train, fresh, size),
        f"Initialisation of {LEVELS} levels": _initialisation(train, fresh, size),
        "Codes with the same codebooks": _greedy(fresh, codebooks),
        "Iterated conditional modes, with the same codebooks": _icm(fresh, codebooks),
    }
    return Report(
        "quantizers",
        f"Quantizers on the CPU, {LEVELS} levels of {size} codewords, beside Faiss {faiss.__version__}: fitted to "
        f"{points:,} embeddings, then {images:,} others coded. {ABOUT}",
        {title: _rows(ways, images, options) for title, ways in tables.items()},
        notes=NOTES,
    )


def _rows(ways: Ways, images: int, options: Options) -> list[Row]:
    """Time of every way and number of threads, against ours, and errors; speed where images are coded."""
    rows: list[Row] = []
    works = {name: work for name, (work, _) in ways.items()}
    for name, threads, seconds, ratio in side_by_side(works, options.threads, options.size(3, 1)):
        *in_training, error = (f"{one:.3f}" for one in ways[name][1])
        more = {"error in training": in_training[0]} if in_training else {"images/s": round(images / seconds)}
        row = {"method": name, "threads": threads, "seconds": f"{seconds:.3f}", "ratio": str(ratio)}
        rows.append({**row, **more, "error": error})
    return rows


def _kmeans(train: Tensor, fresh: Tensor, size: int) -> Ways:
    points = train.numpy()
    random = KMeans(size, init="random", n_init=1, max_iter=50, random_state=SEED)
    fits: dict[str, Callable[[], Floats]] = {
        "ours (scikit-learn, k-means++, until it converges)": lambda: kmeans(points, size, SEED),
        "scikit-learn, random centres": lambda: random.fit(points).cluster_centers_,
        f"Faiss, random centres, {ITERATIONS} iterations": lambda: _faiss_kmeans(points, size),
    }
    centres = {name: torch.from_numpy(fit())[None] for name, fit in fits.items()}
    return {name: (fit, [_error(x, centres[name]) for x in (train, fresh)]) for name, fit in fits.items()}


def _faiss_kmeans(points: Floats, size: int) -> Floats:
    fitted = faiss.Kmeans(points.shape[1], size, niter=ITERATIONS, seed=SEED, min_points_per_centroid=1)
    fitted.train(points)
    return np.asarray(fitted.centroids, np.float32)


def _initialisation(train: Tensor, fresh: Tensor, size: int) -> Ways:
    points, quantizer = train.numpy(), ProgressiveQuantizer(LEVELS, size, DIM)
    ours = partial(quantizer.initialise, train, SEED)
    ours()
    errors = [_error(x, quantizer.codebooks.detach()) for x in (train, fresh)]
    ways: dict[str, tuple[Work, list[float]]] = {"ours (residual k-means)": (ours, errors)}
    for beam in (1, 5):
        own = _residual_quantizer(size, beam)
        own.train(points)
        iterations = f"{own.cp.niter} {'progressive ' * (beam > 1)}iterations"
        errors = [_faiss_error(own, x) for x in (train, fresh)]
        ways[f"Faiss residual quantizer, beam of {beam}, {iterations}"] = (partial(own.train, points), errors)
    return ways


def _residual_quantizer(size: int, beam: int) -> Any:
    quantizer = faiss.ResidualQuantizer(DIM, LEVELS, size.bit_length() - 1)
    quantizer.max_beam_size = beam
    quantizer.cp.min_points_per_centroid = 1
    if beam == 1:
        quantizer.train_type = faiss.ResidualQuantizer.Train_default  # k-means in all dimensions at once, as ours
        quantizer.cp.niter = ITERATIONS
    return quantizer


def _greedy(fresh: Tensor, codebooks: Tensor) -> Ways:
    size = codebooks.shape[1]
    theirs = {f"Faiss residual quantizer, beam of {beam}": _residual_quantizer(size, beam) for beam in (1, 5)}
    return _codings("ours, greedy", encode, theirs, fresh, codebooks)


def _icm(fresh: Tensor, codebooks: Tensor) -> Ways:
    theirs = {}
    for perturbed in (1, 4, 16):
        own = faiss.LocalSearchQuantizer(DIM, LEVELS, codebooks.shape[1].bit_length() - 1)
        own.encode_ils_iters = perturbed
        theirs[f"Faiss local search, {perturbed} round{'s' * (perturbed > 1)} of {own.icm_iters} sweeps"] = own
    return _codings("ours, from greedy codes", icm_encode, theirs, fresh, codebooks)


def _codings(ours: str, code: Callable[..., Tensor], theirs: Mapping[str, Any], x: Tensor, codebooks: Tensor) -> Ways:
    ways: dict[str, tuple[Work, list[float]]] = {ours: (partial(code, x, codebooks), [_error(x, codebooks, code)])}
    for name, own in theirs.items():
        set_codebooks(own, codebooks)
        ways[name] = (partial(own.compute_codes, x.numpy()), [_faiss_error(own, x)])
    return ways


def _error(x: Tensor, codebooks: Tensor, code: Callable[..., Tensor] = encode) -> float:
    return _relative(x, decode(code(x, codebooks), codebooks))


def _faiss_error(quantizer: Any, x: Tensor) -> float:
    return _relative(x, torch.from_numpy(quantizer.decode(quantizer.compute_codes(x.numpy()))))


def _relative(x: Tensor, reconstructed: Tensor) -> float:
    """Mean squared error in percent of the mean squared norm."""
    return 100 * float((x - reconstructed).square().sum() / x.square().sum())
