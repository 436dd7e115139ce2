"""Weight decay: the squared norm of the weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from caelab import CaelabError, hookimpl
from caelab.options import Weight


def weights_of(model: nn.Module) -> list[nn.Parameter]:
    """The parameters with two axes or more, each once: weights and kernels, but no biases and no scales.

    A tied decoder owns no weight of its own, so a tied weight is here once.

    Raises:
        CaelabError: the model has none.
    """
    weights = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    if not weights:
        raise CaelabError(
            f"weight decay expects a model with weights (parameters of two axes or more), but {type(model).__name__} "
            "has none; remove weight-decay from the run"
        )
    return weights


def squared_weight_norm(model: nn.Module) -> Tensor:
    """‖W‖² = Σ_W Σ_ij W_ij² over every weight of encoder and decoder; sum over entries, no factor ½.

    For a linear encoder, tied, this equals the contractive penalty. Krogh and Hertz (1991), NIPS 4, with λ for λ/2.

    Args:
        model: its weights are those of ``weights_of``.

    Returns:
        Scalar, shape ().
    """
    return torch.stack([weight.square().sum() for weight in weights_of(model)]).sum()


@dataclass(eq=False)
class WeightDecay:
    """Adds λ ‖W‖², the sum of squares of all weights, not of biases; a tied weight counts once.

    The "AE+wd" of Rifai et al. (2011), ICML; Krogh and Hertz (1991), NIPS 4.

    Attributes:
        weight: λ.
    """

    claims = "weight decay"

    weight: Weight

    @hookimpl
    def penalty_terms(self, model: nn.Module) -> dict[str, Tensor]:
        """The weighted penalty; see ``squared_weight_norm``."""
        return {"weight-decay": self.weight * squared_weight_norm(model)}
