"""The contraction ratio ‖f(x + r u) - f(x)‖ / r of many pairs at many radii."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.jacobian.context import Context, Part, cut, repeated
from caelab.jacobian.layers import Affine
from caelab.jacobian.service import Jacobian, jacobian

Map = Callable[[Tensor, Part], Tensor]
EVERY = slice(None)
ROWS = 256  # pairs at once: their pre-activations stay in the processor's cache
ROWS_ON_A_GPU = 2**16  # which is bound by the number of its steps
VALUES = 2**22  # of inputs at once, where these are large


@torch.no_grad()
def contraction_ratios(
    encode: Callable[..., Tensor],
    inputs: Tensor,
    directions: Tensor,
    radii: Tensor | Sequence[float],
    *,
    context: Context | None = None,
) -> Tensor:
    """‖f(x + r u) - f(x)‖ / r for unit directions u, and its limit ‖J(x) u‖ at r = 0.

    For an encoder that starts with an affine layer, W (x + r u) = W x + r W u: the products are taken once, and every
    radius costs the layers behind alone. Rifai et al. (2011), ICML, section 5.3.

    Args:
        encode: f, maps (batch, *input) to (batch, *code), example by example.
        inputs: x, shape (batch, *input).
        directions: u, of length 1: (count, *input), shared by the examples, or (batch, count, *input), each its own.
        radii: r ≥ 0, in units of the input.
        context: what else belongs to each example, as ``caelab.jacobian`` takes it.

    Returns:
        Shape (radii, batch, count).

    Raises:
        CaelabError: directions of another shape, a negative radius, or an encoder that has no Jacobian per example.
    """
    radii = torch.as_tensor(radii, dtype=inputs.dtype, device=inputs.device).flatten()
    if bool((radii < 0).any()):
        raise CaelabError(f"expected radii of at least 0, but {float(radii.min()):g} came")
    own = _are_own(directions, inputs)
    at_zero = jacobian(encode, inputs, context=context)  # what has no Jacobian per example has no ratio either
    far = _far(at_zero, directions if own else directions[None], radii)
    if not bool((radii == 0).any()):
        return far
    each = directions if own else directions.expand(len(inputs), *directions.shape)
    limit = at_zero.jvp(each).norm(dim=-1)
    return torch.where((radii == 0)[:, None, None], limit, far)


def _are_own(directions: Tensor, inputs: Tensor) -> bool:
    if directions.shape[1:] == inputs.shape[1:]:
        return False
    if directions.ndim == inputs.ndim + 1 and (len(directions), *directions.shape[2:]) == tuple(inputs.shape):
        return True
    one = ", ".join(map(str, inputs.shape[1:]))
    raise CaelabError(
        f"expected directions of shape (count, {one}) or ({len(inputs)}, count, {one}), "
        f"but {tuple(directions.shape)} came"
    )


def _far(local: Jacobian, directions: Tensor, radii: Tensor) -> Tensor:
    """The ratios at r > 0; directions (batch or 1, count, *input)."""
    inputs = local.inputs
    first, rest = _split(local)
    start, along = inputs[:, None], directions
    if first:
        start, along = first(start), directions @ first.weight.T
    here = rest(start, EVERY)  # (batch, 1, code)
    count = directions.shape[1]
    found = inputs.new_empty(len(radii), len(inputs), count)
    rows = min(ROWS if inputs.device.type == "cpu" else ROWS_ON_A_GPU, VALUES // inputs[0].numel())
    for part in torch.split(torch.arange(len(inputs), device=inputs.device), max(1, rows // count)):
        steps = along[part] if len(along) > 1 else along
        for number, radius in enumerate(radii.tolist()):
            moved = torch.add(start[part], steps, alpha=radius)  # (part, count, width)
            found[number, part] = torch.linalg.vector_norm(rest(moved, part).sub_(here[part]), dim=-1) / radius
    return found


def _split(local: Jacobian) -> tuple[Affine | None, Map]:
    """The first affine map, if there is one, and what follows it, which takes two leading axes."""
    layers, function = local.layers, local.function

    def behind_first(z: Tensor, part: Part) -> Tensor:
        h = layers[0].activation(z)
        for layer in layers[1:]:
            h = layer(h)
        return h

    def whole(x: Tensor, part: Part) -> Tensor:
        code = repeated(cut(function, part), x.shape[1])(x.flatten(0, 1))
        return code.reshape(*x.shape[:2], -1)

    return (layers[0].affine, behind_first) if layers and local.inputs.ndim == 2 else (None, whole)
