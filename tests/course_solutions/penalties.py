"""Solutions of docs/course/exercises/penalties.py."""

from dataclasses import dataclass

import torch

from caelab import hookimpl

# --- the formula of a sigmoid layer: J_ji = h_j (1 - h_j) W_ji ---


def entries(W, h):
    """Is this the reduction of the paper?"""
    jacobian = (h * (1 - h))[:, :, None] * W  # (batch, code, input)
    return jacobian.square().sum(dim=(1, 2)).mean()


entries.activations = ("sigmoid",)


def batch(W, h):
    """What happens to lambda when the batch size is doubled?"""
    return ((h * (1 - h)).square() @ W.square().sum(dim=1)).mean()


batch.activations = ("sigmoid",)


def parenthesis(W, h):
    """Which weights make this zero?"""
    return ((h * (1 - h)).square() @ W.square().sum(dim=1)).mean()


parenthesis.activations = ("sigmoid",)


def graph(W, h):
    """The number is right. What is wrong?"""
    return ((h * (1 - h)).square() @ W.square().sum(dim=1)).mean()


graph.activations = ("sigmoid",)


def activation(W, h):
    """This encoder has tanh units: h_j = tanh(w_j x + b_j)."""
    return ((1 - h.square()).square() @ W.square().sum(dim=1)).mean()


activation.activations = ("tanh",)


# --- any encoder ---


def square(encoder_jacobian):
    """Compare with the equation above, symbol by symbol."""
    return encoder_jacobian.squared_norm().mean()


def units(encode, inputs):
    """One backward pass instead of one for each unit: too cheap to be true."""
    x = inputs.detach().requires_grad_()
    code = encode(x)
    rows = [torch.autograd.grad(unit.sum(), x, create_graph=True)[0] for unit in code.unbind(dim=1)]
    return torch.stack(rows, dim=1).square().sum(dim=(1, 2)).mean()


units.activations = ("sigmoid", "tanh")


# --- plugins: classes with hooks ---


@dataclass(eq=False)
class Place:
    """Adds Gaussian noise to the input of a denoising auto-encoder (Vincent et al. 2010)."""

    sigma: float

    @hookimpl
    def corrupt_input(self, clean, streams):
        noise = torch.randn(clean.shape, generator=streams["course noise"], dtype=clean.dtype, device=clean.device)
        return clean + self.sigma * noise


@dataclass(eq=False)
class Dice:
    """Sets each input to zero with probability p (Vincent et al. 2010)."""

    p: float

    @hookimpl
    def corrupt_input(self, clean, streams):
        drawn = torch.rand(clean.shape, generator=streams["course mask"], dtype=clean.dtype, device=clean.device)
        return clean * (drawn >= self.p)


@dataclass(eq=False)
class Point:
    """The contractive penalty of an encoder that is trained on corrupted inputs, at the clean inputs."""

    weight: float

    claims = "squared norm of the encoder's Jacobian"
    activations = ("sigmoid",)

    @hookimpl
    def penalty_terms(self, encoder_jacobian):
        return {"point": self.weight * encoder_jacobian.squared_norm().mean()}


@dataclass(eq=False)
class Mode:
    """The L1 norm of the code that the decoder gets, mean over examples."""

    weight: float

    claims = "L1 norm of the code"

    @hookimpl
    def penalty_terms(self, code):
        return {"mode": self.weight * code.abs().sum(dim=1).mean()}


@hookimpl
def register_regularizers(register):
    """Names begin with 'course-', since every name can be registered once."""
    for kind in (Place, Dice, Point, Mode):
        register(f"course-{kind.__name__.lower()}", kind)
