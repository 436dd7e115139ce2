"""Known quantities by name, which a penalty may claim to be, with their brute-force computation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from caelab.errors import CaelabError, unknown_name
from caelab.testing.penalty import references

DRAWS = 64

ENCODER = "squared norm of the encoder's Jacobian"
RECONSTRUCTION = "squared norm of the reconstruction's Jacobian"
DECODER = "squared norm of the decoder's Jacobian"
WEIGHTS = "weight decay"
HESSIAN = "stochastic Hessian norm"
L1 = "L1 norm of the code"
DIVERGENCE = "divergence of the mean activation"


@dataclass(frozen=True)
class Situation:
    """What a quantity is computed from.

    Attributes:
        model: as it trains.
        clean: shape (batch, input).
        code: of the batch that the encoder sees, shape (batch, code).
        options: of the penalty, for quantities with a parameter.
    """

    model: nn.Module
    clean: Tensor
    code: Tensor
    options: Mapping[str, Any]

    def still(self) -> Any:
        """A copy in evaluation mode: the map of one example, that no other example and no chance reaches."""
        return copy.deepcopy(self.model).eval()

    def option(self, name: str, claim: str) -> float:
        """A parameter of the quantity.

        Raises:
            CaelabError: the penalty has no such option.
        """
        if name not in self.options:
            raise CaelabError(f"the claim {claim!r} needs the option {name!r}; give it, as options={{{name!r}: ...}}")
        return float(self.options[name])


@dataclass(frozen=True)
class Claim:
    """A known quantity that a penalty may claim to be.

    Attributes:
        name: as plugins claim it.
        meaning: the equation.
        draws: its value, or values whose mean it is, where it is an expectation.
        per_example: whether it is a derivative of single examples, which a layer that couples them does not have.
    """

    name: str
    meaning: str
    draws: Callable[[Situation], list[float]]
    per_example: bool = False


def _encoder(at: Situation) -> list[float]:
    return [references.mean_squared_jacobian_norm(at.still().encode, at.clean)]


def _reconstruction(at: Situation) -> list[float]:
    return [references.mean_squared_jacobian_norm(at.still(), at.clean)]


def _decoder(at: Situation) -> list[float]:
    return [references.mean_squared_jacobian_norm(at.still().decode, at.code)]


def _hessian(at: Situation) -> list[float]:
    sigma = at.option("sigma", HESSIAN)
    return references.mean_squared_jacobian_differences(at.still().encode, at.clean, sigma, DRAWS * 16)


CLAIMS = {
    claim.name: claim
    for claim in (
        Claim(ENCODER, "mean over examples of Σ_j Σ_i (∂f_j/∂x_i)², at the clean input", _encoder, True),
        Claim(RECONSTRUCTION, "mean over examples of Σ_k Σ_i (∂r_k/∂x_i)², r = g∘f", _reconstruction, True),
        Claim(DECODER, "mean over examples of Σ_k Σ_j (∂g_k/∂h_j)², at the code that the decoder sees", _decoder),
        Claim(WEIGHTS, "Σ W_ij² over all weights, no biases", lambda at: [references.sum_of_squared_weights(at.model)]),
        Claim(HESSIAN, "E ‖J_f(x) - J_f(x + ε)‖_F², ε ~ N(0, σ² I), not divided by σ²", _hessian, True),
        Claim(L1, "mean over examples of Σ_j |h_j|", lambda at: [references.mean_absolute_code(at.code)]),
        Claim(
            DIVERGENCE,
            "Σ_j KL(ρ ‖ mean of unit j over the batch)",
            lambda at: [references.divergence_of_mean_activation(at.code, at.option("target", DIVERGENCE))],
        ),
    )
}


def claim_named(name: str) -> Claim:
    """The quantity of that name.

    Raises:
        CaelabError: there is none; the nearest is offered.
    """
    if name not in CLAIMS:
        raise unknown_name("claim", name, CLAIMS)
    return CLAIMS[name]
