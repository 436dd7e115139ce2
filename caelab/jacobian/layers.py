"""Recognising an encoder that is a chain of affine and elementwise steps, whose Jacobian is cheap."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from caelab.jacobian.activations import IDENTITY, Elementwise, elementwise_of


@runtime_checkable
class AffineLayer(Protocol):
    """A layer of a user's own that computes ``x @ weight.T + bias`` and says so."""

    def affine(self) -> tuple[Tensor, Tensor | None]:
        """The weight ``(out, in)`` and the bias ``(out,)``, if there is one."""
        ...


@dataclass(frozen=True)
class Affine:
    """One affine step, z = W x + b."""

    weight: Tensor  # (out, in)
    bias: Tensor | None  # (out,)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        return nn.functional.linear(inputs, self.weight, self.bias)


Step = Affine | Elementwise

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


@dataclass(frozen=True)
class Layer:
    """One layer of a chain: h = s(z) with z = W x + b.

    Attributes:
        affine: W and b.
        activation: s, with its name and its first and second derivative.
    """

    affine: Affine
    activation: Elementwise

    def __call__(self, inputs: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        return self.activation.function(self.affine(inputs))

    @property
    def weight(self) -> Tensor:
        """W, shape (out, in)."""
        return self.affine.weight

    @property
    def bias(self) -> Tensor | None:
        """b, shape (out,), if there is one."""
        return self.affine.bias

    @property
    def is_affine(self) -> bool:
        """Whether s is the identity, so that the layer's Jacobian is W everywhere."""
        return self.activation is IDENTITY

    def slopes(self, inputs: Tensor, outputs: Tensor | None = None) -> Tensor:
        """s'(W x + b), shape (..., out); from the outputs h where these are known and determine it."""
        if outputs is not None and self.activation.of_output:
            return self.activation.of_output[0](outputs)
        return self.activation.derivative(self.affine(inputs))

    def in_double(self) -> Layer:
        """The same layer in float64, without a gradient."""
        bias = None if self.bias is None else self.bias.detach().double()
        return Layer(Affine(self.weight.detach().double(), bias), self.activation)


def chain_of(encode: Any) -> list[Step] | None:
    """The affine and elementwise steps that an encoder runs through, or nothing where it is anything else.

    Looked into: ``nn.Sequential`` (nested), ``nn.Linear``, a layer with ``affine()``, torch's elementwise
    activations, a layer with ``derivative(z)``, a leading ``nn.Flatten``, and dropout that is off. A module that is
    watched by hooks, or that calls in a way of its own, is left to automatic differentiation, since nothing tells
    what it computes.
    """
    if not isinstance(encode, nn.Module) or _hooks_everywhere():
        return None
    steps: list[Step] = []
    for position, module in enumerate(leaves(encode)):
        step = step_of(module)
        if step is None and not _is_neutral(module, position):
            return None
        if step is not None:
            steps.append(step)
    return steps or None


def looks_like_a_chain(encode: Any) -> bool:
    """Whether ``chain_of`` finds steps: told from the kinds of the modules, without asking for a weight.

    A weight that is computed, as a parametrization does, may change with every look at it.
    """
    if not isinstance(encode, nn.Module) or _hooks_everywhere():
        return False
    return all(
        is_affine(module) or _is_neutral(module, position) or (not _is_altered(module) and elementwise_of(module))
        for position, module in enumerate(leaves(encode))
    )


def leaves(module: nn.Module) -> Iterator[nn.Module]:
    """The modules of nested ``nn.Sequential`` containers, in order; any other module stands for itself."""
    if _runs_as(module, nn.Sequential):
        for child in cast(nn.Sequential, module):  # children() leaves out a module that comes a second time
            if child is not None:
                yield from leaves(child)
    else:
        yield module


def known_leaves(encode: Any) -> list[nn.Module]:
    """The modules that an encoder runs through one after the other; none where that is not told."""
    return [] if not isinstance(encode, nn.Module) or _hooks_everywhere() else list(leaves(encode))


def step_of(module: nn.Module) -> Step | None:
    """The step that one module is, if it is one."""
    if _runs_as(module, nn.Linear):
        return Affine(module.weight, module.bias)  # type: ignore[arg-type]
    if is_affine(module):
        return Affine(*cast(AffineLayer, module).affine())
    return None if _is_altered(module) else elementwise_of(module)


def is_affine(module: nn.Module) -> bool:
    """Whether a module is an affine layer: torch's, or a user's own that says so by ``affine()``."""
    if _runs_as(module, nn.Linear):
        return True
    says_so = callable(getattr(type(module), "affine", None)) and isinstance(module, AffineLayer)  # takes longer
    return says_so and not _is_altered(module)


def _is_neutral(module: nn.Module, position: int) -> bool:
    """Whether a module changes nothing here: dropout that is off, or a flattening before the first layer."""
    if any(_runs_as(module, kind) for kind in _DROPOUTS):
        return not module.training or cast(nn.Dropout, module).p == 0
    return position == 0 and _flattens(module)


def _flattens(module: nn.Module) -> bool:
    """Whether a module makes one vector of each example."""
    axes = cast(nn.Flatten, module)
    return _runs_as(module, nn.Flatten) and (axes.start_dim, axes.end_dim) == (1, -1)


def _runs_as(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether calling a module does what torch's own module of that kind does, and nothing else."""
    own = getattr(type(module), "forward", None)  # a scripted module has none
    return own is kind.forward and not _is_altered(module)


def _is_altered(module: nn.Module) -> bool:
    """Whether someone watches or changes what a module computes when it is called."""
    hooks = (
        module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    )  # fmt: skip
    return any(hooks) or "forward" in vars(module) or type(module).__call__ is not nn.Module.__call__


def _hooks_everywhere() -> bool:
    """Whether someone watches or changes what every module computes."""
    return bool(torch.nn.modules.module._has_any_global_hook())  # type: ignore[no-untyped-call]


def _layers_of(steps: Sequence[Step]) -> list[Layer] | None:
    """The steps as layers, each one affine and one elementwise step; nothing where the chain starts elementwise.

    Affine steps that follow each other stand as layers with the identity between them; elementwise steps that
    follow each other are composed.
    """
    if not isinstance(steps[0], Affine):
        return None
    layers: list[Layer] = []
    for is_affine, group in groupby(steps, key=lambda step: isinstance(step, Affine)):
        if is_affine:
            layers += [Layer(affine, IDENTITY) for affine in group if isinstance(affine, Affine)]
        else:
            activation = reduce(Elementwise.then, (step for step in group if isinstance(step, Elementwise)))
            layers[-1] = Layer(layers[-1].affine, activation)
    return layers


def find_layers(encode: Callable[[Tensor], Tensor], shape: Sequence[int]) -> list[Layer] | None:
    """The layers of an encoder that is a chain and takes examples of that shape, or nothing."""
    steps = chain_of(encode)
    layers = _layers_of(steps) if steps else None
    if not layers or layers[0].weight.shape[1] != math.prod(shape):
        return None
    if len(shape) > 1 and not _flattens(next(leaves(cast(nn.Module, encode)))):
        return None
    return layers
