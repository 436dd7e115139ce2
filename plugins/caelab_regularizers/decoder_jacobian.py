"""The Jacobian of the decoder: robustness of the reconstruction to changes of the code, analytically."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from caelab import hookimpl, jacobian
from caelab.options import Weight
from caelab_regularizers.contractive import mean_squared_norm


@dataclass(eq=False)
class DecoderJacobian:
    """Adds λ · mean over examples of ‖J_g(h)‖_F² = Σ_i Σ_j (∂g_i/∂h_j)², g the decoder after its output activation.

    No factor ½. The code h = f(x) is that of the batch the encoder sees, corrupted if a plugin corrupts it; the
    gradient reaches the encoder through h as well. Ghosh, Sajjadi, Vergari, Black and Schölkopf (2020), ICLR
    ("RAE" with gradient penalty).

    Attributes:
        weight: λ.
    """

    claims = "squared norm of the decoder's Jacobian"

    weight: Weight

    @hookimpl
    def penalty_terms(self, model: Any, code: Tensor) -> dict[str, Tensor]:
        """The weighted penalty; see ``caelab_regularizers.contractive.mean_squared_norm``."""
        return {"decoder-jacobian": self.weight * mean_squared_norm(jacobian(model.decode, code))}
