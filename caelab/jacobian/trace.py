"""The trace of a square Jacobian: exact, and unbiased estimates of it by Hutchinson and by Hutch++."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.jacobian.context import Part
from caelab.jacobian.estimates import Estimate, checked_samples, mean_of, random_coins
from caelab.jacobian.memory import pieces, refuse_beyond
from caelab.jacobian.projections import Projections, Vectors, quadratic_form, signs_of
from caelab.jacobian.strategy import Strategy

TraceMethod = Literal["hutchinson", "hutch++"]


def refuse_unless_square(code: int, width: int) -> None:
    """Refuse a map whose Jacobian has no trace.

    Raises:
        CaelabError: code and input have different widths.
    """
    if code != width:
        raise CaelabError(
            f"expected a square Jacobian for its trace, as of a denoiser or a reconstruction, but the code has {code} "
            f"entries and the input {width}; use squared_norm() or singular_values()"
        )


def exact_trace(jacobian: Strategy, budget: int) -> Tensor:
    """Σ_j J_jj, shape (batch,), from all rows in blocks; for one or two layers from the entries of their weights.

    Differentiable.
    """
    layers = jacobian.layers
    if len(layers) == 1:
        return jacobian.slopes()[0] @ layers[0].weight.diagonal()
    if len(layers) == 2:
        first, second = jacobian.slopes()
        return ((second @ (layers[1].weight * layers[0].weight.T)) * first).sum(dim=1)  # Σ_ij d2_i W2_ij d1_j W1_ji
    diagonal = Projections(jacobian, _unit_vectors(jacobian), jacobian.shape[0], quadratic_form).in_pieces(budget)
    return diagonal.sum(dim=1)


def _unit_vectors(jacobian: Strategy) -> Vectors:
    inputs, size = jacobian.inputs, jacobian.shape[0]

    def vectors(part: Part, chosen: slice) -> Tensor:
        first, after, _ = chosen.indices(size)
        units = inputs.new_zeros(after - first, size)
        units[:, first:after].fill_diagonal_(1)
        examples = len(inputs) if isinstance(part, slice) else len(part)
        return units.expand(examples, -1, -1)

    return vectors


def hutchinson(jacobian: Strategy, samples: int, budget: int, generator: torch.Generator | None) -> Estimate:
    """Mean of uᵀ J u over random signs u, whose variance is Σ_{i<j} (J_ij + J_ji)²; differentiable.

    Hutchinson (1989), Communications in Statistics 18(3).
    """
    count = checked_samples(samples)
    coins = random_coins(jacobian.inputs, count, jacobian.shape[0], budget, generator)
    signs = signs_of(coins, jacobian.inputs.dtype)
    return mean_of(Projections(jacobian, signs, count, quadratic_form).in_pieces(budget - coins.numel()))


def hutch_plus_plus(jacobian: Strategy, samples: int, budget: int, generator: torch.Generator | None) -> Estimate:
    """tr(Qᵀ J Q) exactly, with Q an orthonormal basis of Jᵀ S for random signs S, and Hutchinson for the rest of J.

    tr J = tr(Qᵀ J Q) + tr(P J P) with P = I - Q Qᵀ, for every Q. A third of the products finds Q, a third gives the
    first term, the others estimate the second, whose spread is the error. Differentiable for Q as it stands, which is
    the unbiased estimate of the gradient. Meyer, Musco, Musco and Woodruff (2021), SOSA.

    Args:
        jacobian: a square J at a batch of inputs.
        samples: products in all, at least 3.
        budget: bytes.
        generator: on the inputs' device.
    """
    inputs, size = jacobian.inputs, jacobian.shape[0]
    count = checked_samples(samples, least=3)
    third = min(count // 3, size)
    rest = count - 2 * third
    entries = len(inputs) * (2 * third + rest) * size
    refuse_beyond("the basis of Hutch++", 2 * entries * inputs.element_size(), budget)
    coins = random_coins(inputs, third + rest, size, budget, generator)
    signs = signs_of(coins, inputs.dtype)
    left = budget - entries * inputs.element_size()
    basis = _range_of(jacobian, signs(slice(None), slice(0, third)), left)  # (batch, third, size)
    others = signs(slice(None), slice(third, None))
    others = others - (others @ basis.mT) @ basis
    inside = Projections(jacobian, _kept(basis), third, quadratic_form).in_pieces(left).sum(dim=1)
    outside = mean_of(Projections(jacobian, _kept(others), rest, quadratic_form).in_pieces(left))
    return outside._replace(value=inside + outside.value)


def _kept(vectors: Tensor) -> Vectors:
    return lambda part, chosen: vectors[part][:, chosen]


@torch.no_grad()
def _range_of(jacobian: Strategy, signs: Tensor, budget: int) -> Tensor:
    """An orthonormal basis of the span of Jᵀ s, as rows, shape (batch, count, size)."""
    inputs = jacobian.inputs
    each = jacobian.bytes_per_product() * signs.shape[1]
    at_once = pieces("the basis of one example", len(inputs), each, budget)
    found = []
    for first in range(0, len(inputs), at_once):
        part = slice(first, first + at_once)
        pulled = jacobian.at(inputs[part], part).vjp(signs[part])
        found.append(torch.linalg.qr(pulled.double().mT).Q.mT.to(inputs.dtype))
    return torch.cat(found)


ESTIMATORS: Mapping[str, Callable[[Strategy, int, int, torch.Generator | None], Estimate]] = {
    "hutchinson": hutchinson,
    "hutch++": hutch_plus_plus,
}


def checked_trace_method(method: TraceMethod) -> None:
    """Refuse a method that there is not.

    Raises:
        CaelabError: it is not one of ``ESTIMATORS``.
    """
    if method not in ESTIMATORS:
        raise CaelabError(f"expected the method {' or '.join(ESTIMATORS)} for a trace, but {method!r} came")


def estimated_trace(
    jacobian: Strategy, samples: int, method: TraceMethod, budget: int, generator: torch.Generator | None
) -> Estimate:
    """The estimate of tr J by one of the methods.

    Raises:
        CaelabError: a method that there is not, or too few samples for it.
    """
    checked_trace_method(method)
    return ESTIMATORS[method](jacobian, samples, budget, generator)
