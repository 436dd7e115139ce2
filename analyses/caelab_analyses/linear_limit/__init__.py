"""The linear limit, in which the contractive penalty is weight decay: how far a run is from it.

For one layer h = s(W x + b), ‖J_f(x)‖_F² = Σ_j s'(z_j)² ‖W_j‖². Where every |z_j| is small the slopes are s'(0), and
the penalty is s'(0)² ‖W‖_F², weight decay; as units saturate it falls below. For the logistic sigmoid the relative
difference starts as ½ Σ_j E[z_j²] ‖W_j‖² / ‖W‖_F². What linear auto-encoders learn is in ``solutions``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.errors import NotApplicable
from caelab.jacobian.layers import Layer
from caelab.jacobian.service import jacobian
from caelab.options import Count
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.linear_limit.figure import AS_TRAINED, linear_limit_figure
from caelab_analyses.linear_limit.optimum import linear_numbers
from caelab_analyses.shared.float64 import double_encoder

title = "The linear limit"
caption = (
    "How far each run is from the linear encoder that it becomes when its weights are scaled down: ‖J‖² over its "
    "limit, which is 1 where the contractive penalty is weight decay."
)
columns = (
    Column(name="slope over slope at 0", heading="slope over\nslope at 0"),
    Column(name="squared norm over its linear limit", heading="‖J‖² over its\nlinear limit"),
    Column(name="gradient explained by weight decay", heading="gradient explained by\nweight decay (%)", factor=100),
    Column(
        name="angle to the principal subspace (deg)",
        heading="angle to the principal\nsubspace (°)",
        better="smaller",
        optional=True,
    ),
    Column(
        name="distance from the closed form", heading="distance from\nthe closed form", better="smaller", optional=True
    ),
)


def _checked(scales: Sequence[float]) -> Sequence[float]:
    if not scales or not all(math.isfinite(scale) and scale > 0 for scale in scales):
        raise PydanticCustomError("scales", "expected at least one scale, each finite and above 0")
    return scales


Scales = Annotated[tuple[float, ...], AfterValidator(_checked)]
DEFAULT_SCALES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0)


@dataclass(frozen=True)
class OneLayer:
    """One layer h = s(W x + b) at a batch, in float64.

    Attributes:
        layer: W, b and s.
        inputs: x, shape (batch, d).
    """

    layer: Layer
    inputs: Tensor

    @property
    def pre_activations(self) -> Tensor:
        """z = W x + b, shape (batch, code)."""
        return self.layer.affine(self.inputs)

    def slope_ratios(self, scale: float = 1.0) -> Tensor:
        """s'(t z) / s'(0), shape (batch, code), t the scale."""
        z = scale * self.pre_activations
        return self.layer.activation.derivative(z) / self.layer.activation.derivative(torch.zeros_like(z))

    def norm_shares(self, scale: float = 1.0) -> Tensor:
        """Σ_j (s'(t z_j) / s'(0))² ‖W_j‖² / ‖W‖_F²: the penalty over its linear limit, shape (batch,).

        1 in the linear limit; the contractive penalty is this times weight decay with s'(0)² λ.
        """
        rows = self.layer.weight.square().sum(dim=1)
        return self.slope_ratios(scale).square() @ rows / rows.sum()

    def explained_share(self, scale: float = 1.0) -> float:
        """cos² between the gradients by (W, b) of the mean penalty and of weight decay, which is along (W, 0).

        The share of the gradient, by squared length, that weight decay of the right weight explains. At another scale
        t both W and b are t times as large.
        """
        weight = (scale * self.layer.weight.detach()).requires_grad_()
        bias = self.layer.bias
        parts = [weight] if bias is None else [weight, (scale * bias.detach()).requires_grad_()]
        with torch.enable_grad():
            z = torch.nn.functional.linear(self.inputs, *parts)
            norms = self.layer.activation.derivative(z).square() @ weight.square().sum(dim=1)
            gradients = torch.autograd.grad(norms.mean(), parts, materialize_grads=True)
        squared = sum(float(part.square().sum()) for part in gradients)
        along = float((gradients[0] * weight).sum()) ** 2 / float(weight.detach().square().sum())
        return along / squared if squared else math.nan


def measure(run: Run, streams: Streams, *, examples: Count = 200, scales: Scales = DEFAULT_SCALES) -> pd.DataFrame:
    """Slopes and ‖J_f‖² of one layer against their linear limit, as trained and with pre-activations scaled.

    Args:
        run: the trained model and its data.
        streams: not used; nothing here is random.
        examples: how many validation examples, the first ones.
        scales: factors t of the pre-activation z (of W and b together); 1, the run as trained, is always among them.

    Returns:
        One row per ``scale`` and ``example``: ``slope_ratio``, the mean over units of s'(t z_j) / s'(0), and
        ``slope_deviation``, its standard deviation over units; ``norm_share``, ‖J(x)‖² over s'(0)² ‖t W‖²; and
        ``explained_share``, cos² between the gradients of penalty and weight decay, one number per scale. Of a run
        that is linear from input to reconstruction also ``principal_angle`` and ``closed_form_distance``, one number
        per run (see ``linear_optimum``); NaN of any other.

    Raises:
        NotApplicable: the encoder is not one layer with an elementwise activation, or that has s'(0) = 0 or a kink
            there (rectified linear).
    """
    here = _one_layer(run, run.dataset.valid_inputs[:examples].double())
    parts = [_at(here, scale) for scale in sorted({*scales, AS_TRAINED})]
    return pd.concat(parts, ignore_index=True).assign(**linear_numbers(run))


def _one_layer(run: Run, inputs: Tensor) -> OneLayer:
    """The run's encoder as one layer at these inputs.

    Raises:
        NotApplicable: it is something else, or has no linear limit.
    """
    layer = jacobian(double_encoder(run), inputs).single_layer
    if layer is None:
        raise NotApplicable(
            "linear_limit needs an encoder of one affine layer and an elementwise activation, "
            f"but {run.label} is something else"
        )
    near = torch.tensor([-1e-9, 0.0, 1e-9], dtype=torch.float64)
    slopes = layer.activation.derivative(near)
    if not slopes[1] or not torch.allclose(slopes, slopes[1], rtol=1e-6):
        raise NotApplicable(
            f"linear_limit needs an activation with a slope at 0, but {layer.activation.name} has a kink or none there"
        )
    return OneLayer(layer, inputs)


@torch.no_grad()
def _at(here: OneLayer, scale: float) -> pd.DataFrame:
    ratios = here.slope_ratios(scale)
    return pd.DataFrame(
        {
            "scale": scale,
            "example": range(len(ratios)),
            "slope_ratio": ratios.mean(dim=1).numpy(),
            "slope_deviation": ratios.std(dim=1, correction=0).numpy(),
            "norm_share": here.norm_shares(scale).numpy(),
            "explained_share": here.explained_share(scale),
        }
    )


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """At the scale 1: how far ‖J‖² is from its linear limit, how the slopes vary, and what weight decay explains.

    Of a linear run also how far it is from the solutions of the linear case.
    """
    trained = table[table["scale"] == AS_TRAINED]
    of_linear = {
        "angle to the principal subspace (deg)": trained["principal_angle"].mean(),
        "distance from the closed form": trained["closed_form_distance"].mean(),
    }
    return {
        "slope over slope at 0": trained["slope_ratio"].mean(),
        "squared norm over its linear limit": trained["norm_share"].mean(),
        "gradient explained by weight decay": trained["explained_share"].mean(),
        **{name: value for name, value in of_linear.items() if math.isfinite(value)},
    }


def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """The difference from weight decay against the scale, and ‖J‖² over its limit example by example."""
    return linear_limit_figure(table, axes)
