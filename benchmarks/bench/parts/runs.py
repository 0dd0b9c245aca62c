"""How time and memory of a whole run grow: with images, classes, bits and seeds."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from benchmarks.bench.calls import ALONE, PHASES, WHOLE, Call, prepare, run, write_images
from benchmarks.bench.growth_figure import ONCE, exponent
from benchmarks.bench.measure import extra_memory
from benchmarks.bench.report import Options, Report, Row

QUERIES, EPOCHS = 64, 2
MEMORY, GPU_MEMORY = "MiB beside the imports", "MiB of the GPU"
LEAST = 0.01  # seconds, the last digit of a record; of MiB also no less, for logarithms
NETWORK = ("--backbone", "test_resnet", "--image-size", "32", "--epochs", str(EPOCHS))


def measure(options: Options) -> Report:
    """A run of DPQ at several sizes, one of which grows while the others stay; each in a process of its own."""
    count, device = options.size(4, 2), options.device.type
    fixed = {"images": options.size(2048, 512), "classes": options.size(8, 4), "bits": options.size(16, 8), "seeds": 1}
    first = fixed | ({} if options.quick else {"images": 1024, "classes": 4, "bits": 8})
    ladders = {name: [size << power for power in range(count)] for name, size in first.items()}
    cases = list(dict.fromkeys(tuple((fixed | {grown: n}).values()) for grown, sizes in ladders.items() for n in sizes))
    with TemporaryDirectory() as folder:
        found = {
            case: _measured(case, device, Path(folder) / str(index))
            for index, case in enumerate(tqdm(cases, desc="runs", leave=False, disable=None))
        }
    points: list[Row] = []
    exponents: list[Row] = []
    taken: list[Row] = []
    for grown, sizes in ladders.items():
        series = [found[tuple((fixed | {grown: n}).values())] for n in sizes]
        beside = ", ".join(f"{number:,} {name}" for name, number in fixed.items() if name != grown)
        for cost in series[0]:
            row, values = {"cost": cost, "grows with": grown}, [one[cost] for one in series]
            slope, span = f"{exponent(sizes, values):.2f}", f"{min(sizes):,} to {max(sizes):,}"
            exponents.append(row | {"exponent": slope, "sizes": span, "beside": beside})
            if cost in (MEMORY, GPU_MEMORY):
                taken += [row | {"size": n, "MiB": round(value, 1)} for n, value in zip(sizes, values, strict=True)]
            else:
                points += [
                    row | {"size": n, "seconds": float(f"{value:.4g}")} for n, value in zip(sizes, values, strict=True)
                ]
    return Report(
        "runs",
        f"A whole run of DPQ as `python -m benchmarks run` makes it, images decoded included and imports not: {EPOCHS} "
        "epochs of a tiny network (test_resnet, 32 pixels, random weights). Half of the images are trained on, the "
        f"others are the database, and {QUERIES} further ones are queries. Each run is measured once, in a process of "
        "its own.",
        {"Exponents": exponents, ONCE: points, "Memory at the peak": taken},
        notes=[
            "An exponent of 1 means that twice the size takes twice as much; it is the slope of the least-squares line "
            "through the logarithms. Below 1, a cost has a part that does not grow; beside a network this small it is "
            "large. Memory is what a run takes at its peak beside the libraries that it has imported; what one seed "
            "used is free for the next."
        ],
    )


def _measured(case: tuple[int, ...], device: str, folder: Path) -> dict[str, float]:
    """Seconds of the whole and of its phases, and MiB, of a run of so many images, classes, bits and seeds."""
    images, classes, bits, seeds = case
    half, names = images // 2 // classes, [f"class{number:03}" for number in range(classes)]
    write_images(folder / "images", names, {"train": half, "query": QUERIES // classes, "database": half})
    asked = ("--method", "dpq", "--bits", str(bits), "--seeds", ",".join(map(str, range(seeds))))
    call = Call("own", (*NETWORK, *asked, *ALONE), device, folder / "images", folder)
    found, extra = extra_memory(prepare, (call,), run)
    costs = {cost: max(found[cost], LEAST) for cost in (WHOLE, *PHASES)} | {MEMORY: max(extra, LEAST)}
    return costs | {name: found[name] for name in found if name == GPU_MEMORY}
