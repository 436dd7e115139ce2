"""The command ``caelab bridge``, which carries out the study and writes its page."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--dataset", default="mnist5k", show_default=True, help="Images, for the parts that are about images.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every run.")
@click.option("--workers", type=click.IntRange(min=1), default=None, help="Tasks at once. [default: the cores]")
@click.option("--executor", default="processes", show_default=True, help="Where the tasks are computed.")
@click.option("--quick", is_flag=True, help="Few epochs and examples: to see that it works, not for the numbers.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("bridge"), show_default=True, help="Output folder."
)
def bridge(dataset: str, seed: int, workers: int | None, executor: str, quick: bool, out: Path) -> None:
    """Show how the contractive penalty connects deterministic and denoising auto-encoders.

    \b
    Expansion, twins, training, score, tangents: each with its figure, its numbers and a sentence.
    caelab bridge --dataset mnist5k --out bridge
    """
    from caelab.cli.progress import Steps
    from caelab.study.executors import usable_cores
    from caelab_analyses.bridge.page import publish
    from caelab_analyses.bridge.study import BridgeStudy

    study = BridgeStudy(dataset, seed, out, quick)
    study.check()
    with Steps("bridge", study.steps()) as steps:
        study.run(executor, workers or usable_cores(), steps.step)
    for line in publish(out):
        click.echo(line)
