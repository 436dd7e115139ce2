"""The command ``caelab finetune``, which makes a classifier from a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from caelab.cli.commands.shared import plugin_options, use_plugins
from caelab.errors import CaelabError


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--method",
    default="fine-tuning",
    show_default=True,
    help="fine-tuning, frozen, nearest-neighbours, svm-rbf or tangent-nearest-neighbours.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the method, as epochs=20.")
@click.option("--labels", type=int, help="How many labelled training examples, the first ones.  [default: all]")
@click.option("--seed", type=int, help="Fixes initial weights and batches.  [default: the run's]")
@click.option("--test", is_flag=True, help="Print the test error, too: test examples are looked at only then.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("classifiers"),
    show_default=True,
    help="Folder of classifiers.",
)
@plugin_options
def finetune(
    run: Path,
    method: str,
    settings: tuple[str, ...],
    labels: int | None,
    seed: int | None,
    test: bool,
    out: Path,
    plugins: tuple[Path, ...],
) -> None:
    """Make a classifier from a trained run: RUN is its folder.

    \b
    caelab finetune runs/cae-0123456789ab --set learning_rate=0.05 --set schedule=cosine
    caelab finetune runs/cae-0123456789ab --method svm-rbf --set features=inputs --labels 1000
    """
    use_plugins(plugins)
    options = _options(settings)
    from caelab.classifiers import finetune as make
    from caelab.classifiers.options import checked
    from caelab.classifiers.store import is_classifier
    from caelab.storage.folders import refuse_foreign

    checked(method, {"labels": labels, "seed": seed or 0, **options})
    refuse_foreign(out, is_classifier, "a folder of classifiers, or a new one,")
    made = make(run, method=method, labels=labels, seed=seed, out=out, progress=True, **options)
    click.echo("  ".join(f"{name} {value:.4g}" for name, value in made.best().items()))
    if test:
        click.echo(f"test_error {made.error('test'):.4g}")
    click.echo(f"classifier: {made.path}")


def _options(settings: Sequence[str]) -> dict[str, Any]:
    """The options that ``KEY=VALUE`` settings give; a dot leads into a block, as ``schedule.kind=cosine``.

    Raises:
        CaelabError: one has an option of its own on the command line.
    """
    from caelab.runs.settings import merged, parse_setting

    found: dict[str, Any] = {}
    for setting in settings:
        path, value = parse_setting(setting)
        for key in reversed(path.split(".")):
            value = {key: value}
        found = merged(found, value)
    for name in ("method", "labels", "seed"):
        if name in found:
            raise CaelabError(f"expected {name} as --{name} {found[name]}, but --set {name}={found[name]} came")
    return found
