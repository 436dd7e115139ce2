"""Curvature of the encoder: how fast J_f turns along its leading tangents and across them, as CAE+H penalises.

Along a unit direction u, J_f(x + r u) and J_f(x - r u) differ by 2 r ∂_u J_f(x) to first order. For one layer
h = s(W x + b) the derivative is ∂_u J = diag(s''(z) * W u) W. A manifold that bends asks for some curvature along its
tangents; an encoder that is smooth across them contracts on a wider tube around the data.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.errors import NotApplicable
from caelab.jacobian.layers import Layer
from caelab.jacobian.service import jacobian
from caelab.options import Count
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.contraction_curve import Encode, Radii, leading_tangents, sphere, without_span
from caelab_analyses.higher_order.figure import ACROSS, ALONG, curvature_figure
from caelab_analyses.shared.float64 import double_encoder

STEP = 1e-4  # of the input's length: the finite difference that stands for the limit where there is no closed form
DEFAULT_RADII = (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 11, 15)

title = "Curvature"
caption = (
    "How fast the Jacobian turns as one moves away from an example, along its leading tangents and across them. "
    "An encoder that turns along the tangents and not across them contracts on a tube around the data."
)
columns = (
    Column(name="curvature along tangents", heading="curvature\nalong tangents"),
    Column(name="curvature across tangents", heading="curvature\nacross tangents", better="smaller"),
    Column(name="curvature along-to-across", heading="curvature along\n/ across", better="larger"),
)


def measure(
    run: Run,
    streams: Streams,
    *,
    examples: Count = 50,
    tangents: Count = 5,
    directions: Count = 5,
    radii: Radii = DEFAULT_RADII,
) -> pd.DataFrame:
    """Turning and norm of J_f at x ± r u, along leading tangents u and across them, in float64.

    Args:
        run: the trained model and its data.
        streams: draws the directions across.
        examples: how many validation examples x, the first ones.
        tangents: k, how many leading right singular vectors of J_f(x).
        directions: how many random unit directions orthogonal to them all, drawn anew for each x.
        radii: r, in units of the input; the limit 0 is always among them.

    Returns:
        One row per ``kind`` ("along tangents", "across tangents"), ``direction`` (the tangent's rank, or a number) and
        ``radius``, means over examples: ``curvature`` ‖J(x + r u) - J(x - r u)‖_F / 2r, at r = 0 its limit ‖∂_u J‖_F;
        ``relative_curvature``, the same over ‖J(x)‖_F of that example; ``relative_norm``, the mean of ‖J(x ± r u)‖_F
        over ‖J(x)‖_F.

    Raises:
        NotApplicable: the tangents fill the input space, so that nothing is across them.
    """
    encode = double_encoder(run)
    inputs = run.dataset.valid_inputs[:examples].double()
    leading = leading_tangents(encode, inputs, tangents)
    if leading.shape[1] >= inputs.shape[1]:
        raise NotApplicable(
            f"higher_order compares {leading.shape[1]} tangents with directions orthogonal to them, "
            f"but the input has only {inputs.shape[1]} dimensions; lower tangents"
        )
    random = sphere((len(inputs), directions, inputs.shape[1]), streams["curvature directions"])
    kinds = {ALONG: leading, ACROSS: without_span(random, leading)}
    reached = sorted({0.0, *radii})
    return pd.concat(
        [_rows(encode, inputs, toward, reached).assign(kind=kind) for kind, toward in kinds.items()], ignore_index=True
    )


def _rows(encode: Encode, inputs: Tensor, directions: Tensor, radii: list[float]) -> pd.DataFrame:
    here = jacobian(encode, inputs).squared_norm().detach().sqrt()[:, None]
    parts = []
    for radius in radii:
        change, norm = curvature(encode, inputs, directions, radius)
        found = {
            "curvature": change.mean(dim=0).numpy(),
            "relative_curvature": (change / here).mean(dim=0).numpy(),
            "relative_norm": (norm / here).mean(dim=0).numpy(),
        }
        parts.append(pd.DataFrame({"direction": range(1, directions.shape[1] + 1), "radius": radius, **found}))
    return pd.concat(parts, ignore_index=True)


@torch.no_grad()
def curvature(encode: Encode, inputs: Tensor, directions: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """‖J(x + r u) - J(x - r u)‖_F / 2r and the mean of ‖J(x ± r u)‖_F, each of shape (batch, count).

    At r = 0 the limits ‖∂_u J(x)‖_F and ‖J(x)‖_F. One layer has closed forms, with n_j = ‖W_j‖²:

        ‖J(x₊) - J(x₋)‖_F² = Σ_j (s'(z₊) - s'(z₋))_j² n_j        ‖∂_u J‖_F² = Σ_j (s''(z)_j W_j·u)² n_j

    Any other encoder goes through dense Jacobians, its limit through a central difference over 1e-4 of the input's
    length.

    Args:
        encode: f.
        inputs: x, shape (batch, d), float64.
        directions: u, of length 1, shape (batch, count, d).
        radius: r ≥ 0.
    """
    layer = jacobian(encode, inputs).single_layer
    if layer is not None:
        return _of_layer(layer, inputs, directions, radius)
    step = radius or STEP * float(inputs.norm(dim=1).mean().clamp(min=1e-6))
    columns = [_from_dense(encode, inputs, step * unit) for unit in directions.unbind(dim=1)]
    changes, norms = (torch.stack(part, dim=1) for part in zip(*columns, strict=True))
    return changes / (2 * step), norms


def _of_layer(layer: Layer, inputs: Tensor, directions: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    rows = layer.weight.square().sum(dim=1)
    z, along = layer.affine(inputs)[:, None], directions @ layer.weight.T  # (batch, 1, code), (batch, count, code)
    slope, bend = layer.activation.derivative, layer.activation.second_derivative
    if radius == 0:
        norm = (slope(z).square() @ rows).sqrt().expand(along.shape[:2])
        return ((bend(z) * along).square() @ rows).sqrt(), norm
    ahead, behind = slope(z + radius * along), slope(z - radius * along)
    change = ((ahead - behind).square() @ rows).sqrt() / (2 * radius)
    return change, ((ahead.square() @ rows).sqrt() + (behind.square() @ rows).sqrt()) / 2


def _from_dense(encode: Encode, inputs: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    ahead, behind = (jacobian(encode, inputs + sign * step).dense().flatten(1) for sign in (1, -1))
    return (ahead - behind).norm(dim=1), (ahead.norm(dim=1) + behind.norm(dim=1)) / 2


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """At r → 0: relative curvature along the tangents, across them, and the ratio of the two."""
    limits = table[table["radius"] == 0].groupby("kind")["relative_curvature"].mean()
    return {
        "curvature along tangents": limits[ALONG],
        "curvature across tangents": limits[ACROSS],
        "curvature along-to-across": limits[ALONG] / limits[ACROSS] if limits[ACROSS] else float("nan"),
    }


def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Relative curvature and relative norm against the radius, along and across; curvature by the tangent's rank."""
    return curvature_figure(table, axes)
