import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.linalg import subspace_angles

from caelab import CaelabError
from caelab.analysis.base import gather
from caelab.data import Samples, load_dataset
from caelab.data.dataset import make_dataset
from caelab.errors import NotApplicable
from caelab.models.autoencoder import autoencoder
from caelab.runs.external import EncoderOnly
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses import manifold_alignment
from caelab_analyses.manifold_alignment.figure import ANGLE, CHANCE, DATA, GAP, MODEL, SHARE
from caelab_analyses.manifold_alignment.image_tangents import TRANSFORMATIONS, image_tangents
from tests.drawing import drawn_alike

DIGITS = load_dataset("digits", splits=(300, 60, 100))
SPHERE = load_dataset("sphere", splits=(300, 60, 100), samples=500, ambient=10)


def run_of(model, dataset):
    """A run of that model, never trained."""
    return Run(recipe_config("ae"), model.eval(), dataset, [])


def autoencoder_on(dataset, hidden=20):
    torch.manual_seed(2)
    return run_of(autoencoder(dataset.inputs.shape[1], hidden=[hidden], output="identity"), dataset)


def explicit_jacobians(run, inputs):
    """diag(h (1 - h)) W in numpy, shape (batch, code, input)."""
    layer = run.model.encode[0]
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    h = 1 / (1 + np.exp(-(inputs @ weight.T + bias)))
    return (h * (1 - h))[:, :, None] * weight


def values(table, quantity, source):
    rows = table[(table["quantity"] == quantity) & (table["source"] == source)]
    return rows.pivot(index="example", columns="direction", values="value")


def test_angles_and_gap_come_from_the_explicit_jacobian():
    run = autoencoder_on(SPHERE)
    table = manifold_alignment.measure(run, Streams(0), examples=6)
    inputs = SPHERE.valid_inputs[:6].double().numpy()
    truth = SPHERE.truth.basis[SPHERE.valid[:6]].numpy()
    angles, gap = values(table, ANGLE, MODEL), values(table, GAP, MODEL)
    for example, dense in enumerate(explicit_jacobians(run, inputs)):
        _, singular, right = np.linalg.svd(dense)
        expected = np.rad2deg(np.sort(subspace_angles(right[:2].T, truth[example].T)))
        assert_allclose(angles.loc[example], expected, rtol=1e-5)
        assert float(gap.loc[example].iloc[0]) == pytest.approx(singular[1] / singular[2], rel=1e-8)
    assert set(table["dimensions"]) == {2}


def test_an_encoder_that_projects_on_the_tangent_space_is_aligned():
    """A plane in R^6: one projection serves every point; scaled, so that the two directions differ."""
    flat = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 2)))[0].T  # orthonormal rows
    coordinates = np.random.default_rng(1).standard_normal((200, 2))
    basis = torch.from_numpy(np.broadcast_to(flat, (200, 2, 6)).copy())
    truth = type(SPHERE.truth)(basis, torch.from_numpy(coordinates @ flat))
    data = make_dataset("plane", Samples(coordinates @ flat, truth=truth), splits=(120, 40, 40))
    project = torch.from_numpy(flat * [[3.0], [2.0]]).float()
    run = run_of(EncoderOnly(lambda inputs: inputs @ project.T), data)
    table = manifold_alignment.measure(run, Streams(0), examples=5, neighbours=30)
    for source in (MODEL, DATA):
        # float32 inputs and weights; an arc cosine near 1 keeps half the digits
        assert_allclose(values(table, ANGLE, source), np.zeros((5, 2)), atol=1e-3)
    assert GAP not in set(table["quantity"])  # two units: there is no third singular value
    assert manifold_alignment.summarise(table)["largest tangent angle (deg)"] == pytest.approx(0, abs=1e-3)


def test_an_encoder_that_looks_away_stands_at_a_right_angle():
    tangents = SPHERE.truth.basis[SPHERE.valid[0]]
    away = torch.linalg.svd(tangents).Vh[2:].float()  # all directions orthogonal to both tangents
    run = run_of(EncoderOnly(lambda inputs: inputs @ away.T), SPHERE)
    table = manifold_alignment.measure(run, Streams(0), examples=1)
    assert_allclose(values(table, ANGLE, MODEL), [[90, 90]], atol=1e-3)


def test_shares_are_what_least_squares_explains_of_each_tangent():
    run = autoencoder_on(DIGITS)
    table = manifold_alignment.measure(run, Streams(0), examples=4, count=3)
    inputs = DIGITS.valid_inputs[:4].double().numpy()
    tangents = image_tangents(inputs.reshape(-1, 8, 8)).reshape(4, len(TRANSFORMATIONS), 64)
    shares = values(table, SHARE, MODEL)[[*TRANSFORMATIONS]]
    for example, dense in enumerate(explicit_jacobians(run, inputs)):
        right = np.linalg.svd(dense)[2][:3]
        residual = np.linalg.lstsq(right.T, tangents[example].T)[1]
        assert_allclose(shares.loc[example], 1 - residual / np.sum(tangents[example] ** 2, axis=1), rtol=1e-6)
    assert manifold_alignment.summarise(table) == {"tangent share": pytest.approx(shares.to_numpy().mean())}


def test_local_pca_sees_the_training_examples_alone():
    table = manifold_alignment.measure(autoencoder_on(DIGITS), Streams(0), examples=2, count=3, neighbours=20)
    inputs, among = DIGITS.valid_inputs[:2].double().numpy(), DIGITS.train_inputs.double().numpy()
    tangents = image_tangents(inputs.reshape(-1, 8, 8)).reshape(2, len(TRANSFORMATIONS), 64)
    for example, point in enumerate(inputs):
        nearest = among[np.argsort(np.sum((among - point) ** 2, axis=1))[:20]]
        basis = np.linalg.eigh(np.cov(nearest.T))[1][:, ::-1][:, :3]
        expected = np.sum((tangents[example] @ basis) ** 2, axis=1) / np.sum(tangents[example] ** 2, axis=1)
        assert_allclose(values(table, SHARE, DATA).loc[example, [*TRANSFORMATIONS]], expected, rtol=1e-6)


def test_a_code_that_keeps_everything_captures_everything():
    run = run_of(EncoderOnly(lambda inputs: 2 * inputs), DIGITS)
    table = manifold_alignment.measure(run, Streams(0), examples=3, count=64, neighbours=100)
    assert_allclose(values(table, SHARE, MODEL), 1, rtol=1e-10)
    assert_allclose(values(table, SHARE, CHANCE), 1)


def test_chance_is_k_of_d_for_the_k_that_there_is():
    table = manifold_alignment.measure(autoencoder_on(DIGITS, hidden=5), Streams(0), examples=2)
    assert set(table["dimensions"]) == {5}
    assert_allclose(values(table, SHARE, CHANCE), 5 / 64)


def test_a_blank_image_has_no_rows():
    images = np.random.default_rng(0).random((100, 36)).astype("float32")
    images[::2] = 0.5
    data = make_dataset("half blank", Samples(images, image_shape=(6, 6)), splits=(60, 20, 20))
    run = run_of(autoencoder(36, hidden=[9]), data)
    table = manifold_alignment.measure(run, Streams(0), examples=20, count=2, neighbours=10)
    blank = (data.valid_inputs.std(dim=1) == 0).nonzero().flatten().tolist()
    assert 0 < len(blank) < 20
    assert set(table["example"]) == {-1, *range(20)} - set(blank)


def test_data_without_known_tangents_are_not_applicable():
    data = make_dataset("flat", Samples(np.random.default_rng(0).random((50, 6))), splits=(30, 10, 10))
    with pytest.raises(NotApplicable, match="flat is neither"):
        manifold_alignment.measure(run_of(autoencoder(6, hidden=[3]), data), Streams(0))


def test_a_code_narrower_than_the_manifold_is_not_applicable():
    with pytest.raises(NotApplicable, match="1 units, fewer than the manifold's 2 dimensions"):
        manifold_alignment.measure(autoencoder_on(SPHERE, hidden=1), Streams(0))


def test_too_few_neighbours_are_refused():
    with pytest.raises(CaelabError, match="finds 10 directions from more than 10 neighbours, but 4 came"):
        manifold_alignment.measure(autoencoder_on(DIGITS), Streams(0), neighbours=4)


ON_IMAGES = (DIGITS, [*TRANSFORMATIONS], [DATA, CHANCE])
ON_SPHERE = (SPHERE, ["principal angle 1", "principal angle 2", "spectrum gap"], [DATA])


@pytest.mark.parametrize(("dataset", "titles", "references"), [ON_IMAGES, ON_SPHERE], ids=["images", "sphere"])
def test_draws_from_the_stored_table(dataset, titles, references, tmp_path):
    runs = {"ae": autoencoder_on(dataset), "cae": autoencoder_on(dataset, hidden=8)}
    tables = {name: manifold_alignment.measure(run, Streams(0), examples=5) for name, run in runs.items()}
    gather(table.assign(model=name, seed=seed) for name, table in tables.items() for seed in (0, 1)).to_parquet(
        tmp_path / "t.parquet"
    )
    figure = drawn_alike(manifold_alignment.draw, pd.read_parquet(tmp_path / "t.parquet"))
    assert [axes.get_title(loc="left") for axes in figure.axes] == titles
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["AE", "CAE"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == references
    for axes in figure.axes:  # every reference line and every model lies within the axes
        low, high = axes.get_xlim()
        assert all(low <= min(line.get_xdata()) <= max(line.get_xdata()) <= high for line in axes.lines)
