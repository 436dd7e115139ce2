"""The restricted Boltzmann machine, the paper's baseline without a reconstruction loss."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caelab.errors import CaelabError
from caelab.models.autoencoder import Autoencoder
from caelab.models.layers import TiedLinear, glorot_linear, interleaved
from caelab.options import Count, Width, Widths
from caelab.streams import Streams


class RBM(Autoencoder):
    """Binary visible and hidden units with energy E(v, h) = -vᵀc - hᵀb - hᵀ W v.

    The code is p(h = 1 | v) = sigmoid(W v + b), the reconstruction p(v = 1 | h) = sigmoid(Wᵀ h + c): as an
    auto-encoder it is tied, with one sigmoid layer. It is trained by contrastive divergence (Hinton 2002).
    """

    takes_probabilities = True

    def __init__(self, visible: int, hidden: int, steps: int) -> None:
        layer = glorot_linear(visible, hidden)
        super().__init__(interleaved([layer], [nn.Sigmoid()]), interleaved([TiedLinear(layer)], [nn.Sigmoid()]))
        self.steps = steps

    def free_energy(self, visible: Tensor) -> Tensor:
        """F(v) = -vᵀc - Σ_j softplus(W_j v + b_j), shape (batch,)."""
        layer, back = cast(nn.Linear, self.encode[0]), cast(TiedLinear, self.decode[0])
        return -(visible @ back.bias) - F.softplus(layer(visible)).sum(dim=1)

    def training_loss(self, inputs: Tensor, streams: Streams) -> Tensor:
        """Mean of F(v) - F(v_k) with v_k held fixed, shape (): its gradient is the CD-k update.

        v_k comes from k steps of block Gibbs sampling from the data. In the last step the visible units are left at
        their probabilities, and so are the hidden ones in the statistics: their expectation, with less noise than a
        sample (Hinton 2010, "A practical guide to training restricted Boltzmann machines", section 3).
        """
        reached = self.gibbs(inputs, self.steps, streams["contrastive divergence"])
        return (self.free_energy(inputs) - self.free_energy(reached)).mean()

    @torch.no_grad()
    def gibbs(self, visible: Tensor, steps: int, stream: torch.Generator) -> Tensor:
        """Probabilities of the visible units after ``steps`` of block Gibbs sampling, shape (batch, visible)."""
        for step in range(steps):
            hidden = torch.bernoulli(self.encode(visible), generator=stream)
            visible = self.decode(hidden)
            if step + 1 < steps:
                visible = torch.bernoulli(visible, generator=stream)
        return visible


def rbm(inputs: int, image_shape: tuple[int, ...] | None = None, *, hidden: Width | Widths, steps: Count = 1) -> RBM:
    """A binary-binary RBM trained by CD-k.

    Args:
        inputs: visible units.
        image_shape: not used; the input is a flat vector.
        hidden: hidden units; several layers of them are trained one by one, as a deep belief network's are.
        steps: k, steps of Gibbs sampling per update.

    Raises:
        CaelabError: several layers, of which a single RBM has one.
    """
    if not isinstance(hidden, int):
        raise CaelabError(
            f"expected one layer of hidden units, but {hidden} came; RBMs are stacked one by one, with "
            "pretraining: greedy"
        )
    return RBM(inputs, hidden, steps)
