"""Refusing models that cannot be copied: their tensors share memory, or their parameters have gradient hooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from caelab.errors import CaelabError

GRADIENT_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")  # where torch keeps those of a tensor


def refuse_lost_by_copying(model: nn.Module) -> None:
    """Refuse a model whose copy would be trained otherwise than the model itself.

    ``copy.deepcopy`` gives every parameter memory of its own and leaves its hooks behind.

    Raises:
        CaelabError: a trained parameter shares memory with another tensor of the model, or has a hook.
    """
    _refuse_hooks(model)
    for names in _overlapping(_in_memory(model)):
        raise CaelabError(
            f"{' and '.join(names)} of the model {type(model).__name__} are two tensors that share their memory, and "
            "a copy of the model, which is what is trained, would part them; keep one parameter and use it in "
            "both places, as in F.linear(code, self.encoder.weight.t())"
        )


def _refuse_hooks(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if any(getattr(parameter, hooks, None) for hooks in GRADIENT_HOOKS):
            raise CaelabError(
                f"the parameter {name} of the model {type(model).__name__} has a hook on its gradient, which a copy of "
                "the model, which is what is trained, would not have; remove the hook, and use requires_grad_(False) "
                "to hold a parameter fixed, or torch.nn.utils.parametrize to mask or to scale it"
            )


def _overlapping(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """The names of a trained parameter and of another tensor that has an element in the same place."""
    places = sorted((*_extent(tensor), name) for name, tensor in tensors.items())
    for place, (_, end, name) in enumerate(places):
        for start, _, other in places[place + 1 :]:
            if start >= end:
                break
            first, second = sorted((name, other), key=lambda each: not _trained(tensors[each]))
            if _trained(tensors[first]) and overlap(tensors[first], tensors[second]):
                yield first, second


def _trained(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter) and tensor.requires_grad


def _in_memory(model: nn.Module) -> dict[str, Tensor]:
    """The different tensors that a model holds in strided memory, by name."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, module in model.named_modules():
        for path, tensor in _tensors(vars(module), name):
            if not torch.nn.parameter.is_lazy(tensor) and tensor.layout is torch.strided and not tensor.is_meta:
                found.setdefault(id(tensor), (path, tensor))
    return dict(found.values())


def _tensors(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in lists, tuples and dictionaries; a parameter goes by the name that torch gives it."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _tensors(each, path if key in ("_parameters", "_buffers") else f"{path}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for place, each in enumerate(value):
            yield from _tensors(each, f"{path}[{place}]")


def overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have an element in the same place of memory.

    >>> table = torch.zeros(4, 6)
    >>> overlap(table[:2], table.t()), overlap(table[:2], table[2:]), overlap(table[:, ::2], table[:, 1::2])
    (True, False, False)
    """
    (start, end), (begin, stop) = _extent(one), _extent(other)
    if end <= begin or stop <= start:
        return False
    size = min(one.element_size(), other.element_size())
    return bool(torch.isin(_places(one, size), _places(other, size)).any())


def _extent(tensor: Tensor) -> tuple[int, int]:
    """The first byte of a tensor and the first behind it."""
    if not tensor.numel():
        return 0, 0
    last = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _places(tensor: Tensor, size: int) -> Tensor:
    """Where each element begins, in units of ``size`` bytes; an element of twice that size takes two."""
    factor = tensor.element_size() // size
    offsets = torch.zeros(1, dtype=torch.int64)
    for n, stride in zip(tensor.shape, tensor.stride(), strict=True):
        offsets = (offsets[:, None] + torch.arange(n) * stride).flatten()
    places = (offsets[:, None] * factor + torch.arange(factor)).flatten()
    return places + tensor.data_ptr() // size
