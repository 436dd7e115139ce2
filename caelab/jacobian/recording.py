"""A recorded pass through an encoder, which keeps the inputs of its affine layers for the Jacobian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from caelab.jacobian.layers import is_affine, leaves, looks_like_a_chain


@dataclass(frozen=True, eq=False)
class Recording:
    """What one pass through an encoder gave.

    Attributes:
        encode: the encoder.
        inputs: x, shape ``(batch, *input)``.
        outputs: encode(x).
        modules: the affine modules in the order in which they ran; none where the encoder is no chain of layers.
        layer_inputs: what each of them took in, h_0 = x, h_1 ... h_{L-1}, with its history.
    """

    encode: Any
    inputs: Tensor
    outputs: Tensor
    modules: Sequence[nn.Module] = ()
    layer_inputs: Sequence[Tensor] = ()

    def layer_inputs_of(self, encode: Any, inputs: Tensor) -> Sequence[Tensor] | None:
        """What the layers of this very encoder took in at these very inputs; nothing where they ran otherwise."""
        same = self.encode is encode and self.inputs is inputs
        now = [module for module in leaves(encode) if is_affine(module)] if same and self.modules else []
        return self.layer_inputs if now and now == list(self.modules) else None


def recorded(encode: Callable[[Tensor], Tensor], inputs: Tensor) -> Recording:
    """Run an encoder once; the modules of a chain one after the other, as ``nn.Sequential`` runs them itself.

    The numbers and autograd's record are those of ``encode(inputs)``, in every bit. Handed to ``caelab.jacobian`` as
    ``outputs``, the recording saves a chain of layers its second pass forward, and the way back through it.

    >>> import torch
    >>> encode, x = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), torch.rand(5, 4)
    >>> found = recorded(encode, x)
    >>> torch.equal(found.outputs, encode(x)), [tuple(h.shape) for h in found.layer_inputs]
    (True, [(5, 4), (5, 3)])
    """
    if not looks_like_a_chain(encode):
        return Recording(encode, inputs, encode(inputs))
    modules, kept, h = [], [], inputs
    for module in leaves(encode):  # type: ignore[arg-type]
        if is_affine(module):
            modules.append(module)
            kept.append(h)
        h = module(h)
    return Recording(encode, inputs, h, modules, kept)
