"""Known mistakes: wrong penalties that have been taken for a known one elsewhere, each as a small function.

Each is told in docs/theory/known-mistakes.md. ``caelab check`` holds a penalty that fails against every one of them,
and against several at once (``caelab.testing.mistakes.naming``), and names those that it equals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from caelab.streams import Streams
from caelab.testing.penalty.quantities import DECODER, ENCODER, HESSIAN, L1, RECONSTRUCTION, WEIGHTS

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Mistake:
    """A wrong penalty, and the right one that it has been taken for.

    Attributes:
        name: what it is called.
        function: the mistake itself, arguments by name.
        claims: the quantities that it has been taken for; each takes the map in question as ``encode``.
        explanation: one sentence on what is wrong and what would be right.
        source: where it occurs.
        also: further quantities, of which the same mistake is made in another form.
    """

    name: str
    function: Callable[..., Tensor]
    claims: tuple[str, ...]
    explanation: str
    source: str
    also: tuple[str, ...] = ()


def rows_of(encode: Encode, inputs: Tensor) -> Tensor:
    """∂(Σ_b f_j(x_b))/∂x for each unit j: the Jacobian's rows, as long as no example reaches another's code.

    Shape (batch, code, input), differentiable.
    """
    inputs = inputs.detach().requires_grad_()
    columns = encode(inputs).sum(dim=0)
    return torch.stack([torch.autograd.grad(unit, inputs, create_graph=True)[0] for unit in columns], dim=1)


def squares(encode: Encode, inputs: Tensor) -> Tensor:
    """Sum of the squared entries of every example's matrix, shape (batch,)."""
    return rows_of(encode, inputs).square().sum(dim=(1, 2))


def mean_of_entries(encode: Encode, inputs: Tensor) -> Tensor:
    """Mean over examples and entries of J_ji², for Σ_ji J_ji²."""
    return rows_of(encode, inputs).square().mean()


def squared_sum_of_weights(W: Tensor, code: Tensor) -> Tensor:
    """Σ_j (h_j (1 - h_j))² (Σ_i W_ji)², for Σ_j (h_j (1 - h_j))² Σ_i W_ji²."""
    return ((code * (1 - code)).square() @ W.sum(dim=1).square()).mean()


def squared_sum_of_all_weights(W: Tensor) -> Tensor:
    """(Σ W)², for Σ W²."""
    return W.sum().square()


def mean_of_squared_weights(W: Tensor) -> Tensor:
    """Mean over j and i of W_ji², for Σ_ji W_ji²."""
    return W.square().mean()


def gradient_of_the_summed_code(encode: Encode, inputs: Tensor) -> Tensor:
    """‖Jᵀ 1‖² = Σ_i (Σ_j J_ji)², for Σ_i Σ_j J_ji²."""
    inputs = inputs.detach().requires_grad_()
    code = encode(inputs)
    (gradient,) = torch.autograd.grad(code, inputs, grad_outputs=torch.ones_like(code), create_graph=True)
    return gradient.square().sum(dim=1).mean()


def detached_weights(W: Tensor, code: Tensor) -> Tensor:
    """Σ_j (h_j (1 - h_j))² Σ_i W_ji² with W cut from the graph."""
    return ((code * (1 - code)).square() @ W.detach().square().sum(dim=1)).mean()


def detached_code(W: Tensor, code: Tensor) -> Tensor:
    """Σ_j (h_j (1 - h_j))² Σ_i W_ji² with h cut from the graph."""
    code = code.detach()
    return ((code * (1 - code)).square() @ W.square().sum(dim=1)).mean()


def detached_penalty(encode: Encode, inputs: Tensor) -> Tensor:
    """‖J‖_F² as a number that no parameter can be trained by."""
    return squares(encode, inputs).mean().detach()


def frozen_initial_weights(initial_weight: Tensor, code: Tensor) -> Tensor:
    """Σ_j (h_j (1 - h_j))² Σ_i W_ji² with W from before training."""
    return ((code * (1 - code)).square() @ initial_weight.square().sum(dim=1)).mean()


def sigmoid_formula(W: Tensor, code: Tensor) -> Tensor:
    """Σ_j (h_j (1 - h_j))² Σ_i W_ji², whatever the activation."""
    return ((code * (1 - code)).square() @ W.square().sum(dim=1)).mean()


def integer_division(encode: Encode, inputs: Tensor) -> Tensor:
    """⌊Σ_b ‖J(x_b)‖² / n⌋, for Σ_b ‖J(x_b)‖² / n."""
    return torch.div(squares(encode, inputs).sum(), len(inputs), rounding_mode="floor")


def factor_one_half(encode: Encode, inputs: Tensor) -> Tensor:
    """½ ‖J‖_F², for ‖J‖_F²."""
    return squares(encode, inputs).mean() / 2


def half_the_gradient(encode: Encode, inputs: Tensor) -> Tensor:
    """‖J‖_F² as a number, with half of its gradient."""
    penalty = squares(encode, inputs).mean()
    return (penalty + penalty.detach()) / 2


def sum_over_examples(encode: Encode, inputs: Tensor) -> Tensor:
    """Σ_b ‖J(x_b)‖_F², for their mean over the examples b."""
    return squares(encode, inputs).sum()


def elementwise_derivative(encode: Encode, inputs: Tensor) -> Tensor:
    """Σ_i (∂r_i/∂x_i)² of a reconstruction r, for Σ_k Σ_i (∂r_k/∂x_i)²."""
    return rows_of(encode, inputs).diagonal(dim1=1, dim2=2).square().sum(dim=1).mean()


def batch_norm_in_training_mode(encode: Encode, inputs: Tensor) -> Tensor:
    """Σ_ji (∂ Σ_b f_j(x_b) / ∂x_i)² without a look at the layers."""
    return squares(encode, inputs).mean()


def at_the_corrupted_point(encode: Encode, corrupted: Tensor) -> Tensor:
    """‖J(x~)‖_F², for ‖J(x)‖_F²."""
    return squares(encode, corrupted).mean()


def entry_mean_of_differences(encode: Encode, inputs: Tensor, streams: Streams, sigma: float = 0.1) -> Tensor:
    """Mean over examples and entries of (J(x) - J(x + ε))², for their sum over entries."""
    noise = torch.randn(inputs.shape, generator=streams["higher-order noise"], dtype=inputs.dtype)
    return (rows_of(encode, inputs) - rows_of(encode, inputs + sigma * noise)).square().mean()


ANY_JACOBIAN = (ENCODER, RECONSTRUCTION)

MEAN_OF_ENTRIES = Mistake(
    "mean of entries",
    mean_of_entries,
    ANY_JACOBIAN,
    "it averages over entries that are to be summed (all code·input of J, or along one axis), so the weight λ changes "
    "its meaning with every width; sum over the entries and average over the examples alone",
    "torch.mean, or .mean() without dim, on the squared matrix",
    also=(DECODER, L1),
)
SQUARED_SUM = Mistake(
    "squared sum of weights",
    squared_sum_of_weights,
    (ENCODER,),
    "it squares the sum of a unit's weights, (Σ_i W_ji)², where the squares are to be summed, Σ_i W_ji²; positive "
    "and negative weights cancel; move the square inside the sum",
    "torch.sum(W, dim=1)**2 for torch.sum(W**2, dim=1)",
)
SQUARED_SUM_OF_ALL = Mistake(
    "squared sum of all weights",
    squared_sum_of_all_weights,
    (WEIGHTS,),
    "it squares the sum of the weights, (Σ W)², where the squares are to be summed, Σ W²: it is zero for large "
    "weights of both signs; move the square inside the sum",
    "W.sum()**2 for (W**2).sum()",
)
MEAN_OF_WEIGHTS = Mistake(
    "mean of squared weights",
    mean_of_squared_weights,
    (WEIGHTS,),
    "it averages over the weights, whose squares are to be summed, so λ changes its meaning with every width; use "
    ".sum()",
    "(W**2).mean(), or mse_loss against zeros",
)
SUMMED_CODE = Mistake(
    "gradient of the summed code",
    gradient_of_the_summed_code,
    ANY_JACOBIAN,
    "it is ‖Jᵀ1‖², the gradient of the sum of all units: rows of opposite sign cancel, and it agrees with ‖J‖_F² "
    "only on average over random initial weights; take one gradient per unit, or encoder_jacobian.squared_norm()",
    "torch.autograd.grad(code, x, grad_outputs=torch.ones_like(code))",
)
DETACHED_WEIGHTS = Mistake(
    "detached weights",
    detached_weights,
    (ENCODER,),
    "the weights are cut from the graph, so the penalty shows the right number and never shrinks a weight; use the "
    "parameter itself, not .data, .detach() or state_dict()",
    "model.state_dict()['encoder.weight'] or .data in the loss",
)
DETACHED_CODE = Mistake(
    "detached code",
    detached_code,
    (ENCODER,),
    "the code is cut from the graph, so the penalty shrinks weights and never saturates a unit; use the code itself, "
    "not .data or .detach()",
    "h.data or h.detach() in the formula",
)
DETACHED_PENALTY = Mistake(
    "detached penalty",
    detached_penalty,
    ANY_JACOBIAN,
    "the number is made where no gradient is kept, so it trains nothing; leave out torch.no_grad(), .detach(), .data "
    "and .item(), and call torch.autograd.grad with create_graph=True",
    "a Jacobian under torch.no_grad(), or torch.autograd.grad without create_graph",
    also=(DECODER, WEIGHTS, HESSIAN, L1),
)
FROZEN_WEIGHTS = Mistake(
    "frozen initial weights",
    frozen_initial_weights,
    (ENCODER,),
    "the weights are a copy from before training, so the penalty belongs to a model that is gone; read the "
    "parameter in every step",
    "W = model.encoder.weight.clone() before the loop",
)
SIGMOID_FORMULA = Mistake(
    "the sigmoid formula on other activations",
    sigmoid_formula,
    (ENCODER,),
    "h (1 - h) is the slope of the logistic sigmoid alone; tanh has 1 - h², ReLU 0 or 1; use that slope, or "
    "encoder_jacobian, which looks the activation up; or say that it is for sigmoid only, activations = ('sigmoid',) "
    "in Python, --activations sigmoid on the command line",
    "h * (1 - h) copied beside a ReLU or tanh encoder",
)
INTEGER_DIVISION = Mistake(
    "integer division",
    integer_division,
    ANY_JACOBIAN,
    "it is rounded down to a whole number, whose gradient is zero everywhere: it trains nothing; divide with /",
    "penalty.sum() // batch_size, rounding_mode='floor', or .int()",
    also=(DECODER, WEIGHTS, L1),
)
ONE_HALF = Mistake(
    "the factor ½",
    factor_one_half,
    ANY_JACOBIAN,
    "it is half of what it claims, so a λ from elsewhere is off by 2; leave the ½ out, or say it in the claim",
    "the Jacobian-regularization literature, ½ λ ‖J‖_F²",
    also=(DECODER, WEIGHTS, HESSIAN, L1),
)
HALF_THE_GRADIENT = Mistake(
    "half the gradient",
    half_the_gradient,
    ANY_JACOBIAN,
    "its value is right and its gradient is half of the value's, so it trains as with half the λ; where the gradient "
    "is written by hand the 2 of the square is missing: let autograd take it, or say λ / 2",
    "Dauphin and Rifai's script (2012), which prints a penalty and applies half of its gradient",
    also=(DECODER, WEIGHTS, L1),
)
SUM_OVER_EXAMPLES = Mistake(
    "sum over examples",
    sum_over_examples,
    ANY_JACOBIAN,
    "it is summed over the batch, while the reconstruction is a mean: λ means something else for every batch size; "
    "average over the examples",
    "torch.sum over everything, beside a mean reconstruction error",
    also=(DECODER, HESSIAN, L1),
)
ELEMENTWISE = Mistake(
    "elementwise reconstruction Jacobian",
    elementwise_derivative,
    (RECONSTRUCTION,),
    "it has one derivative for each input (the diagonal ∂r_i/∂x_i, or slopes of the output), where a Jacobian has one "
    "for each pair of an output and an input: what an input does to other outputs is left out; take one gradient per "
    "output, or reconstruction_jacobian.squared_norm(), of the code encoder_jacobian.squared_norm()",
    "r * (1 - r) * ((h * (1 - h)) @ W**2), or torch.diagonal of the Jacobian",
    also=(ENCODER,),
)
BATCH_NORM = Mistake(
    "BatchNorm in training mode",
    batch_norm_in_training_mode,
    ANY_JACOBIAN,
    "batch normalisation in training mode makes every code depend on every example, and the gradient of one unit "
    "summed over the batch mixes them: no Jacobian per example exists; refuse such an encoder, as encoder_jacobian "
    "does, or use running statistics",
    "grad(h[:, j].sum(), x) through nn.BatchNorm1d in training mode",
)
CORRUPTED_POINT = Mistake(
    "penalty at the corrupted point",
    at_the_corrupted_point,
    ANY_JACOBIAN,
    "it is taken at the corrupted input (the hook's code and reconstruction belong to that one too) and claims the "
    "clean one; use clean, or encoder_jacobian, which is taken there",
    "a contractive penalty computed from a denoising auto-encoder's code",
)
MEAN_OF_DIFFERENCES = Mistake(
    "entry mean of Jacobian differences",
    entry_mean_of_differences,
    (HESSIAN,),
    "it averages over all code·input entries of J(x) - J(x + ε), and without a factor 1/σ² its size follows the "
    "noise: γ means something else for every width and every σ; sum over the entries and say what σ² does",
    "CAE+H as ((J - J_noisy)**2).mean()",
)

KNOWN_MISTAKES = (
    MEAN_OF_ENTRIES,
    SQUARED_SUM,
    SQUARED_SUM_OF_ALL,
    MEAN_OF_WEIGHTS,
    SUMMED_CODE,
    DETACHED_WEIGHTS,
    DETACHED_CODE,
    DETACHED_PENALTY,
    FROZEN_WEIGHTS,
    SIGMOID_FORMULA,
    INTEGER_DIVISION,
    ONE_HALF,
    HALF_THE_GRADIENT,
    SUM_OVER_EXAMPLES,
    ELEMENTWISE,
    BATCH_NORM,
    CORRUPTED_POINT,
    MEAN_OF_DIFFERENCES,
)
