"""All ways of computing one thing, against each other and against brute force in float64."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import caelab
from caelab.jacobian import chain
from caelab.jacobian.chain_costs import routes
from caelab.jacobian.chain_products import squared_norm_by
from caelab.jacobian.layers import Affine, chain_of, find_layers
from caelab.jacobian.service import jacobian
from tests.core.jacobian import references
from tests.core.jacobian.conftest import SHAPES, make_case

EXACT = {"rtol": 1e-11, "atol": 1e-13}  # float64 rounding
WEIGHTS = torch.tensor([0.3, 1.0, -0.5, 2.0], dtype=torch.float64)  # an incoming gradient that differs by example


def test_the_reference_agrees_with_differences_of_values(case, activation):
    if activation != "relu":  # whose kinks a difference may straddle
        assert_close(case.dense, references.by_differences(case.encode, case.inputs), rtol=1e-8, atol=1e-9)


def test_the_method_is_the_cheapest_one(case, shape):
    layers = "closed form" if len(SHAPES[shape]) == 1 else "layer by layer"
    assert caelab.jacobian(case.encode, case.inputs).method.startswith(layers)
    assert caelab.jacobian(case.hidden(), case.inputs).method == "autodiff"


def test_squared_norm(case):
    expected = case.dense.square().sum(dim=(1, 2))
    assert_close(jacobian(case.encode, case.inputs).squared_norm(), expected, **EXACT)
    assert_close(jacobian(case.encode, case.inputs, case.encode(case.inputs)).squared_norm(), expected, **EXACT)
    assert_close(jacobian(case.hidden(), case.inputs).squared_norm(), expected, **EXACT)
    with torch.no_grad():
        assert_close(jacobian(case.encode, case.inputs).squared_norm(), expected, **EXACT)


def penalty(encode, inputs, **known):
    return (jacobian(encode, inputs, **known).squared_norm() * WEIGHTS).sum()


def test_gradient_of_the_squared_norm(case):
    parameters = list(case.encode.parameters())

    def brute_force():
        dense = references.dense_jacobian(case.encode, case.inputs)
        return float((dense.square().sum(dim=(1, 2)) * WEIGHTS).sum())

    expected = references.parameter_gradients(brute_force, parameters)
    ways = {
        "looked into": penalty(case.encode, case.inputs),
        "outputs known": penalty(case.encode, case.inputs, outputs=case.encode(case.inputs)),
        "autodiff": penalty(case.hidden(), case.inputs),
    }
    for way, value in ways.items():
        found = torch.autograd.grad(value, parameters, materialize_grads=True)
        for mine, theirs in zip(found, expected, strict=True):
            assert_close(mine, theirs, rtol=2e-6, atol=2e-7, msg=lambda text, way=way: f"{way}: {text}")


def test_gradient_of_the_gradient(case):
    """``create_graph=True`` through the hand-written gradient, against autograd's own way."""
    parameters = list(case.encode.parameters())
    direction = [torch.randn_like(p) for p in parameters]

    def curvature(encode):
        first = torch.autograd.grad(penalty(encode, case.inputs), parameters, create_graph=True, materialize_grads=True)
        value = sum((g * d).sum() for g, d in zip(first, direction, strict=True))
        return torch.autograd.grad(value, parameters, materialize_grads=True) if value.requires_grad else None

    mine, theirs = curvature(case.encode), curvature(case.hidden())
    for one, other in zip(mine or [], theirs or [], strict=True):
        assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_gradient_by_the_inputs(case):
    """Where the inputs ask for a gradient they get one, as in a search for points of low contraction."""
    found = []
    for encode in (case.encode, case.hidden()):
        inputs = case.inputs.clone().requires_grad_()
        found += torch.autograd.grad(penalty(encode, inputs), inputs, materialize_grads=True)
    assert_close(found[0], found[1], rtol=1e-9, atol=1e-11)


def test_dense_and_products(case):
    torch.manual_seed(1)
    vectors = torch.randn(len(case.inputs), 3, case.dense.shape[2], dtype=torch.float64)
    covectors = torch.randn(len(case.inputs), 3, case.dense.shape[1], dtype=torch.float64)
    for encode in (case.encode, case.hidden()):
        j = jacobian(encode, case.inputs)
        assert_close(j.dense().detach(), case.dense, **EXACT)
        assert_close(j.jvp(vectors).detach(), vectors @ case.dense.mT, **EXACT)
        assert_close(j.vjp(covectors).detach(), covectors @ case.dense, **EXACT)
        assert_close(j.jvp(vectors[:, 0]).detach(), (case.dense @ vectors[:, 0, :, None])[..., 0], **EXACT)
        assert_close(j.vjp(covectors[:, 0]).detach(), (covectors[:, :1] @ case.dense)[:, 0], **EXACT)
        assert j.shape == case.dense.shape[1:]


def test_every_route_through_a_chain_gives_the_same_norm(case):
    layers = find_layers(case.encode, case.inputs.shape[1:])
    if len(layers) == 1:
        return
    parameters = list(case.encode.parameters())
    exact = penalty(case.hidden(), case.inputs)
    gradient = torch.autograd.grad(exact, parameters, materialize_grads=True)
    found = chain.Chain(layers, case.inputs)
    for route in routes(found.widths, layers[-1].is_affine):
        norms = squared_norm_by(route, layers, found.slopes())
        assert_close(norms.detach(), case.dense.square().sum(dim=(1, 2)), **EXACT)
        mine = torch.autograd.grad((norms * WEIGHTS).sum(), parameters, materialize_grads=True)
        for one, other in zip(mine, gradient, strict=True):
            assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda dense: dense.square().mean(dim=(1, 2)),
        lambda dense: dense.sum(dim=1).square().sum(dim=1),
        lambda dense: dense.square().sum(dim=(1, 2)) / 2,
        lambda dense: dense.sum(dim=2).square().sum(dim=1),
    ],
    ids=["mean over entries", "gradient of the summed code", "factor one half", "squared row sums"],
)
def test_wrong_formulas_would_be_noticed(wrong):
    case = make_case("one layer", "sigmoid")
    right = jacobian(case.encode, case.inputs).squared_norm()
    assert ((wrong(case.dense) / right - 1).abs() > 0.1).all()


def test_the_sigmoid_formula_is_not_used_for_others():
    case = make_case("one layer", "tanh")
    h = case.encode(case.inputs)
    sigmoid_formula = (h * (1 - h)).square() @ case.encode[0].weight.square().sum(dim=1)
    assert not torch.allclose(jacobian(case.encode, case.inputs).squared_norm(), sigmoid_formula, rtol=0.1)


class TestLookingInside:
    def test_nested_containers_dropout_that_is_off_and_a_leading_flattening(self):
        inner = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5))
        encode = nn.Sequential(nn.Flatten(), inner, nn.Tanh(), nn.Linear(4, 3)).double().eval()
        images = torch.rand(5, 2, 3, dtype=torch.float64)
        j = jacobian(encode, images)
        assert j.method == "layer by layer (tanh, identity)"
        assert_close(j.dense().detach(), references.dense_jacobian(encode, images), **EXACT)
        assert j.tangents(2)[1].shape == (5, 2, 2, 3)
        assert j.vjp(torch.ones(5, 3, dtype=torch.float64)).shape == (5, 2, 3)

    def test_elementwise_steps_in_a_row_are_composed(self):
        encode = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Softplus(beta=2), nn.Sigmoid()).double()
        inputs = torch.rand(5, 6, dtype=torch.float64)
        j = jacobian(encode, inputs)
        assert j.method.startswith("closed form")
        assert_close(j.dense().detach(), references.dense_jacobian(encode, inputs), **EXACT)
        value, reference = j.squared_norm().sum(), jacobian(lambda x: encode(x), inputs).squared_norm().sum()
        parameters = list(encode.parameters())
        pairs = zip(torch.autograd.grad(value, parameters), torch.autograd.grad(reference, parameters), strict=True)
        for mine, theirs in pairs:
            assert_close(mine, theirs, rtol=1e-10, atol=1e-12)

    def test_a_subclass_with_its_own_forward_is_not_looked_into(self):
        class Doubled(nn.Linear):
            def forward(self, x):
                return 2 * super().forward(x)

        encode = nn.Sequential(Doubled(6, 3), nn.Sigmoid()).double()
        inputs = torch.rand(5, 6, dtype=torch.float64)
        assert chain_of(encode) is None
        assert_close(jacobian(encode, inputs).dense().detach(), references.dense_jacobian(encode, inputs), **EXACT)

    def test_a_hooked_module_is_not_looked_into(self):
        encode = nn.Sequential(nn.Linear(6, 3), nn.Sigmoid()).double()
        encode[0].register_forward_hook(lambda module, args, output: 2 * output)
        inputs = torch.rand(5, 6, dtype=torch.float64)
        assert_close(jacobian(encode, inputs).dense().detach(), references.dense_jacobian(encode, inputs), **EXACT)

    def test_parametrized_layers(self):
        layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(6, 3))
        encode = nn.Sequential(layer, nn.Sigmoid()).double()
        inputs = torch.rand(5, 6, dtype=torch.float64)
        value = jacobian(encode, inputs).squared_norm().sum()
        reference = jacobian(lambda x: encode(x), inputs).squared_norm().sum()
        parameters = list(encode.parameters())
        for mine, theirs in zip(
            torch.autograd.grad(value, parameters), torch.autograd.grad(reference, parameters), strict=True
        ):
            assert_close(mine, theirs, rtol=1e-10, atol=1e-12)

    def test_adjacent_affine_layers(self):
        steps = chain_of(nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 2)))
        assert [type(step) for step in steps] == [Affine, Affine]
        assert [
            layer.activation.name for layer in find_layers(nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 2)), (6,))
        ] == [
            "identity",
            "identity",
        ]


def test_a_linear_encoder_has_its_weight_for_jacobian():
    encode = nn.Linear(6, 3).double()
    found = jacobian(encode, torch.rand(5, 6, dtype=torch.float64)).squared_norm()
    assert_close(found, encode.weight.square().sum().expand(5), **EXACT)


@pytest.mark.parametrize("activation", ["Sigmoid", "ReLU"])
def test_convolutions(activation):
    torch.manual_seed(3)
    act = getattr(nn, activation)
    encode = nn.Sequential(
        nn.Conv2d(1, 3, 4, stride=2, padding=1), act(), nn.Conv2d(3, 4, 4, stride=2, padding=1), act()
    ).double()
    images = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    j = jacobian(encode, images)
    expected = references.dense_jacobian(encode, images)
    assert j.method == "autodiff"
    assert_close(j.dense().detach(), expected, **EXACT)
    assert_close(j.squared_norm().detach(), expected.square().sum(dim=(1, 2)), **EXACT)
    assert j.tangents(2)[1].shape == (3, 2, 1, 8, 8)
    (mine,) = torch.autograd.grad(j.squared_norm().sum(), encode[0].weight)
    reference = torch.func.vmap(torch.func.jacrev(lambda x: encode(x[None])[0]))
    (theirs,) = torch.autograd.grad(reference(images).square().sum(), encode[0].weight)
    assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_it_is_asked_through_the_package_as_promised():
    encode = nn.Linear(6, 3)
    from caelab import jacobian as promised

    assert promised(encode, torch.rand(2, 6)).squared_norm().shape == (2,)
    assert caelab.jacobian(encode, torch.rand(2, 6)).squared_norm().shape == (2,)


def test_nothing_is_computed_before_it_is_asked():
    def explode(inputs):
        raise AssertionError

    assert repr(jacobian(explode, torch.rand(2, 6))) == "Jacobian of explode at (2, 6)"
