"""Encoders that are compiled, scripted or in mixed precision, and questions inside transforms of torch.func."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jvp, vmap
from torch.testing import assert_close

from caelab import CaelabError
from caelab.jacobian.service import jacobian
from caelab_analyses.shared.contraction_ratios import contraction_ratios
from tests.core.jacobian.references import dense_jacobian
from tests.core.jacobian.test_trial import EXACT, differentiated, questions
from tests.core.jacobian.unusual import convolution, images, numbers, vectors


def mlp():
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.ELU()).double()


def agree(encode, original, inputs, parameters=None):
    """Values and gradients of all questions are those of the encoder as it was written."""
    parameters = list(original.parameters()) if parameters is None else parameters
    dense = dense_jacobian(original, inputs, True)
    for name, (ask, expected) in questions(inputs, dense.detach()).items():
        with torch.no_grad():
            assert_close(ask(jacobian(encode, inputs)), expected(dense).detach(), **EXACT, msg=name)
        found = ask(jacobian(encode, inputs))
        assert_close(found, expected(dense), **EXACT, msg=name)
        pairs = zip(differentiated(found, parameters), differentiated(expected(dense), parameters), strict=True)
        for mine, theirs in pairs:
            assert_close(mine, theirs, **EXACT, msg=name)


def compiled_in_place():
    encode = convolution(nn.Tanh())
    encode[0].compile(backend="aot_eager")
    return encode, encode


def with_a_compiled_part():
    encode = convolution(nn.Tanh())
    return nn.Sequential(torch.compile(encode[0], backend="aot_eager"), *encode[1:]), encode


def compiled_function():
    encode = convolution(nn.Tanh())
    return torch.compile(lambda x: encode(x), backend="aot_eager"), encode


def around_a_compiled_module():
    encode = convolution(nn.Tanh())
    compiled = torch.compile(encode, backend="aot_eager")
    return lambda x: compiled(x), encode


COMPILED = {
    "as a whole": lambda: (torch.compile(e := convolution(nn.Tanh()), backend="aot_eager"), e),
    "in place": compiled_in_place,
    "a part of it": with_a_compiled_part,
    "a function": compiled_function,
    "inside a function": around_a_compiled_module,
}


@pytest.mark.parametrize("make", COMPILED.values(), ids=COMPILED)
def test_compiled_encoders_are_differentiated_as_they_were_written(make):
    agree(*make(), images())


compiled = torch.compile(backend="aot_eager")  # its code can be differentiated once alone, so running it shows


class Written(nn.Module):
    """Code of which every method is compiled, or none."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 4).double()
        self.kept = compiled(self.plain)

    def plain(self, x):
        return torch.tanh(self.layer(x)).square()

    @property
    def made(self):
        return compiled(self.plain)

    @compiled
    def method(self, x):
        return self.plain(x)

    @staticmethod
    @compiled
    def static(self, x):
        return self.plain(x)

    @classmethod
    @compiled
    def of_class(cls, self, x):
        return self.plain(x)

    def around(self, x):
        return self.method(x)


class Forward(Written):
    @compiled
    def forward(self, x):
        return self.plain(x)


class Call(Written):
    @compiled
    def __call__(self, x):
        return self.plain(x)


class Single(Written):
    shared = Written()

    @classmethod
    @compiled
    def method(cls, x):
        return cls.shared.plain(x)


class Beside:
    """No module."""

    def __init__(self, written):
        self.written = written

    @compiled
    def __call__(self, x):
        return self.written.plain(x)


def set_on_the_instance(written):
    chain = nn.Sequential(written.layer, nn.Tanh())
    chain.forward = compiled(written.plain)
    return chain


METHODS = {
    "a method": lambda w: w.method,
    "a partial of it": lambda w: partial(w.method),
    "a function around it": lambda w: lambda x: w.method(x),
    "a method around it": lambda w: w.around,
    "a static method": lambda w: partial(w.static, w),
    "a class method": lambda w: partial(w.of_class, w),
    "a property": lambda w: w.made,
    "an attribute": lambda w: w.kept,
    "a partial": lambda w: compiled(partial(w.plain)),
    "a call of no module": Beside,
    "a bound call of no module": lambda w: Beside(w).__call__,
    "forward of one module": set_on_the_instance,
}


@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
def test_compiled_methods_belong_to_their_object(make):
    written = Written()
    agree(make(written), written.plain, vectors(), list(written.parameters()))


@pytest.mark.parametrize(
    "found", [lambda: (f := Forward(), f), lambda: (f := Forward(), f.forward), lambda: (f := Call(), f),
              lambda: (f := Call(), f.__call__), lambda: (f := Forward(), torch.compile(f, backend="aot_eager")),
              lambda: (Single.shared, Single.method)],
    ids=["forward", "bound forward", "call", "bound call", "module of it", "class method"],
)  # fmt: skip
def test_compiled_methods_of_the_class_belong_to_their_object(found):
    written, encode = found()
    agree(encode, written.plain, vectors(), list(written.parameters()))


def test_a_compiled_chain_has_its_closed_form():
    encode = mlp()
    compiled = torch.compile(encode, backend="aot_eager")
    assert jacobian(compiled, vectors()).method == jacobian(encode, vectors()).method == "layer by layer (tanh, elu)"
    agree(compiled, encode, vectors())


@pytest.mark.parametrize("made", ["inputs", "vectors"])
def test_what_was_made_in_inference_mode_is_copied(made):
    encode, inputs, directions = convolution(nn.Tanh()), images(), numbers(3, 1, 5, 5)
    expected = jacobian(encode, inputs).jvp(directions)
    with torch.inference_mode():
        if made == "inputs":
            inputs = inputs.clone()
        else:
            directions = directions.clone()
    found = jacobian(encode, inputs).jvp(directions)
    assert_close(found, expected, **EXACT)
    found.sum().backward()
    agree(encode, encode, inputs.clone())
    unit = directions.clone()[0] / directions.clone()[0].norm()
    assert contraction_ratios(encode, inputs, unit[None], [0.0, 0.5]).shape == (2, 3, 1)


def test_parameters_made_in_inference_mode_are_refused_in_one_sentence():
    with torch.inference_mode():
        encode = convolution(nn.Tanh())
    with pytest.raises(CaelabError, match=r"Sequential holds a tensor that was made in torch\.inference_mode\(\)"):
        jacobian(encode, images()).squared_norm()


class Normalised(nn.Module):
    """Batched rows of it are wrong under autocast."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, x):
        return self.layers(x)


class Inside(Normalised):
    """Mixed precision of its own."""

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.layers(x).float()


MIXED = {
    "a chain": lambda: nn.Sequential(nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 4), nn.Tanh()),
    "one layer": lambda: nn.Sequential(nn.Linear(6, 5), nn.Sigmoid()),
    "layer norm": Normalised,
}


@pytest.mark.parametrize("make", MIXED.values(), ids=MIXED)
def test_under_autocast_the_answers_are_those_of_full_precision(make):
    torch.manual_seed(0)
    encode, inputs = make(), torch.rand(4, 6)
    parameters = list(encode.parameters())
    ask = lambda j: [j.squared_norm(), j.dense(), j.jvp(inputs), j.vjp(torch.ones(4, j.shape[0])), j.singular_values()]  # noqa: E731
    with torch.autocast("cpu", torch.bfloat16):
        found = ask(jacobian(encode, inputs, encode(inputs)))
    expected = ask(jacobian(encode, inputs))
    for mine, theirs in zip(found, expected, strict=True):
        assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    gradients = differentiated(found[0], parameters)
    for mine, theirs in zip(gradients, differentiated(expected[0], parameters), strict=True):
        assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_autocast_inside_an_encoder_gives_what_plain_backward_passes_give():
    encode, inputs = Inside(), torch.rand(4, 6)
    dense = dense_jacobian(encode, inputs, False)
    full = dense_jacobian(Normalised(), inputs, False)
    assert_close(dense, full, rtol=0.1, atol=0.02)  # bfloat16 has 8 bits
    for name, (ask, expected) in {**questions(inputs.double(), dense.double())}.items():
        if name in ("dense", "squared norm"):
            assert_close(
                ask(jacobian(encode, inputs)).double(), expected(dense.double()), rtol=0.03, atol=0.02, msg=name
            )


class TestTransforms:
    @pytest.fixture(params=["chain", "one layer", "convolution"])
    def case(self, request):
        if request.param == "chain":
            return mlp(), vectors()
        if request.param == "one layer":
            return nn.Sequential(nn.Linear(6, 4), nn.Sigmoid()).double(), vectors()
        return convolution(nn.Tanh()), images()

    QUESTIONS = {  # noqa: RUF012
        "squared norm": lambda j: j.squared_norm(),
        "estimate": lambda j: j.squared_norm(3, torch.Generator().manual_seed(1)),
        "dense": lambda j: j.dense(),
        "jvp": lambda j: j.jvp(torch.ones_like(j.inputs)),
        "vjp": lambda j: j.vjp(torch.ones(len(j.inputs), j.shape[0], dtype=torch.float64)),
        "singular values": lambda j: j.singular_values(2),
        "tangents": lambda j: j.tangents(1)[0],
    }

    @pytest.fixture(params=QUESTIONS.values(), ids=QUESTIONS)
    def ask(self, request):
        return request.param

    def test_grad_by_the_parameters(self, case, ask):
        encode, inputs = case
        named = dict(encode.named_parameters())
        value = lambda p: ask(jacobian(lambda x: functional_call(encode, p, (x,)), inputs)).square().sum()  # noqa: E731
        found = grad(value)(named)
        dense = dense_jacobian(encode, inputs, True)
        expected = ask(ByHand(inputs, dense)).square().sum()
        theirs = torch.autograd.grad(expected, list(named.values()), materialize_grads=True)
        for mine, plain in zip(found.values(), theirs, strict=True):
            assert_close(mine, plain, **EXACT)

    def test_vmap_over_the_examples(self, case, ask, request):
        encode, inputs = case
        mapped = vmap(lambda x: ask(jacobian(encode, x[None]))[0])
        if "estimate" in request.node.name:
            with pytest.raises(CaelabError, match="randomness='different', or ask for the exact norm"):
                mapped(inputs)
            return
        assert_close(mapped(inputs), ask(ByHand(inputs, dense_jacobian(encode, inputs, False))), **EXACT)

    def test_forward_mode(self, case, ask):
        encode, inputs = case
        tangent = numbers(*inputs.shape, seed=8)
        _, found = jvp(lambda x: ask(jacobian(encode, x)), (inputs,), (tangent,))
        step = 1e-5
        above, below = (
            ask(ByHand(inputs, dense_jacobian(encode, inputs + sign * step * tangent, False))) for sign in (1, -1)
        )
        assert_close(found, (above - below) / (2 * step), rtol=1e-5, atol=1e-7)

    def test_what_couples_the_batch_is_refused_there_too(self):
        encode = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)).double()
        with pytest.raises(CaelabError, match="BatchNorm1d"):
            grad(lambda x: jacobian(encode, x).squared_norm().sum())(vectors())


class ByHand:
    """The answers from an explicit matrix, under the same names."""

    def __init__(self, inputs, dense):
        self.inputs, self.matrix, self.shape = inputs, dense, dense.shape[1:]

    def dense(self):
        return self.matrix

    def squared_norm(self, samples=None, generator=None):
        if samples is None:
            return self.matrix.square().sum(dim=(1, 2))
        code, width = self.shape
        size = (len(self.matrix), samples, min(code, width))
        signs = 2 * torch.randint(0, 2, size, generator=generator, dtype=torch.int8).double() - 1
        products = signs @ (self.matrix if code <= width else self.matrix.mT)
        return products.square().sum(dim=2).mean(dim=1)

    def jvp(self, vectors):
        return (self.matrix @ vectors.flatten(1)[..., None])[..., 0]

    def vjp(self, covectors):
        return (covectors[:, None] @ self.matrix)[:, 0].reshape(self.inputs.shape)

    def singular_values(self, count):
        return torch.linalg.svdvals(self.matrix)[:, :count]

    def tangents(self, count):
        return (self.singular_values(count),)


MAPS = {
    "layer": lambda: [nn.Linear(8, 6), nn.Tanh()],
    "chain": lambda: [nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5), nn.Sigmoid()],
    "autodiff": lambda: [nn.Linear(8, 6), nn.LayerNorm(6), nn.GELU()],
    "attention": lambda: [nn.Unflatten(1, (2, 4)), nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True),
                          nn.Flatten()],
}  # fmt: skip
ASKED = {
    "squared norm": lambda j: j.squared_norm(),
    "spectral norm": lambda j: j.spectral_norm(),
    "nuclear norm": lambda j: j.nuclear_norm(),
    "log-volume": lambda j: j.log_volume().value,
    "singular values": lambda j: j.singular_values(2),
    "estimate": lambda j: j.squared_norm(2, torch.Generator().manual_seed(0)),
    "jvp": lambda j: j.jvp(torch.ones_like(j.inputs)),
}


@pytest.mark.parametrize("make", MAPS.values(), ids=MAPS)
@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_the_way_back_inside_autocast(make, ask):
    """To the digits that torch's own steps on the way back then have."""
    torch.manual_seed(0)
    encode, inputs = nn.Sequential(*make()), torch.randn(5, 8)
    parameters = list(encode.parameters())
    expected = torch.autograd.grad(ask(jacobian(encode, inputs)).sum(), parameters, materialize_grads=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(ask(jacobian(encode, inputs)).sum(), parameters, materialize_grads=True)
    one, other = (torch.cat([grad.flatten() for grad in grads]) for grads in (found, expected))
    assert (one - other).norm() <= 0.02 * other.norm()
