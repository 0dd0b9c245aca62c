"""How each cost grows: with database size, levels, codebook size and batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.bench.growth_figure import BATCH, CODEWORDS, IMAGES, LEVELS, POINTS, exponent
from benchmarks.bench.measure import CPU, alternate
from benchmarks.bench.report import Options, Report, Row, Table
from benchmarks.bench.synthetic import ABOUT, CLASSES, DIM, clustered, rough_codebooks
from dpq.codes.additive import encode, residual_kmeans
from dpq.method.config import DPQConfig
from dpq.method.losses import adaptive_margin_loss, classification_loss
from dpq.method.quantizer import ProgressiveQuantizer
from dpq.ranking.evaluate import evaluate_codes

ON_DEVICE = ("encoding", "training step")  # the other costs are work of the CPU
WIDTH, CUT, SEED = 768, 5000, 0
Sizes = dict[str, int]
Cost = Callable[[Sizes], Callable[[], object]]
NOTES = (
    "An exponent of 1 means that twice the size takes twice the time; it is the slope of the least-squares line "
    "through the logarithms. Below 1, a cost has a part that does not grow, which small sizes show most.",
    "Evaluation sorts codes, not images, so levels and codewords count through the number of distinct codes; its other "
    "parts depend on the images alone. K-means stops when it converges, after more iterations on some sizes than on "
    "others, and picks its first centres one after the other, each with more candidates the more there are.",
)


def measure(options: Options) -> Report:
    """Time every cost of the device at several sizes, one of which changes while the others stay."""
    points: list[Row] = []
    exponents: list[Row] = []
    for cost, (make, fixed, ladders) in _costs(options).items():
        device = options.device if cost in ON_DEVICE else CPU
        if device != options.device:
            continue
        for grown, sizes in ladders.items():
            seconds = _timed(make, fixed, grown, sizes, options.size(3, 1), device)
            points += [
                {"cost": cost, "grows with": grown, "size": n, "seconds": float(f"{s:.4g}")}
                for n, s in zip(sizes, seconds, strict=True)
            ]
            others = ", ".join(f"{number:,} {name}" for name, number in fixed.items() if name != grown)
            slope = exponent(sizes, seconds)
            exponents.append(
                {"cost": cost, "grows with": grown, "exponent": f"{slope:.2f}", "sizes": _span(sizes), "beside": others}
            )
    return Report(
        "growth",
        "Evaluation: all metrics of a coded database. Encoding: greedy codes of embeddings. Initialisation: residual "
        "k-means. Training step: heads, losses and quantizer of DPQ, forward and backward, from pooled features. "
        f"{ABOUT}",
        [Table("Exponents", exponents), Table(POINTS, points)],
        notes=NOTES,
    )


def _costs(options: Options) -> dict[str, tuple[Cost, Sizes, dict[str, list[int]]]]:
    """Every cost: what makes its work, the sizes that stay, and those that it is measured at."""
    most = options.size(256, 16)
    coded = {IMAGES: options.size(32_000, 400), LEVELS: 4, CODEWORDS: most}
    fitted = {IMAGES: options.size(2500, 200), LEVELS: 1, CODEWORDS: most}
    step = {BATCH: options.size(128, 16), LEVELS: 4, CODEWORDS: most}
    levels, codewords = [1, 2, 4, 8], _doubled(most // 8, 4)
    whole = {IMAGES: _doubled(options.size(4000, 100), 5), LEVELS: levels, CODEWORDS: codewords}
    parts = {IMAGES: _doubled(options.size(1250, 100), 4), LEVELS: [1, 2, 4], CODEWORDS: codewords}
    batches = {BATCH: _doubled(options.size(32, 8), 5), LEVELS: levels, CODEWORDS: codewords}
    codebooks = rough_codebooks(clustered(8 * most, "train"), 8, most)
    queries = clustered(options.size(128, 4), "queries")
    return {
        "evaluation": (lambda sizes: _evaluation(sizes, queries, codebooks), coded, whole),
        "encoding": (lambda sizes: _encoding(sizes, codebooks, options.device), coded, whole),
        "initialisation": (_initialisation, fitted, parts),
        "training step": (lambda sizes: _step(sizes, codebooks, options.device), step, batches),
    }


def _doubled(first: int, count: int) -> list[int]:
    return [first * 2**power for power in range(count)]


def _span(sizes: Sequence[int]) -> str:
    return f"{min(sizes):,} to {max(sizes):,}"


def _timed(
    make: Cost, fixed: Sizes, grown: str, sizes: Sequence[int], rounds: int, device: torch.device
) -> list[float]:
    """Median seconds at each size; the sizes take turns."""
    works = {str(size): make(fixed | {grown: size}) for size in sizes}
    return [median(taken) for taken in alternate(works, rounds, device).values()]


def _evaluation(sizes: Sizes, queries: Tensor, codebooks: Tensor) -> Callable[[], object]:
    own = codebooks[: sizes[LEVELS], : sizes[CODEWORDS]]
    codes = encode(clustered(sizes[IMAGES], "database"), own)
    labels = torch.eye(CLASSES, dtype=torch.bool)
    of_queries, of_images = (labels[torch.arange(count) % CLASSES] for count in (len(queries), len(codes)))
    return lambda: evaluate_codes(queries, of_queries, codes, of_images, own, CUT)


def _encoding(sizes: Sizes, codebooks: Tensor, device: torch.device) -> Callable[[], object]:
    x = clustered(sizes[IMAGES], "database").to(device)
    own = codebooks[: sizes[LEVELS], : sizes[CODEWORDS]].contiguous().to(device)
    return lambda: encode(x, own)


def _initialisation(sizes: Sizes) -> Callable[[], object]:
    x = clustered(sizes[IMAGES], "train")
    return lambda: residual_kmeans(x, sizes[LEVELS], sizes[CODEWORDS], SEED)


def _step(sizes: Sizes, codebooks: Tensor, device: torch.device) -> Callable[[], object]:
    """The part of a training step of DPQ that comes after its backbone."""
    config = DPQConfig()
    quantizer = ProgressiveQuantizer(sizes[LEVELS], sizes[CODEWORDS], DIM, gamma=config.gamma).to(device)
    with torch.no_grad():
        quantizer.codebooks.copy_(codebooks[: sizes[LEVELS], : sizes[CODEWORDS]])
    embedding, classifier = nn.Linear(WIDTH, DIM).to(device), nn.Linear(WIDTH, CLASSES).to(device)
    features = torch.randn(sizes[BATCH], WIDTH, generator=torch.Generator().manual_seed(SEED)).to(device)
    labels = torch.eye(CLASSES, dtype=torch.bool, device=device)[torch.arange(len(features)) % CLASSES]
    directions = clustered(CLASSES, "train").to(device)

    def step() -> None:
        x = torch.tanh(embedding(features))
        terms = quantizer(x).terms.weighted(config.tau, config.mu, config.nu)
        losses = [adaptive_margin_loss(x, directions, labels), classification_loss(classifier(features), labels, False)]
        torch.stack([*losses, *terms.values()]).sum().backward()  # type: ignore[no-untyped-call]

    return step
