"""Samples, which a loader of a data set returns, and the facts it states of itself; without torch, to be quick."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import Field

from caelab.errors import CaelabError, shown
from caelab.options import Count
from caelab.registry.signatures import option_fields

FilePath = Annotated[str, Field(min_length=1)]
"""The path of a file or folder; ``kind:REST`` in a data set's name sets it."""

Seed = Annotated[int, Field(ge=0)]
"""A seed: a whole number, at least 0."""

Examples = Count | None
"""How many examples to read of a file, evenly spread over it; all by default."""

PUBLISHED = "published"
"""What stands for the published sizes where splits are asked for."""

Loader = TypeVar("Loader", bound=Callable[..., Any])


@dataclass(frozen=True, eq=False)
class Samples:
    """Examples as a loader found them, before they are checked and split.

    Args:
        inputs: array or tensor, shape (n, d).
        labels: whole numbers, shape (n,), or None.
        image_shape: (height, width) or (height, width, channels), whose product is d; None if they are no images.
        truth: what is known of the law that made them (:class:`~caelab.data.truth.Tangents`,
            :class:`~caelab.data.truth.Score`), or None.
        official_test: so many of the last examples are the official test part, from which alone tests are drawn.
        label_names: what the labels 0, 1, 2, ... are called, or None.
        parts: the indices of the examples that train, validate and test, where the data are split already; a user who
            asks for fewer gets the first of each.
        scaling: what the inputs went through already (:class:`~caelab.data.scaling.Scaling`), or None.
    """

    inputs: Any
    labels: Any = None
    image_shape: tuple[int, ...] | None = None
    truth: Any = None
    official_test: int = 0
    label_names: Sequence[str] | None = None
    parts: tuple[Any, Any, Any] | None = None
    scaling: Any = None


@dataclass(frozen=True)
class Published:
    """The sizes of a data set in a paper: what ``splits: published`` stands for.

    Args:
        sizes: how many examples train, validate and test.
        options: of the loader, so that there are so many examples; those that a user gives count more.
    """

    sizes: tuple[int, int, int]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What ``caelab data`` says of a data set without loading it."""

    size: str
    shape: str
    source: str
    argument: str = ""
    published: Published | None = None


def describes(
    size: str, shape: str, source: str, argument: str = "", *, published: Published | None = None
) -> Callable[[Loader], Loader]:
    """State the facts of a loader: how many examples, of what shape, from where; ``argument`` follows the colon.

    >>> @describes("3", "2", "made up")
    ... def loader() -> Samples:
    ...     return Samples([[0, 0], [0, 1], [1, 1]])
    >>> loader.facts.source
    'made up'
    """

    def state(loader: Loader) -> Loader:
        loader.__dict__["facts"] = Facts(size, shape, source, argument, published)
        return loader

    return state


def published_splits(
    loader: Any, kind: str, splits: Any, options: Mapping[str, Any]
) -> tuple[tuple[int, int, int], dict[str, Any]]:
    """The sizes that ``published`` stands for, and the options with those that give so many examples.

    Raises:
        CaelabError: ``splits`` is another text, or no sizes were published for the data set.
    """
    facts = getattr(loader, "facts", None)
    published = facts.published if isinstance(facts, Facts) else None
    if splits != PUBLISHED or published is None:
        what = f"{kind!r} has no published sizes" if splits == PUBLISHED else f"{shown(splits)} came"
        raise CaelabError(
            f"data set {kind!r}: expected splits as three whole numbers of at least 1 (train, valid, test), or "
            f"{PUBLISHED!r} where a paper states them, but {what}"
        )
    chosen = {key: value for key, value in options.items() if value != _default(loader, key)}
    return published.sizes, {**options, **published.options, **chosen}


def _default(loader: Any, option: str) -> Any:
    """What an option is where nobody chooses it, as a config that was checked before holds it."""
    found = option_fields(loader).get(option)
    return None if found is None else found.default


def in_order_of_numbers(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """A key by which 2 comes before 10, and class2 before class10.

    >>> sorted(["b", "10", "2", "a10", "-1", "a9"], key=in_order_of_numbers)
    ['-1', '2', '10', 'a9', 'a10', 'b']
    """
    parts = [part for part in re.split(r"(^-?\d+|\d+)", name) if part]
    return [(0, int(part)) if part.lstrip("-").isdecimal() else (1, part) for part in parts], name
