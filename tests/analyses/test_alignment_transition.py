import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import subspace_angles

import caelab
from caelab.analysis.base import analyse, summarise
from caelab.data import load_dataset
from caelab.errors import NotApplicable
from caelab.runs.recipes import recipe_config
from caelab.runs.run import load_run
from caelab_analyses import alignment_transition as study
from tests.drawing import drawn_alike

SHORT = [*study.SETTINGS, "training.epochs=2", "model.hidden=[8]"]
SPLITS = (200, 20, 20)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    options = {"settings": SHORT, "splits": SPLITS, "out": out}
    return study.alignment_transition("sphere", {"cae": (0.1, 1.0), "ae-wd": (0.01,)}, (1.0, 2.0), **options), out


def test_one_row_for_every_point_and_one_for_the_data(found):
    table, _ = found
    points = {("ae", 0.0), ("cae", 0.1), ("cae", 1.0), ("ae-wd", 0.01), ("local PCA", 0.0)}
    for _, rows in table.groupby("scale"):
        assert set(zip(rows["recipe"], rows["strength"], strict=True)) == points
        assert len(rows) == len(points)
    assert set(table["dimensions"]) == {2}
    assert table.loc[table["recipe"] == "local PCA", ["gap", "error"]].isna().all(axis=None)


def test_numbers_come_from_the_runs(found):
    table, out = found
    data = load_dataset("sphere", splits=SPLITS, samples=240, scale=2.0, noise=0.06)
    folders = [load_run(path) for path in out.iterdir()]
    (run,) = [r for r in folders if r.label == "cae contractive.weight=1" and r.config.dataset.options["scale"] == 2]
    weight, bias = (p.detach().double().numpy() for p in run.model.encode[0].parameters())
    angles, gaps = [], []
    for index in data.valid:
        h = 1 / (1 + np.exp(-(weight @ data.inputs[index].double().numpy() + bias)))
        _, values, right = np.linalg.svd((h * (1 - h))[:, None] * weight)
        angles.append(np.rad2deg(subspace_angles(right[:2].T, data.truth.basis[index].numpy().T).max()))
        gaps.append(values[1] / values[2])
    row = table[(table["recipe"] == "cae") & (table["strength"] == 1) & (table["scale"] == 2)].iloc[0]
    assert_allclose([row["angle"], row["gap"]], [np.mean(angles), np.median(gaps)], rtol=1e-5)
    assert row["error"] == pytest.approx(float(run.reconstruction_error(data.valid_inputs).mean()) / 4, rel=1e-5)


def test_what_is_there_is_not_trained_again(found, monkeypatch):
    table, out = found
    monkeypatch.setattr("caelab.training._trained", None)
    again = study.alignment_transition("sphere", {"cae": (0.1,)}, (1.0,), settings=SHORT, splits=SPLITS, out=out)
    before = table[(table["recipe"] == "cae") & (table["strength"] == 0.1) & (table["scale"] == 1)]
    assert again[again["recipe"] == "cae"]["angle"].tolist() == before["angle"].tolist()


def test_draws_from_the_stored_table(found, tmp_path):
    table, _ = found
    table.to_csv(tmp_path / "t.csv", index=False)
    figure = drawn_alike(study.draw, pd.read_csv(tmp_path / "t.csv"))
    assert len(figure.axes) == 4  # angle and gap at two scales
    assert figure.axes[0].get_title(loc="left") == "sphere, $k = 2$"
    shown = {line.get_label(): line for line in figure.axes[0].lines}
    expected = table[(table["recipe"] == "cae") & (table["scale"] == 1)]["angle"]
    assert_allclose(shown["CAE"].get_ydata(), expected)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["AE", "local PCA", "AE+wd", "CAE"]


def test_panels_beside_each_other_show_plain_means_over_seeds(found):
    table, _ = found
    seeds = pd.concat([table.assign(seed=0), table.assign(seed=1, gap=4 * table["gap"])])
    figure = study.draw(pd.concat([seeds, seeds.assign(dataset="torus")]))
    expected = table[(table["recipe"] == "cae") & (table["scale"] == 1)]["gap"] * 2.5
    for axes in figure.axes[2:4]:  # of the gap on the first scale, logarithmic
        assert axes.get_yscale() == "log"
        (line,) = (line for line in axes.lines if line.get_label() == "CAE")
        assert_allclose(line.get_ydata(), expected)


def test_as_an_analysis_it_has_the_runs_own_network_and_data(found):
    table, _ = found
    data = {"kind": "sphere", "splits": list(SPLITS), "samples": sum(SPLITS), "scale": 2.0, "noise": 0.06}
    run = caelab.train(recipe_config("rcae", SHORT, dataset=data))
    options = {"contractive": (0.1, 1.0), "gaussian": (), "weight_decay": (0.01,)}
    alone = analyse(run, "alignment_transition", **options)
    same = table[table["scale"] == 2].reset_index(drop=True)
    columns = ["dataset", "scale", "recipe", "strength", "angle", "gap", "error"]
    pd.testing.assert_frame_equal(alone[columns], same[columns])
    smallest = same.loc[same["recipe"] == "cae", "angle"].min()
    assert summarise("alignment_transition", alone)["smallest angle of cae (deg)"] == smallest
    assert len(study.draw(alone).axes) == 2


def test_without_known_tangents_it_has_no_meaning(tiny_runs):
    with pytest.raises(NotApplicable, match="needs known tangents, as of sphere, but digits has none"):
        analyse(tiny_runs["ae"], "alignment_transition")
