from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from caelab_spectral import agreement, analysis, claims
from caelab_spectral.penalty import Spectral
from caelab_spectral.power_iteration import largest_singular_values, leading_singular_vectors

import caelab
from caelab.streams import Streams
from caelab.testing import check_analysis, check_claim, check_regularizer


def encoder(kind, dtype=torch.float64):
    torch.manual_seed(3)
    one = [torch.nn.Linear(9, 6), torch.nn.Sigmoid()]
    two = [*one, torch.nn.Linear(6, 5), torch.nn.Tanh()]
    module = torch.nn.Sequential(*(one if kind == "one layer" else two)).to(dtype)
    return module if kind != "function" else lambda x: module(x) * module(x).cos()


def explicit_jacobians(encode, inputs):
    return [torch.autograd.functional.jacobian(encode, x[None])[0, :, 0].numpy() for x in inputs]


@pytest.fixture
def inputs():
    return torch.rand(8, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def start():
    return torch.randn(8, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", ["one layer", "two layers", "function"])
def test_values_and_vectors_are_those_of_the_svd(kind, inputs, start):
    encode = encoder(kind)
    jacobian = caelab.jacobian(encode, inputs)
    values = largest_singular_values(jacobian, start, 300).detach()
    u, v = leading_singular_vectors(jacobian, start, 300)
    for i, matrix in enumerate(explicit_jacobians(encode, inputs)):
        left, singular, right = np.linalg.svd(matrix)
        assert float(values[i]) == pytest.approx(singular[0], rel=1e-9)
        assert abs(left[:, 0] @ u[i].numpy()) == pytest.approx(1, abs=1e-6)
        assert abs(right[0] @ v[i].numpy()) == pytest.approx(1, abs=1e-6)


def test_too_few_iterations_fall_short_and_never_exceed(inputs, start):
    jacobian = caelab.jacobian(encoder("two layers"), inputs)
    exact = jacobian.singular_values(1)[:, 0].detach()
    found = [largest_singular_values(jacobian, start, count).detach() for count in (1, 3, 10, 300)]
    for fewer, more in pairwise(found):
        assert (fewer <= more * (1 + 1e-12)).all()
    assert (found[0] < 0.999 * exact).any()
    torch.testing.assert_close(found[-1], exact, rtol=1e-7, atol=0)


@pytest.mark.parametrize("kind", ["one layer", "two layers"])
def test_the_gradient_is_that_of_the_svd(kind, inputs, start):
    encode = encoder(kind)
    ours = largest_singular_values(caelab.jacobian(encode, inputs), start, 300).square().mean()
    found = torch.autograd.grad(ours, list(encode.parameters()), allow_unused=True, materialize_grads=True)
    whole = torch.func.vmap(torch.func.jacrev(lambda x: encode(x[None])[0]))(inputs)
    theirs = torch.linalg.svdvals(whole)[:, 0].square().mean()
    expected = torch.autograd.grad(theirs, list(encode.parameters()), allow_unused=True, materialize_grads=True)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-8)


def test_it_is_at_most_the_contractive_penalty_and_equal_for_one_unit(inputs, start):
    jacobian = caelab.jacobian(encoder("one layer"), inputs)
    assert (largest_singular_values(jacobian, start, 50).square() < jacobian.squared_norm()).all()
    single = caelab.jacobian(torch.nn.Sequential(torch.nn.Linear(9, 1), torch.nn.Sigmoid()).double(), inputs)
    torch.testing.assert_close(largest_singular_values(single, start, 1).square(), single.squared_norm())


def test_an_encoder_that_ignores_its_input_has_no_penalty_and_a_finite_gradient(inputs, start):
    encode = encoder("one layer")
    torch.nn.init.zeros_(encode[0].weight)
    penalty = largest_singular_values(caelab.jacobian(encode, inputs), start, 5).square().mean()
    penalty.backward()
    assert float(penalty.detach()) == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in encode.parameters())


def test_the_regularizer_passes_every_check():
    check_regularizer(Spectral, {"weight": 1.0, "iterations": 100})


@pytest.mark.parametrize("name", ["spectral_norm", "spectral_agreement"])
def test_the_analyses_pass_every_check(name):
    check_analysis(name, {"iterations": 10})


def test_the_claim_can_come_out_each_way():
    check_claim(claims.lowers_the_top)


@pytest.fixture(scope="module")
def runs():
    small = ["training.epochs=10", "training.learning_rate=0.01", "model.hidden=[20]"]
    digits = {"kind": "digits", "splits": [300, 60, 100]}
    configs = [caelab.recipe_config(name, small, dataset=digits) for name in ("ae", "spectral-ae")]
    return {config.label: caelab.train(config) for config in configs}


def test_training_with_it_shrinks_the_largest_singular_value(runs):
    norms = {name: analysis.summarise(analysis.measure(run, Streams(0))) for name, run in runs.items()}
    for part in analysis.PARTS:
        column = f"largest singular value, {part}"
        assert norms["spectral-ae"][column] < 0.8 * norms["ae"][column]


def test_the_table_holds_the_svd_of_every_example(runs):
    run = runs["ae"]
    table = analysis.measure(run, Streams(0), examples=12, iterations=300)
    assert list(table["part"]) == ["training"] * 12 + ["validation"] * 12
    inputs = torch.cat([run.dataset.train_inputs[:12], run.dataset.valid_inputs[:12]])
    encode = run.model.encode
    expected = [np.linalg.svd(matrix)[1][0] for matrix in explicit_jacobians(encode, inputs)]
    np.testing.assert_allclose(table["largest"], expected, rtol=1e-4)  # float32


def test_the_figure_has_two_curves_per_model(runs):
    parts = [analysis.measure(run, Streams(0)).assign(model=name, seed=0) for name, run in runs.items()]
    (axes,) = analysis.draw(pd.concat(parts)).axes
    assert len(axes.lines) == 4
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["AE", "Spectral AE"]


def test_seeds_agree_as_the_svd_says():
    small = ["training.epochs=2", "model.hidden=[8]"]
    digits = {"kind": "digits", "splits": [100, 20, 20]}
    runs = [caelab.train(caelab.recipe_config("ae", small, dataset=digits, seed=seed)) for seed in (0, 1)]
    table = agreement.compare(runs, Streams(0), examples=6, iterations=2000)
    inputs = runs[0].dataset.valid_inputs[:6]
    leading = [[np.linalg.svd(m)[2][0] for m in explicit_jacobians(run.model.encode, inputs)] for run in runs]
    expected = np.mean([abs(v @ w) for v, w in zip(*leading, strict=True)])
    assert table["agreement"].tolist() == pytest.approx([expected, expected], abs=1e-3)  # float32, near-equal values
    assert table[["seed", "other seed"]].to_numpy().tolist() == [[0, 1], [1, 0]]
