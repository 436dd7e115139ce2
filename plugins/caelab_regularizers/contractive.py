"""The contractive penalty: robustness of the code, analytically."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from caelab import Jacobian, hookimpl
from caelab.options import Weight


def mean_squared_norm(jacobian: Jacobian) -> Tensor:
    """Mean over the examples x of ‖J(x)‖_F² = Σ_j Σ_i (∂f_j/∂x_i)²; the sum runs over all code·input entries.

    No factor ½ and no division by the number of entries. For one sigmoid layer h = s(W x + b) it is
    Σ_j (h_j (1 - h_j))² Σ_i W_ji²; for a linear encoder ‖W‖_F², which one example tells: a mean of equal numbers
    would round its gradient, and a linear encoder train to other last bits than with weight decay.

    Rifai, Vincent, Muller, Glorot and Bengio (2011), ICML.

    Args:
        jacobian: of a map from ``(batch, *input)`` to ``(batch, *code)``, at the batch.

    Returns:
        Scalar, shape (); differentiable with respect to the map's parameters.
    """
    norms = jacobian.squared_norm()
    return norms[0] if jacobian.is_constant else norms.mean()


@dataclass(eq=False)
class Contractive:
    """Adds λ · mean over examples of ‖J_f(x)‖_F², f the encoder, x clean (Rifai et al. 2011, ICML).

    Attributes:
        weight: λ.
    """

    claims = "squared norm of the encoder's Jacobian"

    weight: Weight

    @hookimpl
    def penalty_terms(self, encoder_jacobian: Jacobian) -> dict[str, Tensor]:
        """The weighted penalty; see ``mean_squared_norm``."""
        return {"contractive": self.weight * mean_squared_norm(encoder_jacobian)}
