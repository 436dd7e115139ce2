"""Packing the state of plugins as tensors and JSON, so that reading a checkpoint runs no code."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

DTYPES: dict[str, torch.dtype] = {str(each): each for each in vars(torch).values() if isinstance(each, torch.dtype)}
KIND = "~"  # marks a mapping that stands for a value of another kind


class Unpackable(Exception):
    """A value that a checkpoint cannot hold, and where it is."""

    def __init__(self, path: str, value: Any) -> None:
        super().__init__(f"{path} is of type {type(value).__qualname__}")


def packed(value: Any, tensors: dict[str, Tensor], path: str) -> Any:
    """A value as plain JSON; its tensors go to ``tensors`` under names that begin with ``path``.

    Packed are numbers, texts, bytes, None; lists, tuples, sets and dictionaries with any such keys; tensors and arrays;
    the types, devices and random generators of torch, numpy and Python.

    Raises:
        Unpackable: there is something else in it.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    for kinds, write in WRITERS:
        if isinstance(value, kinds):
            return write(value, tensors, path)
    raise Unpackable(path, value)


def _put(value: Tensor, tensors: dict[str, Tensor], path: str) -> dict[str, Any]:
    if value.layout is not torch.strided or value.is_quantized or value.is_meta:
        raise Unpackable(path, value)
    name = f"{path}#{len(tensors)}"
    tensors[name] = torch.view_as_real(value.detach()) if value.is_complex() else value.detach()
    return {KIND: "tensor", "name": name, "device": str(value.device), "complex": value.is_complex()}


def _array(value: Any, tensors: dict[str, Tensor], path: str) -> dict[str, Any]:
    try:
        found = _put(torch.from_numpy(np.array(value)), tensors, path)
    except TypeError as error:  # texts, objects, dates
        raise Unpackable(path, value) from error
    return {**found, KIND: "array", "number": isinstance(value, np.generic)}


def _mapping(value: Mapping[Any, Any], tensors: dict[str, Tensor], path: str) -> dict[str, Any]:
    pairs = [[packed(k, tensors, f"{path} key"), packed(v, tensors, f"{path}.{k}")] for k, v in value.items()]
    return {KIND: "dict", "of": pairs}


def _several(kind: str) -> Callable[..., Any]:
    def write(value: Any, tensors: dict[str, Tensor], path: str) -> Any:
        found = [packed(each, tensors, f"{path}.{place}") for place, each in enumerate(value)]
        return {KIND: kind, "of": found, "longest": getattr(value, "maxlen", None)}

    return write


def _text(kind: str) -> Callable[..., Any]:
    return lambda value, tensors, path: {KIND: kind, "is": str(value)}


def _generator(value: torch.Generator, tensors: dict[str, Tensor], path: str) -> dict[str, Any]:
    return {KIND: "generator", "device": str(value.device), "state": _put(value.get_state(), tensors, path)}


def _numpy_generator(value: Any, tensors: dict[str, Tensor], path: str) -> dict[str, Any]:
    bits = value.bit_generator if isinstance(value, np.random.Generator) else value._bit_generator
    legacy = isinstance(value, np.random.RandomState)
    if type(bits).__name__ not in BITS:
        raise Unpackable(path, value)
    state = value.get_state(legacy=False) if legacy else bits.state
    return {KIND: "numpy generator", "legacy": legacy, "state": packed(state, tensors, path)}


def _python_generator(value: random.Random, tensors: dict[str, Tensor], path: str) -> dict[str, Any]:
    if type(value) is not random.Random:
        raise Unpackable(path, value)
    return {KIND: "python generator", "state": packed(value.getstate(), tensors, path)}


BITS = {each.__name__: each for each in (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox,
                                         np.random.SFC64)}  # fmt: skip

WRITERS: list[tuple[Any, Callable[..., Any]]] = [
    (Tensor, _put),
    ((np.ndarray, np.generic), _array),
    (Mapping, _mapping),
    (list, _several("list")),
    (tuple, _several("tuple")),
    ((set, frozenset), _several("set")),
    (deque, _several("deque")),
    ((bytes, bytearray), lambda value, tensors, path: {KIND: "bytes", "is": value.hex()}),
    (complex, lambda value, tensors, path: {KIND: "complex", "of": [value.real, value.imag]}),
    (torch.dtype, _text("dtype")),
    (torch.device, _text("device")),
    (torch.Generator, _generator),
    ((np.random.Generator, np.random.RandomState), _numpy_generator),
    (random.Random, _python_generator),
]


def unpacked(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What ``packed`` was given, with new objects; tensors on the device that they were on.

    Raises:
        KeyError, TypeError, ValueError: it is not what ``packed`` wrote.
    """
    return READERS[tree[KIND]](tree, tensors) if isinstance(tree, dict) else tree


def _tensor(tree: Any, tensors: Mapping[str, Tensor]) -> Tensor:
    value = tensors[tree["name"]].clone()
    return (torch.view_as_complex(value) if tree["complex"] else value).to(tree["device"])


def _numpy(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    array = _tensor(tree, tensors).numpy()
    return array[()] if tree["number"] else array


def _all(tree: Any, tensors: Mapping[str, Tensor]) -> list[Any]:
    return [unpacked(each, tensors) for each in tree["of"]]


def _torch_generator(tree: Any, tensors: Mapping[str, Tensor]) -> torch.Generator:
    generator = torch.Generator(tree["device"])
    generator.set_state(tensors[tree["state"]["name"]].cpu())
    return generator


def _numpy_again(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    state = unpacked(tree["state"], tensors)
    bits = BITS[state["bit_generator"]]()
    if tree["legacy"]:
        legacy = np.random.RandomState(bits)
        legacy.set_state(state)
        return legacy
    bits.state = state
    return np.random.Generator(bits)


def _python_again(tree: Any, tensors: Mapping[str, Tensor]) -> random.Random:
    generator = random.Random()
    generator.setstate(unpacked(tree["state"], tensors))
    return generator


READERS: dict[str, Callable[[Any, Mapping[str, Tensor]], Any]] = {
    "tensor": _tensor,
    "array": _numpy,
    "dict": lambda tree, tensors: {unpacked(k, tensors): unpacked(v, tensors) for k, v in tree["of"]},
    "list": _all,
    "tuple": lambda tree, tensors: tuple(_all(tree, tensors)),
    "set": lambda tree, tensors: set(_all(tree, tensors)),
    "deque": lambda tree, tensors: deque(_all(tree, tensors), tree["longest"]),
    "bytes": lambda tree, tensors: bytes.fromhex(tree["is"]),
    "complex": lambda tree, tensors: complex(*tree["of"]),
    "dtype": lambda tree, tensors: DTYPES[tree["is"]],
    "device": lambda tree, tensors: torch.device(tree["is"]),
    "generator": _torch_generator,
    "numpy generator": _numpy_again,
    "python generator": _python_again,
}
