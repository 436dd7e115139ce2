"""The deterministic twin of denoising: what a corruption adds to the reconstruction error, to second order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from pydantic import AfterValidator
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from caelab import hookimpl, jacobian
from caelab.jacobian.layers import Layer, find_layers
from caelab.jacobian.memory import budget_in_bytes, pieces
from caelab.models.reconstruction import output_map, reconstruction_error
from caelab.options import Weight
from caelab.streams import Streams
from caelab_regularizers.corruption_chain import checked_step, make_step
from caelab_regularizers.moments import Renamed, corrupted_copies, declared_moments

SAMPLES = 32  # copies of each example and step that stand for moments which a corruption does not declare

Map = Callable[[Tensor], Tensor]


def _checked_corruption(of: Mapping[str, Any]) -> dict[str, Any]:
    """The corruption ``{kind: NAME, option: value, ...}`` with its defaults filled in; see ``checked_step``."""
    return checked_step(of, "twin.of")


Corruption = Annotated[dict[str, Any], AfterValidator(_checked_corruption)]
"""``{kind: NAME, option: value, ...}``, a registered corruption."""


def weighted_squared_norm(outputs: Map, inputs: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Σ_k Σ_i w_k c_i (∂o_k/∂x_i)² = tr(diag(w) J diag(c) Jᵀ) of each example, exact and differentiable.

    One hidden layer, o = t(V s(z) + b'), goes through two Gram matrices as wide as the code,
    ⟨s' s'ᵀ ∘ Vᵀ diag(w t'²) V, W diag(c) Wᵀ⟩; any other map through dense Jacobians, unless all weights of an example
    are the same.

    Args:
        outputs: o, maps (batch, input) to (batch, output), example by example.
        inputs: x, shape (batch, input).
        rows: w, shape (batch, output).
        columns: c, shape (batch, input).

    Returns:
        Shape (batch,).
    """
    layers = find_layers(outputs, inputs.shape[1:])
    if layers and len(layers) == 2:
        return _in_pieces(layers[0], layers[1], inputs, rows, columns)
    if _same_in_a_row(rows) and _same_in_a_row(columns):
        return rows[:, 0] * columns[:, 0] * jacobian(outputs, inputs).squared_norm()
    squares = jacobian(outputs, inputs).dense().square()
    return ((rows[:, None] @ squares).squeeze(1) * columns).sum(dim=1)


def _same_in_a_row(weights: Tensor) -> bool:
    return bool((weights == weights[:, :1]).all())


def _in_pieces(first: Layer, second: Layer, inputs: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The Gram way for as many examples at once as fit; computed again on the way back where they do not all."""
    code, width = first.weight.shape
    each = 5 * inputs.element_size() * code * (width + len(second.weight) + 2 * code)
    at_once = pieces("the twin of one example", len(inputs), each, budget_in_bytes(None, inputs.device))
    compute = partial(_by_grams, first, second)
    if at_once < len(inputs) and torch.is_grad_enabled():
        compute = partial(checkpoint, compute, use_reentrant=False)
    parts = zip(*(torch.split(given, at_once) for given in (inputs, rows, columns)), strict=True)
    return torch.cat([compute(*part) for part in parts])


def _by_grams(first: Layer, second: Layer, inputs: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    z = first.affine(inputs)
    slope, h = first.activation.derivative(z), first.activation.function(z)
    weights = rows * second.activation.derivative(second.affine(h)).square()
    above = second.weight.T @ (weights[:, :, None] * second.weight)  # (batch, code, code)
    if _same_in_a_row(columns):
        below = columns[:, :1, None] * (first.weight @ first.weight.T)
    else:
        below = (first.weight * columns[:, None]) @ first.weight.T
    return ((above * below @ slope[:, :, None]).squeeze(2) * slope).sum(dim=1)


def curvature(kind: str, outputs: Tensor) -> Tensor:
    """½ L''_k of the reconstruction error by each output: 1 for squared error, ½ y (1 - y) for cross-entropy."""
    if kind == "squared-error":
        return torch.ones_like(outputs)
    y = torch.sigmoid(outputs)
    return y * (1 - y) / 2


def second_order(model: Any, kind: str, mean: Tensor, variance: Tensor) -> Tensor:
    """½ Σ_k L''_k (J C Jᵀ)_kk at the mean, C the diagonal covariance, J of the outputs o that L looks at.

    Squared error: tr(J_r C J_rᵀ), r the reconstruction. Cross-entropy: ½ Σ_k y_k (1 - y_k) Σ_i C_i (∂a_k/∂x_i)², a the
    logits. The curvature of o is left out (Gauss-Newton): with it the objective would have no lower bound.

    Args:
        model: with ``encode`` and ``decode``; under cross-entropy also with ``logits``.
        kind: ``cross-entropy`` or ``squared-error``.
        mean: μ(x), shape (batch, input).
        variance: the diagonal of C(x), shape (batch, input).

    Returns:
        Shape (batch,).
    """
    outputs = output_map(kind, model)
    return weighted_squared_norm(outputs, mean, curvature(kind, outputs(mean)), variance)


def second_order_of_copies(model: Any, kind: str, copies: Tensor) -> Tensor:
    """The second-order term from copies x̃ (samples, batch, input), their mean in place of μ.

    Any correlation of the inputs is in it. The mean of s copies misses μ, which raises L there by 1/s of this term on
    average; this term, with 1/s and not 1/(s - 1), falls short by as much, so that their sum has no bias.
    """
    outputs, mean = output_map(kind, model), copies.mean(dim=0)
    moved = jacobian(outputs, mean).jvp((copies - mean).transpose(0, 1))  # (batch, samples, output)
    return (curvature(kind, outputs(mean))[:, None] * moved.square()).sum(dim=2).mean(dim=1)


@dataclass(eq=False)
class Twin:
    """Adds λ · mean over examples of [L(x, r(μ)) - L(x, r(x)) + ½ Σ_k L''_k (J C Jᵀ)_kk], J at μ.

    μ(x) and C(x) are mean and covariance of a corruption given x; the sum is over the outputs that L looks at. With
    λ = 1 the objective is that of denoising to second order (Gauss-Newton), without drawing anything: Gaussian noise
    and squared error give σ² ‖J_r‖_F², the reconstruction-contractive penalty; masking gives L at (1 - p) x and
    C = p (1 - p) diag(x²). Bishop (1995), Neural Computation 7(1). A corruption that declares no moments is drawn from.

    Attributes:
        weight: λ; 1 for the twin itself.
        of: the corruption, ``{kind: NAME, option: value, ...}``, as in ``{kind: masking, p: 0.3}``.
    """

    trial_options: ClassVar[Mapping[str, Any]] = {"weight": 1.0, "of": {"kind": "masking", "p": 0.3}}

    weight: Weight
    of: Corruption

    def __post_init__(self) -> None:
        self.of = _checked_corruption(self.of)
        self.corruption = make_step(**self.of)
        self.kind = "squared-error"

    @hookimpl
    def before_training(self, config: Any) -> None:
        """Take the reconstruction error that the run is trained on."""
        if config is not None:
            self.kind = config.training.reconstruction

    @hookimpl
    def penalty_terms(self, model: Any, clean: Tensor, epoch: int, streams: Streams) -> dict[str, Tensor]:
        """The weighted sum of both parts; see ``parts``."""
        shift, spread = self.parts(model, self.kind, clean, epoch, Renamed(streams, "twin"))
        return {"twin": self.weight * (shift + spread).mean()}

    def parts(self, model: Any, kind: str, clean: Tensor, epoch: int, streams: Any) -> tuple[Tensor, Tensor]:
        """What the corruption's mean adds, L(x, r(μ)) - L(x, r(x)), and what its covariance adds there.

        Returns:
            Shape (batch,) each.
        """
        moments = declared_moments(self.corruption, clean)
        if moments is None:
            copies = corrupted_copies(self.corruption, clean, SAMPLES, epoch, streams)
            mean, spread = copies.mean(dim=0), second_order_of_copies(model, kind, copies)
        else:
            mean, spread = moments[0], second_order(model, kind, *moments)
        return mean_shift(model, kind, clean, mean), spread


def mean_shift(model: Any, kind: str, clean: Tensor, mean: Tensor) -> Tensor:
    """L(x, r(μ)) - L(x, r(x)), shape (batch,); exactly 0 where the corruption leaves the mean alone."""
    if mean is clean:
        return clean.new_zeros(len(clean))
    there, here = (reconstruction_error(kind, model, model.encode(at), clean) for at in (mean, clean))
    return there - here
