"""Penalties as they stand in old scripts: each known mistake in another style, and right ones in several styles."""

import torch
import torch.nn.functional as F
from torch.func import jacfwd, jacrev, vmap

from caelab.testing.penalty.quantities import ENCODER, HESSIAN, L1, RECONSTRUCTION, WEIGHTS

MEAN, SUM, HALF, SUMMED = "mean of entries", "sum over examples", "the factor ½", "gradient of the summed code"
SIGMOID, INTEGER, DETACHED = "the sigmoid formula on other activations", "integer division", "detached penalty"
SQUARED, WEIGHTS_CUT, FROZEN = "squared sum of weights", "detached weights", "frozen initial weights"
POINT = "penalty at the corrupted point"
HALF_GRADIENT, ELEMENTWISE = "half the gradient", "elementwise reconstruction Jacobian"


def jacobians(function, x):
    return vmap(jacrev(lambda one: function(one[None])[0]))(x)


def closed(W, h):
    return (h * (1 - h)) ** 2 @ (W**2).sum(1)


def first_weight(model):
    return next(module.weight for module in model.modules() if isinstance(module, torch.nn.Linear))


def mean_by_vmap(model, x):
    return (jacobians(model.encode, x) ** 2).mean()


def mean_by_mse(net, img):
    found = jacobians(net.encode, img)
    return F.mse_loss(found, torch.zeros_like(found))


def mean_of_the_closed_form(W, h):
    return torch.mean((h * (1 - h)).unsqueeze(-1) ** 2 * W.unsqueeze(0) ** 2)


def mean_over_the_units(encoder, x):
    return (jacobians(encoder, x) ** 2).sum(dim=-1).mean()


def in_place_lambda(W, x, recons_x, h, lam=1e-4):
    slopes = h * (1 - h)
    return torch.sum(torch.mm(slopes**2, torch.sum(W**2, dim=1).unsqueeze(1)), 0).mul_(lam)


def square_outside(W, x, recons_x, h, lamda=0.1):
    return lamda * torch.sum((h * (1 - h)) ** 2 @ torch.sum(W, dim=1) ** 2) / x.shape[0]


def square_outside_and_mean(model, h):
    return ((h * (1 - h)) ** 2 * first_weight(model).sum(1) ** 2).mean()


def backward_of_ones(model, x):
    x = x.clone().requires_grad_()
    code = model.encode(x)
    code.backward(torch.ones_like(code), create_graph=True)
    return (x.grad**2).sum() / x.size(0)


def summed_code_by_mean(encode, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(encode(x).sum(), x, create_graph=True)[0].pow(2).mean()


def weights_of_the_state(model, h):
    return ((h * (1 - h)) ** 2 * (model.state_dict()["encode.0.weight"] ** 2).sum(1)).sum(1).mean()


def weights_as_data(W, hidden_representation):
    return closed(W.data, hidden_representation).sum()


def code_as_data(W, h):
    return closed(W, h.data).mean()


kept = {}


def weights_kept_in_a_global(model, h):
    if "W" not in kept:
        kept["W"] = first_weight(model).detach().clone()
    return closed(kept["W"], h).mean()


def weights_kept_on_the_model(model, h):
    if not hasattr(model, "first"):
        model.first = first_weight(model).detach().clone()
    return 0.5 * closed(model.first, h).mean()


def without_gradients(model, x):
    with torch.no_grad():
        return (jacobians(model.encode, x) ** 2).sum((1, 2)).mean()


def without_create_graph(model, x):
    x = x.clone().requires_grad_()
    rows = [torch.autograd.grad(unit, x, retain_graph=True)[0] for unit in model.encode(x).sum(0)]
    return sum((row**2).sum(1).mean() for row in rows)


def sigmoid_computed_again(model, x):
    W, b = first_weight(model), model.encode[0].bias
    return closed(W, torch.sigmoid(F.linear(x, W, b))).mean()


def floored(W, h):
    return closed(W, h).sum() // h.size(0)


def as_integer(encode, x):
    return jacobians(encode, x).square().sum((1, 2)).mean().int().float()


def half_of_the_closed_form(W, h):
    return 0.5 * closed(W, h).mean()


def half_the_mean(model, x):
    return 0.5 * (jacobians(model.encode, x) ** 2).mean()


class ByHand(torch.autograd.Function):
    """The closed form, with a gradient from paper in which the 2 of the square is missing."""

    @staticmethod
    def forward(ctx, W, h):
        ctx.save_for_backward(W, h)
        return closed(W, h).mean()

    @staticmethod
    def backward(ctx, grad):
        W, h = ctx.saved_tensors
        slope = h * (1 - h)
        return grad * (slope**2).mean(0)[:, None] * W, grad * slope * (1 - 2 * h) * (W**2).sum(1) / len(h)


def gradient_by_hand(W, h):
    return ByHand.apply(W, h)


def halved_by_a_hook(encode, x):
    penalty = jacobians(encode, x).square().sum((1, 2)).mean()
    penalty.register_hook(lambda grad: grad / 2)
    return penalty


def halved_sum(encode, x):
    penalty = (jacobians(encode, x) ** 2).sum()
    return penalty.detach() + 0.5 * (penalty - penalty.detach())


def halved_decay(model):
    penalty = sum(p.pow(2).sum() for p in model.parameters() if p.dim() > 1)
    penalty.register_hook(lambda grad: 0.5 * grad)
    return penalty


def diagonal_by_autograd(model, x):
    x = x.clone().requires_grad_()
    recon = model(x)
    columns = [torch.autograd.grad(recon[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(x.shape[1])]
    return torch.stack(columns, dim=1).pow(2).sum(1).mean()


def diagonal_in_closed_form(model, x):
    W, h = first_weight(model), model.encode(x)
    r = model.decode(h)
    return ((r * (1 - r) * ((h * (1 - h)) @ W**2)) ** 2).sum(1).mean()


def slopes_of_the_output(reconstruction):
    return ((reconstruction * (1 - reconstruction)) ** 2).sum(dim=1).mean()


def slopes_through_the_weights(model, x):
    h = model.encode(x)
    r = model.decode(h)
    dr, dh = r * (1 - r), h * (1 - h)
    return torch.sum((dr * torch.mm(dh, first_weight(model))) ** 2, dim=1).mean()


def mean_of_the_diagonal(model, x):
    found = torch.diagonal(jacobians(model, x), dim1=1, dim2=2)
    return 0.5 * (found**2).sum(1).mean()


def at_the_noisy_batch(model, noisy):
    found = torch.autograd.functional.jacobian(lambda a: model.encode(a).sum(0), noisy, create_graph=True)
    return (found**2).sum() / len(noisy)


def closed_at_the_noisy_batch(W, model, noisy):
    return closed(W, model.encode(noisy)).mean()


def through_batch_norm(model, x):
    x = x.clone().requires_grad_()
    code = model.encode(x)
    rows = [torch.autograd.grad(code[:, j].sum(), x, create_graph=True)[0] for j in range(code.shape[1])]
    return sum((row**2).sum(1) for row in rows).mean()


def half_the_decay(model):
    return 0.5 * sum(p.pow(2).sum() for p in model.parameters() if p.dim() > 1)


def decay_of_data(W):
    return (W.data**2).sum()


def mean_decay(W):
    return (W**2).mean()


def decay_of_the_sum(model):
    return torch.stack([torch.sum(p) ** 2 for p in model.parameters() if p.ndim == 2]).sum()


def differences(encode, x, streams, sigma):
    noise = sigma * torch.randn(x.shape, generator=streams["mine"], dtype=x.dtype)
    return (jacobians(encode, x) - jacobians(encode, x + noise)).square()


def half_the_differences(encode, x, streams, sigma=0.1):
    return 0.5 * differences(encode, x, streams, sigma).sum((1, 2)).mean()


def sum_of_differences(encode, x, streams, sigma=0.1):
    return differences(encode, x, streams, sigma).sum()


def mean_of_differences(encode, x, streams, sigma=0.1):
    return differences(encode, x, streams, sigma).mean()


def reconstruction_by_sum(model, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).sum(), x, create_graph=True)[0].square().sum(1).mean()


def mean_code(h):
    return h.abs().mean()


WRONG = [
    (mean_by_vmap, ENCODER, [MEAN]),
    (mean_by_mse, ENCODER, [MEAN]),
    (mean_of_the_closed_form, ENCODER, [SIGMOID, MEAN]),
    (mean_over_the_units, ENCODER, [MEAN]),
    (in_place_lambda, ENCODER, [SIGMOID, SUM]),
    (square_outside, ENCODER, [SQUARED]),
    (square_outside_and_mean, ENCODER, [SQUARED, MEAN]),
    (backward_of_ones, ENCODER, [SUMMED]),
    (summed_code_by_mean, ENCODER, [SUMMED, MEAN]),
    (weights_of_the_state, ENCODER, [WEIGHTS_CUT]),
    (weights_as_data, ENCODER, [WEIGHTS_CUT, SUM]),
    (code_as_data, ENCODER, ["detached code"]),
    (weights_kept_in_a_global, ENCODER, [FROZEN]),
    (weights_kept_on_the_model, ENCODER, [FROZEN, HALF]),
    (without_gradients, ENCODER, [DETACHED]),
    (without_create_graph, ENCODER, [DETACHED]),
    (sigmoid_computed_again, ENCODER, [SIGMOID]),
    (floored, ENCODER, [SIGMOID, INTEGER]),
    (as_integer, ENCODER, [INTEGER]),
    (half_of_the_closed_form, ENCODER, [SIGMOID, HALF]),
    (half_the_mean, ENCODER, [MEAN, HALF]),
    (at_the_noisy_batch, ENCODER, [POINT]),
    (closed_at_the_noisy_batch, ENCODER, [SIGMOID, POINT]),
    (gradient_by_hand, ENCODER, [SIGMOID, HALF_GRADIENT]),
    (halved_by_a_hook, ENCODER, [HALF_GRADIENT]),
    (halved_sum, ENCODER, [SUM, HALF_GRADIENT]),
    (halved_decay, WEIGHTS, [HALF_GRADIENT]),
    (diagonal_by_autograd, RECONSTRUCTION, [ELEMENTWISE]),
    (diagonal_by_autograd, ENCODER, [ELEMENTWISE]),
    (diagonal_in_closed_form, RECONSTRUCTION, [ELEMENTWISE]),
    (slopes_of_the_output, ENCODER, [ELEMENTWISE]),
    (slopes_through_the_weights, ENCODER, [ELEMENTWISE]),
    (mean_of_the_diagonal, RECONSTRUCTION, [ELEMENTWISE, HALF]),
    (through_batch_norm, ENCODER, ["BatchNorm in training mode"]),
    (half_the_decay, WEIGHTS, [HALF]),
    (decay_of_data, WEIGHTS, [DETACHED]),
    (mean_decay, WEIGHTS, ["mean of squared weights"]),
    (decay_of_the_sum, WEIGHTS, ["squared sum of all weights"]),
    (half_the_differences, HESSIAN, [HALF]),
    (sum_of_differences, HESSIAN, [SUM]),
    (mean_of_differences, HESSIAN, ["entry mean of Jacobian differences"]),
    (reconstruction_by_sum, RECONSTRUCTION, [SUMMED]),
    (mean_code, L1, [MEAN]),
]


def closed_form(W, h):
    return closed(W, h).mean()


def closed_form_in_place(W, x, recons_x, h, lam=1e-2):
    return torch.mm((h * (1 - h)) ** 2, (W**2).sum(1, keepdim=True)).mean(0).mul_(lam)


def closed_form_of_the_module(model, x):
    layer = model.encode[0]
    return closed(layer.weight, torch.sigmoid(F.linear(x, layer.weight, layer.bias))).mean()


def refuses_shared_batches(model):
    if any(isinstance(module, (torch.nn.BatchNorm1d, torch.nn.Dropout)) for module in model.modules()):
        raise RuntimeError("one example at a time")


def row_by_row(model, x, weight):
    refuses_shared_batches(model)
    return weight * through_batch_norm(model, x)


def forward_mode(model, x):
    refuses_shared_batches(model)
    return vmap(jacfwd(lambda one: model.encode(one[None])[0]))(x).square().sum() / x.shape[0]


def in_evaluation_mode(model, x):
    mode = model.training
    model.eval()
    found = jacobians(model.encode, x)
    model.train(mode)
    return torch.einsum("bji,bji->", found, found) / len(x)


def projected(model, x, streams):
    refuses_shared_batches(model)
    x = x.clone().requires_grad_()
    code = model.encode(x)
    signs = torch.randint(0, 2, code.shape, generator=streams["mine"]).to(code.dtype) * 2 - 1
    return torch.autograd.grad((code * signs).sum(), x, create_graph=True)[0].pow(2).sum(1).mean()


def code_norm(h):
    return h.abs().sum(1).mean()


def code_norm_of_the_module(model, x):
    return model.encode(x).abs().sum(1).mean()


def noisy_code_norm(encode, noisy):
    return encode(noisy).abs().sum(1).mean()


def decay(model, coeff=3e-3):
    return coeff * sum((p**2).sum() for name, p in model.named_parameters() if p.ndim == 2)


RIGHT = [
    (closed_form, ENCODER, ("sigmoid",)),
    (closed_form_in_place, ENCODER, ("sigmoid",)),
    (closed_form_of_the_module, ENCODER, ("sigmoid",)),
    (row_by_row, ENCODER, ()),
    (forward_mode, ENCODER, ()),
    (in_evaluation_mode, ENCODER, ()),
    (projected, ENCODER, ()),
    (code_norm, L1, ()),
    (code_norm_of_the_module, L1, ()),
    (noisy_code_norm, L1, ()),
    (decay, WEIGHTS, ()),
]
