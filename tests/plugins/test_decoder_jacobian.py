import numpy as np
import pytest
import torch

from caelab import jacobian
from caelab_regularizers.contractive import mean_squared_norm
from caelab_regularizers.decoder_jacobian import DecoderJacobian
from tests.plugins import references

ACTIVATIONS = ["sigmoid", "tanh", "softplus"]
SHAPES = [[4], [6, 3]]


def penalty(model, batch):
    return DecoderJacobian(weight=1.0).penalty_terms(model=model, code=model.encode(batch))["decoder-jacobian"]


def reference(model, batch):
    encode, decode = references.as_map(model.encode), references.as_map(model.decode)
    codes = np.stack([encode(vector) for vector in batch.numpy()])
    return references.mean_squared_jacobian_norm(decode, codes)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", SHAPES, ids=str)
@pytest.mark.parametrize("tied", [True, False])
def test_it_equals_complex_steps(trained, batch, activation, hidden, tied):
    model = trained(hidden, activation, tied)
    np.testing.assert_allclose(penalty(model, batch).item(), reference(model, batch), rtol=1e-11)


@pytest.mark.parametrize("hidden", SHAPES, ids=str)
@pytest.mark.parametrize("tied", [True, False])
def test_the_gradient_reaches_decoder_and_encoder_as_central_differences_say(trained, batch, hidden, tied):
    model = trained(hidden, "tanh", tied)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(penalty(model, batch), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        expected = references.parameter_gradient(lambda: reference(model, batch), parameter)
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-8)
        assert abs(expected).max() > 1e-4


def test_a_decoder_that_hides_its_layers_gets_the_same_value_and_gradient(trained, batch):
    model = trained([6, 3], tied=False)
    hidden = torch.nn.Module()
    hidden.encode, hidden.decode = model.encode, lambda code: model.decode(code)
    parameters = list(model.parameters())
    seen, unseen = penalty(model, batch), penalty(hidden, batch)
    torch.testing.assert_close(seen, unseen, rtol=1e-12, atol=0)
    gradients = (torch.autograd.grad(value, parameters) for value in (seen, unseen))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_it_is_taken_at_the_code_it_is_given(trained, batch):
    """That of the corrupted batch, where a plugin corrupts."""
    model = trained([4])
    code = model.encode(batch + 0.3)
    found = DecoderJacobian(weight=0.3).penalty_terms(model=model, code=code)["decoder-jacobian"]
    expected = references.mean_squared_jacobian_norm(references.as_map(model.decode), references.array(code))
    np.testing.assert_allclose(found.item(), 0.3 * expected, rtol=1e-11)


def test_wrong_formulas_would_be_noticed(trained, batch):
    model = trained([4], tied=False)
    right, code = penalty(model, batch), model.encode(batch)
    dense = jacobian(model.decode, code).dense()
    wrong = {
        "of the encoder": mean_squared_norm(jacobian(model.encode, batch)),
        "of the reconstruction": mean_squared_norm(jacobian(torch.nn.Sequential(model.encode, model.decode), batch)),
        "of the logits": mean_squared_norm(jacobian(model.decode[:-1], code)),
        "mean over entries": right / dense[0].numel(),
        "gradient of the summed output": dense.sum(dim=1).square().sum(dim=1).mean(),
        "half": right / 2,
    }
    for name, value in wrong.items():
        assert abs(value / right - 1) > 0.05, name


def test_a_detached_code_would_be_noticed(trained, batch):
    """With untied weights the encoder feels the penalty through the code alone."""
    model = trained([4], tied=False)
    (gradient,) = torch.autograd.grad(penalty(model, batch), model.encode[0].weight)
    assert gradient.abs().max() > 1e-4
