"""Group sparsity: whole groups of code units are inactive together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from caelab import hookimpl
from caelab.options import Count, Weight


def mean_group_norm(code: Tensor, size: int) -> Tensor:
    """Mean over the examples of Σ_G ‖h_G‖_2, the mixed L2,1 norm over groups G of ``size`` consecutive units.

    Sum over the groups, not weighted by their size; the last group is smaller where ``size`` does not divide the
    width of the code. With ``size`` 1 it is ‖h‖_1. Where h_G = 0 the gradient is taken as 0, one of its subgradients.

    Yuan and Lin (2006), JRSS B 68(1); on codes: Kavukcuoglu, Ranzato, Fergus and LeCun (2009), CVPR; Jenatton,
    Mairal, Obozinski and Bach (2011), JMLR 12.

    Args:
        code: shape (batch, *code); units in the order of the flattened code.
        size: units in a group.

    Returns:
        Scalar, shape ().
    """
    units = code.flatten(1)
    whole = nn.functional.pad(units, (0, -units.shape[1] % size))  # zeros add nothing to a norm
    norms: Tensor = torch.linalg.vector_norm(whole.reshape(len(whole), -1, size), dim=2)
    return norms.sum(dim=1).mean()


@dataclass(eq=False)
class GroupSparsity:
    """Adds λ · mean over examples of Σ_G ‖h_G‖_2 over groups of units (Yuan and Lin 2006; Kavukcuoglu et al. 2009).

    The code is that of the batch the encoder sees, corrupted if a plugin corrupts it.

    Attributes:
        weight: λ.
        size: units in a group; consecutive ones belong together.
    """

    weight: Weight
    size: Count

    @hookimpl
    def penalty_terms(self, code: Tensor) -> dict[str, Tensor]:
        """The weighted penalty; see ``mean_group_norm``."""
        return {"group-sparsity": self.weight * mean_group_norm(code, self.size)}
