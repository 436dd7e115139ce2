"""Training of three objectives that all contract, from the same weights and on the same batches.

With squared error L(x, y) = ‖y - x‖², r = g∘f and means over examples:

    denoising                 E_ε ‖r(x + ε) - x‖²,  ε ~ N(0, σ² I)
    reconstruction-contractive  ‖r(x) - x‖² + λ ‖J_r(x)‖_F²
    contractive                 ‖r(x) - x‖² + λ ‖J_f(x)‖_F²
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from caelab.jacobian.service import jacobian
from caelab.models.reconstruction import squared_error
from caelab.training.objective import reconstruction_map

Penalty = Callable[[Any, Tensor], Tensor]


def denoising_penalty(model: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """E_ε ‖r(x + ε) - x‖² - ‖r(x) - x‖², the mean over ε and -ε for every draw, and over examples; shape ().

    What denoising adds to the plain error. Antithetic draws have the same expectation as single ones; what is odd in ε
    cancels, above all 2 (r(x) - x)·J_r ε, by far the largest part of the noise in the gradient where σ is small.

    Args:
        model: with ``encode`` and ``decode``.
        clean: x, shape (batch, d).
        noise: ε, shape (draws, batch, d).
    """
    corrupted = torch.cat([clean + noise, clean - noise])  # (2 draws, batch, d)
    reconstruction = model.decode(model.encode(corrupted.flatten(0, 1))).reshape(corrupted.shape)
    noisy: Tensor = (reconstruction - clean).square().sum(dim=2).mean()
    return noisy - plain_error(model, clean)


def plain_error(model: Any, clean: Tensor) -> Tensor:
    """‖r(x) - x‖², sum over inputs, mean over examples, shape ()."""
    return squared_error(model.decode(model.encode(clean)), clean).mean()


def encoder_norm(model: Any, clean: Tensor) -> Tensor:
    """‖J_f(x)‖_F², mean over examples, shape ()."""
    return jacobian(model.encode, clean).squared_norm().mean()


def reconstruction_norm(model: Any, clean: Tensor) -> Tensor:
    """‖J_r(x)‖_F², mean over examples, shape ()."""
    return jacobian(reconstruction_map(model), clean).squared_norm().mean()


def parameter_gradient(model: nn.Module, loss: Tensor) -> Tensor:
    """The gradient of a scalar with respect to all parameters that need one, in one vector; zero where it has none."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat(
        [torch.zeros_like(p).flatten() if g is None else g.flatten() for p, g in zip(parameters, found, strict=True)]
    )


def cosine(first: Tensor, second: Tensor) -> float:
    """⟨a, b⟩ / (‖a‖ ‖b‖) over all entries."""
    return float(torch.cosine_similarity(first.flatten(), second.flatten(), dim=0))


def unattenuated_cosine(exact: Tensor, first: Tensor, second: Tensor) -> float:
    """The cosine of an exact vector a with the mean of a random one, from two independent draws b and b'.

    ⟨a, (b + b') / 2⟩ / (‖a‖ √⟨b, b'⟩): noise adds to ‖b‖², and so lowers a plain cosine, but not to ⟨b, b'⟩ in
    expectation. It may exceed 1 by its own error; NaN where the two draws do not agree in anything.
    """
    squared = float(first @ second)
    along = float(exact @ (first + second)) / 2
    return along / (float(exact.norm()) * math.sqrt(squared)) if squared > 0 else math.nan


def relative_distance(found: Tensor, reference: Tensor) -> float:
    """‖a - b‖ / ‖b‖ over all entries and examples."""
    return float((found - reference).norm() / reference.norm())


def matching(found: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """The permutation and the signs of code units that bring a code nearest to a reference.

    Maximises Σ_j |⟨a_π(j), b_j⟩| / (‖a_π(j)‖ ‖b_j‖) over π, a and b centred over the examples (the Hungarian method);
    a sign is that of its correlation. Units that never change correlate with nothing and are matched last.

    Args:
        found: a, shape (batch, code).
        reference: b, shape (batch, code).

    Returns:
        Indices (code,) and signs (code,): ``found[:, indices] * signs`` is matched to the reference.
    """
    a, b = (nn.functional.normalize(code - code.mean(dim=0), dim=0) for code in (found, reference))
    correlation = b.T @ a
    _, chosen = linear_sum_assignment(correlation.abs().numpy(), maximize=True)
    indices = torch.as_tensor(chosen)
    signs = torch.where(correlation[torch.arange(len(indices)), indices] < 0, -1.0, 1.0).to(found.dtype)
    return indices, signs


def code_distance(found: Tensor, reference: Tensor) -> float:
    """‖a' - b‖ / ‖b‖, both centred over the examples, a' matched by permutation and sign."""
    indices, signs = matching(found, reference)
    matched = found[:, indices] * signs
    return relative_distance(matched - matched.mean(dim=0), reference - reference.mean(dim=0))
