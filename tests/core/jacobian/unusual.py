"""Encoders that hold operators of which torch has some derivatives and lacks others, or has them wrong."""

import math

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

F = nn.functional


def numbers(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) / 2


class With(nn.Module):
    """A function of the inputs and of parameters."""

    def __init__(self, function, *shapes):
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(numbers(*shape, seed=seed) for seed, shape in enumerate(shapes, 1))

    def forward(self, x):
        return self.function(x, *self.weights)


class OldTanh(torch.autograd.Function):
    """Written as before torch.func: no setup_context, no jvp."""

    @staticmethod
    def forward(ctx, z):
        h = torch.tanh(z)
        ctx.save_for_backward(h)
        return h

    @staticmethod
    def backward(ctx, g):
        (h,) = ctx.saved_tensors
        return g * (1 - h * h)


class OnceTanh(OldTanh):
    backward = staticmethod(once_differentiable(OldTanh.backward))


class ForgetfulTanh(OldTanh):
    """Keeps its output where autograd does not see it: its backward is right, the gradient of that lacks a part."""

    @staticmethod
    def forward(ctx, z):
        ctx.h = torch.tanh(z)
        return ctx.h.clone()

    @staticmethod
    def backward(ctx, g):
        return g * (1 - ctx.h * ctx.h)


class NumpyTanh(OldTanh):
    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        (h,) = ctx.saved_tensors
        return torch.from_numpy(g.numpy() * (1 - h.numpy() ** 2))


class Rounded(torch.autograd.Function):
    """Straight through: rounds, and passes gradients on."""

    @staticmethod
    def forward(ctx, z):
        return z.round()

    @staticmethod
    def backward(ctx, g):
        return g


class Energy(nn.Module):
    """The gradient of an energy, recorded: encoders that differentiate inside."""

    def __init__(self, functional):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1)).double()
        self.functional = functional

    def forward(self, x):
        if self.functional:
            return torch.func.grad(lambda y: self.net(y).sum())(x)
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            return torch.autograd.grad(self.net(x).sum(), x, create_graph=True)[0]


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.layer = kind(3, 4, batch_first=True).double()

    def forward(self, x):
        return self.layer(x)[0][:, -1]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.MultiheadAttention(4, 2, batch_first=True).double()

    def forward(self, x):
        return self.layer(x, x, x)[0]


class Checkpointed(nn.Module):
    def __init__(self, use_reentrant):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(6, 4), nn.Tanh()).double()
        self.use_reentrant = use_reentrant

    def forward(self, x):
        return torch.sin(checkpoint(self.layer, x, use_reentrant=self.use_reentrant))


def without_gradient(x, w):
    z = x @ w
    with torch.no_grad():
        scale = z.square().mean(dim=1, keepdim=True)
    return torch.tanh(z) * scale


def warped(x, w):
    turn = torch.tanh(x.flatten(1) @ w) / 3 + torch.tensor([1.0, 0, 0, 0, 1, 0], dtype=x.dtype)
    grid = F.affine_grid(turn.reshape(-1, 2, 3), [len(x), 1, 4, 4], align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def reduced(x, w, how):
    index = torch.tensor([0, 1, 2, 0, 1, 2]).expand(len(x), -1)
    return torch.ones(len(x), 3, dtype=x.dtype).scatter_reduce(1, index, x @ w, how)


def solved(x, w):
    return torch.linalg.solve(torch.eye(4, dtype=x.dtype) + torch.tanh(x[:, :4, None] * w) / 5, x[:, :4])


def normalised():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5)).double()


def convolution(activation):
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 2, 3), activation, nn.Flatten(), nn.Linear(18, 4)).double()


def vectors():
    return numbers(4, 6, seed=9)


def images():
    return numbers(3, 1, 5, 5, seed=9)


def sequences():
    return numbers(3, 5, 4, seed=9)


def eye(x):
    return torch.eye(len(x), dtype=x.dtype).to_sparse()


def apart(x, centres, p):
    return torch.linalg.vector_norm(x[:, None] - centres, ord=p, dim=2)


BOTH = {  # values and gradients
    "forward mode does not see no_grad": lambda: (With(without_gradient, (6, 4)), vectors()),
    "scatter_reduce by products": lambda: (With(lambda x, w: reduced(x, w, "prod"), (6, 6)), vectors()),
    "scatter_reduce by maxima": lambda: (With(lambda x, w: reduced(x, w, "amax"), (6, 6)), vectors()),
    "the sign, whose batched rule is wrong": lambda: (
        With(lambda x, w: torch.sgn(x @ w) * torch.tanh(x @ w), (6, 4)), vectors()
    ),
    "the remedy for cdist": lambda: (
        With(lambda x, c: torch.cdist(x, c, compute_mode="use_mm_for_euclid_dist"), (5, 6)), vectors()
    ),
    "the remedy for cdist, p = 1": lambda: (With(lambda x, c: apart(x, c, 1.0), (5, 6)), vectors()),
    "the remedy for cdist, p = 3": lambda: (With(lambda x, c: apart(x, c, 3.0), (5, 6)), vectors()),
    "the remedy for cdist, p = inf": lambda: (With(lambda x, c: apart(x, c, math.inf), (5, 6)), vectors()),
    "layer norm": lambda: (nn.Sequential(normalised(), nn.Identity()), vectors()),
    "solve": lambda: (With(solved, (4, 4)), vectors()),
    "attention": lambda: (Attention(), sequences()),
    "fused attention": lambda: (With(lambda x, w: F.scaled_dot_product_attention(x @ w, x, x), (4, 4)), sequences()),
    "transformer": lambda: (nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).double().eval(), sequences()),
    "lstm": lambda: (Recurrent(nn.LSTM), sequences()[:, :, :3]),
    "gru": lambda: (Recurrent(nn.GRU), sequences()[:, :, :3]),
    "grid_sample": lambda: (With(warped, (25, 6)), images()),
    "old autograd function": lambda: (With(lambda x, w: OldTanh.apply(x @ w), (6, 4)), vectors()),
    "straight through": lambda: (With(lambda x, w: Rounded.apply(2 * x) @ torch.tanh(w) * x[:, :4], (6, 4)), vectors()),
    "randomised relu, off": lambda: (convolution(nn.RReLU()).eval(), images()),
    "in place": lambda: (convolution(nn.ReLU(inplace=True)), images()),
    "checkpoint": lambda: (Checkpointed(False), vectors()),
    "energy": lambda: (Energy(False), vectors()),
    "energy by torch.func": lambda: (Energy(True), vectors()),
    "sparse product": lambda: (With(lambda x, w: torch.sparse.mm(eye(x), torch.tanh(x @ w)), (6, 4)), vectors()),
    "a shift": lambda: (With(lambda x, b: x + b, (6,)), vectors()),
    "scripted": lambda: (torch.jit.script(convolution(nn.Tanh())), images()),
    "scripted chain": lambda: (torch.jit.script(nn.Sequential(nn.Linear(6, 4), nn.Tanh()).double()), vectors()),
    "traced": lambda: (torch.jit.trace(convolution(nn.Tanh()), images()), images()),
    "channels last": lambda: (convolution(nn.Tanh()).to(memory_format=torch.channels_last), images()),
}  # fmt: skip

VALUES = {  # torch has no second derivative
    "cdist": (lambda: (With(lambda x, c: torch.cdist(x, c), (5, 6)), vectors()), "cdist"),
    "cdist, p = 1": (lambda: (With(lambda x, c: torch.cdist(x, c, p=1.0), (5, 6)), vectors()), "cdist"),
    "radial basis": (lambda: (With(lambda x, c: torch.exp(-torch.cdist(x, c) ** 2), (5, 6)), vectors()), "cdist"),
    "once differentiable": (
        lambda: (With(lambda x, w: OnceTanh.apply(x @ w), (6, 4)), vectors()), "OnceTanh, which is marked"
    ),
    "numpy inside": (
        lambda: (With(lambda x, w: NumpyTanh.apply(x @ w), (6, 4)), vectors()), "NumpyTanh, which is marked"
    ),
    "an output that autograd does not see": (
        lambda: (With(lambda x, w: ForgetfulTanh.apply(x @ w), (6, 4)), vectors()), "ForgetfulTanh lacks a part"
    ),
    "out= in a backward": (lambda: (convolution(nn.CrossMapLRN2d(2)), images()), "CrossMapLRN2d, which Sequential"),
    "hard sigmoid": (lambda: (convolution(nn.Hardsigmoid()), images()), "Hardsigmoid"),
}  # fmt: skip
