"""The command ``caelab convert-weight``."""

from __future__ import annotations

import math

import click

from caelab.errors import CaelabError


@click.command("convert-weight")
@click.argument("weight", type=float, required=False)
@click.option("--penalty", "penalties", multiple=True, metavar="NAME", help="How the other code sums the penalty.")
@click.option(
    "--reconstruction", "errors", multiple=True, metavar="NAME", help="How it sums that of the reconstruction."
)
@click.option("--inputs", type=int, help="The number of inputs.")
@click.option("--units", type=int, help="The number of units of the code.")
@click.option("--batch-size", type=int, help="The examples in a batch.")
@click.option("--learning-rate", type=float, help="Of the other code's SGD, to be converted too.")
def convert_weight(
    weight: float | None,
    penalties: tuple[str, ...],
    errors: tuple[str, ...],
    inputs: int | None,
    units: int | None,
    batch_size: int | None,
    learning_rate: float | None,
) -> None:
    """Turn the weight (lambda) of a contractive penalty from other code into caelab's; without one, list conventions.

    \b
    caelab convert-weight 0.1 --penalty rifai-2012
    caelab convert-weight 1e-4 --penalty sum-over-batch --reconstruction mean-over-inputs --inputs 784 --batch-size 100
    """
    from caelab.runs.conventions import OWN
    from caelab.runs.conventions import convert_weight as converted

    sizes = {"inputs": inputs, "units": units, "batch_size": batch_size}
    if weight is None:
        if penalties or errors or learning_rate is not None or any(size is not None for size in sizes.values()):
            raise CaelabError("expected the weight first, as in: caelab convert-weight 0.1 --penalty rifai-2012")
        _list()
        return
    found = converted(weight, penalties or OWN, errors or OWN, **sizes)
    rate = "" if learning_rate is None else _rate(learning_rate, found.learning_rate_factor)
    click.echo(f"weight: {found.weight:.10g}")
    click.echo(f"learning rate of SGD: times {found.learning_rate_factor:.10g}")
    click.echo(f"settings: --set contractive.weight={found.weight:.10g}{rate}")
    for note in found.notes:
        click.echo(f"note: {note}")


def _rate(rate: float, factor: float) -> str:
    if not 0 < rate < math.inf:
        raise CaelabError(f"expected the learning rate as a finite number above 0, but {rate} came")
    return f" --set training.optimizer=sgd --set training.learning_rate={rate * factor:.10g}"


def _list() -> None:
    from caelab.cli.tables import print_table
    from caelab.runs.conventions import NOT_SQUARED, PENALTIES, RECONSTRUCTIONS

    rows = [
        [option, name, each.formula, ", ".join(f"--{size.replace('_', '-')}" for size in each.needs), each.about]
        for option, known in (("--penalty", PENALTIES), ("--reconstruction", RECONSTRUCTIONS))
        for name, each in known.items()
    ]
    rows.append(["--penalty", NOT_SQUARED, "mean_b ‖J‖_F", "", "cannot be converted by a constant"])
    print_table("conventions", ["option", "name", "what it is", "needs", "where it is met"], rows)
