"""Exercises of notebook 6: eleven penalties and corruptions, each with one mistake that somebody really made.

Mend each of them. `caelab check penalties.py:NAME --claims "squared norm of the encoder's Jacobian"` looks at a
function, `caelab check penalties.py` at the four classes, and `python grade.py exercises` at everything. Leave the
names and the lines below a function as they are; a hook may ask for other arguments.

Each function is to return the contractive penalty, the mean over examples of ||J_f(x)||_F^2 (Rifai et al. 2011, ICML).
Its arguments are handed over by name: `W` is the weight of the only layer, shape (code, input), `h` the code, shape
(batch, code), `inputs` the batch, shape (batch, input), `encode` the encoder, `encoder_jacobian` caelab's Jacobian.
"""

from dataclasses import dataclass

import torch

from caelab import hookimpl

# --- the formula of a sigmoid layer: J_ji = h_j (1 - h_j) W_ji ---


def entries(W, h):
    """Is this the reduction of the paper?"""
    jacobian = (h * (1 - h))[:, :, None] * W  # (batch, code, input)
    return jacobian.square().mean()


entries.activations = ("sigmoid",)


def batch(W, h):
    """What happens to lambda when the batch size is doubled?"""
    return ((h * (1 - h)).square() @ W.square().sum(dim=1)).sum()


batch.activations = ("sigmoid",)


def parenthesis(W, h):
    """Which weights make this zero?"""
    return ((h * (1 - h)).square() @ W.sum(dim=1).square()).mean()


parenthesis.activations = ("sigmoid",)


def graph(W, h):
    """The number is right. What is wrong?"""
    return ((h * (1 - h)).square() @ W.detach().square().sum(dim=1)).mean()


graph.activations = ("sigmoid",)


def activation(W, h):
    """This encoder has tanh units: h_j = tanh(w_j x + b_j)."""
    return ((h * (1 - h)).square() @ W.square().sum(dim=1)).mean()


activation.activations = ("tanh",)


# --- any encoder ---


def square(encoder_jacobian):
    """Compare with the equation above, symbol by symbol."""
    return encoder_jacobian.squared_norm().sqrt().mean()


def units(encode, inputs):
    """One backward pass instead of one for each unit: too cheap to be true."""
    x = inputs.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(encode(x).sum(), x, create_graph=True)
    return gradient.square().sum(dim=1).mean()


units.activations = ("sigmoid", "tanh")


# --- plugins: classes with hooks ---


@dataclass(eq=False)
class Place:
    """Adds Gaussian noise to the input of a denoising auto-encoder (Vincent et al. 2010)."""

    sigma: float

    @hookimpl
    def corrupt_input(self, clean, streams):
        noise = torch.randn(clean.shape, generator=streams["course noise"], dtype=clean.dtype, device=clean.device)
        return clean.add_(self.sigma * noise)


@dataclass(eq=False)
class Dice:
    """Sets each input to zero with probability p (Vincent et al. 2010)."""

    p: float

    @hookimpl
    def corrupt_input(self, clean):
        return clean * (torch.rand_like(clean) >= self.p)


@dataclass(eq=False)
class Point:
    """The contractive penalty of an encoder that is trained on corrupted inputs, at the clean inputs."""

    weight: float

    claims = "squared norm of the encoder's Jacobian"
    activations = ("sigmoid",)

    @hookimpl
    def penalty_terms(self, model, code):
        W = model.encode[0].weight
        return {"point": self.weight * ((code * (1 - code)).square() @ W.square().sum(dim=1)).mean()}


@dataclass(eq=False)
class Mode:
    """The L1 norm of the code that the decoder gets, mean over examples."""

    weight: float

    claims = "L1 norm of the code"

    @hookimpl
    def penalty_terms(self, model, clean):
        model.eval()
        return {"mode": self.weight * model.encode(clean).abs().sum(dim=1).mean()}


@hookimpl
def register_regularizers(register):
    """Names begin with 'course-', since every name can be registered once."""
    for kind in (Place, Dice, Point, Mode):
        register(f"course-{kind.__name__.lower()}", kind)
