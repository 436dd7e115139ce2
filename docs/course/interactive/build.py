"""Build the interactive page: train a grid of auto-encoders and write one HTML file that needs no network.

Usage: ``python docs/course/interactive/build.py --out interactive.html``; see ``--help``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import torch
from grid import Grid, loaded, shown_examples, trained
from packing import in_text, layers_of, packed, rounding_errors
from scales import radii, scales

from caelab import CaelabError, Dataset, Run, __version__
from caelab.storage.files import told_as_storage, write_text

HERE = Path(__file__).parent
SCRIPTS = ("linear.js", "model.js", "measures.js", "pictures.js", "charts.js", "state.js", "page.js")
LARGEST = 2_000_000  # bytes of the page
DIRECTIONS = 4  # for each example, as measures.js has it
ROWS = (
    ("mean-norm", "‖J‖<sub>F</sub>"),
    ("mean-squared-norm", "‖J‖²<sub>F</sub>"),
    ("mean-squared-entry", "squared entry"),
    ("effective-rank", "effective rank"),
    ("saturated", "saturated, %"),
    ("error", "error, clean x"),
    ("noisy-error", "error at s = <span id='noise-named'></span>"),
)
LAMBDAS = (0, 0.1, 0.3, 1, 3, 10)
SIGMAS = (0, 0.1, 0.3, 0.5, 1)


def page_of(grid: Grid, dataset: Dataset, runs: Sequence[Run], count: int, stamp: str = "") -> str:
    """The whole page as a text.

    Args:
        grid: what was trained.
        dataset: what it was trained on.
        runs: by sigma, then by lambda.
        count: how many examples the page shows and takes means over.
        stamp: a text by which a later build knows this one again.

    Raises:
        CaelabError: the page is larger than 2 MB.
    """
    exact = layers_of(runs)
    stored = packed(exact, dataset.train_inputs)
    inputs, labels = shown_examples(dataset, count)
    reached = radii(inputs.double())
    facts = {
        "lambdas": list(grid.lambdas),
        "sigmas": list(grid.sigmas),
        "hidden": grid.hidden,
        "shape": list(dataset.image_shape or ()),
        "labels": labels,
        "row": len(dict.fromkeys(labels)) if any(labels) else 10,
        "radii": reached,
        "scales": scales(stored.layers(), inputs.double(), reached),
    }
    arrays = [stored.scale, stored.bias, stored.visible_bias, inputs, stored.levels]
    errors = rounding_errors(exact, stored.layers(), inputs)
    text = _rendered(grid, dataset, facts, in_text(arrays), errors, stamp)
    if len(text.encode()) > LARGEST:
        raise CaelabError(f"the page has {len(text.encode())} bytes, more than {LARGEST}; give fewer lambdas or sigmas")
    return text


def _rendered(
    grid: Grid, dataset: Dataset, facts: dict[str, Any], weights: str, errors: dict[str, float], stamp: str
) -> str:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE, "utf-8"), autoescape=True, trim_blocks=True)
    environment.filters["percent"] = lambda value: f"{_two_digits_up(100 * value):g}"
    environment.filters["up"] = lambda value: f"{_two_digits_up(value):g}"
    script = "\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    lambdas, sigmas = grid.lambdas, grid.sigmas
    return environment.get_template("page.html.j2").render(
        grid=grid, dataset=dataset, facts=facts, json=json.dumps(facts).replace("<", "\\u003c"), weights=weights,
        errors=errors, script=script, style=(HERE / "page.css").read_text(encoding="utf-8"), version=__version__,
        stamp=stamp, rows=ROWS, models=len(lambdas) * len(sigmas), inputs=dataset.inputs.shape[1],
        examples=len(facts["labels"]), directions=DIRECTIONS, high=lambdas[-1], middle=lambdas[len(lambdas) // 2],
        loud=sigmas[-1], half=sigmas[(len(sigmas) + 1) // 2 if len(sigmas) > 2 else -1],
    )  # fmt: skip


def _two_digits_up(value: float) -> float:
    """The value rounded up to two digits: what is stated as a bound must be one."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit - 1e-9) * unit


def levels(text: str) -> float:
    """One lambda or sigma of the command line."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"expected a finite number of at least 0, but {text!r} came")
    return value


def count(text: str) -> int:
    """A number of things of the command line."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, but {text!r} came")
    return int(text)


def several(text: str) -> int:
    """A number of things of which one is too few."""
    if count(text) < 2:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 2, but {text!r} came")
    return int(text)


class Words(argparse.ArgumentParser):
    """A command line that tells a mistake in one sentence."""

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Words(prog="build.py", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the HTML file to write")
    parser.add_argument("--dataset", default="mnist5k", help="a data set of grey pictures in [0, 1] (mnist5k)")
    parser.add_argument("--lambdas", type=levels, nargs="+", default=LAMBDAS, help="weights of the contractive penalty")
    parser.add_argument("--sigmas", type=levels, nargs="+", default=SIGMAS, help="standard deviations of the noise")
    parser.add_argument("--hidden", type=count, default=50, help="units of the code (50)")
    parser.add_argument("--epochs", type=count, default=15, help="of training (15)")
    parser.add_argument("--examples", type=several, default=100, help="that the page shows and averages over (100)")
    parser.add_argument("--seed", type=int, default=0, help="of every random choice (0)")
    parser.add_argument("--runs", type=Path, help="folder to keep trained runs in; those in it are not trained again")
    parser.add_argument("--stamp", default="", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def build(asked: argparse.Namespace) -> None:
    """Train, pack, and write the page."""
    lambdas, sigmas = sorted(set(asked.lambdas)), sorted(set(asked.sigmas))
    grid = Grid(lambdas, sigmas, asked.dataset, asked.hidden, asked.epochs, asked.seed)
    loaded(grid)
    with told_as_storage(asked.out):  # before anything is trained
        asked.out.parent.mkdir(parents=True, exist_ok=True)
    runs: list[Run] = []
    for line, found in trained(grid, asked.runs):
        print(line, file=sys.stderr)
        runs += found
    text = page_of(grid, runs[0].dataset, runs, asked.examples, asked.stamp)
    write_text(asked.out, text)
    print(f"{asked.out} ({len(text.encode()) / 1e6:.2f} MB): open it in a browser")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; a user's mistake ends in one sentence and status 2."""
    asked = parsed(arguments)
    torch.set_num_threads(1)
    try:
        build(asked)
    except CaelabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
