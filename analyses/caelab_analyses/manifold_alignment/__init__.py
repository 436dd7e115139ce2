"""Alignment of the directions that an encoder responds to with those along which the data vary.

On synthetic manifolds the tangent space is known, and principal angles to it are measured. On images some of its
directions are known, those of shift, rotation, scale and thickness, and the share of them that lies in the span of
the leading right singular vectors of J_f(x) is. Both stand beside local PCA, which sees the data and no model.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.data import Tangents
from caelab.errors import CaelabError, NotApplicable
from caelab.options import Count
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.manifold_alignment.figure import ANGLE, CHANCE, DATA, GAP, MODEL, SHARE, alignment_figure
from caelab_analyses.manifold_alignment.image_tangents import TRANSFORMATIONS, image_tangents
from caelab_analyses.shared.float64 import leading_tangents
from caelab_analyses.shared.subspaces import captured_share, local_pca, principal_angles

title = "Alignment with the data's own tangents"
caption = (
    "How much of the directions in which the data truly vary (small shifts, rotations, scalings, or the known "
    "tangent space) lies within the Jacobian's leading directions. Higher shares and smaller angles mean that the "
    "code kept the right directions."
)
default = True
columns = (
    Column(name="tangent share", heading="tangents\ncaptured (%)", factor=100, table="contraction", optional=True),
    Column(name="largest tangent angle (deg)", heading="largest angle to\nthe tangents (°)", optional=True),
    Column(name="spectrum gap", heading="gap of the\nspectrum at k", optional=True),
)


def measure(
    run: Run, streams: Streams, *, examples: Count = 50, count: Count = 10, neighbours: Count = 60
) -> pd.DataFrame:
    """Alignment of the leading right singular vectors of J_f with what is known of the tangent space.

    Args:
        run: the trained model and its data.
        streams: not used; nothing here is random.
        examples: how many validation examples, the first ones.
        count: k, how many singular vectors, on images; on a manifold k is its dimension.
        neighbours: of local PCA, among the training examples.

    Returns:
        One row per number: ``quantity`` (on images the tangent share ‖V t‖² / ‖t‖²; on a manifold the tangent angle
        and the spectrum gap s_k / s_{k+1}), ``source`` (model, local PCA, or chance: k / d for a share),
        ``example`` (its position among the validation examples, -1 for chance), ``direction`` (the transformation;
        or the angle's rank, ascending), ``dimensions`` k, ``value``. A blank image has no tangents, so no rows.

    Raises:
        NotApplicable: neither grey images nor a known tangent space, or a code too narrow for it.
        CaelabError: too few neighbours for local PCA.
    """
    data = run.dataset
    inputs = data.valid_inputs[:examples].double()
    if isinstance(data.truth, Tangents):
        return _angles(run, inputs, data.truth.basis[data.valid[:examples]], neighbours)
    if data.image_shape is None or len(data.image_shape) != 2:
        raise NotApplicable(
            "manifold_alignment needs a known tangent space: grey images or a synthetic manifold, "
            f"but {data.name} is neither"
        )
    return _shares(run, inputs, data.image_shape, count, neighbours)


def _angles(run: Run, inputs: Tensor, truth: Tensor, neighbours: int) -> pd.DataFrame:
    dimension = truth.shape[1]
    values, directions = leading_tangents(run, inputs, dimension + 1)
    if values.shape[1] < dimension:
        raise NotApplicable(
            f"the code has {values.shape[1]} units, fewer than the manifold's {dimension} dimensions; "
            "its tangent space cannot be told from so few"
        )
    found = {MODEL: directions[:, :dimension], DATA: neighbourhood(run, inputs, neighbours, dimension)}
    ranks = [str(rank) for rank in range(1, dimension + 1)]
    parts = [_tidy(ANGLE, source, principal_angles(basis, truth), ranks) for source, basis in found.items()]
    if values.shape[1] > dimension:
        gap = values[:, dimension - 1] / values[:, dimension]
        parts.append(_tidy(GAP, MODEL, gap[:, None], [""]))
    return pd.concat(parts, ignore_index=True).assign(dimensions=dimension)


def _shares(run: Run, inputs: Tensor, shape: tuple[int, ...], count: int, neighbours: int) -> pd.DataFrame:
    _, directions = leading_tangents(run, inputs, count)
    dimensions = directions.shape[1]
    tangents = torch.from_numpy(image_tangents(inputs.reshape(-1, *shape).numpy())).flatten(2)
    found = {MODEL: directions, DATA: neighbourhood(run, inputs, neighbours, dimensions)}
    names = list(TRANSFORMATIONS)
    parts = [_tidy(SHARE, source, captured_share(basis, tangents), names) for source, basis in found.items()]
    chance = _tidy(SHARE, CHANCE, torch.full((1, len(names)), dimensions / inputs.shape[1]), names).assign(example=-1)
    return pd.concat([*parts, chance], ignore_index=True).dropna().assign(dimensions=dimensions)


def neighbourhood(run: Run, inputs: Tensor, neighbours: int, dimension: int) -> Tensor:
    """Tangents by local PCA of the nearest training examples, shape (batch, k, d).

    Raises:
        CaelabError: fewer neighbours than the directions need.
    """
    among = run.dataset.train_inputs.double()
    neighbours = min(neighbours, len(among))
    if neighbours <= dimension:
        raise CaelabError(
            f"local PCA finds {dimension} directions from more than {dimension} neighbours, but {neighbours} came; "
            "raise neighbours, or train on more examples"
        )
    return local_pca(inputs, among, neighbours, dimension)


def _tidy(quantity: str, source: str, values: Tensor, directions: list[str]) -> pd.DataFrame:
    wide = pd.DataFrame(values.numpy(), columns=directions).rename_axis("example").reset_index()
    long = wide.melt(id_vars="example", var_name="direction", value_name="value")
    return long.assign(quantity=quantity, source=source)


def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """On images the share per transformation, on a manifold angles and gap; local PCA and chance as lines."""
    return alignment_figure(table, axes)


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """On images the mean share over transformations and examples; on a manifold the largest principal angle, mean over
    examples, and the gap, median over examples."""
    of_model = table[table["source"] == MODEL]
    values = dict(list(of_model.groupby("quantity")))
    found = {}
    if SHARE in values:
        found["tangent share"] = values[SHARE]["value"].mean()
    if ANGLE in values:
        found["largest tangent angle (deg)"] = values[ANGLE].groupby("example")["value"].max().mean()
    if GAP in values:
        found["spectrum gap"] = values[GAP]["value"].median()
    return found
