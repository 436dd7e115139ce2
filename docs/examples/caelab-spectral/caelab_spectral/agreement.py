"""Whether runs agree on the direction to which the code of an example responds most.

Two runs agree on an example where the leading right singular vectors v of their Jacobians are the same up to the sign:
|v · v'| = 1. Directions drawn at random in d dimensions have |v · v'| of about √(2 / (π d)).
"""

from itertools import combinations

import pandas as pd
import torch
from matplotlib.figure import Figure

import caelab
from caelab import Column, NotApplicable
from caelab.analysis.plotting import COLUMN_WIDTH, display_name, look, paper_style
from caelab.options import Count
from caelab_spectral.power_iteration import leading_singular_vectors

title = "Agreement on the leading direction"
caption = (
    "Every dot is a pair of runs of one model from two seeds: the mean over examples of |v · v'|, with v the direction "
    "to which each run responds most. 1 means that the direction is the data's and not the seed's."
)
columns = (
    Column(
        name="agreement between seeds",
        heading="agreement\nbetween seeds",
        better="larger",
        table="Leading directions",
        optional=True,
    ),
)


def compare(runs, streams, *, examples: Count = 100, iterations: Count = 100):
    """Mean over examples of |v(x) · v'(x)| for every two runs of one model.

    Args:
        runs: models and seeds; all of them see the first run's validation examples.
        streams: of the power iteration's start.
        examples: how many validation examples, the first ones.
        iterations: of power iteration.

    Returns:
        Two rows per pair of seeds, one about each: ``model``, ``seed``, ``other seed``, ``agreement`` in [0, 1].
    """
    if len({run.label for run in runs}) == len(runs):
        raise NotApplicable("seeds of one model are compared, but every model has one seed only")
    inputs = runs[0].dataset.valid_inputs[:examples]
    start = torch.randn(inputs.shape, generator=streams["agreement"], dtype=inputs.dtype)
    leading = [_leading(run, inputs, start, iterations) for run in runs]
    rows = []
    for (one, v), (other, w) in combinations(zip(runs, leading, strict=True), 2):
        if one.label == other.label:
            agreement = float((v * w).sum(dim=1).abs().mean())
            rows += [(one.label, one.seed, other.seed, agreement), (one.label, other.seed, one.seed, agreement)]
    return pd.DataFrame(rows, columns=["model", "seed", "other seed", "agreement"])


def _leading(run, inputs, start, iterations):
    return leading_singular_vectors(caelab.jacobian(run.model.encode, inputs), start, iterations)[1].flatten(1)


def summarise(table):
    """The mean over the other seeds."""
    return {"agreement between seeds": table["agreement"].mean()}


@paper_style()
def draw(table):
    """A line of dots per model, one for each pair of seeds."""
    figure = Figure(figsize=(COLUMN_WIDTH, 0.7 + 0.25 * table["model"].nunique()), layout="constrained")
    axes = figure.subplots()
    pairs = table[table["seed"] < table["other seed"]]
    looks = look(table["model"])
    for row, (model, style) in enumerate(looks.items()):
        values = pairs.loc[pairs["model"] == model, "agreement"]
        axes.plot(values, [row] * len(values), style.marker, color=style.color)
    axes.set_yticks(range(len(looks)), [display_name(model) for model in looks])
    axes.set(xlim=(0, 1), ylim=(len(looks) - 0.5, -0.5), xlabel="mean |v · v'| between two seeds")
    return figure
