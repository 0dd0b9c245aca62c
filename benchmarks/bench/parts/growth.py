"""How each cost grows: with database size, levels, codebook size and batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.bench.growth_figure import POINTS, exponent
from benchmarks.bench.measure import Work, alternate
from benchmarks.bench.report import Options, Report, Row
from benchmarks.bench.synthetic import ABOUT, CLASSES, DIM, clustered, rough_codebooks
from dpq.codes.additive import encode, residual_kmeans
from dpq.method.config import DPQConfig
from dpq.method.losses import adaptive_margin_loss, classification_loss
from dpq.method.quantizer import ProgressiveQuantizer
from dpq.ranking.evaluate import evaluate_codes

ON_DEVICE = ("encoding", "training step")  # the other costs are work of the CPU
WIDTH, CUT, SEED = 768, 5000, 0
Make = Callable[[int, Tensor], Work]  # of so many images, with codebooks [M, K, D]
Sizes = dict[str, int]  # by the names of `growth_figure.LABELS`, that of images or batch first
NOTES = (
    "An exponent of 1 means that twice the size takes twice the time; it is the slope of the least-squares line "
    "through the logarithms. Below 1, a cost has a part that does not grow, which small sizes show most.",
    "Evaluation sorts codes, not images, so levels and codewords count through the number of distinct codes; its other "
    "parts depend on the images alone. K-means stops when it converges, after more iterations on some sizes than on "
    "others, and picks its first centres one after the other, each with more candidates the more there are.",
)


def measure(options: Options) -> Report:
    """Time every cost of the device at several sizes, one of which changes while the others stay."""
    most = options.size(256, 16)
    codebooks = rough_codebooks(clustered(8 * most, "train"), 8, most).to(options.device)

    points: list[Row] = []
    exponents: list[Row] = []
    for cost, (make, fixed, ladders) in _costs(options, most).items():
        if options.device.type != "cpu" and cost not in ON_DEVICE:
            continue
        for grown, sizes in ladders.items():
            works = {}
            for size in sizes:
                images, levels, codewords = (fixed | {grown: size}).values()
                works[str(size)] = make(images, codebooks[:levels, :codewords].contiguous())
            seconds = [median(taken) for taken in alternate(works, options.size(3, 1)).values()]
            row = {"cost": cost, "grows with": grown}
            points += [row | {"size": n, "seconds": float(f"{s:.4g}")} for n, s in zip(sizes, seconds, strict=True)]
            slope, span = f"{exponent(sizes, seconds):.2f}", f"{min(sizes):,} to {max(sizes):,}"
            others = ", ".join(f"{number:,} {name}" for name, number in fixed.items() if name != grown)
            exponents.append(row | {"exponent": slope, "sizes": span, "beside": others})
    return Report(
        "growth",
        "Evaluation: all metrics of a coded database. Encoding: greedy codes of embeddings. Initialisation: residual "
        "k-means. Training step: heads, losses and quantizer of DPQ, forward and backward, from pooled features. "
        f"{ABOUT}",
        {"Exponents": exponents, POINTS: points},
        notes=NOTES,
    )


def _costs(options: Options, most: int) -> dict[str, tuple[Make, Sizes, dict[str, list[int]]]]:
    """Every cost: what makes its work, the sizes that stay, and those that it is measured at."""
    same = {"levels": 4, "codewords": most}
    coded = {"images": options.size(32_000, 400), **same}
    fitted = {"images": options.size(2500, 200), "levels": 1, "codewords": most}
    step = {"batch": options.size(128, 16), **same}
    grown = {"levels": [1, 2, 4, 8], "codewords": _doubled(most // 8, 4)}
    whole = {"images": _doubled(options.size(4000, 100), 5), **grown}
    parts = {"images": _doubled(options.size(1250, 100), 4), **grown, "levels": [1, 2, 4]}
    batches = {"batch": _doubled(options.size(32, 8), 5), **grown}
    queries = clustered(options.size(128, 4), "queries")
    return {
        "evaluation": (partial(_evaluation, queries), coded, whole),
        "encoding": (_encoding, coded, whole),
        "initialisation": (_initialisation, fitted, parts),
        "training step": (_step, step, batches),
    }


def _doubled(first: int, count: int) -> list[int]:
    return [first * 2**power for power in range(count)]


def _evaluation(queries: Tensor, images: int, codebooks: Tensor) -> Work:
    codes = encode(clustered(images, "database"), codebooks)
    labels = torch.eye(CLASSES, dtype=torch.bool)
    of_queries, of_images = (labels[torch.arange(count) % CLASSES] for count in (len(queries), images))
    return lambda: evaluate_codes(queries, of_queries, codes, of_images, codebooks, CUT)


def _encoding(images: int, codebooks: Tensor) -> Work:
    return partial(encode, clustered(images, "database").to(codebooks.device), codebooks)


def _initialisation(images: int, codebooks: Tensor) -> Work:
    levels, codewords, _ = codebooks.shape
    return partial(residual_kmeans, clustered(images, "train"), levels, codewords, SEED)


def _step(batch: int, codebooks: Tensor) -> Work:
    """The part of a training step of DPQ that comes after its backbone."""
    config, device = DPQConfig(), codebooks.device
    quantizer = ProgressiveQuantizer(*codebooks.shape, gamma=config.gamma).to(device)
    with torch.no_grad():
        quantizer.codebooks.copy_(codebooks)
    embedding, classifier = nn.Linear(WIDTH, DIM).to(device), nn.Linear(WIDTH, CLASSES).to(device)
    features = torch.randn(batch, WIDTH, generator=torch.Generator().manual_seed(SEED)).to(device)
    labels = torch.eye(CLASSES, dtype=torch.bool, device=device)[torch.arange(batch) % CLASSES]
    directions = clustered(CLASSES, "train").to(device)

    def step() -> None:
        x = torch.tanh(embedding(features))
        terms = quantizer(x).terms.weighted(config.tau, config.mu, config.nu)
        losses = [adaptive_margin_loss(x, directions, labels), classification_loss(classifier(features), labels, False)]
        torch.stack([*losses, *terms.values()]).sum().backward()  # type: ignore[no-untyped-call]

    return step
