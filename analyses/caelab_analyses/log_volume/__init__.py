"""The log volume of an encoder's Jacobian as a score of density, beside scores that need no model.

An encoder that turns the data's law into one without structure has to stretch where examples are dense: the sum of
log s over the singular values of J_f(x) then grows with log p(x) (JEPA-score; Balestriero et al. 2025, arXiv
2510.05949). Where the density is known, the score is compared with it; elsewhere it is shown by itself.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.analysis.pieces import in_pieces
from caelab.jacobian.service import jacobian
from caelab.options import Count, Positive
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab.training.objective import reconstruction_map
from caelab_analyses.intrinsic_dimension.neighbours import neighbour_distances
from caelab_analyses.log_volume.agreement import AUROC, CORRELATION, auroc, rank_agreement, sparse
from caelab_analyses.log_volume.figure import volume_figure
from caelab_analyses.shared.fields import double_model
from caelab_analyses.shared.float64 import Encoder, double_encoder

VOLUME, CENTRE, NEIGHBOUR = "log volume", "nearness to the mean", "nearness to a neighbour"
RECONSTRUCTION = "small reconstruction error"
RANK = "rank"

title = "Density from the volume of the encoder's Jacobian"
caption = (
    "How well each score orders validation examples by their true log density (rank correlation), and tells the least "
    "dense tenth from the rest (area under the ROC curve; 0.5 is chance). Bars are 95 % bootstrap intervals over "
    "examples. Nearness to the mean and to the nearest neighbour is to training examples and needs no model."
)
columns = (
    Column(name="median log volume", heading="median\nlog volume", optional=True),
    Column(name="Jacobian rank", heading="median rank\nof the Jacobian", optional=True),
    Column(name=f"{CORRELATION} *", heading="rank correlation with\nlog density, *", better="larger", optional=True),
    Column(name=f"{AUROC} *", heading="AUROC of the least\ndense tenth, *", better="larger", optional=True),
)


def measure(run: Run, streams: Streams, *, examples: Count = 500, rank_tolerance: Positive = 1e-10) -> pd.DataFrame:
    """The log volume at validation examples; where their density is known, that and the scores beside.

    Args:
        run: the trained model and its data.
        streams: not used; nothing here is random.
        examples: how many validation examples, the first ones.
        rank_tolerance: singular values up to this share of the largest count as 0 and are left out.

    Returns:
        One row per example and score, larger where the example is to be denser: ``score``, ``example``, ``value``;
        ``rank`` of the Jacobian and ``log density``, NaN where it is not known.
    """
    inputs, truth = run.dataset.valid_inputs[:examples], run.dataset.truth
    volumes, ranks = volumes_of(double_encoder(run), inputs, rank_tolerance)
    known = hasattr(truth, "log_density")
    scores = {VOLUME: volumes, **(_beside(run, inputs.double()) if known else {})}
    density = truth.log_density(inputs).numpy() if known else float("nan")
    facts = {"example": range(len(inputs)), RANK: ranks.numpy(), "log density": density}
    return pd.concat(
        [pd.DataFrame({"score": name, "value": values.numpy(), **facts}) for name, values in scores.items()],
        ignore_index=True,
    )


def volumes_of(encode: Encoder, inputs: Tensor, rank_tolerance: float) -> tuple[Tensor, Tensor]:
    """Σ log s over the singular values of J_f above ``rank_tolerance`` · s_1, and how many those are.

    A final LayerNorm makes one value exactly 0, whose logarithm would be that of rounding.

    Args:
        encode: f, in float64.
        inputs: shape (batch, ...), walked in pieces.
        rank_tolerance: between 0 and 1.

    Returns:
        Shapes (batch,), float64, and (batch,), int64.
    """
    parts = [jacobian(encode, piece.double()).log_volume(rank_tolerance) for piece in in_pieces(inputs)]
    return torch.cat([part.value.detach() for part in parts]), torch.cat([part.rank for part in parts])


def _beside(run: Run, inputs: Tensor) -> dict[str, Tensor]:
    """Scores from training examples alone, and minus the reconstruction error; larger where denser."""
    among = run.dataset.train_inputs.double()
    found = {
        CENTRE: -(inputs - among.mean(dim=0)).norm(dim=1),
        NEIGHBOUR: -neighbour_distances(inputs, among, 1)[:, 0],
    }
    if hasattr(run.model, "decode"):
        with torch.no_grad():
            error = reconstruction_map(double_model(run))(inputs) - inputs
        found[RECONSTRUCTION] = -error.square().sum(dim=1)
    return found


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """The medians of volume and rank; where the density is known, the agreement of every score with it."""
    own = table[table["score"] == VOLUME]
    found: dict[str, Any] = {"median log volume": own["value"].median(), "Jacobian rank": float(own[RANK].median())}
    if table["log density"].isna().any():
        return found
    for name, rows in table.groupby("score", sort=False):
        values, density = rows["value"].to_numpy(), rows["log density"].to_numpy()
        found[f"{CORRELATION} {name}"] = rank_agreement(values, density)
        found[f"{AUROC} {name}"] = auroc(values, sparse(density))
    return found


def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Agreement of every score with the density, or the volumes' distribution where no density is known."""
    return volume_figure(table, axes)
