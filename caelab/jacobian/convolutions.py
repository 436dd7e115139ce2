"""Strided convolutions of few channels, pulled back through convolutions without a stride, which are faster.

A gradient is pulled back through a strided convolution by its transpose, which oneDNN computes slowly where channels
are few. The same numbers come from a transposed convolution without a stride: the kernel's entries that a step of
stride s meets at one place of the output become s² channels each, and what comes out is s times as wide and high once
these channels are laid out again as pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight
from torch.overrides import TorchFunctionMode

from caelab.jacobian.transformed import is_inside

NARROW = 16  # input channels
Pair = tuple[int, int]


def with_narrow_convolutions(encode: Callable[[Tensor], Tensor], owner: Any) -> Callable[[Tensor], Tensor]:
    """The same map, its strided convolutions of few channels with a backward pass of their own, where it has such.

    Args:
        encode: the map.
        owner: the module that it runs, or anything else, whose convolutions are not seen.
    """
    if not isinstance(owner, nn.Module) or not any(_is_narrow_layer(module) for module in owner.modules()):
        return encode

    def encoded(inputs: Tensor) -> Tensor:
        with _NarrowConvolutions():
            return encode(inputs)

    return encoded


def _is_narrow_layer(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.in_channels <= NARROW and min(module.stride) > 1


class _NarrowConvolutions(TorchFunctionMode):
    """Within the block, and in this thread alone, ``torch.conv2d`` is ``convolved`` where that pays."""

    def __torch_function__(
        self, function: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch.conv2d:
            return _convolution(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _convolution(
    input: Tensor,  # the names are torch's
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    steps, margins = _pair(stride), _pair(padding)
    plain = groups == 1 and _pair(dilation) == (1, 1) and input.ndim == 4 and not isinstance(padding, str)
    pays = weight.shape[1] <= NARROW and steps[0] == steps[1] > 1
    if not (plain and pays) or is_inside():
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return convolved(input, weight, bias, steps[0], margins)


def _pair(value: Any) -> Any:
    if isinstance(value, str):
        return value
    first, *others = value if isinstance(value, tuple | list) else (value, value)
    return first, (others or [first])[0]


@dataclass(frozen=True)
class _Convolution:
    """What a convolution knows of itself beside what it is differentiated by.

    An ``autograd.Function`` tracks what it is applied to; what stands here is used by its backward pass alone, where
    autograd finds its history all the same.
    """

    x: Tensor  # (batch, channels, height, width)
    weight: Tensor  # (units, channels, rows, columns)
    bias: Tensor | None  # (units,)
    stride: int
    padding: Pair

    def values(self) -> Tensor:
        """The convolution, without a history."""
        bias = None if self.bias is None else self.bias.detach()
        return torch.conv2d(self.x.detach(), self.weight.detach(), bias, self.stride, self.padding)

    def pulled_back(self, cotangents: Tensor) -> Tensor:
        """The gradient by x, from that by the values."""
        wide = [-size % self.stride for size in self.weight.shape[2:]]
        kernel = F.pixel_unshuffle(F.pad(self.weight, (0, wide[1], 0, wide[0])), self.stride)
        found = F.pixel_shuffle(F.conv_transpose2d(cotangents, kernel), self.stride)
        (top, left), (height, width) = self.padding, self.x.shape[2:]
        right, bottom = left + width - found.shape[-1], top + height - found.shape[-2]  # above 0: no kernel reaches it
        return F.pad(found, (-left, right, -top, bottom))

    def by_weight(self, cotangents: Tensor) -> Tensor:
        """The gradient by the weight."""
        found: Tensor = conv2d_weight(self.x, self.weight.shape, cotangents, self.stride, self.padding)  # type: ignore[no-untyped-call]
        return found


class _ByInputs(torch.autograd.Function):
    """The values, which are differentiated by x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, convolution: _Convolution) -> Tensor:
        ctx.convolution = convolution
        return convolution.values()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.convolution.pulled_back(grads[0]), None


class _ByWeights(torch.autograd.Function):
    """Zeros in the place of the values, which are differentiated by weight and bias."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, convolution: _Convolution, shape: Any) -> Tensor:
        ctx.convolution = convolution
        return weight.new_zeros(()).expand(shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), wanted = grads, ctx.needs_input_grad
        by_weight = ctx.convolution.by_weight(grad) if wanted[0] else None
        return by_weight, grad.sum(dim=(0, 2, 3)) if wanted[1] else None, None, None


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: Pair) -> Tensor:
    """``torch.conv2d(x, weight, bias, stride, padding)`` with any number of derivatives.

    It is a sum of two parts, so that a gradient by x alone computes none by the weight.
    """
    convolution = _Convolution(x, weight, bias, stride, padding)
    values: Tensor = _ByInputs.apply(x, convolution)  # type: ignore[no-untyped-call]
    zeros: Tensor = _ByWeights.apply(weight, bias, convolution, values.shape)  # type: ignore[no-untyped-call]
    return values + zeros
