"""The largest singular value of the encoder's Jacobian over training and over validation examples.

If it is small where the model was trained and large beside it, the contraction was learnt by heart.
"""

import pandas as pd
import torch
from matplotlib.figure import Figure

import caelab
from caelab import Column
from caelab.analysis.plotting import COLUMN_WIDTH, display_name, look, paper_style
from caelab.options import Count
from caelab_spectral.power_iteration import largest_singular_values

PARTS = {"training": "-", "validation": "--"}

title = "The largest singular value"
caption = (
    "The share of examples whose Jacobian has a largest singular value below a value. Curves further left contract "
    "more; a dashed curve far to the right of its solid one is contraction learnt by heart."
)
columns = (
    Column(
        name="largest singular value, training", heading="largest s,\ntraining", better="smaller", table="contraction"
    ),
    Column(
        name="largest singular value, validation",
        heading="largest s,\nvalidation",
        better="smaller",
        table="contraction",
        short="largest s",
    ),
)


def measure(run, streams, *, examples: Count = 200, iterations: Count = 100):
    """s_1(J(x)) of every example.

    Args:
        run: the trained model and its data.
        streams: of the power iteration's start.
        examples: how many of each part, the first ones.
        iterations: of power iteration.

    Returns:
        One row per ``part`` and example: ``largest`` = s_1(J(x)).
    """
    inputs = {"training": run.dataset.train_inputs[:examples], "validation": run.dataset.valid_inputs[:examples]}
    found = {part: _largest(run, x, streams["spectral norm"], iterations) for part, x in inputs.items()}
    return pd.concat([pd.DataFrame({"part": part, "largest": values}) for part, values in found.items()])


def _largest(run, inputs, generator, iterations):
    start = torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype)
    jacobian = caelab.jacobian(run.model.encode, inputs)
    return largest_singular_values(jacobian, start, iterations).detach().double().numpy()


def summarise(table):
    """The mean over the examples of each part."""
    means = table.groupby("part")["largest"].mean()
    return {f"largest singular value, {part}": means[part] for part in PARTS}


@paper_style()
def draw(table):
    """The share of examples whose largest singular value is below a value, by model; one curve per part."""
    import seaborn  # here, since training needs no drawing

    figure = Figure(figsize=(COLUMN_WIDTH, 2.4), layout="constrained")
    axes = figure.subplots()
    looks = look(table["model"])
    for (model, part), rows in table.groupby(["model", "part"], sort=False):
        label = display_name(model) if part == "training" else None
        seaborn.ecdfplot(
            rows, x="largest", color=looks[model].color, linestyle=PARTS[part], label=label, legend=False, ax=axes
        )
    axes.set(xlabel="largest singular value of $J$", ylabel="share of examples below", ylim=(0, 1.05))
    axes.legend(title="solid: training, dashed: validation")
    return figure
