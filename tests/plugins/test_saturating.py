import numpy as np
import pytest
import torch
from torch import nn

from caelab import CaelabError
from caelab.models.convolutional import convolutional
from caelab_regularizers.saturating import Saturating, complement_of, mean_distance_to_saturation
from tests.plugins import references

SHAPES = [[4], [6, 3]]
GRID = np.linspace(-12, 12, 240_001)  # where an activation is looked at for flat places, 0.0001 apart
PIECEWISE = {
    "relu": (nn.ReLU(), lambda z: np.maximum(z, 0)),
    "relu6": (nn.ReLU6(), lambda z: np.clip(z, 0, 6)),
    "saturated linear": (nn.Hardtanh(), lambda z: np.clip(z, -1, 1)),
    "shifted": (nn.Hardtanh(-0.3, 1.7), lambda z: np.clip(z, -0.3, 1.7)),
    "shrink": (nn.Softshrink(0.4), lambda z: np.sign(z) * np.maximum(abs(z) - 0.4, 0)),
}


def penalty(model, batch):
    code = model.encode(batch)
    return mean_distance_to_saturation(code, complement_of(model.encode, code))


def flat_points(function):
    """The z' of a grid around which the function does not change."""
    return GRID[1:-1][function(GRID[2:]) == function(GRID[:-2])]


def slope(function, z):
    return references.jacobian(function, np.array([z]))[0, 0]


def reference(model, batch, complement):
    """Sums s_c over the pre-activations of the last layer, in numpy."""
    before_activation, total = references.as_map(model.encode[:-1]), 0.0
    for vector in batch.numpy():
        for z in before_activation(vector):
            total += complement(z)
    return total / len(batch)


SLOPES = {
    "sigmoid": lambda z: slope(references.ACTIVATIONS[nn.Sigmoid], z),
    "tanh": lambda z: slope(references.ACTIVATIONS[nn.Tanh], z),
    "relu": lambda z: z if z > 0 else 0.0,
}


@pytest.mark.parametrize("activation", SLOPES)
@pytest.mark.parametrize("hidden", SHAPES, ids=str)
@pytest.mark.parametrize("tied", [True, False])
def test_it_equals_the_sum_over_pre_activations(trained, batch, activation, hidden, tied):
    model = trained(hidden, activation, tied)
    np.testing.assert_allclose(
        penalty(model, batch).item(), reference(model, batch, SLOPES[activation]), rtol=1e-11, atol=1e-300
    )


@pytest.mark.parametrize("activation", SLOPES)
@pytest.mark.parametrize("hidden", SHAPES, ids=str)
def test_the_gradient_equals_central_differences(trained, batch, activation, hidden):
    model = trained(hidden, activation)
    parameters = list(model.encode.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(penalty(model, batch), parameters), strict=True):
        expected = references.parameter_gradient(lambda: reference(model, batch, SLOPES[activation]), parameter)
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("module", "function"), PIECEWISE.values(), ids=PIECEWISE)
def test_the_complement_of_a_piecewise_linear_activation_is_the_distance(module, function):
    points = torch.linspace(-7.3, 8.1, 57, dtype=torch.float64)[:, None]
    found = complement_of(module, module(points))(module(points))
    flat = flat_points(function)
    expected = [abs(flat - z).min() for z in points.numpy().ravel()]  # inf |z - z'|
    np.testing.assert_allclose(found.numpy().ravel(), expected, atol=3e-4)  # the grid's step and its neighbours
    assert found.max() > 0.5


@pytest.mark.parametrize("module", [nn.Sigmoid(), nn.Tanh(), *(module for module, _ in PIECEWISE.values())], ids=str)
def test_in_saturation_it_is_zero_with_a_gradient_of_zero(module):
    points = torch.tensor([[-50.0], [0.1 if isinstance(module, nn.Softshrink) else -60.0]], requires_grad=True)
    code = module(points if not isinstance(module, nn.Softshrink) else points / 500)
    value = mean_distance_to_saturation(code, complement_of(module, code))
    (gradient,) = torch.autograd.grad(value, points)
    assert value < 1e-20
    assert gradient.abs().max() < 1e-20


class Functional(nn.Module):
    """An encoder that calls its activation as a function, and reshapes behind it."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(7, 4, dtype=torch.float64), function

    def forward(self, inputs):
        return self.function(self.layer(inputs)).reshape(-1, 2, 2).clone()


@pytest.mark.parametrize(
    ("function", "module"),
    [
        (torch.sigmoid, nn.Sigmoid()),
        (torch.tanh, nn.Tanh()),
        (torch.relu, nn.ReLU()),
        (nn.functional.softshrink, nn.Softshrink()),
    ],
    ids=lambda thing: str(getattr(thing, "__name__", "")),
)
def test_an_activation_without_a_module_is_seen_in_autograds_record(batch, function, module):
    encode = Functional(function)
    for hidden in (encode, encode.forward):
        code = hidden(batch)
        found = mean_distance_to_saturation(code, complement_of(hidden, code))
        plain = nn.Sequential(encode.layer, module)
        expected = mean_distance_to_saturation(code, complement_of(plain, plain(batch)))
        torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)


def test_reshaping_behind_the_activation_is_looked_through(batch):
    encode = nn.Sequential(nn.Linear(7, 4), nn.Tanh(), nn.Unflatten(1, (2, 2)), nn.Flatten()).double()
    code = encode(batch)
    torch.testing.assert_close(complement_of(encode, code)(code), 1 - code.square())


REFUSED = [nn.Identity(), nn.Softplus(), nn.LeakyReLU(), nn.ELU(), nn.GELU()]


@pytest.mark.parametrize("last", REFUSED, ids=str)
def test_an_encoder_without_a_flat_region_is_refused(batch, last):
    model = nn.Module()
    model.encode = nn.Sequential(nn.Linear(7, 4), nn.Sigmoid(), nn.Linear(4, 3), last).double()
    message = f"ends in an activation with a flat region, but it ends in {type(last).__name__}"
    with pytest.raises(CaelabError, match=message):
        Saturating(weight=1.0).before_training(model=model)
    with pytest.raises(CaelabError, match=message):
        Saturating(weight=1.0).penalty_terms(model=model, code=model.encode(batch))


def test_an_encoder_without_activation_is_refused(batch):
    model = nn.Module()
    model.encode = nn.Sequential(nn.Linear(7, 4), nn.Sigmoid(), nn.Linear(4, 3)).double()
    with pytest.raises(CaelabError, match="but it ends in Linear"):
        Saturating(weight=1.0).before_training(model=model)
    with pytest.raises(CaelabError, match="an activation that cannot be seen"):
        complement_of(model.encode.forward, model.encode(batch))


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_convolutions_are_welcome(activation):
    model = convolutional(64, (8, 8), activation=activation)
    Saturating(weight=1.0).before_training(model=model)
    assert Saturating(weight=1.0).penalty_terms(model=model, code=model.encode(torch.rand(3, 64)))["saturating"] > 0


def test_wrong_formulas_would_be_noticed(trained, batch):
    model = trained([4])
    code = model.encode(batch)
    right, slopes = penalty(model, batch), code * (1 - code)
    wrong = {
        "squared slopes": slopes.square().sum(dim=1).mean(),
        "the code itself": code.sum(dim=1).mean(),
        "distance to the nearer end": torch.minimum(code, 1 - code).sum(dim=1).mean(),
        "the slope of tanh": (1 - code.square()).sum(dim=1).mean(),
        "the contractive penalty": (slopes.square() @ model.encode[0].weight.square().sum(dim=1)).mean(),
        "mean over the units": right / 4,
        "sum over the examples": right * len(batch),
    }
    for name, value in wrong.items():
        assert abs(value / right - 1) > 0.05, name


def test_the_plugin_weighs_the_penalty(trained, batch):
    model = trained([4])
    terms = Saturating(weight=0.3).penalty_terms(model=model, code=model.encode(batch))
    assert terms.keys() == {"saturating"}
    np.testing.assert_allclose(terms["saturating"].item(), 0.3 * reference(model, batch, SLOPES["sigmoid"]), rtol=1e-12)
