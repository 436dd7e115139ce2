"""Every strategy of computing a Jacobian answers the same questions, and what is seen of a map is a public answer."""

import ast
from inspect import getmembers, isfunction, signature
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from caelab.jacobian import examined_map, service
from caelab.jacobian.autodiff import Autodiff
from caelab.jacobian.chain import Chain
from caelab.jacobian.service import jacobian
from caelab.jacobian.single_layer import SingleLayer
from caelab.jacobian.strategy import Strategy
from caelab.jacobian.transformed import Transformed
from tests.core.jacobian import references
from tests.core.jacobian.conftest import make_case

BUDGET = 2**30
STRATEGIES = [SingleLayer, Chain, Autodiff, Transformed]
SHAPE_OF = {SingleLayer: "one layer", Chain: "three layers", Autodiff: "three layers", Transformed: "wide code"}


@pytest.fixture(params=STRATEGIES, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


@pytest.fixture
def case(kind):
    return make_case(SHAPE_OF[kind], "tanh")


@pytest.fixture
def strategy(kind, case):
    if kind is Transformed:
        return Transformed(case.encode, case.inputs)
    return jacobian(case.hidden() if kind is Autodiff else case.encode, case.inputs).strategy


def test_the_strategy_is_the_one_that_fits(strategy, kind):
    assert type(strategy) is kind


def test_it_has_every_member_of_the_protocol_with_the_same_arguments(kind):
    members = {name: member for name, member in vars(Strategy).items() if not name.startswith("_")}
    assert len(members) > 10
    for name, member in members.items():
        mine = getattr(kind, name, None)
        if isinstance(member, property):
            assert isinstance(mine, property) or name in kind.__dataclass_fields__, name
        else:
            assert [*signature(mine).parameters] == [*signature(member).parameters], name
    public = {name for name, _ in getmembers(kind, isfunction) if not name.startswith("_")}
    own = {"rows", "products", "parameters_want_gradient", "route"}  # what Autodiff tries out, and Chain predicts
    assert public - set(members) <= own


def test_its_answers_are_those_of_the_explicit_matrix(strategy, case):
    dense, count = case.dense, 3
    code, width = dense.shape[1:]
    v, u = torch.rand(4, 2, width, dtype=torch.float64), torch.rand(4, 2, code, dtype=torch.float64)
    assert strategy.shape == (code, width)
    assert_close(strategy.dense(BUDGET), dense)
    assert_close(strategy.squared_norm(BUDGET), dense.square().sum(dim=(1, 2)))
    assert_close(strategy.jvp(v), v @ dense.mT)
    assert_close(strategy.jvp(v[:, 0]), (v @ dense.mT)[:, 0])
    assert_close(strategy.vjp(u), u @ dense)
    assert_close(strategy.vjp(u[:, 0]), (u @ dense)[:, 0])
    exact = torch.linalg.svdvals(dense)[:, :count]
    for method in ("gram", "svd"):
        assert_close(strategy.singular_values(count, method, BUDGET, False), exact, rtol=1e-6, atol=1e-7)
    values, directions = strategy.tangents(count, "exact", BUDGET)
    assert_close(values, exact, rtol=1e-6, atol=1e-7)
    assert_close((dense @ directions.mT).norm(dim=1), exact, rtol=1e-6, atol=1e-7)
    elsewhere = strategy.at(case.inputs[1:3] + 1, slice(1, 3))
    assert_close(elsewhere.dense(BUDGET), references.dense_jacobian(case.encode, case.inputs[1:3] + 1))


def test_singular_values_have_a_gradient_on_demand(strategy, case):
    plain = torch.linalg.svdvals(torch.func.vmap(torch.func.jacrev(case.encode))(case.inputs))[:, :2].sum()
    found = strategy.singular_values(2, "gram", BUDGET, True).sum()
    weights = [each.weight for each in case.encode[::2]]
    pairs = zip(*(torch.autograd.grad(value, weights) for value in (found, plain)), strict=True)
    for mine, theirs in pairs:
        assert_close(mine, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("module", [service, examined_map])
def test_the_service_does_not_ask_which_strategy_it_has(module):
    tree = ast.parse(Path(module.__file__).read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & {kind.__name__ for kind in STRATEGIES}
    checked = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance"]
    assert [ast.unparse(call.args[1]) for call in checked if ast.unparse(call.args[1]) != "Recording"] == []


@pytest.mark.parametrize("samples", [None, "known"])
def test_a_single_layer_is_a_public_answer(samples):
    case = make_case("one layer", "sigmoid")
    j = jacobian(case.encode, case.inputs, case.encode(case.inputs) if samples else None)
    layer = j.single_layer
    z = case.inputs @ case.encode[0].weight.T + case.encode[0].bias
    assert layer.weight is case.encode[0].weight
    assert layer.bias is case.encode[0].bias
    assert layer.activation.name == "sigmoid"
    assert_close(layer(case.inputs), torch.sigmoid(z))
    s = torch.sigmoid(z)
    assert_close(j.slopes()[0], s * (1 - s))
    assert_close(layer.slopes(case.inputs), s * (1 - s))
    assert_close(j.slopes()[0][:, :, None] * layer.weight, case.dense)


def test_the_layers_of_a_chain_give_its_jacobian():
    case = make_case("three layers", "softplus")
    j = jacobian(case.encode, case.inputs)
    assert j.single_layer is None
    product = torch.eye(case.inputs.shape[1], dtype=torch.float64)
    for layer, slope in zip(j.layers, j.slopes(), strict=True):
        product = slope[:, :, None] * (layer.weight @ product)
    assert_close(product, case.dense)


def wrong():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    return nn.Sequential(Doubled(6, 3), nn.Tanh())


@pytest.mark.parametrize("encode", [lambda x: x.tanh(), nn.Sequential(nn.Linear(6, 3), nn.LayerNorm(3)), wrong()])
def test_any_other_map_has_no_layers(encode):
    j = jacobian(encode, torch.rand(4, 6))
    assert (j.layers, j.single_layer, j.slopes()) == ((), None, [])


def test_layers_are_looked_at_again_when_a_module_was_switched():
    encode = nn.Sequential(nn.Linear(6, 3), nn.Tanh())
    j = jacobian(encode, torch.rand(4, 6))
    assert j.single_layer.activation.name == "tanh"
    encode[1] = nn.Sigmoid()
    assert j.single_layer.activation.name == "sigmoid"
    encode[0].register_forward_hook(lambda module, given, code: 2 * code)
    assert j.single_layer is None


def test_the_function_is_what_is_differentiated():
    noise = torch.rand(4, 1)
    j = jacobian(lambda x, noise: x.tanh() * noise, torch.rand(4, 6), context=noise)
    assert_close(j.function(j.inputs), j.inputs.tanh() * noise)
    one_unit = jacobian(lambda x: x.sum(dim=1), torch.rand(4, 6))
    assert one_unit.function(one_unit.inputs).shape == (4, 1)
