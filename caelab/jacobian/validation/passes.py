"""Validation by a few passes: a few examples go through an encoder, to see what its modules do not tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from caelab.errors import CaelabError
from caelab.jacobian.context import Conditioned, Encode, Part, cut, innermost
from caelab.jacobian.validation.double_precision import in_double
from caelab.jacobian.validation.refusals import dependent, name_of, refuse_module
from caelab.jacobian.validation.states import state_of

_CHANCES = 2  # further passes that are to give the same
_DRAWING_CHANCES = 32  # as many of an encoder that draws numbers, which may have been without effect so far
ROUNDING = 1e3  # in units of the type's epsilon, against the largest: what another order of summation may change
_LARGEST_ROUNDING = 1e-4  # of the largest, whatever the type
_COARSE_ROUNDINGS = 16  # units of rounding of a type that is coarser than that
COARSE = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Examples:
    """Some examples and the encoder with what belongs to them.

    Attributes:
        encode: maps (batch, *input) to (batch, *code).
        inputs: x, shape (batch, *input); no pass changes it.
        recorded: whether autograd records the passes, since the encoder differentiates inside.
    """

    encode: Encode
    inputs: Tensor
    recorded: bool = False

    def __len__(self) -> int:
        return len(self.inputs)

    def code(self) -> Any:
        """The output, computed from copies.

        Raises:
            CaelabError: what the encoder has against such inputs.
        """
        return called(replace(_as_conditioned(self.encode), copies=True), self.inputs, self.recorded)

    def part(self, part: Part) -> Examples:
        """Some of the examples, with the memory layout of all."""
        return Examples(cut(self.encode, part), _laid_out_as(self.inputs, self.inputs[part]), self.recorded)

    def others_changed(self, kept: int, change: Callable[[Tensor], Tensor]) -> Examples:
        """The same example among others, whose inputs are changed and whose context goes round."""

        def among(change: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
            others = _laid_out_as(tensor, change(tensor))
            others[kept] = tensor[kept]
            return others

        encode = self.encode
        if isinstance(encode, Conditioned):
            encode = encode.changed(lambda value: among(lambda each: each.roll(1, dims=0), value))
        return Examples(encode, among(change, self.inputs), self.recorded)

    def in_double(self) -> Examples | None:
        """The same in float64, where a copy of the encoder can be made."""
        encode = in_double(self.encode)
        return None if encode is None else Examples(encode, self.inputs.double(), self.recorded)


def _laid_out_as(like: Tensor, values: Tensor) -> Tensor:
    """A copy of the values in the memory layout of a batch, as channels last."""
    if like.ndim in (4, 5) and not like.is_contiguous():
        order = sorted(range(like.ndim), key=like.stride, reverse=True)
        fresh = values.detach().permute(order).clone(memory_format=torch.contiguous_format)
        return fresh.permute([order.index(axis) for axis in range(like.ndim)])
    return values.detach().clone(memory_format=torch.contiguous_format)


def _as_conditioned(encode: Encode) -> Conditioned:
    return encode if isinstance(encode, Conditioned) else Conditioned(encode)


class FailureError(CaelabError):
    """An encoder failed on some inputs."""


def first_code(whole: Examples, chosen: list[int]) -> tuple[Examples, Any]:
    """The chosen examples with their code, recorded by autograd where the encoder fails without.

    Raises:
        CaelabError: the encoder takes no such inputs, or none but the whole batch.
    """
    few = whole.part(chosen)
    try:
        return few, few.code()
    except FailureError as error:
        failure = error
    recorded = replace(few, recorded=True)
    code = _code_or_nothing(recorded)
    if code is not None:
        return recorded, code
    for examples in (whole, replace(whole, recorded=True)):
        code = _code_or_nothing(examples)
        if code is not None and len(whole) == 1:
            return examples, code
        if code is not None and len(few) < len(whole):
            raise CaelabError(f"{apart(whole, len(few))} ({failure.__cause__})") from failure
    raise failure


def writes(examples: Examples) -> bool:
    """Whether the encoder changes what it is called with, or asks for a gradient by it."""
    old = _as_conditioned(examples.encode)
    new, inputs = old.changed(torch.clone), examples.inputs.clone()
    with torch.set_grad_enabled(examples.recorded), suppress(Exception):
        new(inputs)
    pairs = [(examples.inputs, inputs), *zip(old.arguments, new.arguments, strict=True)]
    return any(_is_changed(before, after) for before, after in pairs)


def _is_changed(before: Tensor, after: Tensor) -> bool:
    if after._version or after.requires_grad != before.requires_grad or after.shape != before.shape:
        return True
    return not (torch.equal(before, after) or torch.allclose(before, after, rtol=0, atol=0, equal_nan=True))


def called(encode: Encode, inputs: Tensor, recorded: bool = False) -> Any:
    """The output, or what the encoder has against such inputs.

    Raises:
        FailureError: the encoder fails.
    """
    try:
        with torch.set_grad_enabled(recorded):
            code = encode(inputs.detach().clone().requires_grad_() if recorded else inputs)
            return code.detach() if isinstance(code, Tensor) else code
    except CaelabError:
        raise
    except Exception as error:  # a user's encoder may fail in any way
        raise FailureError(
            f"{name_of(encode)} does not take inputs of shape {tuple(inputs.shape)} and type {inputs.dtype}: "
            f"{' '.join(str(error).split())}{_of_another_type(encode, inputs)}"
        ) from error


def _of_another_type(encode: Any, inputs: Tensor) -> str:
    module = innermost(encode)
    kinds = {p.dtype for p in module.parameters() if p.is_floating_point()} if isinstance(module, nn.Module) else set()
    if len(kinds) != 1 or inputs.dtype in kinds:
        return ""
    (kind,) = kinds
    return f"; its parameters are {kind}, so convert the inputs with .to({kind})"


def refuse_unsteady(examples: Examples, first: Tensor) -> None:
    """Refuse a map that gives something else when it is called again.

    Raises:
        CaelabError: it draws numbers, or keeps a state that changes.
    """
    before = _drawn_so_far(first)
    steady = same(examples.code(), first)
    chances = _CHANCES if before == _drawn_so_far(first) else _DRAWING_CHANCES
    if not (steady and all(same(examples.code(), first) for _ in range(chances - 1))):
        raise dependent(examples.encode, *_reason(examples))


def _drawn_so_far(code: Tensor) -> bytes:
    """The state of torch's global generator, on the device of an output."""
    found = torch.cuda.get_rng_state(code.device) if code.device.type == "cuda" else torch.get_rng_state()
    return found.numpy().tobytes()


def _reason(examples: Examples) -> tuple[str, str]:
    """Whether the next number of a generator is why, or a state."""
    before = state_of(innermost(examples.encode))
    with torch.random.fork_rng(devices=[]):
        first = examples.code()
    if same(examples.code(), first) or before == state_of(innermost(examples.encode)):
        return "depends on chance", "find the layer that draws numbers"
    return "changes with every call, since a call changes a buffer or an attribute", "find the layer that remembers"


def refuse_mixing(examples: Examples, first: Tensor) -> None:
    """Refuse a map whose output at one example changes with the others.

    Passes that hold the same first or last example and others with it are to agree there. Where they do to rounding
    alone in a type of few digits, float64 tells.

    Raises:
        CaelabError: they do not.
    """
    if _mixes(examples, first):
        raise mixing(examples.encode)


def mixing(encode: Encode) -> CaelabError:
    """The sentence for an encoder whose output at one example depends on the others."""
    reason = "depends on the batch's other examples"
    return dependent(encode, reason, "find the layer that normalises over the batch")


def _mixes(examples: Examples, first: Tensor) -> bool:
    exact = True
    for change in (_reflected, _all_smallest, _all_largest):
        for kept in (0, -1):
            found = _code_or_nothing(examples.others_changed(kept, change))
            if found is not None and not same(found[kept], first[kept]):
                return True
            exact = exact and found is not None and torch.equal(found[kept], first[kept])
    precise = examples.in_double() if first.dtype in COARSE and not exact else None
    code = _code_or_nothing(precise)
    return code is not None and precise is not None and code.dtype == torch.float64 and _mixes(precise, code)


def _code_or_nothing(examples: Examples | None) -> Tensor | None:
    """The code, where the encoder takes such examples: it may refuse numbers that were made up, or float64."""
    try:
        return examples.code() if examples else None
    except FailureError:
        return None


def _reflected(inputs: Tensor) -> Tensor:
    """Others within the range of the data."""
    return (inputs.min() + inputs.max() - inputs).roll(1, dims=0)


def _all_smallest(inputs: Tensor) -> Tensor:
    return inputs.min().expand_as(inputs)


def _all_largest(inputs: Tensor) -> Tensor:
    return inputs.max().expand_as(inputs)


def refuse_parts(whole: Examples, code: Tensor) -> None:
    """Refuse a map whose output for a part of the batch is not that part of its output for the whole.

    Raises:
        CaelabError: it holds a tensor as long as the batch, or depends on how many examples there are.
    """
    for part in _parts_of(len(whole)):
        piece = whole.part(part)
        try:
            found = piece.code()
        except FailureError as error:
            raise CaelabError(f"{apart(whole, len(piece))} ({error.__cause__})") from error
        if found.shape != code[part].shape:
            raise CaelabError(
                f"{name_of(whole.encode)} maps {len(piece)} of the {len(whole)} examples to {tuple(found.shape)}, "
                f"where {tuple(code[part].shape)} is expected; let no squeeze() or reshape() take the batch's axis away"
            )
        if not _same_in_any_type(whole, part, found, code[part]):
            raise CaelabError(apart(whole, len(piece)))


def _parts_of(count: int) -> list[slice]:
    """The last example alone, and the second half of the batch."""
    alone, half = slice(count - 1, count), slice(count // 2, count)
    return [alone, half] if count > 2 else [alone]


def _same_in_any_type(whole: Examples, part: slice, found: Tensor, expected: Tensor) -> bool:
    """Another size may be computed in another order: where that tells nothing, float64 does."""
    if torch.equal(found, expected):
        return True
    near = same(found, expected, _unit_of_products(expected))
    if near and expected.dtype not in COARSE:
        return True
    precise = whole.in_double()
    piece, all_codes = _code_or_nothing(precise and precise.part(part)), _code_or_nothing(precise)
    if piece is None or all_codes is None or piece.dtype != torch.float64:
        return near
    return same(piece, all_codes[part])


def apart(whole: Examples, count: int) -> str:
    """The sentence for an encoder whose output for a part of the batch differs from that for the whole."""
    return (
        f"{name_of(whole.encode)} gives another output for {count} of the {len(whole)} examples than for them among "
        "all, so the batch cannot be cut; hand over what belongs to each example (a noise level, a class, a mask) as "
        "context=, which is cut with the batch, and let nothing depend on how many examples there are"
    )


def same(found: Tensor, expected: Tensor, unit: float | None = None) -> bool:
    """Whether two outputs agree to rounding, in a type with such a unit of it; not a number agrees with itself."""
    if found.shape != expected.shape:
        return False
    if torch.equal(found, expected):
        return True
    unit = torch.finfo(expected.dtype).eps if unit is None else unit
    largest = float(expected.abs().nan_to_num(0, 0, 0).max())
    return torch.allclose(found, expected, rtol=0, atol=tolerance(unit) * largest, equal_nan=True)


def tolerance(unit: float) -> float:
    """What rounding may change of the largest output, in a type with such a unit of it."""
    return max(min(ROUNDING * unit, _LARGEST_ROUNDING), _COARSE_ROUNDINGS * unit)


def _unit_of_products(code: Tensor) -> float:
    """The unit of rounding where sums are taken in another order; a graphics card may multiply float32 by ten bits."""
    coarse = code.device.type == "cuda" and code.dtype == torch.float32
    return 2.0**-10 if coarse else torch.finfo(code.dtype).eps


@contextmanager
def modules_refused(names: dict[int, str]) -> Iterator[None]:
    """Within the block, every module that is about to run is refused if it couples examples or draws numbers.

    A function shows no modules, and by the time its output shows them, batch normalisation has changed its state.
    """

    def refuse(module: nn.Module, _: Any) -> None:
        refuse_module(module, names.get(id(module), "a layer"))

    handle = register_module_forward_pre_hook(refuse)
    try:
        yield
    finally:
        handle.remove()
