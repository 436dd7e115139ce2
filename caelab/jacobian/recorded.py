"""What autograd has kept of a pass through an encoder, so that its layers are not run a second time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from caelab.jacobian.structure import Layer

MOST_ELEMENTWISE = 4  # steps between two affine layers


def recorded_inputs(layers: Sequence[Layer], inputs: Tensor, outputs: Tensor | None) -> list[Tensor] | None:
    """Every layer's input with its history, x = h_0, h_1 ... h_{L-1}, or nothing where autograd has not kept them.

    A gradient then flows back through one pass, which the loss needs anyway, instead of two.

    Args:
        layers: from the input to the code; affine layers as ``nn.Linear`` runs them, with a bias.
        inputs: x, shape (batch, input).
        outputs: the code, as computed from ``inputs`` while autograd recorded.
    """
    found: list[Tensor] = []
    node = outputs.grad_fn if outputs is not None else None
    for layer in reversed(layers):
        node = _affine_step(node)
        kept = _kept_input(node, layer)
        if kept is None:
            return None
        found.insert(0, kept)
        node = kept.grad_fn
    return found if found[0] is inputs else None


def _affine_step(node: Any) -> Any:
    """The last matrix product with a bias at or before a step of the record, past elementwise steps."""
    for _ in range(MOST_ELEMENTWISE + 1):
        if node is None or node.name() == "AddmmBackward0":
            return node
        before = [each for each, _ in node.next_functions if each is not None]
        node = before[0] if len(before) == 1 else None
    return None


def _kept_input(node: Any, layer: Layer) -> Tensor | None:
    """The input of a recorded product, if its weight is this layer's."""
    try:
        transposed = node.next_functions[2][0]
        weight = transposed.next_functions[0][0].variable
        kept = node._saved_mat1
    except (AttributeError, IndexError, RuntimeError):  # another kind of step, or a record that is used up
        return None
    return kept if isinstance(kept, Tensor) and weight is layer.weight else None
