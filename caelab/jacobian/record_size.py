"""How many bytes a row of J takes, measured by what one example's pass forward keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import getclosurevars
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from caelab.jacobian.blockwise import reached
from caelab.jacobian.context import innermost

Encode = Callable[[Tensor], Tensor]


def bytes_per_row(encode: Encode, example: Tensor, recorded: bool) -> int:
    """Bytes that one cotangent of one example takes on its way back: what the forward pass saves, and as much again.

    Where the way back is recorded itself, for a gradient of the Jacobian, it keeps about three times as much.
    """
    own = 2 * example.numel() * example.element_size()
    with torch.enable_grad():
        try:
            saved, code = _saved_bytes(encode, example.detach().requires_grad_())
        except RuntimeError:  # torch.func inside the encoder knows no hooks
            saved, code = _made_bytes(encode, example.detach().requires_grad_())
    cotangent = 2 * code.numel() * code.element_size()
    return (6 if recorded else 2) * max(saved + own, cotangent)


def _saved_bytes(encode: Encode, point: Tensor) -> tuple[int, Tensor]:
    """What autograd keeps of a pass beside parameters, which all examples share, and the code."""
    saved: list[tuple[int, int]] = []
    shared = {_place(parameter) for parameter in _parameters_of(innermost(encode))}

    def note(tensor: Tensor) -> Tensor:
        saved.append((_place(tensor), tensor.numel() * tensor.element_size()))
        if isinstance(tensor, nn.Parameter):
            shared.add(_place(tensor))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        code = encode(point)
    ends = (getattr(node, "variable", None) for node in reached(code.grad_fn))
    shared |= {_place(end) for end in ends if isinstance(end, nn.Parameter)}
    return sum(size for place, size in saved if place not in shared - {0}), code


def _parameters_of(owner: Any) -> Iterator[Tensor]:
    """The parameters of a module, or of those that a method or function is seen to hold."""
    if isinstance(owner, nn.Module):
        yield from owner.parameters()
    elif isinstance(owner, MethodType):
        yield from _parameters_of(owner.__self__)
    elif isinstance(owner, FunctionType):
        names = getclosurevars(owner)
        for held in (*names.nonlocals.values(), *names.globals.values()):
            yield from held.parameters() if isinstance(held, nn.Module) else ()


def _place(tensor: Tensor) -> int:
    """Where a tensor's memory is, the same for all views of it; 0 where that cannot be told."""
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else 0


def _made_bytes(encode: Encode, point: Tensor) -> tuple[int, Tensor]:
    """All that the operators of a pass make, some of which autograd keeps, and the code."""
    with _Made() as made:
        code = encode(point)
    return made.bytes, code


class _Made(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within the block, and in this thread alone, counts the bytes of every tensor that an operator makes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = function(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else [found]:
            if isinstance(tensor, Tensor) and not function.is_view:
                self.bytes += tensor.numel() * tensor.element_size()
        return found
