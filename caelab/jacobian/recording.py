"""A recorded pass through an encoder, which keeps the inputs of its affine layers for the Jacobian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from caelab.jacobian.compiled import uncompiled
from caelab.jacobian.layers import Affine, is_affine, leaves, looks_like_a_chain, step_of
from caelab.jacobian.products import differentiable_twice


@dataclass(frozen=True, eq=False)
class Recording:
    """What one pass through an encoder gave.

    Attributes:
        encode: the encoder.
        inputs: x, shape ``(batch, *input)``.
        outputs: encode(x).
        modules: the affine modules in the order in which they ran; none where the encoder is no chain of layers.
        layer_inputs: what each of them took in, h_0 = x, h_1 ... h_{L-1}, with its history.
        places: of inputs that are sparse codes, where they are not 0, shape (batch, count).
        columns: the columns of the first weight at these places, shape (batch, count, out).
        point: x as the encoder took it in, with a gradient, where it is no chain of layers and autograd records.
    """

    encode: Any
    inputs: Tensor
    outputs: Tensor
    modules: Sequence[nn.Module] = ()
    layer_inputs: Sequence[Tensor] = ()
    places: Tensor | None = None
    columns: Tensor | None = None
    point: Tensor | None = None

    def layer_inputs_of(self, encode: Any, inputs: Tensor) -> Sequence[Tensor] | None:
        """What the layers of this very encoder took in at these very inputs; nothing where they ran otherwise."""
        same = self.encode is encode and self.inputs is inputs
        now = [module for module in leaves(encode) if is_affine(module)] if same and self.modules else []
        return self.layer_inputs if now and now == list(self.modules) else None


def recorded(
    encode: Callable[[Tensor], Tensor], inputs: Tensor, places: Tensor | None = None, *, twice: bool = True
) -> Recording:
    """Run an encoder once; the modules of a chain one after the other, as ``nn.Sequential`` runs them itself.

    The numbers and autograd's record are those of ``encode(inputs)``, in every bit. Handed to ``caelab.jacobian`` as
    ``outputs``, the recording saves a chain of layers its second pass forward, and the way back through it; and any
    other encoder those of an estimate from one projection.

    >>> import torch
    >>> encode, x = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), torch.rand(5, 4)
    >>> found = recorded(encode, x)
    >>> torch.equal(found.outputs, encode(x)), [tuple(h.shape) for h in found.layer_inputs]
    (True, [(5, 4), (5, 3)])

    Args:
        encode: the encoder.
        inputs: x, shape ``(batch, *input)``.
        places: of inputs that are sparse codes, (batch, code), the places that hold all entries which are not 0,
            (batch, count). The first affine layer of a chain then reads these alone: the same numbers up to rounding,
            with a gradient for these entries alone; an activation that set the others to 0 passes none on anyway.
        twice: whether attention and recurrent networks take the one way that can be differentiated twice, and compiled
            code is run as it was written, each with a rounding of its own.
    """
    if not looks_like_a_chain(encode):
        return _of_whole(encode, inputs, twice)
    modules, kept, h = [], [], inputs
    columns = None
    for module in leaves(encode):  # type: ignore[arg-type]
        if is_affine(module):
            modules.append(module)
            kept.append(h)
        if places is None or modules != [module]:
            h = module(h)
        else:
            h, columns = _of_places(module, h, places)
    return Recording(encode, inputs, h, modules, kept, places, columns)


def _of_whole(encode: Callable[[Tensor], Tensor], inputs: Tensor, twice: bool) -> Recording:
    """A pass through an encoder whose inside is not known, at a point that has a gradient."""
    point = inputs
    if torch.is_grad_enabled() and not inputs.requires_grad and inputs.is_floating_point():
        point = inputs.detach().requires_grad_()
    with differentiable_twice(encode, inputs.device) if twice else nullcontext():
        try:
            return Recording(encode, inputs, (uncompiled(encode) if twice else encode)(point), point=point)
        except RuntimeError:  # as where it writes to its inputs, which a point with a gradient does not allow
            return Recording(encode, inputs, encode(inputs))


def _of_places(module: nn.Module, codes: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """W h + b from the entries of h at some places, (batch, count), the others being 0; and the columns of W there."""
    affine = cast(Affine, step_of(module))
    columns = affine.weight.T.index_select(0, places.flatten()).view(*places.shape, -1)  # (batch, count, out)
    found = torch.bmm(codes.gather(1, places)[:, None], columns)[:, 0]
    return found if affine.bias is None else found + affine.bias, columns
