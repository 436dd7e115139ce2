"""The hand-written objective of the tied one-layer model, against autograd and against the composed path."""

import pytest
import torch
from torch.testing import assert_close

from caelab import hookimpl, train
from caelab.models.autoencoder import autoencoder
from caelab.training import objective
from caelab.training.fused import TiedObjective, composed, tied_layer

GIVEN = ["error", "norm", "code", "reconstruction"]


def parameters(code=5, inputs=7):
    """Correlated rows and biases off zero, in float64."""
    torch.manual_seed(4)
    weight = torch.randn(code, inputs, dtype=torch.float64) + torch.randn(inputs, dtype=torch.float64)
    bias, visible_bias = torch.randn(code, dtype=torch.float64), torch.randn(inputs, dtype=torch.float64)
    return [p.requires_grad_() for p in (weight, bias, visible_bias)]


def weighted(outputs, which):
    """A scalar of some of the outputs, with a weight of its own for every entry."""
    generator = torch.Generator().manual_seed(9)
    weights = [torch.randn(o.shape, generator=generator, dtype=torch.float64) for o in outputs]
    return sum((o * w).sum() for name, o, w in zip(GIVEN, outputs, weights, strict=True) if name in which)


def batch():
    return torch.rand(6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "which", [["error"], ["error", "norm"], ["norm"], ["code"], ["reconstruction"], GIVEN], ids="+".join
)
def test_values_and_gradients_equal_autograd(which):
    given = parameters()
    for mine, theirs in zip(TiedObjective.apply(batch(), *given), composed(batch(), *given), strict=True):
        assert_close(mine, theirs, rtol=1e-13, atol=1e-14)
    found, expected = (
        torch.autograd.grad(weighted(path(batch(), *given), which), given, materialize_grads=True)
        for path in (TiedObjective.apply, composed)
    )
    for mine, theirs in zip(found, expected, strict=True):
        assert_close(mine, theirs, rtol=1e-11, atol=1e-12)


def test_a_gradient_of_the_gradient_and_one_by_the_data():
    given = parameters()
    assert torch.autograd.gradgradcheck(lambda *p: TiedObjective.apply(batch(), *p), given)
    assert torch.autograd.gradcheck(lambda x: TiedObjective.apply(x, *given), [batch().requires_grad_()])


MIXES = {
    "ae": [],
    "cae": [],
    "sparse-ae": ["contractive.weight=0.3"],
    "ae-wd": ["contractive.weight=0.3", "sparse-l1.weight=0.01"],
}


@pytest.mark.parametrize("recipe", MIXES)
def test_training_ends_where_the_composed_path_ends(recipe, small, monkeypatch):
    config = small(recipe, *MIXES[recipe])
    fused = train(config).model.state_dict()
    monkeypatch.setattr(objective, "tied_layer", lambda model, kind: None)
    plain = train(config).model.state_dict()
    for name, value in fused.items():
        assert_close(value, plain[name], rtol=0, atol=1e-6)


def test_a_run_takes_it_where_the_model_fits(small, monkeypatch):
    calls = []
    forward = TiedObjective.forward
    monkeypatch.setattr(TiedObjective, "forward", staticmethod(lambda *given: calls.append(1) or forward(*given)))
    for recipe, taken in [("cae", True), ("ae", True), ("dae-g", False), ("rbm", False)]:
        calls.clear()
        train(small(recipe))
        assert bool(calls) == taken, recipe


class Watcher:
    """Looks at everything a plugin can name, and adds nothing."""

    @hookimpl
    def penalty_terms(self, code, reconstruction, encoder_jacobian):
        return {"watched": 0.0 * (code.sum() + reconstruction.sum() + encoder_jacobian.squared_norm().sum())}


def test_who_only_watches_changes_no_bit(small):
    alone, watched = (train(small("ae"), observers=o).model.state_dict() for o in ({}, {"watcher": Watcher()}))
    assert all(torch.equal(alone[name], watched[name]) for name in alone)


OTHERS = {
    "untied": {"tied": False},
    "two layers": {"hidden": [4, 3]},
    "tanh": {"activation": "tanh"},
    "linear output": {"output": "identity"},
}


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_other_models_are_left_to_autograd(options):
    assert tied_layer(autoencoder(7, **{"hidden": [4], **options}), "cross-entropy") is None
    assert tied_layer(autoencoder(7, hidden=[4]), "squared-error") is None
    assert tied_layer(autoencoder(7, hidden=[4]), "cross-entropy") is not None


def test_a_watched_module_is_called():
    model = autoencoder(7, hidden=[4])
    model.encode[0].register_forward_hook(lambda *_: None)
    assert tied_layer(model, "cross-entropy") is None
