"""The examples of the how-to pages, against slower derivations."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import procrustes

import caelab
from caelab.registry.catalogue import Catalogue, Offer, catalogue
from caelab.report.publish import publish_comparison
from caelab.streams import Streams
from caelab.testing import check_analysis, check_claim
from tests.core.invented import analysis, dots, invented_comparison

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run():
    settings = ["training.epochs=1", "model.hidden=[12]"]
    return caelab.train(caelab.recipe_config("ae", settings, dataset={"kind": "digits", "splits": [200, 60, 100]}))


def linear_encoder():
    torch.manual_seed(0)
    return torch.nn.Linear(6, 4).double()


def test_the_eleven_lines_are_the_sum_over_explicit_jacobians():
    encode, inputs = linear_encoder(), torch.rand(5, 6, dtype=torch.float64)
    found = example("my_contractive").MyContractive(weight=3.0).penalty_terms(caelab.jacobian(encode, inputs))
    assert list(found) == ["mine"]
    assert float(found["mine"].detach()) == pytest.approx(3 * float(encode.weight.detach().square().sum()), rel=1e-12)


def test_the_distance_of_codes_is_that_of_scipys_procrustes(run):
    """scipy scales, turns and mirrors the second onto the first; both codes have as many units."""
    settings = ["training.epochs=1", "model.hidden=[12]"]
    data = {"kind": "digits", "splits": [200, 60, 100]}
    other = caelab.train(caelab.recipe_config("cae", settings, dataset=data))
    table = example("code_distance").CodeDistance().compare([run, other], Streams(0), examples=40)
    codes = [each.encode(run.dataset.valid_inputs[:40]).double().numpy() for each in (run, other)]
    assert table["distance"].tolist() == pytest.approx([procrustes(*codes)[2]] * 2, rel=1e-9)
    assert table["model"].tolist() == ["ae", "cae"]


@pytest.mark.parametrize("name", ["code_range:CodeRange", "code_distance:CodeDistance"])
def test_the_analyses_pass_every_check(name):
    module, kind = name.split(":")
    check_analysis(getattr(example(module), kind)())


def test_movement_under_noise_is_the_noise_through_the_weights():
    """f(x + e) - f(x) = W e for an affine encoder, whatever x."""
    encode, inputs = linear_encoder(), torch.rand(50, 6, dtype=torch.float64)
    with torch.no_grad():
        found = example("noisy_code").mean_squared_movement(encode, inputs, 0.3, torch.Generator().manual_seed(4))
    noise = 0.3 * torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    moved = noise.numpy() @ encode.weight.detach().numpy().T
    assert float(found) == pytest.approx((moved**2).sum() / 50, rel=1e-12)


def test_small_noise_gives_the_contractive_penalty():
    """E‖J e‖² = sigma² ‖J‖_F²; over 20 000 examples of one kind the standard error is about 1 per cent."""
    torch.manual_seed(0)
    encode = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Sigmoid()).double()
    inputs = torch.rand(1, 6, dtype=torch.float64).expand(20_000, 6)
    with torch.no_grad():
        found = example("noisy_code").mean_squared_movement(encode, inputs, 1e-3, torch.Generator().manual_seed(1))
    expected = float(caelab.jacobian(encode, inputs[:1]).squared_norm().detach())
    assert float(found) / 1e-6 == pytest.approx(expected, rel=0.04)


def test_the_metric_is_measured_with_the_same_noise_every_epoch(run):
    penalty = example("noisy_code").NoisyCode(weight=1.0, sigma=0.2)
    with torch.no_grad():
        first, second = (penalty.extra_metrics(run.model, run.dataset.valid_inputs) for _ in range(2))
    assert first == second
    assert first["valid_code_movement"] > 0


def test_the_figure_of_movement_draws_the_table(run):
    analysis = example("noisy_code").CodeMovement
    table = analysis.measure(run, Streams(0), steps=4, largest=0.4).assign(model="ae", seed=0)
    np.testing.assert_allclose(table["sigma"], [0.1, 0.2, 0.3, 0.4])
    (line,) = analysis.draw(table).axes[0].lines
    np.testing.assert_allclose(line.get_xydata(), table[["sigma", "movement"]])
    assert analysis.summarise(table) == {"largest code movement": table["movement"].max()}


def test_the_range_of_the_code_is_between_two_quantiles(run):
    module = example("code_range").CodeRange()
    table = module.measure(run, Streams(0), quantile=0.1)
    code = run.encode(run.dataset.valid_inputs).numpy()
    expected = np.quantile(code, 0.9, axis=0) - np.quantile(code, 0.1, axis=0)
    np.testing.assert_allclose(table["range"], expected, rtol=1e-5)


def test_the_price_of_contraction_can_come_out_each_way_and_stands_on_the_page(tmp_path, monkeypatch):
    module = example("price_of_contraction")
    check_claim(module.price_of_contraction)
    own = Catalogue()
    own.add("a reader", module)
    offers = {key: each for key, each in catalogue().offers.items() if key[0] != "claim"}
    monkeypatch.setattr(catalogue(), "offers", {**offers, **own.offers})
    catalogue().offers["analysis", "dots"] = Offer("analysis", "dots", "test", analysis("dots", dots))
    assert "findings: 1 supported, 0 contradicted, 0 inconclusive" in publish_comparison(
        tmp_path, invented_comparison()
    )
    assert "Contraction has a price" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_rings_have_their_radii_and_their_tangents():
    found = example("two_rings").two_rings(samples=40, noise=0.0)
    from_centre = found.inputs - 0.5
    np.testing.assert_allclose(np.hypot(*from_centre.T), np.where(found.labels == 0, 0.2, 0.4), rtol=1e-5)
    tangents = found.truth.basis[:, 0].numpy()
    np.testing.assert_allclose((tangents * from_centre).sum(axis=1), 0, atol=1e-7)  # inputs are float32
    np.testing.assert_allclose(np.hypot(*tangents.T), 1, rtol=1e-12)
