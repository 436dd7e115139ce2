"""Running float32 code in float64 for checks: torch's default type and float32 constants follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

READS = ("__get__", "__set__", "__repr__", "numel", "size", "dim", "__len__")


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    """Set torch's default type within the block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class InDouble(TorchFunctionMode):
    """Replaces float32 by float64 in every call of torch, as if the run itself were in float64.

    Attributes:
        met: the functions in which float32 and float64 came together, or in which float32 was asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met: dict[str, None] = {}

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The call, with float64 in place of float32."""
        name = getattr(function, "__name__", "")
        if name in READS:
            return function(*args, **(kwargs or {}))
        if function is Tensor.float and args[0].dtype is torch.float64:
            self.met[name] = None
            return args[0]
        given = [*args, *(kwargs or {}).values()]
        mixed = {each.dtype for each in _tensors(given)} >= {torch.float32, torch.float64}
        if mixed or torch.float32 in [each for each in given if isinstance(each, torch.dtype)]:
            self.met[name if name.isidentifier() else str(resolve_name(function))] = None
            args, kwargs = _doubled(list(args)), _doubled(dict(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _tensors(given: Any) -> Iterator[Tensor]:
    for each in given:
        if isinstance(each, Tensor):
            yield each
        elif isinstance(each, (list, tuple)):
            yield from _tensors(each)


def _doubled(given: Any) -> Any:
    if isinstance(given, Tensor):
        return given.double() if given.dtype is torch.float32 else given
    if isinstance(given, torch.dtype):
        return torch.float64 if given is torch.float32 else given
    if isinstance(given, dict):
        return {name: _doubled(each) for name, each in given.items()}
    return type(given)(_doubled(each) for each in given) if type(given) in (list, tuple) else given
