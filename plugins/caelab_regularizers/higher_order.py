"""The higher-order contractive penalty (CAE+H): how much the encoder's Jacobian changes nearby."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from caelab import CaelabError, hookimpl, jacobian
from caelab.jacobian.layers import Layer
from caelab.options import Count, Positive, Weight
from caelab.streams import Streams, for_examples

AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Flatten, nn.Unflatten)
PIECEWISE_LINEAR = (nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.Hardtanh)


def squared_jacobian_difference(encode: Callable[[Tensor], Tensor], inputs: Tensor, others: Tensor) -> Tensor:
    """‖J_f(x) - J_f(x')‖_F² for each x and each of its partners x'; sum over all code·input entries.

    One affine layer with an elementwise activation, h = s(W x + b), has the closed form
    Σ_j (s'(z_j) - s'(z'_j))² Σ_i W_ji², at the cost of one product W x' for each partner. Any other encoder goes
    through dense Jacobians of shape (batch, code, input).

    Rifai, Mesnil, Vincent, Muller, Bengio, Dauphin and Glorot (2011), ECML.

    Args:
        encode: f, maps (batch, *input) to (batch, *code), example by example.
        inputs: x, shape (batch, *input).
        others: x', shape (samples, batch, *input).

    Returns:
        Shape (samples, batch); differentiable with respect to the parameters of f.
    """
    layer = jacobian(encode, inputs).single_layer
    if layer is None:
        return _from_dense_jacobians(encode, inputs, others)
    return _from_closed_form(layer, inputs, others)


def _from_closed_form(layer: Layer, inputs: Tensor, others: Tensor) -> Tensor:
    slopes = layer.slopes(torch.cat([inputs[None], others]).flatten(2))
    return (slopes[1:] - slopes[:1]).square() @ layer.weight.square().sum(dim=1)


def _from_dense_jacobians(encode: Callable[[Tensor], Tensor], inputs: Tensor, others: Tensor) -> Tensor:
    here = jacobian(encode, inputs).dense()
    there = (jacobian(encode, other).dense() for other in others)
    return torch.stack([(here - matrix).square().flatten(1).sum(dim=1) for matrix in there])


def stochastic_hessian_penalty(
    encode: Callable[[Tensor], Tensor], inputs: Tensor, sigma: float, samples: int, stream: torch.Generator
) -> Tensor:
    """Mean over examples and noisy copies of ‖J_f(x) - J_f(x + ε)‖_F², ε ~ N(0, σ² I); sum over code·input entries.

    As in the paper, not divided by σ²: as σ → 0 it is σ² ‖H_f(x)‖_F², with the sum of squares of all second derivatives
    ∂²f_j/∂x_i∂x_k. The weight γ of the penalty is thus γ σ² on the Hessian's norm.

    Rifai, Mesnil, Vincent, Muller, Bengio, Dauphin and Glorot (2011), "Higher order contractive auto-encoder", ECML.

    Args:
        encode: f, maps (batch, *input) to (batch, *code), example by example.
        inputs: shape (batch, *input).
        sigma: σ, the standard deviation of the noise.
        samples: noisy copies of every example.
        stream: generator on the device of ``inputs``.

    Returns:
        Scalar, shape ().
    """

    def gaussian(count: int) -> Tensor:
        size = (samples, count, *inputs.shape[1:])
        return torch.randn(size, generator=stream, dtype=inputs.dtype, device=inputs.device)

    noise = for_examples(gaussian, len(inputs), stream, axis=1)
    return squared_jacobian_difference(encode, inputs, inputs + sigma * noise).mean()


def steps_of(encode: object) -> Iterator[object]:
    """The steps of nested ``nn.Sequential`` containers, in order; anything else is one step."""
    if isinstance(encode, nn.Sequential):
        for step in encode:
            yield from steps_of(step)
    else:
        yield encode


def _refuse_piecewise_linear(encode: object) -> None:
    """Refuse an encoder whose Jacobian is constant around almost every point.

    Raises:
        CaelabError: names the activations.
    """
    steps = list(steps_of(encode))
    if all(isinstance(step, AFFINE + PIECEWISE_LINEAR) for step in steps):
        names = {type(step).__name__ for step in steps if not isinstance(step, AFFINE)}
        raise CaelabError(
            "higher-order-contractive penalises the curvature of the encoder and expects a smooth activation, but with "
            f"{' and '.join(sorted(names)) or 'no activation'} the curvature is zero almost everywhere; "
            "use --set model.activation=sigmoid, tanh or softplus"
        )


@dataclass(eq=False)
class HigherOrderContractive:
    """Adds γ · mean over examples of E_ε ‖J_f(x) - J_f(x + ε)‖_F², ε ~ N(0, σ² I) (CAE+H, Rifai et al. 2011, ECML).

    The CAE+H is this term beside ``contractive``. It is not divided by σ²; see ``stochastic_hessian_penalty``.

    Attributes:
        weight: γ.
        sigma: σ, the standard deviation of the noise.
        samples: noisy copies of every example that stand for the expectation.
    """

    claims = "stochastic Hessian norm"
    trial_options: ClassVar[Mapping[str, Any]] = {"weight": 1.0, "sigma": 0.1, "samples": 32}

    weight: Weight
    sigma: Positive
    samples: Count

    @hookimpl
    def before_training(self, model: nn.Module) -> None:
        """Refuse encoders without curvature."""
        _refuse_piecewise_linear(model.encode)

    @hookimpl
    def penalty_terms(self, model: Any, clean: Tensor, streams: Streams) -> dict[str, Tensor]:
        """The weighted penalty; see ``stochastic_hessian_penalty``."""
        noise = streams["higher-order noise"]
        penalty = stochastic_hessian_penalty(model.encode, clean, self.sigma, self.samples, noise)
        return {"higher-order-contractive": self.weight * penalty}
