"""The norm of an encoder's Jacobian on validation examples, the columns of the paper's Table 1.

Rifai et al. (2011) print an "average ‖J‖_F" whose size is that of the mean squared entry; so all three readings stand
here, and are to be compared with the paper by rank and ratio.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.analysis.pieces import in_pieces
from caelab.analysis.plotting import PAGE_WIDTH, dot_chart, panels, paper_style
from caelab.jacobian.service import jacobian
from caelab.models.layers import saturated_share
from caelab.options import Count
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.shared.activations import code_activation
from caelab_analyses.shared.float64 import Encoder, double_encoder

# column of the table -> column of the summary, and what the axis says of it
COLUMNS = {
    "norm": ("mean norm", "mean\n$\\Vert J\\Vert_F$"),
    "squared_norm": ("mean squared norm", "mean\n$\\Vert J\\Vert_F^2$"),
    "squared_entry": ("mean squared entry", "mean squared\nentry of $J$"),
    "saturated_share": ("saturated share", "saturated\nshare of units"),
    "reconstruction_error": ("reconstruction error", "reconstruction error\n(sum over inputs)"),
}
SMALL = "squared_entry"  # of the order of 1e-4

title = "The Jacobian's norm"
caption = (
    "Each small dot is one seed, the marker their mean, the bar its 95 % interval. A norm further left is more "
    "contraction; read it together with the reconstruction error, which contraction costs."
)
default = True
columns = (
    Column(name="mean norm", heading="mean\n‖J‖", better="smaller", table="main", short="mean ‖J‖"),
    Column(name="mean squared norm", heading="mean\n‖J‖²", better="smaller", table="main"),
    Column(name="mean squared entry", heading="mean squared\nentry of J", better="smaller", table="main"),
    Column(name="saturated share", heading="saturated\n(%)", factor=100, table="main", short="saturated %"),
    Column(
        name="reconstruction error",
        heading="reconstruction\nerror",
        better="smaller",
        table="main",
        short="reconstruction",
    ),
)


def measure(run: Run, streams: Streams, *, examples: Count = 500) -> pd.DataFrame:
    """‖J_f(x)‖_F and what Table 1 of Rifai et al. (2011) prints beside it, for each validation example.

    Args:
        run: the trained model and its data.
        streams: not used; nothing here is random.
        examples: how many validation examples, the first ones.

    Returns:
        One row per example: ``norm`` ‖J‖_F, ``squared_norm`` ‖J‖_F² (sum over the m·d entries), ``squared_entry``
        ‖J‖_F² / (m·d), ``saturated_share`` of the code's units (NaN where the activation has no two bounds),
        ``reconstruction_error`` L(x, r(x)), summed over inputs (NaN for an encoder without a decoder).
    """
    encode = double_encoder(run)
    inputs = run.dataset.valid_inputs[:examples]
    return pd.concat([_norms(run, encode, piece) for piece in in_pieces(inputs)], ignore_index=True)


def _norms(run: Run, encode: Encoder, inputs: Tensor) -> pd.DataFrame:
    """The rows of a piece of the examples."""
    code = run.encode(inputs)
    with torch.no_grad():
        squared = jacobian(encode, inputs.double()).squared_norm()
    columns = {
        "norm": squared.sqrt(),
        "squared_norm": squared,
        "squared_entry": squared / (code[0].numel() * inputs[0].numel()),
        "saturated_share": saturated_share(code, code_activation(run)),
        "reconstruction_error": reconstruction_error(run, inputs),
    }
    return pd.DataFrame({name: values.double().numpy() for name, values in columns.items()})


def reconstruction_error(run: Run, inputs: Tensor) -> Tensor:
    """L(x, r(x)), shape (batch,); NaN for an encoder without a decoder."""
    if not hasattr(run.model, "decode"):
        return torch.full((len(inputs),), torch.nan)
    return run.reconstruction_error(inputs)


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """The mean of every column over the examples."""
    return {title: table[name].mean() for name, (title, _) in COLUMNS.items()}


@paper_style()
def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """A panel per column: the mean over examples of every model and seed, and its interval over seeds."""
    means = table.groupby(["model", "seed"], sort=False, as_index=False)[[*COLUMNS]].mean()
    shown = {name: label for name, (_, label) in COLUMNS.items() if means[name].notna().any()}
    size = (PAGE_WIDTH, 0.6 + 0.16 * means["model"].nunique())
    found = panels(axes, 1, len(shown), of="jacobian_norm", size=size, grows="text", narrowest=12, sharey=True)
    for panel, (name, label) in zip(found, shown.items(), strict=True):
        shift = exponent(means[name]) if name == SMALL else 0
        power = f" ($10^{{{shift}}}$)" if shift else ""
        dot_chart(panel, means.assign(**{name: means[name] / 10.0**shift}), name, label + power)
        panel.xaxis.set_major_locator(MaxNLocator(3))
    return found.finished()


def exponent(values: pd.Series[float]) -> int:
    """The power of ten that the largest of the values has in scientific notation; 0 where all are 0."""
    return int(f"{values.abs().max():e}".partition("e")[2] or 0)
