"""The reconstruction-contractive penalty: robustness of the reconstruction, analytically."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from caelab import Jacobian, hookimpl
from caelab.options import Weight
from caelab_regularizers.contractive import mean_squared_norm


@dataclass(eq=False)
class ReconstructionContractive:
    """Adds λ · mean over examples of ‖J_r(x)‖_F², r = g∘f the reconstruction after its output activation, x clean.

    The sum runs over all input·input entries of J_r = J_g J_f. With squared error and λ = σ² this is the second-order
    expansion of denoising with Gaussian noise of variance σ², without the residual's curvature term.
    Alain and Bengio (2014), JMLR 15 ("RCAE"); Bishop (1995), Neural Computation 7(1).

    Attributes:
        weight: λ.
    """

    claims = "squared norm of the reconstruction's Jacobian"

    weight: Weight

    @hookimpl
    def penalty_terms(self, reconstruction_jacobian: Jacobian) -> dict[str, Tensor]:
        """The weighted penalty; see ``caelab_regularizers.contractive.mean_squared_norm``."""
        return {"reconstruction-contractive": self.weight * mean_squared_norm(reconstruction_jacobian)}
