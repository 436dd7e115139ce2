"""The last step h = s(W f(x) + b) of a map, s setting units to 0, and f, what comes before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from caelab.jacobian.activations import Elementwise
from caelab.jacobian.autodiff import Autodiff
from caelab.jacobian.chain import Chain
from caelab.jacobian.context import Part
from caelab.jacobian.layers import Affine, Layer, known_leaves, step_of
from caelab.jacobian.single_layer import SingleLayer
from caelab.jacobian.strategy import Strategy

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Front:
    """h = s(W f(x) + b), or h = s(f(x)) without W, at a batch of inputs.

    Attributes:
        inputs: x, shape ``(batch, *input)``.
        activation: s.
        affine: W and b, or nothing.
        below: the Jacobian of f, or nothing where f is the identity.
        function: f, or nothing where it is the identity.
    """

    inputs: Tensor
    activation: Elementwise
    affine: Affine | None
    below: Strategy | None
    function: Map | None

    @property
    def is_layer(self) -> bool:
        """Whether there is nothing but one layer."""
        return self.below is None

    @property
    def has_weight(self) -> bool:
        """Whether the last step starts with W."""
        return self.affine is not None

    @property
    def weight(self) -> Tensor:
        """W, shape (code, width of f)."""
        assert self.affine is not None
        return self.affine.weight

    def at(self, inputs: Tensor, part: Part) -> Front:
        """The same elsewhere."""
        return replace(self, inputs=inputs, below=self.below and self.below.at(inputs, part))

    def in_double(self) -> Front:
        """The same in float64 where layers are known, so that their slopes are as exact as the weights allow.

        The weight of the last step stays as it is: its rows are converted when it is known which.
        """
        if not isinstance(self.below, Chain | SingleLayer):
            return self
        doubled = [layer.in_double() for layer in self.below.layers]
        inputs = self.inputs.detach().double()
        return replace(self, inputs=inputs, below=below_of(doubled, inputs))

    def slope(self, outputs: Tensor | None) -> Tensor:
        """s'(z), shape (batch, code), from the code where it is known."""
        if outputs is not None and self.activation.of_output:
            return self.activation.of_output[0](outputs).flatten(1)
        return self.activation.derivative(self.before(self.inputs)).flatten(1)

    def before(self, inputs: Tensor) -> Tensor:
        """z, what the last step is applied to, at some inputs."""
        below = inputs if self.function is None else self.function(inputs)
        return below if self.affine is None else self.affine(below.flatten(1))

    def rows(self, units: Tensor, slope: Tensor) -> Tensor:
        """Rows s'_j W_j J_f of chosen units j, (batch, rows) each, shape (batch, rows, input)."""
        if self.affine is None:
            code = slope.new_zeros(*units.shape, self._width())
            return self.pulled(code.scatter_(2, units[:, :, None], slope[:, :, None]))
        return self.pulled(own_rows(self.weight, units) * slope[:, :, None])

    def vjp(self, covectors: Tensor) -> Tensor:
        """Jᵀ u, shape (batch, count, code) to (batch, count, input)."""
        scaled = covectors * self.slope(None)[:, None]
        return self.pulled(scaled if self.affine is None else scaled @ self.affine.weight)

    def pulled(self, covectors: Tensor) -> Tensor:
        """J_fᵀ u, shape (batch, count, width of f) to (batch, count, input)."""
        if self.below is None:
            return covectors
        return self.below.vjp(covectors.to(self.below.inputs.dtype))

    def pushed(self, vectors: Tensor) -> Tensor:
        """J_f v, shape ``(batch, count, *input)`` to (batch, count, width of f)."""
        return vectors.flatten(2) if self.below is None else self.below.jvp(vectors)

    def bytes_per_row(self) -> int:
        """Bytes that one row of one example takes."""
        own = 4 * 8 * (self.weight.shape[1] if self.affine else self._width())
        return own + (self.below.bytes_per_product() if self.below else 0)

    def _width(self) -> int:
        assert self.below is not None
        return self.below.shape[0]


def own_rows(weight: Tensor, units: Tensor) -> Tensor:
    """Rows of a matrix (units, width) by their numbers, of any shape."""
    return weight.index_select(0, units.flatten()).view(*units.shape, weight.shape[1])


def below_of(layers: Sequence[Layer], inputs: Tensor) -> Strategy | None:
    """The Jacobian of the layers below the last, if there are any."""
    if not layers:
        return None
    return SingleLayer(layers[0], inputs) if len(layers) == 1 else Chain(layers, inputs)


def front_of_layers(layers: Sequence[Layer], inputs: Tensor) -> Front | None:
    """The last of some layers, where it sets units to 0, and those below it."""
    *lower, last = layers
    if not last.activation.switches:
        return None
    return Front(inputs, last.activation, last.affine, below_of(lower, inputs), _composed(lower) if lower else None)


def _composed(layers: Sequence[Layer]) -> Map:
    def function(inputs: Tensor) -> Tensor:
        h = inputs.flatten(1)
        for layer in layers:
            h = layer(h)
        return h

    return function


def front_of_module(encode: Any, inputs: Tensor, found: dict[Any, Any]) -> Front | None:
    """The last step of an ``nn.Sequential`` that sets units to 0, and by autodiff what comes before it.

    Args:
        encode: the encoder.
        inputs: x.
        found: what was tried out of the part before, which is kept.
    """
    modules = known_leaves(encode)
    activation = step_of(modules[-1]) if len(modules) > 1 else None
    if not isinstance(activation, Elementwise) or not activation.switches:
        return None
    affine = step_of(modules[-2]) if len(modules) > 2 else None
    function = nn.Sequential(*modules[:-2])
    if not isinstance(affine, Affine) or not _is_flat(function, inputs, found):
        affine, function = None, nn.Sequential(*modules[:-1])
    return Front(inputs, activation, affine, Autodiff(function, inputs, found), function)


def _is_flat(function: Map, inputs: Tensor, found: dict[Any, Any]) -> bool:
    """Whether the output of a map is one vector of each example, on which a linear layer is one matrix."""
    if "is flat" not in found:
        with torch.no_grad():
            found["is flat"] = function(inputs[:1]).ndim == 2
    return bool(found["is flat"])
