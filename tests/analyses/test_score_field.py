import math

import pytest
import torch
from matplotlib.figure import Figure

import caelab
from caelab.analysis.base import analyse, gather, summarise
from caelab.analysis.contract import load_analysis
from caelab.errors import NotApplicable
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run, dataset_of
from caelab.streams import Streams
from caelab_analyses import score_field
from caelab_analyses.shared.noise_levels import noise_level
from tests.drawing import drawn_alike

PLANE = ["training.reconstruction=squared-error", "model.output=identity", "model.activation=tanh", "model.hidden=[20]"]
MIXTURE = {"kind": "gaussian-mixture", "samples": 400}


def run_of(recipe, settings, dataset=MIXTURE, epochs=2):
    return caelab.train(recipe_config(recipe, [*PLANE, f"training.epochs={epochs}", *settings], dataset=dataset))


class Perfect(torch.nn.Module):
    """r(x) = x + σ² score(x): encode and decode share the work badly, but exactly."""

    def __init__(self, truth, sigma):
        super().__init__()
        self.truth, self.sigma = truth, sigma

    def encode(self, x):
        return x

    def decode(self, x):
        return x + self.sigma**2 * self.truth.score(x)


@pytest.fixture(scope="module")
def perfect():
    config = recipe_config("dae-g", ["gaussian.sigma=0.3"], dataset=MIXTURE)
    dataset = dataset_of(config)
    return Run(config, Perfect(dataset.truth, 0.3).eval(), dataset, [], {})


def test_a_field_that_is_the_score_has_cosine_one(perfect):
    found = score_field.summarise(score_field.measure(perfect, Streams(0), grid=7, examples=40))
    assert found["score cosine"] == pytest.approx(1, abs=1e-9)
    assert found["score relative error"] == pytest.approx(0, abs=1e-9)
    assert found["blurred score relative error"] > 0.1


def test_its_energy_is_the_log_density_up_to_a_constant(perfect):
    table = score_field.measure(perfect, Streams(0), grid=5, examples=40)
    apart = table["energy"] + table["log density"]
    assert apart.std() < 0.02 * table["log density"].std()  # quadrature along lines
    assert table["asymmetry"].max() < 1e-6  # a gradient's Jacobian is symmetric


def test_agreement_by_hand():
    learned, true = torch.tensor([[1.0, 1.0], [-2.0, 0.0]]).double(), torch.tensor([[1.0, 0.0], [1.0, 0.0]]).double()
    found = score_field.agreement(learned, true, "")
    assert found["cosine"] == pytest.approx([math.sqrt(0.5), -1])
    assert found["relative error"] == pytest.approx([1, 3])


def test_overall_error_weighs_by_length(perfect):
    table = score_field.measure(perfect, Streams(0), grid=3, examples=5)
    doubled = table.assign(**{"learned x": 2 * table["true x"], "learned y": 2 * table["true y"]})
    assert score_field.overall_error(doubled, "true") == pytest.approx(1)


def test_weights_of_each_kind_add_up_to_one(perfect):
    table = score_field.measure(perfect, Streams(0), grid=9, examples=30)
    assert table.groupby("kind")["weight"].sum().tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("recipe", "setting", "sigma"),
    [("dae-g", "gaussian.sigma=0.3", 0.3), ("rcae", "reconstruction-contractive.weight=0.04", 0.2)],
)
def test_noise_level_is_the_runs_own(recipe, setting, sigma):
    run = run_of(recipe, [setting], epochs=0)
    assert noise_level(run, "x") == pytest.approx(sigma)
    assert analyse(run, "score_field", grid=3)["sigma"].unique() == pytest.approx([sigma])


def test_a_run_without_noise_level_needs_the_option():
    run = run_of("cae", [], epochs=0)
    with pytest.raises(NotApplicable, match=r"score_field\.sigma"):
        analyse(run, "score_field")
    assert analyse(run, "score_field", sigma=0.5, grid=3)["sigma"].unique() == pytest.approx([0.5])


def test_without_a_known_score_segments_are_measured():
    run = run_of("dae-g", [], dataset={"kind": "digits", "splits": [100, 30, 20]})
    table = analyse(run, "score_field", pairs=4, stations=5)
    assert set(table["kind"]) == {"segment"}
    assert len(table) == 20
    assert (table["length"] > 0).all()
    assert summarise("score_field", table) == {}
    assert isinstance(drawn_alike(load_analysis("score_field").draw, table), Figure)


def test_figure_reads_nothing_but_the_table():
    table = gather(
        analyse(run_of(name, options), "score_field", grid=9, examples=20)
        for name, options in (("dae-g", []), ("rcae", []))
    )
    figure = drawn_alike(load_analysis("score_field").draw, table)
    assert len(figure.axes) == 4
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "true score",
        "learned $(r(x) - x)/\\sigma^2$",
    ]
    assert "with that of the noisy data" in figure.axes[0].get_title()


def test_samples_of_both_kinds_in_the_plane_and_on_images():
    plane = analyse(run_of("dae-g", []), "samples", steps=3, chains=2)
    assert plane.groupby("sampler").size().to_dict() == {"langevin": 8, "truth": 61 * 61, "walk": 8}
    images = analyse(
        run_of("cae", [], dataset={"kind": "digits", "splits": [100, 30, 20]}), "samples", steps=3, shown=2
    )
    assert set(images["sampler"]) == {"walk"}  # no noise level, no score
    for table in (plane, images):
        assert isinstance(drawn_alike(load_analysis("samples").draw, table), Figure)
        assert all(value >= 0 for value in summarise("samples", table).values())
