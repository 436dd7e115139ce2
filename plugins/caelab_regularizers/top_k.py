"""Top-k codes: the penalty is on what a code holds outside its k largest entries."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from caelab import CaelabError, hookimpl
from caelab.options import Count, Weight


def squared_distance_to_k_sparse(code: Tensor, k: int) -> Tensor:
    """Mean over the examples of Σ_{j ∉ T(h)} h_j², T(h) the k units of largest |h_j| in that example.

    It is min ‖h - h'‖² over all h' with at most k entries that are not 0. Sum over the other m - k units.

    A penalty after the k-sparse auto-encoder, which sets those units to zero: Makhzani and Frey (2014), ICLR. There
    the k largest h_j count, here the k largest |h_j|; the same for codes without negative entries.

    Args:
        code: shape (batch, *code), of m units.
        k: how many units of every example go free.

    Returns:
        Scalar, shape ().

    Raises:
        CaelabError: k is not smaller than m, so that nothing would ever be penalised.
    """
    energies = code.flatten(1).square()
    width = energies.shape[1]
    if k >= width:
        raise CaelabError(
            f"top-k expects a k below the width of the code, but {k} came for {width} units; lower top-k.k"
        )
    return energies.topk(width - k, dim=1, largest=False).values.sum(dim=1).mean()


@dataclass(eq=False)
class TopK:
    """Adds λ · mean over examples of Σ h_j² over all but the k largest |h_j| (after Makhzani and Frey 2014, ICLR).

    The code is that of the batch the encoder sees, corrupted if a plugin corrupts it.

    Attributes:
        weight: λ.
        k: how many units of every example go free.
    """

    weight: Weight
    k: Count

    @hookimpl
    def penalty_terms(self, code: Tensor) -> dict[str, Tensor]:
        """The weighted penalty; see ``squared_distance_to_k_sparse``."""
        return {"top-k": self.weight * squared_distance_to_k_sparse(code, self.k)}
