"""Dead units: units of the code that are the same for every example, and so say nothing of any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from caelab import hookimpl

Threshold = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""The largest difference between two activations of a unit that counts as none; 0 asks for equal ones."""


def dead_units(code: Tensor, threshold: float) -> Tensor:
    """Which units j are dead on these examples: max_x h_j(x) - min_x h_j(x) <= θ, both over the batch.

    So is a unit that is never active (ReLU, top-k: h_j = 0 everywhere), with θ = 0 already, and one that is saturated
    everywhere (sigmoid, tanh), with θ > 0. A unit that is active for one example alone is not dead.

    Bricken et al. (2023) and Gao et al. (2024) count units that are never active, of ReLU and of top-k codes, where
    the two definitions agree unless a unit is constant and active.

    Args:
        code: activations, shape (batch, *code).
        threshold: θ.

    Returns:
        Boolean, shape (units,), the axes of the code as one; not differentiable.
    """
    units = code.detach().flatten(1)
    return units.amax(dim=0) - units.amin(dim=0) <= threshold


@dataclass(eq=False)
class DeadUnits:
    """Measures how many units j are dead on the validation inputs, max_x h_j(x) - min_x h_j(x) <= θ, in every epoch.

    The metrics are ``dead_units``, their number, and ``dead_share``, their number over that of all units of the code.
    It trains nothing. After Bricken et al. (2023), "Towards Monosemanticity", and Gao et al. (2024), arXiv:2406.04093.

    Attributes:
        threshold: θ; 0 for units that are never active (ReLU, top-k), above 0 for saturated ones (0.01 of a sigmoid).
    """

    threshold: Threshold

    @hookimpl
    def extra_metrics(self, model: Any, inputs: Tensor) -> dict[str, float]:
        """The number of dead units, and their share."""
        dead = dead_units(model.encode(inputs), self.threshold)
        return {"dead_units": float(dead.sum()), "dead_share": float(dead.double().mean())}
