"""What surrounds a question to the Jacobian service: mixed precision that is on, and errors that torch may raise."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from caelab.jacobian.explained import FIRST, explained, failing_operator
from caelab.jacobian.memory import handful

Method = TypeVar("Method", bound=Callable[..., Any])


def answered(method: Method) -> Method:
    """A method of an object with ``encode`` and ``inputs`` that answers in full precision, or in one sentence."""

    @wraps(method)
    def answer(self: Any, *args: Any, **kwargs: Any) -> Any:
        def suspects() -> list[str]:
            return failing_operator(lambda: _row(self.encode, self.inputs))

        with explained(self.encode, FIRST, suspects), full_precision(self.encode, self.inputs):
            return method(self, *args, **kwargs)

    return cast(Method, answer)


def _row(encode: Any, inputs: Tensor) -> Tensor:
    """Jᵀ (1, 1, ...) of a few examples by a plain backward pass."""
    with torch.enable_grad():
        point = inputs[: handful(inputs)].detach().clone().requires_grad_()
        code = encode(point).flatten(1)
    return torch.autograd.grad(code, point, torch.ones_like(code))[0]


def full_precision(encode: Any, inputs: Any) -> AbstractContextManager[Any]:
    """Autocast is switched off, if it is on and the encoder can do without it.

    Under autocast torch's batched derivatives are wrong for some layers, and a gradient that is asked for outside of it
    meets two types. The map that is differentiated is the same, without the rounding of its steps to few digits.
    """
    if not isinstance(inputs, Tensor) or not torch.is_autocast_enabled(inputs.device.type):
        return nullcontext()
    kinds = {parameter.dtype for parameter in encode.parameters()} if isinstance(encode, nn.Module) else set()
    if kinds - {inputs.dtype}:
        return nullcontext()
    return torch.autocast(inputs.device.type, enabled=False)
