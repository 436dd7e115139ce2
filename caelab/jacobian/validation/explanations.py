"""Explanations of what torch cannot differentiate: a sentence that names the operator and says what to do."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from caelab.errors import CaelabError
from caelab.jacobian.validation.refusals import name_of

_OPERATOR = re.compile(
    r"derivative for '?(?:aten::)?(?P<second>\w+)'? is not implemented|"
    r"forward AD with (?:aten::)?(?P<forward>\w+) that does not|"
    r"(?:not yet support|batching rule for|vmap over|call|for) '?aten::(?P<batched>\w+)"
)
FIRST, SECOND = "the derivative", "the derivative of the derivative"
ALONE = "ask for values alone, under torch.no_grad()"
INSTEAD = {
    "cdist": (  # its error does not say p; for p other than 2 the mode changes nothing
        "give torch.cdist compute_mode='use_mm_for_euclid_dist' where p is 2, and for another p use "
        "torch.linalg.vector_norm(x[:, None] - y, ord=p, dim=2)"
    ),
    "Hardsigmoid": "use nn.Sigmoid or nn.Hardtanh",
    "hardsigmoid": "use torch.sigmoid or nn.functional.hardtanh",
}
RANDOM = "randomness error mode"
_INFERENCE, REENTRANT, ONCE = "nference tensor", "use_reentrant=True", "once_differentiable"


@contextmanager
def explained(encode: Any, what: str = FIRST, functions: Callable[[], Sequence[str]] = tuple) -> Iterator[None]:
    """Within the block, an error of torch about an encoder becomes one sentence.

    Args:
        encode: the encoder.
        what: is being taken of it.
        functions: the names of autograd.Functions that it runs, which may be the reason.

    Raises:
        CaelabError: torch raised something.
    """
    try:
        yield
    except Exception as error:
        if is_explained(error):
            raise
        raise explanation(error, encode, what, functions()) from error


def is_explained(error: Exception) -> bool:
    """Whether an error needs no other words: it is a sentence, or a mistake in here, which is not the encoder's."""
    return isinstance(error, CaelabError) or (not isinstance(error, RuntimeError) and _is_own(error))


def _is_own(error: Exception) -> bool:
    """Whether an error was raised by this package rather than by torch or the encoder."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("caelab.")


def explanation(error: Exception, encode: Any, what: str, functions: Sequence[str] = ()) -> CaelabError:
    """The sentence for an error that came up while a derivative of an encoder was taken."""
    if isinstance(error, CaelabError):
        return error
    name, said = name_of(encode), " ".join(str(error).split())
    if _INFERENCE in said:
        return CaelabError(
            f"{name} holds a tensor that was made in torch.inference_mode(), which cannot be differentiated; "
            "make the module outside of it, or give it clones of these tensors"
        )
    if REENTRANT in said:
        return CaelabError(
            f"{name} calls torch.utils.checkpoint with use_reentrant=True, which torch differentiates in .backward() "
            "alone; use use_reentrant=False"
        )
    if RANDOM in said:
        return CaelabError(
            "an estimate draws random numbers, which torch.func.vmap does not allow by itself; give vmap "
            "randomness='different', or ask for the exact norm"
        )
    if isinstance(error, torch.OutOfMemoryError):
        return CaelabError(f"{what} of {name} needs more memory than there is; give memory_budget=..., in bytes")
    operator = _operator_in(said, encode)
    if operator is None:
        where = f"{' or '.join(functions)}, which {name} uses" if functions else name
        remedy = f"; {ALONE}" if what == SECOND else ""
        return CaelabError(f"torch cannot take {what} of {where}: {said[:300].rstrip('.')}{remedy}")
    missing = SECOND if "derivative for" in said or ONCE in said else what
    otherwise = INSTEAD.get(operator, "use another operator") + (f", or {ALONE}" if missing == SECOND else "")
    return CaelabError(f"torch has not {missing} of {operator}, which {name} uses; {otherwise}")


def _operator_in(said: str, encode: Any) -> str | None:
    """The operator that torch's message is about, by the name of the encoder's module where one is called like it."""
    if ONCE in said:
        return "an autograd.Function marked with once_differentiable"
    match = _OPERATOR.search(said)
    if match is None:
        return None
    found = next(group for group in match.groups() if group)
    name = found.strip("_").removesuffix("_backward")
    modules = encode.modules() if isinstance(encode, nn.Module) else ()
    named = {type(module).__name__.lower(): type(module).__name__ for module in modules}
    return named.get(name, name)


def failing_operator(derivative: Callable[[], Any]) -> list[str]:
    """The operator at which a derivative fails, as torch's anomaly detection names it; nothing where it does not.

    Args:
        derivative: what failed, to be tried once more.
    """
    with warnings.catch_warnings(record=True) as told, torch.autograd.set_detect_anomaly(True, check_nan=False):
        warnings.simplefilter("always")
        with suppress(Exception):  # it fails again
            derivative()
    found = (re.search(r"Error detected in (\w+?)Backward\d*\.", str(warning.message)) for warning in told)
    return [match[1] for match in found if match]


class Undifferentiable(torch.autograd.Function):
    """Values whose gradient torch cannot take: asking for it raises the reason instead of giving a wrong one."""

    @staticmethod
    def forward(ctx: Any, reason: CaelabError, values: Tensor, *sources: Tensor) -> Tensor:
        """The values, unchanged.

        Args:
            ctx: autograd's context.
            reason: why there is no gradient.
            values: of any shape.
            sources: what a gradient would be taken by.
        """
        ctx.reason = reason
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Raise the reason why there is no gradient.

        Raises:
            CaelabError: always.
        """
        raise ctx.reason


def without_gradient(values: Callable[[], Tensor], reason: CaelabError, sources: Sequence[Tensor]) -> Tensor:
    """Values computed without a record, with the reason in its place."""
    with torch.no_grad():
        found = values()
    guarded: Tensor = Undifferentiable.apply(reason, found, *sources)  # type: ignore[no-untyped-call]
    return guarded
