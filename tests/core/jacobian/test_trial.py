"""Derivatives are compared with a plain backward pass at first use; what is wrong or missing is taken otherwise."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab import CaelabError
from caelab.jacobian.service import jacobian
from caelab.jacobian.validation import trial
from caelab_analyses.shared.contraction_ratios import contraction_ratios
from tests.core.jacobian.references import dense_jacobian
from tests.core.jacobian.unusual import BOTH, VALUES, Checkpointed, With, convolution, images, numbers, vectors

EXACT = {"rtol": 1e-8, "atol": 1e-10}


def signs(dense):
    drawn = torch.randint(
        0, 2, (len(dense), 4, min(dense.shape[1:])), generator=torch.Generator().manual_seed(5), dtype=torch.int8
    )
    return 2 * drawn.double() - 1


def estimated(dense):
    products = signs(dense) @ (dense if dense.shape[1] <= dense.shape[2] else dense.mT)
    return products.square().sum(dim=2).mean(dim=1)


def questions(inputs, dense):
    """What is asked of the service, and the same from explicit matrices."""
    many, covectors = numbers(len(inputs), 3, *inputs.shape[1:]), numbers(len(inputs), 3, dense.shape[1])
    flat = many.flatten(2)
    return {
        "dense": (lambda j: j.dense(), lambda d: d),
        "squared norm": (lambda j: j.squared_norm(), lambda d: d.square().sum(dim=(1, 2))),
        "estimate": (lambda j: j.squared_norm(4, torch.Generator().manual_seed(5)), estimated),
        "jvp": (lambda j: j.jvp(many[:, 0]), lambda d: (d @ flat[:, 0, :, None])[..., 0]),
        "jvp, many": (lambda j: j.jvp(many), lambda d: flat @ d.mT),
        "vjp": (lambda j: j.vjp(covectors[:, 0]).flatten(1), lambda d: (covectors[:, :1] @ d)[:, 0]),
        "vjp, many": (lambda j: j.vjp(covectors).flatten(2), lambda d: covectors @ d),
    }


def weighted(values):
    return (values * torch.linspace(0.3, 1.7, values.numel(), dtype=values.dtype).reshape(values.shape)).sum()


def differentiated(values, parameters):
    return torch.autograd.grad(weighted(values), parameters, retain_graph=True, materialize_grads=True)


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("make", BOTH.values(), ids=BOTH)
def test_values_and_gradients(make):
    encode, inputs = make()
    parameters = list(encode.parameters())
    dense, recorded = dense_jacobian(encode, inputs, False), dense_jacobian(encode, inputs, True)
    before = inputs.clone()
    for name, (ask, expected) in questions(inputs, dense).items():
        with torch.no_grad():
            assert_close(ask(jacobian(encode, inputs)), expected(dense), **EXACT, msg=name)
        found = ask(jacobian(encode, inputs))
        assert_close(found.detach(), expected(dense), **EXACT, msg=name)
        if not expected(recorded).requires_grad or not found.requires_grad:
            continue
        pairs = zip(differentiated(found, parameters), differentiated(expected(recorded), parameters), strict=True)
        for mine, theirs in pairs:
            assert_close(mine, theirs, **EXACT, msg=lambda text, name=name: f"gradient of {name}: {text}")
    assert torch.equal(inputs, before)


@pytest.mark.parametrize(("make", "operator"), VALUES.values(), ids=VALUES)
def test_values_where_torch_has_no_second_derivative_and_a_sentence_in_place_of_a_gradient(make, operator):
    encode, inputs = make()
    dense = dense_jacobian(encode, inputs, False)
    for name, (ask, expected) in questions(inputs, dense).items():
        with torch.no_grad():
            assert_close(ask(jacobian(encode, inputs)), expected(dense), **EXACT, msg=name)
        found = ask(jacobian(encode, inputs))
        assert_close(found.detach(), expected(dense), **EXACT, msg=name)
        with pytest.raises(CaelabError, match=f"the derivative of the derivative of {operator}"):
            weighted(found).backward()


def test_a_chain_has_the_second_derivative_of_hard_sigmoid_that_torch_has_not():
    encode, inputs = nn.Sequential(nn.Linear(6, 4), nn.Hardsigmoid()).double(), vectors()
    expected = dense_jacobian(lambda x: torch.clamp(encode[0](x) / 6 + 0.5, 0, 1), inputs, True)
    parameters = list(encode.parameters())
    found = jacobian(encode, inputs)
    assert found.method == "closed form (hardsigmoid)"
    for ask, by_hand in ((found.dense(), expected), (found.squared_norm(), expected.square().sum(dim=(1, 2)))):
        assert_close(ask, by_hand, rtol=1e-6, atol=1e-9)  # torch's sixth is that of float32
        for mine, theirs in zip(differentiated(ask, parameters), differentiated(by_hand, parameters), strict=True):
            assert_close(mine, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["forward mode does not see no_grad", "scatter_reduce by products", "grid_sample"])
def test_spectra_and_curves_belong_to_the_same_matrix(name):
    encode, inputs = BOTH[name]()
    dense = dense_jacobian(encode, inputs, False)
    exact = torch.linalg.svdvals(dense)
    assert_close(jacobian(encode, inputs).singular_values(method="svd"), exact, rtol=1e-8, atol=1e-10)
    directions = numbers(2, *inputs.shape[1:])
    directions = directions / directions.flatten(1).norm(dim=1).reshape(-1, *[1] * (inputs.ndim - 1))
    limit = contraction_ratios(encode, inputs, directions, [0.0])[0]
    assert_close(limit, (dense @ directions.flatten(1).T).norm(dim=1), **EXACT)


@pytest.mark.parametrize(
    ("name", "method"),
    {
        "fused attention": "autodiff",
        "checkpoint": "autodiff (its gradient by reverse mode)",
        "layer norm": "autodiff (its gradient by reverse mode)",
        "forward mode does not see no_grad": "autodiff (J v by two reverse passes)",
        "scatter_reduce by products": "autodiff (J v by two reverse passes)",
    }.items(),
)
def test_the_method_says_what_was_chosen(name, method):
    assert jacobian(*BOTH[name]()).method == method


def test_the_method_of_what_has_no_second_derivative():
    encode, inputs = VALUES["cdist"][0]()
    assert jacobian(encode, inputs).method == "autodiff (rows one by one, J v from all rows, values alone)"
    with torch.no_grad():
        assert jacobian(encode, inputs).method == "autodiff (rows one by one, J v from all rows)"


class TestRemembering:
    @pytest.fixture
    def trials(self, monkeypatch):
        seen = []
        original = trial.Plain.of.__func__
        monkeypatch.setattr(
            trial.Plain, "of", classmethod(lambda cls, *given: (seen.append(given), original(cls, *given))[1])
        )
        return seen

    def ask(self, encode, inputs):
        jacobian(encode, inputs).squared_norm().sum().backward()

    def test_once_for_a_module_and_anew_for_other_circumstances(self, trials):
        encode, inputs = convolution(nn.Tanh()), images()
        self.ask(encode, inputs)
        first = len(trials)
        assert first > 0
        self.ask(encode, inputs + 1)
        assert len(trials) == first
        self.ask(encode, numbers(2, 1, 5, 5).requires_grad_())
        assert len(trials) > first
        again = len(trials)
        with torch.no_grad():
            jacobian(encode, inputs).squared_norm()
        assert len(trials) > again

    def test_with_the_module_that_a_function_closes_over(self, trials):
        encode, inputs = convolution(nn.Tanh()), images()
        function = lambda x: encode(x) * 2  # noqa: E731
        self.ask(function, inputs)
        first = len(trials)
        self.ask(function, inputs)
        assert len(trials) == first

    def test_never_for_a_function_that_holds_anything_else(self, trials):
        weight, state = nn.Parameter(numbers(6, 4)), {"cut": False}

        def encode(x):
            z = torch.tanh(x @ weight)
            return z * (z.detach() if state["cut"] else z)

        assert_close(jacobian(encode, vectors()).jvp(vectors()), twice(encode, vectors()), **EXACT)
        first = len(trials)
        state["cut"] = True
        assert_close(jacobian(encode, vectors()).jvp(vectors()), twice(encode, vectors()), **EXACT)
        assert len(trials) > first

    def test_no_longer_than_the_module_lives(self):
        encode = convolution(nn.Tanh())
        self.ask(encode, images())
        gone = weakref.ref(encode)
        del encode
        gc.collect()
        assert gone() is None


def twice(encode, inputs):
    dense = dense_jacobian(encode, inputs, False)
    return (dense @ inputs.flatten(1)[..., None])[..., 0]


def test_layers_whose_weights_are_cut_off_from_the_gradient_are_not_believed():
    """affine() gives the right numbers without a history: the closed form would train nothing."""

    class Cut(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 1

        def affine(self):
            return self.weight.detach(), self.bias.detach()

    encode, inputs = nn.Sequential(Cut(6, 4), nn.Tanh()).double(), vectors()
    norms = jacobian(encode, inputs).squared_norm()
    expected = dense_jacobian(encode, inputs, True).square().sum(dim=(1, 2))
    parameters = list(encode.parameters())
    for mine, theirs in zip(differentiated(norms, parameters), differentiated(expected, parameters), strict=True):
        assert_close(mine, theirs, **EXACT)


def test_layers_without_a_second_derivative_are_found_out_at_first_use():
    class OnceTanh(nn.Module):
        def forward(self, z):
            return torch.tanh(z)

        def derivative(self, z):
            return torch.cdist(z.flatten()[:, None], z.new_zeros(1, 1)).reshape(z.shape) * 0 + 1 - torch.tanh(z) ** 2

    encode, inputs = nn.Sequential(nn.Linear(6, 4), OnceTanh()).double(), vectors()
    expected = dense_jacobian(encode, inputs, True)
    parameters = list(encode.parameters())
    found = differentiated(jacobian(encode, inputs).dense(), parameters)
    for mine, theirs in zip(found, differentiated(expected, parameters), strict=True):
        assert_close(mine, theirs, **EXACT)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpointing_is_refused_in_one_sentence():
    encode = Checkpointed(True)
    for ask in ("squared_norm", "dense", "singular_values"):
        with pytest.raises(CaelabError, match=r"Checkpointed calls torch\.utils\.checkpoint with use_reentrant=True"):
            getattr(jacobian(encode, vectors()), ask)()


def test_an_operator_whose_backward_pass_fails_is_named():
    """torch.nn.functional.conv_tbc takes no gradient that is laid out otherwise."""

    def rolled(x, w):
        return nn.functional.conv_tbc(x.transpose(0, 1).contiguous(), w, x.new_zeros(4)).transpose(0, 1)

    encode = With(rolled, (2, 3, 4))
    for ask, inputs in (("squared_norm", numbers(3, 5, 3)), ("dense", numbers(1, 5, 3))):
        with pytest.raises(CaelabError, match="torch cannot take the derivative of ConvTbc, which With uses: view"):
            getattr(jacobian(encode, inputs), ask)()


def test_random_numbers_of_the_user_are_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    encode = With(lambda x, w: torch.tanh(x @ w), (6, 4))
    jacobian(encode, vectors()).squared_norm()
    jacobian(encode, vectors()).jvp(vectors())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", ["cdist", "cdist, p = 1"])
def test_the_remedy_for_a_distance_says_for_which_it_helps(name):
    encode, inputs = VALUES[name][0]()
    remedy = r"compute_mode='use_mm_for_euclid_dist' where p is 2, and for another p use torch\.linalg\.vector_norm\("
    with pytest.raises(CaelabError, match=remedy):
        jacobian(encode, inputs).squared_norm().sum().backward()
