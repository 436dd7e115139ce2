"""A pass forward that was made by someone else, used again where its record can be differentiated twice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from caelab.jacobian.blockwise import reached

# attention that is fused, a recurrent network of cuDNN's, compiled code, and steps that autocast took in fewer digits
_NOT_TWICE = ("ScaledDotProduct", "CudnnRnn", "CompiledFunction", "ToCopy", "torch::autograd::Error")


@dataclass(frozen=True, eq=False)
class KnownPass:
    """A code with its history.

    Attributes:
        point: x as the pass took it in, shape ``(batch, *input)``, with a gradient.
        code: f(x), shape (batch, code), whose record leads back to the point.
    """

    point: Tensor
    code: Tensor

    def pulled_back(self, covectors: Tensor) -> Tensor | None:
        """Jᵀ u for one covector of each example, (batch, code) to (batch, input), recorded.

        Returns:
            Nothing where the record is gone, since someone went back through it.
        """
        try:
            with torch.enable_grad():
                (found,) = torch.autograd.grad(
                    self.code, self.point, covectors, create_graph=True, materialize_grads=True
                )
        except RuntimeError as error:
            if "second time" not in str(error):
                raise
            return None
        return found.flatten(1)


def known_pass(point: Tensor, outputs: Tensor) -> KnownPass | None:
    """The pass that led from a point to outputs, or nothing where it did not, or knows no second derivative."""
    if not (point.requires_grad and outputs.requires_grad):
        return None
    nodes = list(reached(outputs.grad_fn))
    if any(node.name().startswith(_NOT_TWICE) for node in nodes):
        return None
    led = any(getattr(node, "variable", None) is point or node is point.grad_fn for node in nodes)
    return KnownPass(point, outputs.reshape(len(outputs), -1)) if led else None
