"""`compare`: how much better one side is than another, by the rule of the claims."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.commands import Command
from benchmarks.setting.options import Option, shared

if TYPE_CHECKING:
    from benchmarks.report.sides import Answer

SIDE = (
    "EXPERIMENT:METHOD, such as cifar10-cpu:dpq; or in the place of EXPERIMENT a folder of records, a record, or a CSV "
    "with columns method, bits, seed and map"
)


def run(options: argparse.Namespace) -> None:
    """Print the comparison, and draw it where asked for."""
    from benchmarks.report.sides import compare, read_side

    one, other = (read_side(text, options.output) for text in (options.A, options.B))
    answer = compare(one, other, paired=options.paired)
    if options.json:
        import json

        print(json.dumps(answer.table))
    else:
        print(answer.text)
    if options.figure:
        _draw(options.figure, answer)


def _draw(path: Path, answer: Answer) -> None:
    from benchmarks.figures.ablations import effects_figure
    from benchmarks.figures.style import files_of, style
    from dpq.files.atomic import write_atomically

    one, other = answer.titles
    title = f"mAP of {one} − that of {other}\n{answer.paired}; better: {answer.whole.comparison.verdict}"
    effects = {effect.label: effect.comparison for effect in (*answer.lengths, answer.whole)}
    with style("compare"):
        write_atomically(path, files_of(path.stem, effects_figure(title, effects))[path.name])


def _picture(text: str) -> Path:
    if not text.endswith((".svg", ".png")):
        raise argparse.ArgumentTypeError(f"expected a file that ends in .svg or .png, got {text!r}")
    return Path(text)


COMMAND = Command(
    "compare",
    run,
    [
        Option("A", f"what is claimed to be better: {SIDE}", "A"),
        Option("B", "what it is compared with, written alike", "B"),
        Option("--paired", "runs of one seed belong together, where a side is a CSV; of records that is known"),
        Option("--figure", "draw the effects (needs the extra 'figures')", "FILE.svg|FILE.png", _picture),
        Option("--json", "print one line of JSON instead of a table"),
        *shared("--output"),
    ],
    "nothing but the picture is written; it is whole, new or old",
    "is A better than B, at every length and in the mean, by the rule of the claims",
    "Effects at every code length that A and B have and in the mean over them, with 95 % intervals, and the verdict on "
    "'A is better than B' by the rule of CLAIMS.md. METHOD goes without saying where there is one, and is followed by "
    "what is unusual: dpq:released, dpq:tuned, dpq:no-margin (an ablation). Runs of other images, cut or denominator "
    "are refused. Experiments are looked for in --output; a folder may be of another one: own/cifar10:dpq.",
)
