"""What no look at the modules tells about an encoder is tried out on a few examples, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from caelab.errors import CaelabError
from caelab.jacobian.context import Encode, cut
from caelab.jacobian.elementwise import Elementwise, derivative_of
from caelab.jacobian.memory import handful
from caelab.jacobian.refusals import name_of, refuse_module
from caelab.jacobian.structure import Layer

CHANCES = 2  # further passes that are to give the same
ROUNDING = 1e3  # in units of the type's epsilon, against the largest: what another order of summation may change
STEP = 1e-2

_agreed: WeakKeyDictionary[nn.Module, set[torch.dtype]] = WeakKeyDictionary()
_unmixed: WeakKeyDictionary[nn.Module, set[Any]] = WeakKeyDictionary()


def refuse_mixing_once(encode: Encode, inputs: Tensor) -> None:
    """As ``refuse_mixing``, but a module that was tried out on such inputs is not tried again, so training is not slow.

    Raises:
        CaelabError: as there.
    """
    if not isinstance(encode, nn.Module):
        return refuse_mixing(encode, inputs)
    known, kind = _unmixed.setdefault(encode, set()), (inputs.dtype, inputs.shape[1:], encode.training)
    if kind not in known:
        refuse_mixing(encode, inputs)
        known.add(kind)
    return None


def refuse_mixing(encode: Encode, inputs: Tensor) -> None:
    """Refuse a map whose output at one example depends on the others, or on chance, or that autograd cannot follow.

    Passes that hold the same first and last example and others between them are to agree there, and the output at
    one example is to have no gradient by another.

    Raises:
        CaelabError: they do not, or the output has no batch axis or is not floating-point.
    """
    chosen = [0, 0] if len(inputs) == 1 else list(range(min(len(inputs), handful(inputs))))
    encode, few = cut(encode, chosen), inputs[chosen].detach()
    with torch.no_grad():
        with nullcontext() if isinstance(encode, nn.Module) else modules_refused():
            first = called(encode, few)
        _refuse_output(encode, few, first)
        if not all(same(encode(few), first) for _ in range(CHANCES)):
            raise _dependent(encode, "depends on chance")
        if not all(same(encode(around(few, kept))[kept], first[kept]) for kept in (0, -1)):
            raise _dependent(encode, "depends on the batch's other examples")
    _refuse_gradients(cut(encode, [0, -1]), few[[0, -1]])


def around(few: Tensor, kept: int) -> Tensor:
    """The same example among others, which stay within the range of the data."""
    others = (few.min() + few.max() - few).roll(1, dims=0)
    others[kept] = few[kept]
    return others


def _dependent(encode: Encode, reason: str) -> CaelabError:
    return CaelabError(
        f"the output of {name_of(encode)} at one example {reason}, so no Jacobian per example exists; call .eval(), "
        "or find the layer that normalises over the batch or draws numbers"
    )


def _refuse_output(encode: Encode, few: Tensor, code: Any) -> None:
    name = name_of(encode)
    if not isinstance(code, Tensor) or code.ndim < 2 or len(code) != len(few):
        shape = tuple(code.shape) if isinstance(code, Tensor) else type(code).__name__
        raise CaelabError(
            f"{name} maps inputs {tuple(few.shape)} to {shape}; expected an output (batch, *code), example by example"
        )
    if not code.is_floating_point():
        raise CaelabError(f"{name} returns {code.dtype}, which has no derivative; return floating-point codes")


def _refuse_gradients(encode: Encode, pair: Tensor) -> None:
    with torch.enable_grad():
        point = pair.clone().requires_grad_()
        code = encode(point).flatten(1)
        weights = torch.linspace(0.5, 1.5, code.shape[1], dtype=code.dtype, device=code.device)
        for row, other in ((0, 1), (1, 0)):
            grad = _gradient((code[row] * weights).sum(), point)
            if grad is None:
                raise CaelabError(
                    f"autograd sees no way from the inputs of {name_of(encode)} to its output; "
                    "leave out torch.no_grad(), detach() and numpy inside it"
                )
            if float(grad[other].abs().max()) > ROUNDING * torch.finfo(grad.dtype).eps * float(grad.abs().max()):
                raise _dependent(encode, "depends on the batch's other examples")


def _gradient(value: Tensor, point: Tensor) -> Tensor | None:
    if not value.requires_grad:
        return None
    return torch.autograd.grad(value, point, retain_graph=True, allow_unused=True)[0]


@contextmanager
def modules_refused() -> Iterator[None]:
    """Within the block, every module that is about to run is refused if it couples examples or draws numbers.

    A function shows no modules, and by the time its output shows them, batch normalisation has changed its state.
    """

    def refuse(module: nn.Module, _: Any) -> None:
        refuse_module(module)

    handle = register_module_forward_pre_hook(refuse)
    try:
        yield
    finally:
        handle.remove()


def called(encode: Encode, inputs: Tensor) -> Any:
    """The output, or what the encoder has against such inputs.

    Raises:
        CaelabError: the encoder fails.
    """
    try:
        return encode(inputs)
    except CaelabError:
        raise
    except Exception as error:  # a user's encoder may fail in any way
        raise CaelabError(
            f"{name_of(encode)} does not take inputs of shape {tuple(inputs.shape)} and type {inputs.dtype}: "
            f"{' '.join(str(error).split())}"
        ) from error


def same(found: Tensor, expected: Tensor) -> bool:
    """Whether two outputs agree to rounding; not a number agrees with itself."""
    if torch.equal(found, expected):
        return True
    most = ROUNDING * torch.finfo(expected.dtype).eps * float(expected.abs().max().nan_to_num())
    return torch.allclose(found, expected, rtol=0, atol=most, equal_nan=True)


def refuse_false_claims(encode: nn.Module, layers: Sequence[Layer], inputs: Tensor) -> None:
    """Refuse an encoder that computes something else than the layers that were found in it; tried once for each.

    Raises:
        CaelabError: a layer's ``affine()`` or ``derivative(z)`` does not belong to its ``forward``.
    """
    agreed = _agreed.setdefault(encode, set())
    if inputs.dtype in agreed:
        return
    few = inputs[:2].detach()
    with torch.no_grad():
        expected = called(encode, few)
        steps = [few.flatten(1)]
        for layer in layers:
            steps.append(layer(steps[-1]))
        if steps[-1].shape != expected.shape or not same(steps[-1], expected):
            raise CaelabError(
                f"{name_of(encode)} computes something else than its layers say one by one; "
                "let every affine() and derivative(z) say what forward does, or leave them out"
            )
        for layer, before in zip(layers, steps, strict=False):
            _refuse_derivative(layer.activation, layer.affine(before))
    agreed.add(inputs.dtype)


def _refuse_derivative(activation: Elementwise, z: Tensor) -> None:
    """A derivative is to be that of the function, and to be recorded where it bends."""
    spread = torch.linspace(-2, 2, z.numel(), dtype=z.dtype, device=z.device).reshape(z.shape)
    z = z + spread  # away from where a network without weights sits, which may be a kink
    said, true = activation.derivative(z), derivative_of(activation.function)(z)
    worst = int((said - true).abs().flatten().argmax())
    if not torch.allclose(said, true, rtol=1e-2, atol=1e-3 * float(true.abs().max().nan_to_num()), equal_nan=True):
        raise CaelabError(
            f"derivative(z) of the activation {activation.name} is not the derivative of its forward: "
            f"at z = {float(z.flatten()[worst]):.4g} it gives {float(said.flatten()[worst]):.4g}, "
            f"autograd {float(true.flatten()[worst]):.4g}; correct it, or leave it out"
        )
    with torch.enable_grad():
        recorded = activation.derivative(z.clone().requires_grad_()).requires_grad
    bend = activation.derivative(z + STEP) - activation.derivative(z - STEP)
    if not recorded and float(bend.abs().median()) > 1e-6:
        raise CaelabError(
            f"derivative(z) of the activation {activation.name} is not recorded by autograd, so a penalty's gradient "
            "would lack its curvature; leave out torch.no_grad() and detach() in it"
        )
