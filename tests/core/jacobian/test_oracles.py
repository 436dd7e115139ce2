"""Leading singular triplets of an encoder against matfree, which finds them by Golub-Kahan-Lanczos in JAX."""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy
import torch
from matfree import decomp, eig
from torch import nn

import caelab

COUNT = 4
STEPS = 60


def encoder() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(450, 520), nn.Softsign(), nn.Linear(520, 420), nn.Tanh()).double()


def in_jax(encode: nn.Sequential):
    first, second = (
        {name: part.detach().numpy() for name, part in encode[place].named_parameters()} for place in (0, 2)
    )

    def forward(x):
        z = first["weight"] @ x + first["bias"]
        return jax.numpy.tanh(second["weight"] @ (z / (1 + abs(z))) + second["bias"])

    return forward


def test_matfree_finds_the_same():
    encode = encoder()
    inputs = torch.randn(2, 450, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = caelab.jacobian(encode, inputs).tangents(COUNT, tolerance=1e-6)
    assert "block Krylov" in found.method
    start = numpy.random.default_rng(0).normal(size=450)
    with jax.enable_x64(True):
        forward = in_jax(encode)
        partial = eig.svd_partial(decomp.bidiag(STEPS, materialize=True))
        for place, x in enumerate(inputs.numpy()):
            _, values, right = partial(lambda v, x=x: jax.jvp(forward, (x,), (v,))[1], start / numpy.linalg.norm(start))
            numpy.testing.assert_allclose(found.values[place], values[:COUNT], rtol=1e-10)
            cosines = (found.directions[place].numpy() * numpy.asarray(right)[:COUNT]).sum(axis=1)
            numpy.testing.assert_allclose(abs(cosines), 1, rtol=1e-10)
