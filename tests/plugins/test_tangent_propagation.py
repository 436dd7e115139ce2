from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from caelab import CaelabError, jacobian
from caelab_regularizers.tangent_propagation import TangentPropagation, shifts, tangent_propagation
from tests.plugins import references

ACTIVATIONS = ["sigmoid", "tanh", "softplus", "relu", "identity"]
SHAPES = [[4], [6, 3]]
COUNT = 3


@pytest.fixture(autouse=True)
def every_function_is_allowed(monkeypatch):
    """As if each test had called caelab.allow_code; what is refused without it: test_code_of_configs."""
    monkeypatch.setattr("caelab.registry.importing.refuse_unasked", lambda target, kind: None)
    monkeypatch.setattr("caelab.registry.importing.refuse_elsewhere", lambda target, kind, steps: None)


@pytest.fixture
def tangents(batch):
    """Three of every example, neither of length 1 nor orthogonal, shape (batch, 3, 7)."""
    rng = np.random.default_rng(8)
    return torch.from_numpy(rng.normal(0.4, 1.0, (len(batch), COUNT, batch.shape[1])))


def reference(function, batch, tangents):
    total = 0.0
    for vector, own in zip(batch.numpy(), tangents.numpy(), strict=True):
        matrix = references.jacobian(function, vector)
        for tangent in own:
            total += sum(entry**2 for entry in matrix @ tangent)
    return total / len(batch)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", SHAPES, ids=str)
def test_it_equals_complex_steps(trained, batch, tangents, activation, hidden):
    encode = trained(hidden, activation).encode
    expected = reference(references.as_map(encode), batch, tangents)
    for way in (encode, lambda inputs: encode(inputs)):
        np.testing.assert_allclose(tangent_propagation(way, batch, tangents).item(), expected, rtol=1e-11)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", SHAPES, ids=str)
def test_the_gradient_equals_central_differences(trained, batch, tangents, activation, hidden):
    encode = trained(hidden, activation).encode
    parameters = list(encode.parameters())
    for way in (encode, lambda inputs: encode(inputs)):
        penalty = tangent_propagation(way, batch, tangents)
        found = torch.autograd.grad(penalty, parameters, allow_unused=True, materialize_grads=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            expected = references.parameter_gradient(
                lambda: reference(references.as_map(encode), batch, tangents), parameter
            )
            np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-8)


def test_a_classifiers_outputs_may_be_given(trained, batch, tangents):
    """Logits, as in the manifold tangent classifier."""
    classifier = nn.Sequential(*trained([4]).encode, nn.Linear(4, 3, dtype=torch.float64))
    expected = reference(references.as_map(classifier), batch, tangents)
    np.testing.assert_allclose(tangent_propagation(classifier, batch, tangents).item(), expected, rtol=1e-11)


def test_it_is_what_a_small_step_along_each_tangent_changes(trained, batch, tangents):
    encode = trained([6, 3]).encode
    steps = (encode(batch[:, None] + 1e-6 * tangents) - encode(batch)[:, None]) / 1e-6
    expected = steps.square().sum(dim=(1, 2)).mean()
    torch.testing.assert_close(tangent_propagation(encode, batch, tangents), expected, rtol=1e-5, atol=0)


def test_all_axes_together_are_the_contractive_penalty(trained, batch):
    encode = trained([6, 3]).encode
    axes = torch.eye(7, dtype=batch.dtype).expand(len(batch), 7, 7)
    expected = jacobian(encode, batch).squared_norm().mean()
    torch.testing.assert_close(tangent_propagation(encode, batch, axes), expected, rtol=1e-12, atol=0)


def test_images_have_tangents_of_their_shape(batch, tangents):
    linear = nn.Linear(6, 2, dtype=torch.float64)
    images, moves = batch[:, :6].reshape(-1, 2, 3), tangents[..., :6].reshape(-1, COUNT, 2, 3)
    expected = reference(references.as_map(linear), batch[:, :6], tangents[..., :6])
    found = tangent_propagation(nn.Sequential(nn.Flatten(), linear), images, moves)
    np.testing.assert_allclose(found.item(), expected, rtol=1e-12)


def test_wrong_formulas_would_be_noticed(trained, batch, tangents):
    encode = trained([4]).encode
    right = tangent_propagation(encode, batch, tangents)
    moved = jacobian(encode, batch).dense() @ tangents.mT  # (batch, code, count)
    lengths = tangents.norm(dim=2)[:, None]
    wrong = {
        "mean over tangents": right / COUNT,
        "mean over outputs": right / 4,
        "tangents normalised": (moved / lengths).square().sum(dim=(1, 2)).mean(),
        "tangents added up": moved.sum(dim=2).square().sum(dim=1).mean(),
        "outputs added up": moved.sum(dim=1).square().sum(dim=1).mean(),
        "another example's tangents": tangent_propagation(encode, batch, tangents.roll(1, dims=0)),
        "norm, not squared": moved.square().sum(dim=1).sqrt().sum(dim=1).mean(),
    }
    for name, value in wrong.items():
        assert abs(value / right - 1) > 0.02, name


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 7), (5, 3, 6), (3, 5, 7), (5, 1, 3, 7)], ids=str)
def test_tangents_of_another_shape_are_refused(trained, batch, shape):
    with pytest.raises(CaelabError, match=r"tangents of shape \(5, count, 7\), .*but .* came"):
        tangent_propagation(trained([4]).encode, batch, torch.ones(shape, dtype=torch.float64))


def test_shifts_are_the_gradient_of_an_image():
    images = torch.rand(4, 30, 30, dtype=torch.float64)
    found = shifts(images.flatten(1)).reshape(4, 2, 30, 30)
    assert torch.equal(found.flatten(2), shifts(images).flatten(2))
    for image, own in zip(images.numpy(), found.numpy(), strict=True):
        for axis in (0, 1):
            np.testing.assert_allclose(own[axis], np.gradient(image, axis=axis), atol=1e-15)


def test_shifts_are_the_derivative_of_a_moved_image():
    """The image cos(r/3) sin(c/4), moved along its rows and columns."""
    r, c = np.meshgrid(np.arange(20.0), np.arange(20.0), indexing="ij")
    image = torch.from_numpy(np.cos(r / 3) * np.sin(c / 4)).reshape(1, 400)
    found = shifts(image).reshape(2, 20, 20)[:, 1:-1, 1:-1].numpy()
    expected = np.stack([-np.sin(r / 3) * np.sin(c / 4) / 3, np.cos(r / 3) * np.cos(c / 4) / 4])[:, 1:-1, 1:-1]
    np.testing.assert_allclose(found, expected, atol=0.01)  # central differences, h² / 6 · (1/3)³ at most
    assert abs(found).max() > 0.2


def test_shifts_refuse_a_flat_image_that_is_not_square():
    with pytest.raises(CaelabError, match="square, but 12 inputs came"):
        shifts(torch.rand(2, 12))


@pytest.fixture
def function_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\n\n\ndef doubled(x):\n    return torch.stack([x, 2 * x], dim=1).double()\n\n\nten = 10\n"
    )
    return path


def test_the_plugin_asks_the_function_for_the_tangents_of_the_batch(trained, batch, function_file):
    model = trained([4])
    plugin = TangentPropagation(weight=0.3, tangents=f"{function_file}:doubled")
    terms = plugin.penalty_terms(model=model, clean=batch)
    assert terms.keys() == {"tangent-propagation"}
    expected = reference(references.as_map(model.encode), batch, torch.stack([batch, 2 * batch], dim=1))
    np.testing.assert_allclose(terms["tangent-propagation"].item(), 0.3 * expected, rtol=1e-11)
    single = plugin.penalty_terms(model=model.float(), clean=batch.float())
    assert single["tangent-propagation"].dtype == torch.float32


def test_the_plugin_penalises_the_code_and_nothing_else(trained, batch):
    """As the page and the docstring say: the decoder is not asked."""
    model = trained([4], tied=False)
    plugin = TangentPropagation(weight=1.0, tangents="caelab_regularizers.tangent_propagation:shifts")
    plugin.tangents_of = lambda inputs: inputs[:, None]
    term = plugin.penalty_terms(model=model, clean=batch)["tangent-propagation"]
    found = torch.autograd.grad(term, list(model.parameters()), allow_unused=True)
    names = {name for (name, _), gradient in zip(model.named_parameters(), found, strict=True) if gradient is not None}
    assert names == {name for name, _ in model.named_parameters() if name.startswith("encode.")}
    assert "encoder's code" in TangentPropagation.__doc__
    page = Path(__file__).parents[2] / "docs" / "theory" / "tangent-propagation.md"
    assert "it penalises how the **code** changes, and nothing else" in page.read_text()
    assert "tangent_propagation(classifier, inputs, " in page.read_text()


def test_the_tangents_are_not_trained(trained, batch):
    """A function that looks at the model itself gives directions, not gradients."""
    model = trained([4])
    weight = model.encode[0].weight
    plugin = TangentPropagation(weight=1.0, tangents="caelab_regularizers.tangent_propagation:shifts")
    plugin.tangents_of = lambda inputs: model(inputs)[:, None]
    penalties = [
        plugin.penalty_terms(model=model, clean=batch)["tangent-propagation"],
        tangent_propagation(model.encode, batch, model(batch)[:, None].detach()),
    ]
    found, expected = (torch.autograd.grad(penalty, weight)[0] for penalty in penalties)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("shifts", "package.module:NAME or FILE.py:NAME for the function of tangents, but 'shifts' came"),
        ("no_such_module:f", "no_such_module cannot be imported: ModuleNotFoundError"),
        ("no/such/file.py:f", "no Python file at no/such/file.py"),
        (
            "caelab_regularizers.tangent_propagation:shift",
            "unknown function of tangents of .* 'shift'; did you mean 'shifts'",
        ),
        ("{file}:ten", "unknown function of tangents of .* 'ten'"),
        ("{file}:nine", "unknown function of tangents of .* 'nine'"),
    ],
)
def test_a_function_that_is_not_there_is_refused(target, message, function_file):
    with pytest.raises(CaelabError, match=message):
        TangentPropagation(weight=1.0, tangents=target.format(file=function_file))


def test_something_that_is_no_tensor_is_refused(trained, batch):
    plugin = TangentPropagation(weight=1.0, tangents="builtins:len")
    with pytest.raises(CaelabError, match="returned int"):
        plugin.penalty_terms(model=trained([4]), clean=batch)
