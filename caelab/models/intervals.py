"""Interval arithmetic: the bounds of a computation, whatever its weights and inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Range = tuple[float, float]
ANY = (-math.inf, math.inf)

RISING = frozenset((
    "sigmoid", "hardsigmoid", "tanh", "hardtanh", "erf", "exp", "expm1", "relu", "softplus", "atan", "elu", "sign",
    "log_sigmoid_forward", "clamp", "clamp_min", "clamp_max", "sqrt", "log", "log1p", "round", "floor", "ceil", "trunc",
))  # fmt: skip
ALWAYS = {
    "_softmax": (0.0, 1.0), "_log_softmax": (-math.inf, 0.0), "sin": (-1.0, 1.0), "cos": (-1.0, 1.0),
    "silu": (-0.279, math.inf), "gelu": (-0.171, math.inf), "mish": (-0.31, math.inf), "hardswish": (-0.376, math.inf),
}  # fmt: skip
SELECTING = {  # which arguments the values come from
    **dict.fromkeys(("clone", "_to_copy", "cat", "stack", "flip", "roll", "index", "index_select", "gather", "repeat",
                     "amax", "amin", "mean", "upsample_nearest1d", "upsample_nearest2d"), slice(0, 1)),
    "where": slice(1, 3), "copy": slice(1, 2),
}  # fmt: skip
CONSTANT = ("full", "zeros", "ones", "full_like", "zeros_like", "ones_like", "scalar_tensor")
READS = ("_local_scalar_dense", "is_nonzero", "equal")  # what follows may be another computation for other values


class Intervals(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows every operation within its block; ``of`` a tensor are the bounds of its values, and what set them.

    Weights, buffers, inputs, and what comes from an operation that is not known here may have any value.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[int, tuple[Range, str]] = {}  # by memory, so that a view has the bounds of what it views
        self.kept: list[Tensor] = []  # memory that is gone would leave its place to another
        self.lost = False

    def of(self, value: Any) -> tuple[Range, str]:
        """Lowest and highest value, infinite where there is none, and the operation that bounds them."""
        if isinstance(value, Tensor):
            return (ANY, "") if self.lost else self.found.get(value.untyped_storage()._cdata, (ANY, ""))
        return ((float(value),) * 2, "") if isinstance(value, bool | int | float) else (ANY, "")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Carry one operation out, and note within what bounds its result lies."""
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        self.lost |= name in READS
        if func._schema.is_mutable:
            return self._writing(func, name, args, kwargs)
        found = self._result(func, name, args, kwargs)
        outputs = func(*args, **kwargs)
        first = outputs[0] if isinstance(outputs, tuple | list) and outputs else outputs
        if isinstance(first, Tensor) and first.is_floating_point() and not func.is_view:
            constant = name in CONSTANT and first.numel()
            self._note(first, ((float(first.min()), float(first.max())), "") if constant else found)
        return outputs

    def _note(self, tensor: Tensor, found: tuple[Range, str], *, new: bool = True) -> None:
        memory = tensor.untyped_storage()._cdata
        if not (new and (found[0] == ANY or memory in self.found)):  # some operations return a view unasked
            self.kept.append(tensor)
            self.found[memory] = found if found[0][0] <= found[0][1] else (ANY, "")

    def _writing(self, func: Any, name: str, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """What is written into a part of a memory leaves the rest as it was."""
        if not name.endswith("_"):
            self.lost = True
            return func(*args, **kwargs)
        target, (before, by) = args[0], self.of(args[0])
        found, newly = self._result(func, name.rstrip("_"), args, kwargs)
        outputs = func(*args, **kwargs)
        if isinstance(target, Tensor):
            whole = target.numel() * target.element_size() == target.untyped_storage().nbytes()
            self._note(target, (found if whole else hull([before, found]), newly or by), new=False)
        return outputs

    def _result(self, func: Any, name: str, args: Any, kwargs: Mapping[str, Any]) -> tuple[Range, str]:
        if name in ALWAYS:
            return ALWAYS[name], name.strip("_")
        if name in RISING:
            return _rising(func, self.of(args[0])[0], args[1:], kwargs), name.removesuffix("_forward")
        if name in SELECTING:
            return self._chosen(args[SELECTING[name]], kwargs.get("dtype"))
        if name in ARITHMETIC and not kwargs and len(args) <= 2:
            (one, by), (other, also) = self.of(args[0]), self.of(args[1] if len(args) > 1 else None)
            return ARITHMETIC[name](one, other), by or also or name
        return ANY, ""

    def _chosen(self, among: Any, dtype: torch.dtype | None) -> tuple[Range, str]:
        values = [each for one in among for each in (one if isinstance(one, list | tuple) else [one])]
        if dtype is not None and not dtype.is_floating_point:
            return ANY, ""
        known = [self.of(each) for each in values]
        return hull([range_ for range_, _ in known]), next((by for _, by in known if by), "")


def hull(ranges: Sequence[Range]) -> Range:
    """The smallest range that holds all of them.

    >>> hull([(0, 1), (-3, 0.5)])
    (-3, 1)
    """
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else ANY


def plus(one: Range, other: Range) -> Range:
    """The bounds of a sum."""
    return one[0] + other[0], one[1] + other[1]


def times(one: Range, other: Range) -> Range:
    """The bounds of a product; infinity is a bound that no value reaches.

    >>> times((-1, 2), (3, 4)), times((0, math.inf), (0, 1))
    ((-4, 8), (0.0, inf))
    """
    products = [0.0 if 0 in (a, b) else a * b for a in one for b in other]
    return _plain(min(products)), _plain(max(products))


def inverse(given: Range) -> Range:
    """The bounds of 1/x; anything where x may be 0 on both its sides.

    >>> inverse((1, math.inf)), inverse((0, 2)), inverse((-1, 1))
    ((0.0, 1.0), (0.5, inf), (-inf, inf))
    """
    low, high = given
    if low < 0 < high:
        return ANY
    least = 1 / high if high else -math.inf
    return least, (1 / low if low else math.inf)


def magnitude(given: Range) -> Range:
    """The bounds of |x|.

    >>> magnitude((-3, 2)), magnitude((1, 2))
    ((0.0, 3), (1, 2))
    """
    low, high = given
    return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))


def power(given: Range, exponent: Range) -> Range:
    """The bounds of a square; of other powers nothing is known."""
    size = magnitude(given)
    return (size[0] * size[0], size[1] * size[1]) if exponent == (2, 2) else ANY


def _plain(value: float) -> float:
    return value + 0  # no negative zero


ARITHMETIC: dict[str, Callable[[Range, Range], Range]] = {
    "add": plus,
    "sub": lambda a, b: plus(a, times(b, (-1, -1))),
    "rsub": lambda a, b: plus(b, times(a, (-1, -1))),
    "neg": lambda a, _: times(a, (-1, -1)),
    "mul": times,
    "div": lambda a, b: times(a, inverse(b)),
    "reciprocal": lambda a, _: inverse(a),
    "abs": lambda a, _: magnitude(a),
    "pow": power,
    "maximum": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "minimum": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
}


def _rising(func: Any, given: Range, args: Any, kwargs: Mapping[str, Any]) -> Range:
    """Of a function that never falls: its values at both ends."""
    numbers = [*args, *kwargs.values()]
    falls = func._schema.name == "aten::elu" and any(each < 0 for each in numbers)
    if falls or any(isinstance(each, Tensor) for each in numbers):
        return ANY
    values = func(torch.tensor(given, dtype=torch.float64), *args, **kwargs)
    low, high = (values[0] if isinstance(values, tuple) else values).tolist()
    return (low, high) if low <= high else ANY  # not a number compares with nothing
