"""A linear run compared with its optimum: the principal subspace, and the closed form of its objective.

An affine r(x) = V (W x + b) + c, trained under squared error, is compared with ``solutions``: plain against the
projection on the principal directions, with Gaussian corruption against ridge regression, with a contractive penalty
or weight decay and tied weights against the soft threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from caelab.jacobian.service import jacobian
from caelab.runs.run import Run
from caelab.training.objective import reconstruction_map
from caelab_analyses.linear_limit.solutions import (
    Numbers,
    angle_to_principal,
    linear_part,
    principal_projection,
    ridge_denoiser,
    soft_threshold,
)
from caelab_analyses.shared.fields import double_model

ClosedForm = Callable[[Tensor, int], tuple[Numbers, Numbers]]


def linear_numbers(run: Run) -> dict[str, float]:
    """How far a linear run is from the solutions of the linear case; NaN where there is nothing to compare with.

    Returns:
        ``principal_angle``, the largest principal angle, in degrees, between the rows of W and as many leading
        principal directions of the training examples (NaN where the code is as wide as the input); and
        ``closed_form_distance``, ‖A - A*‖_F / ‖A*‖_F of A = V W from the closed form A* of its objective.
    """
    numbers = {"principal_angle": math.nan, "closed_form_distance": math.nan}
    inputs = run.dataset.train_inputs
    if not hasattr(run.model, "decode"):
        return numbers
    model = double_model(run)
    layers = jacobian(reconstruction_map(model), inputs[:2].double()).layers
    if len(layers) != 2 or not all(layer.is_affine for layer in layers):
        return numbers
    code, width = layers[0].weight.shape
    if code < width:
        numbers["principal_angle"] = math.degrees(angle_to_principal(model, inputs))
    numbers["closed_form_distance"] = _distance_to(closed_form(run), model, inputs, min(code, width))
    return numbers


def _distance_to(wanted: ClosedForm | None, model: Any, inputs: Tensor, code: int) -> float:
    """‖A - A*‖_F / ‖A*‖_F; NaN where there is no A*, or it is 0."""
    if wanted is None:
        return math.nan
    best, _ = wanted(inputs, code)
    size = float(np.linalg.norm(best))
    return float(np.linalg.norm(linear_part(model, inputs.shape[1])[0] - best)) / size if size else math.nan


def closed_form(run: Run) -> ClosedForm | None:
    """The solution of the run's objective in the linear case, a function of inputs and code; None if none is known."""
    blocks = [(block.kind, block.options) for block in run.config.regularizers.values()]
    if run.config.training.reconstruction != "squared-error" or len(blocks) > 1:
        return None
    if not blocks:
        return principal_projection
    ((kind, options),) = blocks
    if kind == "gaussian":
        return lambda inputs, code: ridge_denoiser(inputs, options["sigma"], code)
    if kind in ("contractive", "weight-decay") and run.config.model.options.get("tied", False):
        return lambda inputs, code: soft_threshold(inputs, options["weight"], code)
    return None
