"""What every registered regularizer promises, whoever wrote it."""

import random
import re
import subprocess
import sys
from dataclasses import is_dataclass
from inspect import Parameter

import numpy as np
import pytest
import torch

from caelab import CaelabError
from caelab.models.autoencoder import autoencoder
from caelab.registry.catalogue import catalogue
from caelab.registry.signatures import checked_options, option_fields
from caelab.streams import Streams
from caelab.training.plugins import TrainingPlugins
from tests.contracts.examples import (
    ARCHITECTURES,
    CHANGES_WEIGHTS,
    CORRUPTIONS,
    MEASURES,
    NAMES,
    OPTIONS,
    PENALTIES,
    REFUSED,
    make,
)

every_regularizer = pytest.mark.parametrize("name", NAMES)
every_penalty = pytest.mark.parametrize("name", PENALTIES)
every_corruption = pytest.mark.parametrize("name", CORRUPTIONS)
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return autoencoder(64, hidden=[9])


def gradients(terms, model):
    parameters = list(model.parameters())
    return torch.autograd.grad(sum(terms.values()), parameters, allow_unused=True, materialize_grads=True)


def test_every_regularizer_has_an_example():
    assert sorted(OPTIONS) == NAMES


def test_every_regularizer_has_one_part():
    """It corrupts, penalises, changes weights, or only measures."""
    assert sorted([*CORRUPTIONS, *PENALTIES, *CHANGES_WEIGHTS, *MEASURES]) == NAMES


@every_regularizer
def test_two_equal_instances_fit_into_one_run(name):
    """Plugins are compared by identity: pluggy takes equal ones for one."""
    factory = catalogue().get("regularizer", name)
    assert is_dataclass(factory)
    assert make(name) != make(name)


@every_regularizer
def test_the_docstring_gives_the_equation_and_the_source(name):
    text = catalogue().get("regularizer", name).__doc__
    assert re.search(r"[‖Σ=]|\b[pσ]\b", text), "no equation"
    assert re.search(r"\b(19|20)\d\d\b", text), "no source with a year"
    for option in OPTIONS[name]:
        assert f"{option}:" in text, f"the option {option} is not described"


@every_regularizer
def test_scientific_choices_have_no_default(name):
    fields = option_fields(catalogue().get("regularizer", name))
    assert fields.keys() == OPTIONS[name].keys()
    assert all(field.default is Parameter.empty for field in fields.values())


@every_regularizer
def test_the_example_passes_the_check_of_options_unchanged(name):
    assert checked_options(catalogue().get("regularizer", name), OPTIONS[name], name) == OPTIONS[name]


@every_penalty
@every_architecture
def test_terms_are_finite_scalars_named_after_the_kind(name, architecture, clean, terms_of):
    model = architecture.build()
    if (name, str(architecture)) in REFUSED:
        with pytest.raises(CaelabError, match=f"{name} needs"):
            terms_of(model, clean, name)
        return
    terms = terms_of(model, clean, name)
    assert terms.keys() == {name}
    assert terms[name].shape == ()
    assert torch.isfinite(terms[name])
    assert all(torch.isfinite(gradient).all() for gradient in gradients(terms, model))


@every_penalty
def test_a_penalty_trains_the_encoder(name, model, clean, terms_of):
    """A detached penalty prints a number and trains nothing."""
    (gradient,) = torch.autograd.grad(sum(terms_of(model, clean, name).values()), model.encode[0].weight)
    assert gradient.abs().max() > 1e-6


@every_penalty
def test_a_penalty_is_proportional_to_its_weight(name, model, clean, terms_of):
    one, two, none = (terms_of(model, clean, name, weight=weight)[name] for weight in (1.0, 2.0, 0.0))
    assert two == 2 * one
    assert none == 0
    assert one > 0


@every_penalty
def test_a_penalty_is_a_mean_over_examples(name, model, clean, terms_of):
    """Every example twice changes nothing; penalties that draw numbers change by what they draw."""
    once, twice, other_draw = (
        terms_of(model, batch, name, seed=seed)[name].item()
        for batch, seed in ((clean, 0), (clean.repeat(2, 1), 0), (clean, 1))
    )
    tolerance = 1e-5 if once == other_draw else 0.3
    assert twice == pytest.approx(once, rel=tolerance)


@every_regularizer
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e2, 1e4])
def test_nothing_becomes_infinite_at_zero_weights_or_saturation(name, scale, model, clean, terms_of):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= scale
    terms = terms_of(model, clean, name)
    assert all(torch.isfinite(term) for term in terms.values())
    if terms:
        assert all(torch.isfinite(gradient).all() for gradient in gradients(terms, model))


@every_regularizer
def test_the_same_stream_gives_the_same_value(name, model, clean, terms_of):
    first, again = (terms_of(model, clean, name) for _ in range(2))
    assert first == again
    if name in CORRUPTIONS:
        copies = [make(name).corrupt_input(clean=clean, epoch=1, streams=Streams(0)) for _ in range(2)]
        assert torch.equal(*copies)


@every_regularizer
def test_global_random_numbers_are_left_alone(name, model, clean, terms_of):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    terms_of(model, clean, name)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert before[2] == random.getstate()


@every_regularizer
def test_nothing_it_is_given_is_changed(name, model, clean):
    """Arguments are shared between plugins. A tensor counts its changes in place."""
    from caelab import jacobian

    code = model.encode(clean)
    reconstruction = model.decode(code)
    given = [clean, code, reconstruction, *model.parameters()]
    versions, values = [tensor._version for tensor in given], [tensor.detach().clone() for tensor in given]
    plugins = TrainingPlugins({name: make(name)})
    plugins.call("before_training", model=model, config=None, name="")
    plugins.call("corrupt_input", 1, clean=clean, streams=Streams(0))
    plugins.call(
        "penalty_terms",
        1,
        model=model,
        clean=clean,
        corrupted=clean,
        code=code,
        reconstruction=reconstruction,
        encoder_jacobian=jacobian(model.encode, clean),
        reconstruction_jacobian=jacobian(lambda inputs: model.decode(model.encode(inputs)), clean),
        streams=Streams(0),
    )
    assert [tensor._version for tensor in given] == versions
    assert all(torch.equal(tensor, value) for tensor, value in zip(given, values, strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())


@every_penalty
def test_float64_stays_float64(name, model, clean, terms_of):
    assert terms_of(model.double(), clean.double(), name)[name].dtype == torch.float64


@every_corruption
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(8, 64), (5, 1, 4, 4)], ids=str)
def test_a_corruption_returns_a_new_batch_of_the_same_kind(name, dtype, shape):
    clean = torch.full(shape, 0.5, dtype=dtype)
    corruption = make(name)
    corrupted = corruption.corrupt_input(clean=clean, epoch=1, streams=Streams(0))
    assert (corrupted.shape, corrupted.dtype) == (clean.shape, clean.dtype)
    assert not torch.equal(corrupted, clean)
    for moment in (corruption.mean(clean), corruption.covariance_diagonal(clean)):
        assert (moment.shape, moment.dtype) == (clean.shape, clean.dtype)
    assert (corruption.covariance_diagonal(clean) >= 0).all()


def test_listing_the_built_in_regularizers_imports_no_torch():
    code = "import sys, caelab_regularizers; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
