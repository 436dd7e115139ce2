"""Elementwise activations with their first and second derivative."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Elementwise:
    """One elementwise step, h = s(z).

    Attributes:
        name: what it is called in ``Jacobian.method``.
        function: s.
        derivative: s'(z).
        second_derivative: s''(z).
        of_output: s' as a function of h and its derivative by h, where h determines them; so the slopes of a
            sigmoid cost no second pass through the layer.
        learns: whether s has parameters of its own that want a gradient.
        switches: whether s' is exactly 0 over a range of z and constant in z elsewhere, so that the rows of many units
            of a Jacobian are zero. It may then go by all entries of an example, as the choice of the k largest does.
    """

    name: str
    function: Map
    derivative: Map
    second_derivative: Map
    of_output: tuple[Map, Map] | None = None
    learns: bool = False
    switches: bool = False

    def __call__(self, z: Tensor) -> Tensor:
        """h = s(z)."""
        return self.function(z)

    def then(self, after: Elementwise) -> Elementwise:
        """The composition after∘self, its derivatives by the chain rule."""
        if self is IDENTITY or after is IDENTITY:
            return self if after is IDENTITY else after

        def derivative(z: Tensor) -> Tensor:
            return after.derivative(self.function(z)) * self.derivative(z)

        def second_derivative(z: Tensor) -> Tensor:
            h, slope = self.function(z), self.derivative(z)
            return after.second_derivative(h) * slope.square() + after.derivative(h) * self.second_derivative(z)

        name = f"{after.name}∘{self.name}"
        function: Map = lambda z: after.function(self.function(z))  # noqa: E731
        learns, switches = self.learns or after.learns, self.switches and after.switches
        return Elementwise(name, function, derivative, second_derivative, learns=learns, switches=switches)


@runtime_checkable
class ElementwiseLayer(Protocol):
    """A layer of a user's own that acts on every entry alone, and says so by its derivative."""

    def derivative(self, z: Tensor) -> Tensor:
        """s'(z), the same shape as z."""
        ...


def _identity(z: Tensor) -> Tensor:
    return z


def _sigmoid_slope(z: Tensor) -> Tensor:
    h = torch.sigmoid(z)
    return h * (1 - h)


def _sigmoid_curvature(z: Tensor) -> Tensor:
    h = torch.sigmoid(z)
    return h * (1 - h) * (1 - 2 * h)


def _tanh_slope(z: Tensor) -> Tensor:
    return 1 - torch.tanh(z).square()


def _tanh_curvature(z: Tensor) -> Tensor:
    h = torch.tanh(z)
    return -2 * h * (1 - h.square())


def _step(z: Tensor) -> Tensor:
    return (z > 0).to(z.dtype)


IDENTITY = Elementwise(
    "identity", _identity, torch.ones_like, torch.zeros_like, of_output=(torch.ones_like, torch.zeros_like)
)
SIGMOID = Elementwise(
    "sigmoid",
    torch.sigmoid,
    _sigmoid_slope,
    _sigmoid_curvature,
    of_output=(lambda h: h * (1 - h), lambda h: 1 - 2 * h),
)
TANH = Elementwise(
    "tanh", torch.tanh, _tanh_slope, _tanh_curvature, of_output=(lambda h: 1 - h.square(), lambda h: -2 * h)
)
RELU = Elementwise("relu", torch.relu, _step, torch.zeros_like, of_output=(_step, torch.zeros_like), switches=True)


@cache
def softplus(beta: float, threshold: float) -> Elementwise:
    """s(z) = log(1 + exp(βz)) / β, continued as z where βz > threshold."""

    def slope(z: Tensor) -> Tensor:
        return torch.where(beta * z > threshold, torch.ones_like(z), torch.sigmoid(beta * z))

    def curvature(z: Tensor) -> Tensor:
        return torch.where(beta * z > threshold, torch.zeros_like(z), beta * _sigmoid_slope(beta * z))

    # where h runs linear, 1 - exp(-βh) is 1 to rounding for the threshold of torch's default, 20
    of_output: tuple[Map, Map] | None = None
    if threshold >= 20:
        of_output = (lambda h: -torch.expm1(-beta * h), lambda h: beta * torch.exp(-beta * h))
    return Elementwise(
        "softplus", lambda z: nn.functional.softplus(z, beta, threshold), slope, curvature, of_output=of_output
    )


def _normal_density(z: Tensor) -> Tensor:
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


def _gelu_slope(z: Tensor) -> Tensor:
    cumulative: Tensor = torch.special.ndtr(z)
    return cumulative + z * _normal_density(z)


def _gelu_curvature(z: Tensor) -> Tensor:
    return (2 - z.square()) * _normal_density(z)


GELU = Elementwise("gelu", nn.functional.gelu, _gelu_slope, _gelu_curvature)

FIXED: dict[type[nn.Module], Elementwise] = {
    nn.Identity: IDENTITY,
    nn.Sigmoid: SIGMOID,
    nn.Tanh: TANH,
    nn.ReLU: RELU,
}

# Elementwise too; their derivatives are taken by autograd, one entry each.
OTHERS = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid, nn.Mish,
    nn.ReLU6, nn.SELU, nn.SiLU, nn.Softshrink, nn.Softsign, nn.Tanhshrink,
)  # fmt: skip


def elementwise_of(module: nn.Module) -> Elementwise | None:
    """The elementwise step that a module is, if it is one."""
    kind = type(module)
    if kind in FIXED:
        return FIXED[kind]
    if kind is nn.Softplus:
        settings = cast(Any, module)
        return softplus(float(settings.beta), float(settings.threshold))
    if kind is nn.GELU and cast(nn.GELU, module).approximate == "none":
        return GELU
    if kind is nn.Hardsigmoid:
        return _HARDSIGMOID
    if kind is nn.Hardshrink:
        return _hardshrink(module)
    if kind in OTHERS and not getattr(module, "inplace", False):
        return _from_function(_name(module), module)
    if callable(getattr(kind, "derivative", None)) and isinstance(module, ElementwiseLayer):
        if getattr(kind, "switches", False):
            return _switch(_name(module), module, module.derivative)
        learns = any(parameter.requires_grad for parameter in module.parameters())
        second = _derivative_of(module.derivative)
        return Elementwise(_name(module), module, module.derivative, second, learns=learns)
    return None


def _switch(name: str, function: Map, mask: Map) -> Elementwise:
    """A step h = m(z) z with a mask m of zeros and ones, which an output that is not 0 tells as well."""
    return Elementwise(name, function, mask, torch.zeros_like, of_output=(_nonzero, torch.zeros_like), switches=True)


def _nonzero(h: Tensor) -> Tensor:
    return (h != 0).to(h.dtype)


def _hardshrink(module: nn.Module) -> Elementwise:
    threshold = float(cast(Any, module).lambd)
    return _switch("hardshrink", module, lambda z: (z.abs() > threshold).to(z.dtype))


def _name(module: nn.Module) -> str:
    return type(module).__name__.lower()


def _from_function(name: str, function: Map) -> Elementwise:
    """An elementwise step from its function alone; both derivatives by autograd."""
    derivative = _derivative_of(function)
    return Elementwise(name, function, derivative, _derivative_of(derivative))


def _derivative_of(function: Map) -> Map:
    """The derivative of an elementwise function: the gradient of its sum, entry by entry; differentiable again."""

    def derivative(z: Tensor) -> Tensor:
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():
            point = z if z.requires_grad else z.detach().requires_grad_()
            value = function(point).sum()
            if not value.requires_grad:  # constant, as the derivative of a piecewise linear function is
                return torch.zeros_like(z)
            (slope,) = torch.autograd.grad(value, point, create_graph=True, materialize_grads=True)
        return slope if wanted else slope.detach()

    return derivative


def gradient_by_entry(function: Map, z: Tensor) -> Tensor:
    """∂s_i/∂z_i of every entry where a function is elementwise; where it is not, something else than its derivative.

    The entries are weighted at random, so that what one entry adds to another does not look like its own.
    """
    weights = 1 + torch.rand(z.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(z)
    return _derivative_of(lambda point: weights * function(point))(z) / weights


# torch has no second derivative of it, which is zero
_HARDSIGMOID = Elementwise(
    "hardsigmoid",
    nn.functional.hardsigmoid,
    lambda z: _derivative_of(nn.functional.hardsigmoid)(z.detach()).detach(),
    torch.zeros_like,
)
