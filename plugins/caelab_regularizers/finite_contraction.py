"""Finite contraction: the contractive penalty's stochastic counterpart at a finite radius."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from caelab import hookimpl
from caelab.jacobian.validation.refusals import refuse_modules
from caelab.options import Count, Positive, Weight
from caelab.streams import Streams, for_examples


def mean_squared_ratio(encode: Callable[[Tensor], Tensor], inputs: Tensor, directions: Tensor, radius: float) -> Tensor:
    """d · mean of ‖f(x + r u) - f(x)‖² / r² over the examples x and their directions u; sum over the units of the code.

    d is the number of inputs. E u uᵀ = I/d for u uniform on the unit sphere, so as r → 0 the expectation is
    ‖J_f(x)‖_F², the contractive penalty; for a linear encoder it is that at every radius. The ratio is that of the
    contraction curve, squared: Rifai, Vincent, Muller, Glorot and Bengio (2011), ICML.

    Args:
        encode: f, maps (batch, *input) to (batch, *code), example by example.
        inputs: x, shape (batch, *input).
        directions: u, of length 1, shape (samples, batch, *input).
        radius: r.

    Returns:
        Scalar, shape (); differentiable with respect to the parameters of f.

    Raises:
        CaelabError: the encoder couples the examples of a batch, or draws numbers.
    """
    refuse_modules(encode)
    points = torch.cat([inputs[None], inputs + radius * directions])
    codes = encode(points.flatten(0, 1)).reshape(*points.shape[:2], -1)
    squares = (codes[1:] - codes[:1]).square().sum(dim=2)
    return inputs[0].numel() / radius**2 * squares.mean()


def uniform_directions(inputs: Tensor, samples: int, stream: torch.Generator) -> Tensor:
    """Directions uniform on the unit sphere, independent for every example, shape (samples, batch, *input).

    Normalised Gaussian vectors: Muller (1959), Communications of the ACM 2(4).

    Args:
        inputs: shape (batch, *input).
        samples: directions for every example.
        stream: generator on the device of ``inputs``.
    """
    shape = (samples, *inputs.shape)

    def gaussian(count: int) -> Tensor:
        size = (samples, count, *inputs.shape[1:])
        return torch.randn(size, generator=stream, dtype=inputs.dtype, device=inputs.device)

    normal = for_examples(gaussian, len(inputs), stream, axis=1).flatten(2)
    return torch.nn.functional.normalize(normal, dim=2).reshape(shape)


@dataclass(eq=False)
class FiniteContraction:
    """Adds λ · mean over examples of d · E_u ‖f(x + r u) - f(x)‖² / r², u uniform on the unit sphere, x clean.

    As r → 0 it is λ ‖J_f(x)‖_F²; at finite r it is the squared contraction ratio of Rifai et al. (2011), ICML.

    Attributes:
        weight: λ.
        radius: r, in the units of the inputs.
        samples: directions drawn for every example, which stand for the expectation.
    """

    weight: Weight
    radius: Positive
    samples: Count

    @hookimpl
    def penalty_terms(self, model: Any, clean: Tensor, streams: Streams) -> dict[str, Tensor]:
        """The weighted penalty; see ``mean_squared_ratio``."""
        directions = uniform_directions(clean, self.samples, streams["finite contraction"])
        return {"finite-contraction": self.weight * mean_squared_ratio(model.encode, clean, directions, self.radius)}
