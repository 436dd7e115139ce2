"""Values that belong to each example beside its inputs (a noise level, a class, a mask), cut as the batch is cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from torch import Tensor

from caelab.errors import CaelabError
from caelab.jacobian.compiled import Eager

Encode = Callable[..., Tensor]
Context = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
Part = Tensor | slice | list[int]


@dataclass(frozen=True, eq=False)
class Conditioned:
    """A map of the inputs alone, f(x) = encode(x, *positional, **named), with an output (batch, *code).

    Attributes:
        encode: what is called.
        positional: further arguments by position, each (batch, ...).
        named: further arguments by name, each (batch, ...).
        copies: whether the encoder is handed copies, because it writes to its arguments.
        one_unit: whether its output (batch,) stands for a code of one unit.
    """

    encode: Encode
    positional: tuple[Tensor, ...] = ()
    named: Mapping[str, Tensor] = field(default_factory=dict)
    copies: bool = False
    one_unit: bool = False

    def __call__(self, inputs: Tensor) -> Tensor:
        """The code, shape (batch, *code)."""
        own: Callable[[Tensor], Tensor] = (lambda tensor: tensor.clone()) if self.copies else (lambda tensor: tensor)
        named = {name: own(value) for name, value in self.named.items()}
        code = self.encode(own(inputs), *map(own, self.positional), **named)
        return code[:, None] if self.one_unit else code

    @property
    def arguments(self) -> tuple[Tensor, ...]:
        """All that comes with the inputs."""
        return (*self.positional, *self.named.values())

    def changed(self, change: Callable[[Tensor], Tensor]) -> Conditioned:
        """The same map for other examples: a change of every further argument."""
        named = {name: change(value) for name, value in self.named.items()}
        return replace(self, positional=tuple(map(change, self.positional)), named=named)


def conditioned(encode: Encode, context: Context | None, batch: int) -> Encode:
    """The encoder as a map of the inputs alone; itself where nothing else belongs to an example.

    Raises:
        CaelabError: the context is no tensor, sequence or mapping of tensors of the batch's length.
    """
    if context is None:
        return encode
    given = Conditioned(encode, *_arguments(context))
    for name, value in (*enumerate(given.positional, 1), *given.named.items()):
        if not isinstance(value, Tensor) or value.ndim == 0 or len(value) != batch:
            shape = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise CaelabError(
                f"expected argument {name!r} of the context as a tensor with one entry for each of the {batch} "
                f"examples, but {shape} came; what all examples share belongs into a function, "
                "as lambda x: encode(x, shared)"
            )
    return given


def _arguments(context: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    if isinstance(context, Tensor):
        return (context,), {}
    if isinstance(context, Mapping) and context and all(isinstance(name, str) for name in context):
        return (), dict(context)
    if isinstance(context, Sequence) and context and not isinstance(context, str):
        return tuple(context), {}
    raise CaelabError(
        "expected the context as a tensor, a tuple of tensors or a dictionary of tensors by the argument's name, "
        f"but {context!r} came"
    )


def cut(encode: Encode, part: Part) -> Encode:
    """The same map for some of the examples of the batch, given by their indices."""
    if isinstance(encode, Conditioned) and (encode.positional or encode.named):
        return encode.changed(lambda value: value[cast(Any, part)])
    return encode


def repeated(encode: Encode, count: int) -> Encode:
    """The same map for a batch in which every example stands ``count`` times in a row."""
    if isinstance(encode, Conditioned) and (encode.positional or encode.named):
        return encode.changed(lambda value: value.repeat_interleave(count, dim=0))
    return encode


def innermost(encode: Any) -> Any:
    """The encoder that the user gave, without caelab's wrappers."""
    while isinstance(encode, (Conditioned, Eager)):
        encode = encode.encode
    return encode
