"""One encoder for each of torch's differentiable functions and operators, as a function of (batch, 6)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Encode = Callable[[Tensor], Tensor]
CENTRES = torch.linspace(-1, 1, 24).reshape(4, 6)
WEIGHT = torch.linspace(-0.7, 0.9, 36).reshape(6, 6) + 0.3 * torch.eye(6)


def square(x: Tensor) -> Tensor:
    """A matrix of each example, (batch, 3, 3), far from singular."""
    return x[:, :, None][:, :3] * x[:, None, 3:] + 2 * torch.eye(3).to(x)


def definite(x: Tensor) -> Tensor:
    """A positive definite matrix of each example, its eigenvalues well apart."""
    matrix = square(x)
    return matrix @ matrix.mT + torch.diag(torch.tensor([1.0, 3.0, 7.0])).to(x)


def pair(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two halves of each example."""
    return x[:, :3], x[:, 3:]


def image(x: Tensor) -> Tensor:
    """A picture of each example."""
    return x.reshape(len(x), 1, 2, 3)


UNARY = [
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "deg2rad", "digamma", "erf",
    "erfc", "erfinv", "exp", "exp2", "expm1", "floor", "frac", "lgamma", "log", "log10", "log1p", "log2", "logit",
    "neg", "positive", "rad2deg", "reciprocal", "relu", "round", "rsqrt", "sgn", "sigmoid", "sign", "sin", "sinc",
    "sinh", "sqrt", "square", "tan", "tanh", "trunc", "i0", "nan_to_num",
]  # fmt: skip
SPECIAL = [
    "bessel_j0", "bessel_j1", "entr", "erfcx", "expit", "gammaln", "i0e", "i1", "i1e", "log_ndtr", "ndtr", "ndtri",
    "psi", "xlog1py", "xlogy",
]  # fmt: skip
ELSEWHERE = {"acosh": lambda x: 1.5 + x.abs(), "lgamma": lambda x: 1 + x.abs(), "digamma": lambda x: 1 + x.abs()}
BINARY = {
    "add", "atan2", "copysign", "div", "fmax", "fmin", "fmod", "hypot", "ldexp", "logaddexp", "logaddexp2",
    "max", "maximum", "min", "minimum", "mul", "pow", "remainder", "rsub", "sub", "true_divide", "xlogy", "float_power",
}  # fmt: skip


def inside(x: Tensor) -> Tensor:
    """Values in (0.1, 0.9), where every function of the lists is smooth."""
    return 0.1 + 0.8 * torch.sigmoid(x)


def unary(name: str) -> Encode:
    """``torch.NAME`` or ``torch.special.NAME`` of values where it is smooth."""
    function = getattr(torch, name, None) or getattr(torch.special, name)
    place = ELSEWHERE.get(name, inside)
    if name in ("xlog1py", "xlogy"):
        return lambda x: function(*map(inside, pair(x)))
    return lambda x: function(place(x))


def binary(name: str) -> Encode:
    """``torch.NAME`` of two halves."""
    function = getattr(torch, name)
    return lambda x: function(inside(x)[:, :3], 1.3 * inside(x)[:, 3:] + 0.05)


COMPOSED: dict[str, Encode] = {
    "matmul": lambda x: x @ WEIGHT.to(x),
    "mm": lambda x: torch.mm(x, WEIGHT.to(x)),
    "addmm": lambda x: torch.addmm(CENTRES[0].to(x), x, WEIGHT.to(x)),
    "bmm": lambda x: torch.bmm(square(x), square(x).mT),
    "baddbmm": lambda x: torch.baddbmm(square(x), square(x), square(x)),
    "einsum": lambda x: torch.einsum("bi,bj,ij->bij", x, x, WEIGHT.to(x)),
    "tensordot": lambda x: torch.tensordot(x, WEIGHT.to(x), dims=1),
    "kron": lambda x: torch.stack([torch.kron(a, a) for a in x]),
    "outer": lambda x: torch.stack([torch.outer(a, a) for a in x]),
    "cross": lambda x: torch.cross(*pair(x), dim=1),
    "dot of each": lambda x: torch.linalg.vecdot(*pair(x))[:, None],
    "cdist": lambda x: torch.cdist(x, CENTRES.to(x)),
    "cdist, p 1": lambda x: torch.cdist(x, CENTRES.to(x), p=1.0),
    "cdist, p 3": lambda x: torch.cdist(x, CENTRES.to(x), p=3.0),
    "rbf": lambda x: torch.exp(-torch.cdist(x, CENTRES.to(x)).square()),
    "cumsum": lambda x: x.cumsum(1),
    "cumprod": lambda x: x.cumprod(1),
    "cummax": lambda x: x.cummax(1)[0],
    "logcumsumexp": lambda x: x.logcumsumexp(1),
    "logsumexp": lambda x: x.logsumexp(1, keepdim=True),
    "prod": lambda x: x.prod(1, keepdim=True),
    "sum": lambda x: x.square().sum(1, keepdim=True),
    "mean": lambda x: x.exp().mean(1, keepdim=True),
    "std": lambda x: x.std(1, keepdim=True),
    "var": lambda x: x.var(1, keepdim=True),
    "norm": lambda x: x.norm(dim=1, keepdim=True),
    "vector_norm, p 3": lambda x: torch.linalg.vector_norm(x, 3, dim=1, keepdim=True),
    "matrix_norm": lambda x: torch.linalg.matrix_norm(square(x))[:, None],
    "renorm": lambda x: torch.renorm(x, 2, 0, 0.8),
    "normalize": lambda x: functional.normalize(x, dim=1),
    "median": lambda x: torch.cat([x[:, :5].median(1, keepdim=True)[0], x[:, 5:]], 1),
    "max": lambda x: x.max(1, keepdim=True)[0],
    "amax": lambda x: x.amax(1, keepdim=True),
    "kthvalue": lambda x: x.kthvalue(3, 1, keepdim=True)[0],
    "sort": lambda x: x.sort(1)[0],
    "topk": lambda x: x.topk(3, 1)[0],
    "topk, kept in place": lambda x: torch.zeros_like(x).scatter(1, x.topk(2, 1)[1], x.topk(2, 1)[0]),
    "quantile": lambda x: x.quantile(torch.tensor([0.3, 0.6]).to(x), dim=1).mT,
    "gather": lambda x: x.gather(1, torch.tensor([[0, 2, 2]]).expand(len(x), -1)),
    "index_select": lambda x: x.index_select(1, torch.tensor([5, 1, 1])),
    "take_along_dim": lambda x: torch.take_along_dim(x, x.argsort(1), 1),
    "masked_fill": lambda x: x.masked_fill(torch.tensor([True, False] * 3), 0.2) * x,
    "masked_scatter": lambda x: torch.where(x > 0, x.square(), x.exp()),
    "scatter_add": lambda x: (
        torch.zeros(len(x), 3).to(x).scatter_add(1, torch.tensor([[0, 1, 2, 0, 1, 2]]).expand(len(x), -1), x)
    ),
    "scatter_reduce, prod": lambda x: (
        torch.ones(len(x), 3).to(x).scatter_reduce(1, torch.tensor([[0, 1, 2, 0, 1, 2]]).expand(len(x), -1), x, "prod")
    ),
    "scatter_reduce, mean": lambda x: (
        torch.ones(len(x), 3)
        .to(x)
        .scatter_reduce(1, torch.tensor([[0, 1, 2, 0, 1, 2]]).expand(len(x), -1), x.square(), "mean")
    ),
    "scatter_reduce, amax": lambda x: (
        torch.ones(len(x), 3)
        .to(x)
        .scatter_reduce(1, torch.tensor([[0, 1, 2, 0, 1, 2]]).expand(len(x), -1), x, "amax", include_self=False)
    ),
    "index_add": lambda x: torch.zeros_like(x).index_add(1, torch.tensor([0, 0, 1, 2, 3, 3]), x),
    "index_put": lambda x: x.clone().index_put(
        (torch.arange(len(x)), torch.zeros(len(x), dtype=torch.long)), x[:, 1] ** 2
    ),
    "clamp": lambda x: x.clamp(-0.3, 0.4),
    "clip to tensors": lambda x: torch.clamp(x, min=CENTRES[0].to(x), max=CENTRES[0].to(x) + 1),
    "where": lambda x: torch.where(x > 0.1, x.sin(), x.cos()),
    "lerp": lambda x: torch.lerp(*pair(x), 0.3),
    "addcmul": lambda x: torch.addcmul(pair(x)[0], *pair(x), value=0.5),
    "addcdiv": lambda x: torch.addcdiv(pair(x)[0], pair(x)[1], 1 + pair(x)[0].abs(), value=0.5),
    "roll": lambda x: x.roll(2, 1) * x,
    "flip": lambda x: x.flip(1).exp(),
    "rot90": lambda x: torch.rot90(square(x), dims=(1, 2)),
    "tril": lambda x: square(x).tril(),
    "triu": lambda x: square(x).triu(),
    "diag_embed": lambda x: x.diag_embed(),
    "diagonal": lambda x: square(x).diagonal(dim1=1, dim2=2),
    "repeat": lambda x: x.repeat(1, 2).sin(),
    "repeat_interleave": lambda x: x.repeat_interleave(2, dim=1).sin(),
    "tile": lambda x: x.tile(1, 2),
    "unfold": lambda x: x.unfold(1, 3, 1),
    "as_strided": lambda x: x.contiguous().as_strided((len(x), 4), (6, 1)).square(),
    "diff": lambda x: x.diff(dim=1),
    "trapezoid": lambda x: torch.trapezoid(x.square(), dim=1)[:, None],
    "gradient": lambda x: torch.gradient(x, dim=1)[0],
    "cov of each": lambda x: torch.stack([torch.cov(a.reshape(2, 3)) for a in x]),
    "corrcoef of each": lambda x: torch.stack([torch.corrcoef(a.reshape(2, 3)) for a in x]),
    "fft": lambda x: torch.view_as_real(torch.fft.fft(x)),
    "rfft": lambda x: torch.fft.rfft(x).abs(),
    "irfft": lambda x: torch.fft.irfft(torch.fft.rfft(x) * torch.linspace(0, 1, 4).to(x), n=6),
    "complex": lambda x: torch.complex(*pair(x)).angle(),
    "view_as_complex": lambda x: torch.view_as_complex(x.reshape(len(x), 3, 2)).abs(),
    "polar": lambda x: torch.view_as_real(torch.polar(pair(x)[0].abs(), pair(x)[1])),
    "det": lambda x: torch.linalg.det(square(x))[:, None],
    "slogdet": lambda x: torch.linalg.slogdet(square(x))[1][:, None],
    "inv": lambda x: torch.linalg.inv(square(x)),
    "pinv": lambda x: torch.linalg.pinv(square(x)),
    "solve": lambda x: torch.linalg.solve(square(x), x[:, :3]),
    "solve_triangular": lambda x: torch.linalg.solve_triangular(square(x).triu(), square(x), upper=True),
    "lstsq": lambda x: torch.linalg.lstsq(square(x), square(x)[:, :, :1] + 1)[0],
    "cholesky": lambda x: torch.linalg.cholesky(definite(x)),
    "qr": lambda x: torch.linalg.qr(square(x))[1],
    "svdvals": lambda x: torch.linalg.svdvals(definite(x)),
    "eigvalsh": lambda x: torch.linalg.eigvalsh(definite(x)),
    "eigh, projector": lambda x: (lambda v: v[..., -1:] @ v[..., -1:].mT)(torch.linalg.eigh(definite(x))[1]),
    "matrix_exp": lambda x: torch.linalg.matrix_exp(0.3 * square(x)),
    "matrix_power": lambda x: torch.linalg.matrix_power(square(x), 3),
    "lu_factor": lambda x: torch.linalg.lu_factor(definite(x))[0],
    "polygamma": lambda x: torch.polygamma(1, 1 + x.abs()),
    "mvlgamma": lambda x: torch.mvlgamma(3 + x.abs(), 2),
    "zeta": lambda x: torch.special.zeta(torch.tensor(3.0).to(x), 1 + x.abs()),
    "grid_sample": lambda x: functional.grid_sample(
        torch.linspace(0, 1, 9).reshape(1, 1, 3, 3).to(x).square().expand(len(x), -1, -1, -1),
        0.6 * torch.tanh(x).reshape(len(x), 1, 3, 2),
        align_corners=True,
    ),
    "grid_sample of an image": lambda x: functional.grid_sample(
        image(x), torch.linspace(-0.7, 0.8, 8).reshape(1, 2, 2, 2).to(x).expand(len(x), -1, -1, -1), align_corners=False
    ),
    "affine_grid": lambda x: functional.affine_grid(x.reshape(len(x), 2, 3), [len(x), 1, 2, 2], align_corners=False),
    "interpolate": lambda x: functional.interpolate(image(x), scale_factor=2, mode="bilinear", align_corners=True),
    "interpolate, area": lambda x: functional.interpolate(image(x), size=(1, 2), mode="area"),
    "scaled_dot_product_attention": lambda x: functional.scaled_dot_product_attention(
        x.reshape(len(x), 1, 3, 2), x.reshape(len(x), 1, 3, 2), x.reshape(len(x), 1, 3, 2)
    ),
    "causal attention": lambda x: functional.scaled_dot_product_attention(
        x.reshape(len(x), 3, 2), x.reshape(len(x), 3, 2), x.reshape(len(x), 3, 2), is_causal=True
    ),
    "bilinear": lambda x: functional.bilinear(*pair(x), WEIGHT[:3, :6].reshape(2, 3, 3).to(x)),
    "conv1d of a filter": lambda x: functional.conv1d(x[:, None], WEIGHT[:1, None, :3].to(x)),
    "conv_tbc": lambda x: (
        functional.conv_tbc(
            x.reshape(len(x), 3, 2).transpose(0, 1).contiguous(),
            WEIGHT[:2, :4].reshape(2, 2, 2).to(x),
            torch.zeros(2).to(x),
        )
        .transpose(0, 1)
        .reshape(len(x), -1)
    ),
    "pad": lambda x: functional.pad(x, (1, 2), value=0.5),
    "local_response_norm": lambda x: functional.local_response_norm(x[:, :, None], 3),
    "layer_norm": lambda x: functional.layer_norm(x, (6,)),
    "rms_norm": lambda x: functional.rms_norm(x, (6,)),
    "group_norm": lambda x: functional.group_norm(x, 2),
    "instance_norm": lambda x: functional.instance_norm(image(x)),
    "gumbel_softmax": lambda x: functional.gumbel_softmax(x),
    "softmax": lambda x: functional.softmax(x, 1),
    "pdist of each": lambda x: torch.stack([functional.pdist(a.reshape(3, 2)) for a in x]),
    "multi_margin": lambda x: functional.multi_margin_loss(x, torch.zeros(len(x), dtype=torch.long), reduction="none")[
        :, None
    ],
    "heaviside": lambda x: torch.heaviside(x, torch.zeros(()).to(x)) * x,
    "bucketize": lambda x: torch.bucketize(x.detach(), torch.linspace(-1, 1, 5).to(x)).to(x) * x,
    "cosine_similarity": lambda x: functional.cosine_similarity(x[:, None], CENTRES.to(x), dim=2),
    "checkpoint": lambda x: torch.utils.checkpoint.checkpoint(
        lambda z: torch.tanh(z @ WEIGHT.to(z)), x, use_reentrant=False
    ),
    "gradient of an energy": lambda x: energy_gradient(x),
    "jacobian inside": lambda x: torch.func.vmap(torch.func.jacrev(lambda z: torch.tanh(z @ WEIGHT.to(z)).square()))(x)[
        :, :2
    ],
    "loop over examples": lambda x: torch.stack([torch.tanh(each) * each.sum() for each in x]),
    "python branch": lambda x: torch.stack([each.sin() if each.sum() > 0 else each.exp() for each in x]),
    "stop-gradient": lambda x: x * x.detach(),
    "no_grad inside": lambda x: x * frozen(x),
    "straight-through": lambda x: x + (x.round() - x).detach(),
    "one number": lambda x: x.square().sum(1),
    "constant columns": lambda x: torch.cat([x, torch.ones_like(x)], 1),
    "expanded": lambda x: x.sum(1, keepdim=True).expand(-1, 4),
    "transposed": lambda x: x.reshape(len(x), 2, 3).transpose(1, 2),
    "in place on a copy": lambda x: x.clone().mul_(x).add_(1).sqrt_(),
    "empty_like filled": lambda x: filled(x),
}


def energy_gradient(x: Tensor) -> Tensor:
    """The score of an energy network, which differentiates inside."""
    with torch.enable_grad():
        point = x if x.requires_grad else x.detach().requires_grad_()
        energy = (torch.tanh(point @ WEIGHT.to(point)).square().sum(1) + point.square().sum(1) / 2).sum()
        return torch.autograd.grad(energy, point, create_graph=True)[0]


def frozen(x: Tensor) -> Tensor:
    """A factor that no gradient passes."""
    with torch.no_grad():
        return x.sin()


def filled(x: Tensor) -> Tensor:
    """A tensor whose columns are written one by one."""
    out = torch.zeros_like(x)
    for column in range(x.shape[1]):
        out[:, column] = x[:, column] * x[:, 0]
    return out


FUNCTIONS: dict[str, Encode] = {
    **{f"torch.{name}": unary(name) for name in [*UNARY, *SPECIAL]},
    **{f"torch.{name} of two": binary(name) for name in sorted(BINARY)},
    **COMPOSED,
}
