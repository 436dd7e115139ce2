"""Splitting a data set into disjoint parts for training, validation and test, drawn from a seed."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.registry.arguments import seed_of
from caelab.streams import Streams


def draw_splits(
    name: str, count: int, splits: Sequence[int] | None, seed: int, official_test: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the train, valid and test examples, each (size,), disjoint, in random order.

    Where the last ``official_test`` examples are the official test part, tests are drawn from them alone and the
    other two from the rest.

    Raises:
        CaelabError: sizes that are no three whole numbers above 0, or more than there is.
    """
    train, valid, test = _sizes(name, splits) if splits is not None else _default_sizes(name, count, official_test)
    generator = Streams(seed_of(seed))["data splits"]
    if not official_test:
        _check_room(name, "examples", train + valid + test, count)
        order = torch.randperm(count, generator=generator)
        return order[:train], order[train : train + valid], order[train + valid : train + valid + test]
    rest = count - official_test
    _check_room(name, "examples outside the official test part", train + valid, rest)
    _check_room(name, "examples in the official test part", test, official_test)
    chosen = torch.randperm(rest, generator=generator)
    tests = rest + torch.randperm(official_test, generator=generator)
    return chosen[:train], chosen[train : train + valid], tests[:test]


def first_of_parts(
    name: str, count: int, splits: Sequence[int] | None, parts: Sequence[Any]
) -> tuple[Tensor, Tensor, Tensor]:
    """The parts of data that are split already; where sizes are asked for, the first examples of each.

    Args:
        name: of the data set.
        count: of its examples.
        splits: how many examples train, validate and test; all by default.
        parts: indices of the examples of each part, in [0, count).

    Raises:
        CaelabError: a part has fewer examples than are asked for, or the parts are no indices of the examples.
    """
    found = [torch.as_tensor(part, dtype=torch.int64) for part in parts]
    together = torch.cat(found)
    distinct = len(torch.unique(together))
    if len(found) != 3 or distinct < len(together) or together.min() < 0 or together.max() >= count:
        raise CaelabError(
            f"data set {name!r}: expected parts as three lists of different indices below {count}, but "
            f"{[tuple(part.shape) for part in found]} from {int(together.min())} to {int(together.max())} came"
        )
    sizes = [len(part) for part in found] if splits is None else [*_sizes(name, splits)]
    for part, size, what in zip(found, sizes, ("training", "validation", "test"), strict=True):
        _check_room(name, f"{what} examples", size, len(part))
    train, valid, test = (part[:size] for part, size in zip(found, sizes, strict=True))
    return train, valid, test


def _default_sizes(name: str, count: int, official_test: int = 0) -> tuple[int, int, int]:
    """60, 10 and 30 % of the examples, the remainder training.

    With an official test part: all of it, as many to validate (at most a fifth of the rest), and the others.

    >>> _default_sizes("mnist5k", 5000), _default_sizes("mnist", 70_000, 10_000)
    ((3000, 500, 1500), (50000, 10000, 10000))
    """
    if official_test:
        valid, test = min(official_test, (count - official_test) // 5), official_test
    else:
        valid, test = count // 10, 3 * count // 10
    valid, test = max(valid, 1), max(test, 1)
    _check_room(name, "examples", 1 + valid + test, count)
    return count - valid - test, valid, test


def _sizes(name: str, splits: Sequence[int]) -> tuple[int, int, int]:
    try:
        train, valid, test = (operator.index(size) for size in splits)
    except (TypeError, ValueError):
        train = valid = test = 0
    if min(train, valid, test) < 1:
        raise CaelabError(
            f"data set {name!r}: expected splits as three whole numbers of at least 1 (train, valid, test), "
            f"but {splits!r} came"
        )
    return train, valid, test


def _check_room(name: str, what: str, asked: int, there: int) -> None:
    if asked > there:
        raise CaelabError(f"data set {name!r} has {there} {what}, but the splits ask for {asked}; ask for fewer")
