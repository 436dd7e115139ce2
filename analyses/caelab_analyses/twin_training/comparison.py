"""Distances of functions that were trained side by side to the denoising auto-encoder among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from caelab.jacobian.service import jacobian
from caelab.runs.run import Run
from caelab.training.objective import reconstruction_map
from caelab_analyses.shared.contraction_ratios import contraction_ratios
from caelab_analyses.shared.fields import double_model
from caelab_analyses.shared.subspaces import principal_angles
from caelab_analyses.twin_training import twins
from caelab_analyses.twin_training.factors import Product

DAE, RCAE, CAE, MATCHED = "dae", "rcae", "cae", "cae matched"
DIRECTIONS = 50
JACOBIANS = 50  # examples whose Jacobians are compared
RANKS = 20
TANGENTS = 5

Rows = list[dict[str, Any]]


def compared(runs: Mapping[str, Run], examples: int, radii: Sequence[float], stream: torch.Generator) -> Rows:
    """Rows ``twin``, ``quantity``, ``at``, ``value`` of all runs, the DAE among them, in float64."""
    inputs = runs[DAE].dataset.valid_inputs[:examples].double()
    directions = torch.nn.functional.normalize(
        torch.randn((DIRECTIONS, inputs.shape[1]), generator=stream, dtype=torch.float64), dim=1
    )
    models = {name: double_model(run) for name, run in runs.items()}
    rows: Rows = []
    for name, model in models.items():
        found = _own_numbers(model, inputs, directions, radii)
        if name != DAE:
            found += distances(model, models[DAE], inputs)
        rows += [{"twin": name, "quantity": quantity, "at": at, "value": value} for quantity, at, value in found]
    return rows


Number = tuple[str, float, float]  # quantity, rank or radius, value


def _own_numbers(model: Any, inputs: Tensor, directions: Tensor, radii: Sequence[float]) -> list[Number]:
    """Error, norms, and of f and of r the mean spectrum and the contraction curve."""
    single = {
        "reconstruction error": twins.plain_error(model, inputs),
        "mean squared norm of J_f": twins.encoder_norm(model, inputs),
        "mean squared norm of J_r": twins.reconstruction_norm(model, inputs),
    }
    found: list[Number] = [(name, math.nan, value.item()) for name, value in single.items()]
    spectra = {
        "f": jacobian(model.encode, inputs[:JACOBIANS]).singular_values().detach(),
        "r": _factored(model, inputs[:JACOBIANS]).singular()[0],
    }
    for letter, values in spectra.items():
        mean = values.mean(dim=0)[:RANKS].tolist()
        found += [(f"singular value of J_{letter}", rank, value) for rank, value in enumerate(mean, start=1)]
    for letter, function in (("f", model.encode), ("r", reconstruction_map(model))):
        curve = contraction_ratios(function, inputs, directions, list(radii)).mean(dim=(1, 2)).tolist()
        found += [(f"contraction of {letter}", radius, value) for radius, value in zip(radii, curve, strict=True)]
    return found


def distances(model: Any, reference: Any, inputs: Tensor) -> list[Number]:
    """How far r(x) - x, J_r, J_f and the code lie from the reference's, and the angles between leading directions."""
    with torch.no_grad():
        codes = [net.encode(inputs) for net in (model, reference)]
        fields = [net.decode(code) - inputs for net, code in zip((model, reference), codes, strict=True)]
    indices, signs = twins.matching(*codes)
    whole = [_factored(net, inputs[:JACOBIANS]) for net in (model, reference)]
    encoders = [product.inner for product in whole]
    found: list[Number] = [
        ("distance of r(x) - x", math.nan, twins.relative_distance(*fields)),
        ("cosine of r(x) - x", math.nan, twins.cosine(*fields)),
        ("distance of J_r", math.nan, whole[0].relative_distance(whole[1])),
        ("distance of J_f", math.nan, twins.relative_distance(encoders[0][:, indices] * signs[:, None], encoders[1])),
        ("distance of codes", math.nan, twins.code_distance(*codes)),
    ]
    bases = {
        "f": [jacobian(net.encode, inputs[:JACOBIANS]).tangents(_count(whole[0]))[1] for net in (model, reference)],
        "r": [product.singular()[1][:, : _count(product)] for product in whole],
    }
    for letter, pair in bases.items():
        angles = principal_angles(*pair).median(dim=0).values.tolist()
        found += [(f"tangent angle of {letter}", rank, angle) for rank, angle in enumerate(angles, start=1)]
    return found


def _count(product: Product) -> int:
    """Half the dimensions that J_r can have, at most ``TANGENTS``: all directions of a plane span the plane."""
    return max(1, min(TANGENTS, min(product.inner.shape[1:]) // 2))


def _factored(model: Any, inputs: Tensor) -> Product:
    """J_r = J_g J_f of a batch, not multiplied out."""
    code = model.encode(inputs).detach()
    return Product(jacobian(model.decode, code).dense().detach(), jacobian(model.encode, inputs).dense().detach())
