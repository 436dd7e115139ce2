"""Settings around a call of the Jacobian service: mixed precision that is on, and errors that torch may raise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from caelab.jacobian.memory import handful
from caelab.jacobian.validation.explanations import FIRST, explanation, failing_operator, is_explained

Method = TypeVar("Method", bound=Callable[..., Any])


def answered(method: Method) -> Method:
    """A method of an object with ``encode`` and ``inputs`` that answers in full precision, or in one sentence."""

    @wraps(method)
    def answer(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:  # no context manager, since this is called for every batch
            device = self.inputs.device.type if isinstance(self.inputs, Tensor) else "cpu"
            if device == "cpu" and not torch.is_autocast_enabled("cpu"):
                return method(self, *args, **kwargs)
            with _full_precision(self.encode, self.inputs), _all_digits(device):
                return method(self, *args, **kwargs)
        except Exception as error:
            if is_explained(error):
                raise
            suspects = failing_operator(lambda: _row(self.encode, self.inputs))
            raise explanation(error, self.encode, FIRST, suspects) from error

    return cast(Method, answer)


def _row(encode: Any, inputs: Tensor) -> Tensor:
    """Jᵀ (1, 1, ...) of a few examples by a plain backward pass."""
    with torch.enable_grad():
        few = inputs[: handful(inputs)].detach()
        point = (
            few.repeat_interleave(2, dim=0) if len(few) == 1 else few.clone()
        ).requires_grad_()  # as it is tried out
        code = encode(point).flatten(1)
    return torch.autograd.grad(code, point, torch.ones_like(code))[0]


@contextmanager
def _all_digits(device: str) -> Iterator[None]:
    """On a GPU the convolutions and recurrent networks of cuDNN in float32 itself, not in TF32, torch's default there.

    TF32 keeps 11 bits of every factor: a thousandth of the largest singular value, which no bound would hold to.
    """
    if device != "cuda":
        yield
        return
    kinds: list[Any] = [torch.backends.cudnn.conv, torch.backends.cudnn.rnn]  # type: ignore[attr-defined]
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = "ieee"
    try:
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


def _full_precision(encode: Any, inputs: Tensor) -> AbstractContextManager[Any]:
    """Autocast is switched off, if the encoder can do without it.

    Under autocast torch's batched derivatives are wrong for some layers, and a gradient that is asked for outside of it
    meets two types. The map that is differentiated is the same, without the rounding of its steps to few digits.
    """
    if not torch.is_autocast_enabled(inputs.device.type):
        return nullcontext()
    kinds = {parameter.dtype for parameter in encode.parameters()} if isinstance(encode, nn.Module) else set()
    if kinds - {inputs.dtype}:
        return nullcontext()
    return torch.autocast(inputs.device.type, enabled=False)
