"""The penalty on the largest singular value."""

from dataclasses import dataclass

import torch

from caelab import hookimpl
from caelab.options import Count, Weight
from caelab_spectral.power_iteration import largest_singular_values


@dataclass(eq=False)
class Spectral:
    """Adds weight * mean over the examples x of s_1(J(x))², J the encoder's Jacobian, x clean.

    s_1² is the largest of the summands of ‖J‖_F² = Σ_k s_k², so it is at most the contractive penalty, and equal to it
    where the code has one unit. Only the most sensitive direction of each example is contracted.

    Attributes:
        weight: of the penalty.
        iterations: of power iteration, which starts anew at every batch from the stream "spectral".
    """

    weight: Weight
    iterations: Count = 20

    @hookimpl
    def penalty_terms(self, clean, encoder_jacobian, streams):
        """The weighted penalty."""
        generator = streams["spectral"]
        start = torch.randn(clean.shape, generator=generator, dtype=clean.dtype, device=clean.device)
        values = largest_singular_values(encoder_jacobian, start, self.iterations)
        return {"spectral": self.weight * values.square().mean()}
