import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.metrics import roc_auc_score

import caelab
from caelab.data.dataset import make_dataset
from caelab.data.samples import Samples
from caelab.data.truth import Score
from caelab.errors import CaelabError
from caelab.runs.external import EncoderOnly
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses import log_volume
from caelab_analyses.log_volume import CENTRE, NEIGHBOUR, RECONSTRUCTION, VOLUME, volumes_of
from caelab_analyses.log_volume.agreement import auroc, interval, rank_agreement, sparse
from tests.drawing import drawn_alike

MIXTURE = {"kind": "gaussian-mixture", "samples": 400, "splits": [200, 100, 100]}
PLANE = ["training.reconstruction=squared-error", "model.output=identity", "model.hidden=[8]", "training.epochs=1"]


@pytest.fixture(scope="module")
def trained():
    return caelab.train(recipe_config("ae", PLANE, dataset=MIXTURE))


class Uniformized(torch.nn.Module):
    """x -> Φ(x) in every coordinate: the law N(0, I) becomes the uniform one, so the volume is the density."""

    def forward(self, x):
        return torch.special.ndtr(x)


@pytest.fixture(scope="module")
def flattened():
    """A run whose encoder makes its data uniform, in float64."""
    inputs = np.random.default_rng(0).standard_normal((300, 2))
    truth = Score(torch.zeros(1, 2).double(), 1.0)
    dataset = make_dataset("given", Samples(inputs, truth=truth), splits=(100, 150, 50))
    return Run(recipe_config("ae"), EncoderOnly(Uniformized()).eval(), dataset, [], {"encoder": "mine:encode"})


def test_the_volume_of_an_encoder_that_makes_the_data_uniform_is_their_density(flattened):
    table = log_volume.measure(flattened, Streams(0))
    own = table[table["score"] == VOLUME]
    assert_allclose(own["value"], own["log density"], rtol=1e-10)
    found = log_volume.summarise(table)
    assert found[f"{log_volume.CORRELATION} {VOLUME}"] == pytest.approx(1)
    assert found[f"{log_volume.AUROC} {VOLUME}"] == 1
    assert found["Jacobian rank"] == 2
    assert {*table["score"]} == {VOLUME, CENTRE, NEIGHBOUR}  # no decoder, no reconstruction


def test_volume_is_half_the_logarithm_of_grams_determinant_and_leaves_out_zeros(linear):
    matrix = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs = torch.zeros(4, 3).double()
    values, ranks = volumes_of(linear(matrix), inputs, 1e-10)
    assert_allclose(values, [float(torch.logdet(matrix.mT @ matrix) / 2)] * 4, rtol=1e-12)
    assert ranks.tolist() == [3] * 4
    matrix[:, 2] = matrix[:, 0] - matrix[:, 1]  # rank 2
    values, ranks = volumes_of(linear(matrix), inputs, 1e-10)
    assert_allclose(values, [np.log(np.linalg.svd(matrix.numpy())[1][:2]).sum()] * 4, rtol=1e-12)
    assert ranks.tolist() == [2] * 4


def test_a_tolerance_that_is_no_share_is_refused(trained):
    with pytest.raises(CaelabError, match="rank tolerance between 0 and 1"):
        log_volume.measure(trained, Streams(0), examples=3, rank_tolerance=2.0)


def test_scores_beside_see_training_examples_only(trained):
    table = log_volume.measure(trained, Streams(0), examples=20)
    among, inputs = (trained.dataset.train_inputs.double(), trained.dataset.valid_inputs[:20].double())
    rows = {name: own["value"].to_numpy() for name, own in table.groupby("score")}
    nearest = [min(float((x - a).norm()) for a in among) for x in inputs]
    assert_allclose(rows[NEIGHBOUR], -np.array(nearest), rtol=1e-12)
    assert_allclose(rows[CENTRE], [-float((x - among.mean(dim=0)).norm()) for x in inputs], rtol=1e-12)
    with torch.no_grad():
        back = trained.model.decode(trained.model.encode(inputs.float())).double()
    assert_allclose(rows[RECONSTRUCTION], -(back - inputs).square().sum(dim=1), rtol=1e-4)  # float32 here
    assert_allclose(table["log density"][:20], trained.dataset.truth.log_density(inputs))


def test_agreement_by_other_derivations():
    rng = np.random.default_rng(0)
    density = rng.standard_normal(200)
    score = np.round(density + rng.standard_normal(200), 1)  # with ties
    assert rank_agreement(score, density) == pytest.approx(stats.spearmanr(score, density).statistic, rel=1e-12)
    marked = sparse(density)
    assert marked.sum() == 20
    assert auroc(score, marked) == pytest.approx(roc_auc_score(~marked, score), rel=1e-12)
    assert np.isnan(auroc(score, np.zeros(200, dtype=bool)))
    assert np.isnan(rank_agreement(np.ones(200), density))


def test_the_interval_covers_about_as_often_as_it_says():
    """Of scores that are chance, 19 of 20 intervals hold 0; at least 24 of 30 fails with probability 0.003."""
    rng = np.random.default_rng(1)
    found = [interval(rank_agreement, [(rng.random(80), rng.random(80))]) for _ in range(30)]
    assert sum(low <= 0 <= high for _, low, high in found) >= 24
    mean, low, high = interval(auroc, [(rng.random(80), sparse(rng.random(80))) for _ in range(3)])
    assert low < mean < high


def test_without_a_density_the_volume_stands_alone(tiny_runs, gathered):
    table = log_volume.measure(tiny_runs["ae"], Streams(0), examples=6)
    assert {*table["score"]} == {VOLUME}
    assert {*log_volume.summarise(table)} == {"median log volume", "Jacobian rank"}
    figure = drawn_alike(log_volume.draw, gathered({("ae", 0): table}))
    assert figure.axes[0].get_xlabel() == "log volume, Σ log s"


def test_draws_from_the_stored_table(trained, gathered, tmp_path):
    tables = {("ae", seed): log_volume.measure(trained, Streams(0), examples=40) for seed in (0, 1)}
    gathered(tables).to_parquet(tmp_path / "t.parquet")
    figure = drawn_alike(log_volume.draw, pd.read_parquet(tmp_path / "t.parquet"))
    assert len(figure.axes) == 2
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == [VOLUME, CENTRE, NEIGHBOUR, RECONSTRUCTION]
    marker = next(line for line in figure.axes[0].lines if line.get_label() == "AE")
    expected = log_volume.summarise(tables["ae", 0])[f"{log_volume.CORRELATION} {VOLUME}"]
    assert marker.get_xdata()[0] == pytest.approx(expected)
