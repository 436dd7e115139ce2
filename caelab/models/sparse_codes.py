"""Activations of sparse codes: each unit passes its pre-activation z on, or is 0; the Jacobian service knows them.

Where the set of active units does not change, h is diag(m) z with a mask m of zeros and ones, which is the derivative
as well: exact for almost every z. The rows of inactive units in the Jacobian of an encoder are zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from caelab.errors import CaelabError


class Switching(nn.Module):
    """h = m(z) z with a mask m of zeros and ones; ``derivative`` is m."""

    switches = True

    def active(self, z: Tensor) -> Tensor:
        """Which units are active, boolean, of the shape of z."""
        raise NotImplementedError

    def derivative(self, z: Tensor) -> Tensor:
        """The mask m as numbers, of the shape of z; locally constant, so without a gradient."""
        return self.active(z.detach()).to(z.dtype)

    def forward(self, z: Tensor) -> Tensor:
        """The code h, of the shape of z."""
        return torch.where(self.active(z.detach()), z, torch.zeros_like(z))


class TopK(Switching):
    """Keeps the k largest pre-activations of every example, and of these the positive ones where ``relu``.

    h_j = z_j for j in T(z), else 0, T(z) the places of the k largest entries of the last axis; of equal ones, torch
    chooses. Makhzani and Frey (2014), ICLR; with ReLU, Gao et al. (2024), arXiv:2406.04093.

    >>> TopK(2)(torch.tensor([[3.0, -1.0, 2.0, 1.0], [1.0, -2.0, -3.0, -4.0]]))
    tensor([[3., 0., 2., 0.],
            [1., 0., 0., 0.]])

    Args:
        k: how many units of an example may be active; all, where there are fewer units.
        relu: whether negative ones are 0 even among the k largest.

    Raises:
        CaelabError: k is no whole number above 0.
    """

    def __init__(self, k: int, relu: bool = True) -> None:
        super().__init__()
        self.k = _checked_count(k)
        self.relu = relu

    def active(self, z: Tensor) -> Tensor:
        """Which units are among the k largest (and positive), boolean, of the shape of z."""
        places = z.topk(min(self.k, z.shape[-1]), dim=-1, sorted=False).indices
        chosen = torch.zeros_like(z, dtype=torch.bool).scatter(-1, places, True)
        return chosen & (z > 0) if self.relu else chosen

    def extra_repr(self) -> str:
        """The part of ``print(model)`` in brackets."""
        return f"k={self.k}, relu={self.relu}"


class BatchTopK(Switching):
    """In training the k·batch largest positive pre-activations of a batch; in evaluation all above a learned threshold.

    The threshold is the running mean over training batches of the smallest z that was kept, so about k units of an
    example are active on average, more in some examples than in others. Bussmann, Leask and Nanda (2024),
    arXiv:2412.06410.

    In training the code of one example depends on the others of the batch, so no Jacobian per example exists, and the
    Jacobian service refuses it; after ``.eval()`` it is a threshold as that of ``JumpReLU``.

    Args:
        k: how many units are active per example, on average.
        momentum: share of the newest batch in the running mean.

    Attributes:
        threshold: θ, shape (), not trained by gradients; 0 before the first batch, which is ReLU.

    Raises:
        CaelabError: k is no whole number above 0.
    """

    couples_in_training = True

    threshold: Tensor
    batches: Tensor

    def __init__(self, k: int, momentum: float = 0.01) -> None:
        super().__init__()
        self.k = _checked_count(k)
        self.momentum = momentum
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def active(self, z: Tensor) -> Tensor:
        """Which units are active, boolean, of the shape of z."""
        if not self.training:
            return z > self.threshold.clamp(min=0)
        flat = z.flatten()
        places = flat.topk(min(self.k * z.shape[:-1].numel(), len(flat)), sorted=False).indices
        chosen = torch.zeros_like(flat, dtype=torch.bool).scatter(0, places, True)
        return chosen.view_as(z) & (z > 0)

    def forward(self, z: Tensor) -> Tensor:
        """The code h; in training the threshold learns from it."""
        active = self.active(z.detach())
        if self.training:
            self._learn(z.detach()[active])
        return torch.where(active, z, torch.zeros_like(z))

    def _learn(self, kept: Tensor) -> None:
        if not len(kept):
            return
        share = self.momentum if self.batches else 1.0
        self.threshold.lerp_(kept.min().to(self.threshold), share)
        self.batches += 1

    def extra_repr(self) -> str:
        """The part of ``print(model)`` in brackets."""
        return f"k={self.k}, momentum={self.momentum}"


class JumpReLU(Switching):
    """h_j = z_j where z_j > θ_j, else 0, with a threshold θ_j > 0 for each unit that is trained straight through.

    Almost everywhere ∂h_j/∂θ_j is 0, which would train nothing. Instead autograd is given
    ∂h_j/∂θ_j := -(θ_j / ε) K((z_j - θ_j) / ε) with the rectangle K(u) = 1 for -1/2 < u < 1/2, a kernel estimate of the
    derivative of the mean over examples. The derivative by z is the exact one. Rajamanoharan et al. (2024),
    arXiv:2407.14435.

    In a penalty on the Jacobian the mask counts as constant: such a penalty moves θ not at all, though the mean of
    ‖J‖² does depend on it through which units are active. What trains θ is the reconstruction and ``l0``.

    Args:
        units: how many there are.
        threshold: θ at first, above 0.
        bandwidth: ε.

    Attributes:
        log_threshold: log θ, shape (units,), so that θ stays above 0.

    Raises:
        CaelabError: a threshold or a bandwidth that is not above 0.
    """

    def __init__(self, units: int, threshold: float = 1e-3, bandwidth: float = 1e-3) -> None:
        super().__init__()
        if not (threshold > 0 and bandwidth > 0):
            raise CaelabError(
                f"JumpReLU expects a threshold and a bandwidth above 0, but {threshold} and {bandwidth} came; "
                "use nn.ReLU for a threshold of 0"
            )
        self.bandwidth = bandwidth
        self.log_threshold = nn.Parameter(torch.full((_checked_count(units),), float(threshold)).log())

    @property
    def threshold(self) -> Tensor:
        """θ, shape (units,)."""
        return self.log_threshold.exp()

    def active(self, z: Tensor) -> Tensor:
        """Which units are above their thresholds, boolean, of the shape of z."""
        return z > self.threshold.detach()

    def forward(self, z: Tensor) -> Tensor:
        """The code h, of the shape of z."""
        code = super().forward(z)
        if not (torch.is_grad_enabled() and self.log_threshold.requires_grad):
            return code
        return code - self._near(z) * self._straight_through() * self.threshold.detach()

    def l0(self, z: Tensor) -> Tensor:
        """How many units of each example are active, shape (...,), with the same kind of gradient by θ, none by z."""
        count = self.active(z.detach()).to(z.dtype)
        return (count - self._near(z) * self._straight_through()).sum(dim=-1)

    def _near(self, z: Tensor) -> Tensor:
        """K((z - θ) / ε) / ε, a constant."""
        distance = (z.detach() - self.threshold.detach()).abs()
        return (distance < self.bandwidth / 2).to(z.dtype) / self.bandwidth

    def _straight_through(self) -> Tensor:
        """0, with the gradient of θ: what it is multiplied by becomes a derivative, and no value changes."""
        threshold = self.threshold
        return threshold - threshold.detach()

    def extra_repr(self) -> str:
        """The part of ``print(model)`` in brackets."""
        return f"units={len(self.log_threshold)}, bandwidth={self.bandwidth}"


def _checked_count(count: int) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise CaelabError(f"expected a whole number of units, at least 1, but {count!r} came")
    return count
