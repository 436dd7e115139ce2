"""A comparison in Python: what the command writes, its tests by SciPy, and every number that it shows."""

import os
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from matplotlib.figure import Figure
from scipy.stats import t as student
from scipy.stats import ttest_rel

import caelab
from caelab.errors import CaelabError
from caelab.registry.catalogue import catalogue
from tests import warm

RNG = np.random.default_rng(0)
BASIS = RNG.normal(size=(3, 16))
INPUTS = 1 / (1 + np.exp(-RNG.normal(size=(120, 3)) @ BASIS))
LABELS = np.array(["low", "high"])[(INPUTS[:, 0] > 0.5).astype(int)]
QUICK = {"epochs": 4, "hidden": [8], "analyses": ["jacobian_norm", "jacobian_spectrum"], "executor": "serial"}


@pytest.fixture(scope="module")
def comparison():
    models = ["ae", "cae", caelab.recipe("cae", weight=3)]
    return caelab.compare(models, seeds=4, dataset=(INPUTS, LABELS), **QUICK)


def test_its_table_has_a_row_for_every_run(comparison):
    assert comparison.models == ["ae", "cae", "cae contractive.weight=3"]
    assert comparison.table.groupby("model", sort=False)["seed"].apply(list).tolist() == [[0, 1, 2, 3]] * 3
    assert {"mean norm", "reconstruction error"} <= {*comparison.numbers} <= {*comparison.table}
    assert [*comparison.tables] == QUICK["analyses"]


def test_the_summary_is_means_with_student_intervals(comparison):
    summary = comparison.summary.set_index(["number", "model"])
    for (number, model), row in summary.iterrows():
        values = comparison.table.loc[comparison.table["model"] == model, number]
        half = student.ppf(0.975, 3) * values.std(ddof=1) / 2
        expected = [values.mean(), values.mean() - half, values.mean() + half, 4]
        np.testing.assert_allclose(row[["mean", "low", "high", "runs"]].astype(float), expected, rtol=1e-9)


def test_the_paired_test_is_that_of_scipy(comparison):
    rows = comparison.table.pivot(index="seed", columns="model", values="mean norm")
    found = comparison.test("cae", "ae", on="mean norm")
    difference = rows["cae"] - rows["ae"]
    expected = ttest_rel(rows["cae"], rows["ae"])
    interval = expected.confidence_interval()
    np.testing.assert_allclose([found.difference, found.p_value], [difference.mean(), expected.pvalue], rtol=1e-9)
    np.testing.assert_allclose([found.low, found.high], [interval.low, interval.high], rtol=1e-9)
    hedges = 0.7236012545582677  # Γ(3/2) / (√(3/2) Γ(1)), Hedges' factor for four pairs
    np.testing.assert_allclose(found.effect_size, hedges * difference.mean() / difference.std(ddof=1), rtol=1e-9)
    assert found.effect_low < found.effect_size < found.effect_high
    assert found.pairs == 4
    flips = [abs((difference * signs).mean()) for signs in np.stack(np.meshgrid(*[[1, -1]] * 4)).reshape(4, -1).T]
    share = np.mean(np.array(flips) >= abs(difference.mean()) * (1 - 1e-9))
    assert found.permutation_p_value == pytest.approx(share)
    back = comparison.test("ae", "cae", on="mean norm")
    assert back.difference == pytest.approx(-found.difference)
    assert (back.low, back.share_won) == (pytest.approx(-found.high), pytest.approx(1 - found.share_won))


def test_a_test_says_what_it_found(comparison):
    found = comparison.test("AE", "CAE λ=3", on="mean ‖J‖")
    assert repr(found).startswith("mean norm: AE − CAE λ=3 = ")
    assert "95 % interval [" in repr(found)
    assert found.as_series()[["first", "second", "number"]].tolist() == ["ae", "cae contractive.weight=3", "mean norm"]


def test_one_seed_allows_no_interval():
    one = caelab.compare(["ae", "cae"], seeds=[7], dataset=INPUTS, **QUICK)
    assert "too few for an interval" in repr(one.test("ae", "cae", on="mean norm"))
    assert one.summary["low"].isna().all()


def test_the_command_and_python_write_the_same_numbers(tmp_path):
    np.savez(tmp_path / "mine.npz", x=INPUTS)
    place = tmp_path / "mine.npz"
    words = f"compare ae cae --dataset npz:{place} --seeds 2 --set training.epochs=4 --set model.hidden=[8]"
    status, *said = warm.run(
        warm.command, *words.split(), "--analyses", "jacobian_norm", "--out", "there", folder=tmp_path
    )
    assert status == 0, said
    ours = caelab.compare(
        ["ae", "cae"], seeds=2, dataset=f"npz:{place}", **{**QUICK, "analyses": "jacobian_norm"}, out=tmp_path / "here"
    )
    for name in ("runs.csv", "summary.csv", "statistics.csv"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    again = caelab.load_comparison(tmp_path / "there")
    pd.testing.assert_frame_equal(again.table, ours.table)
    pd.testing.assert_frame_equal(again.summary, ours.summary)


def test_its_runs_are_those_of_train(comparison):
    config = caelab.recipe("cae", epochs=4, hidden=[8], seed=2)
    alone = caelab.train(config, dataset=(INPUTS, LABELS))
    found = comparison.run("cae", 2)
    assert torch.equal(found.encode(alone.dataset.test_inputs), alone.encode(alone.dataset.test_inputs))
    assert found.dataset.label_names == ("high", "low")
    np.testing.assert_array_equal(found.encode(INPUTS), found.encode(pd.DataFrame(INPUTS)))
    np.testing.assert_allclose(found.reconstruct(INPUTS), alone.reconstruct(torch.as_tensor(INPUTS)).numpy())
    assert found.history["epoch"].tolist() == [1, 2, 3, 4]


def test_latex_has_the_chosen_columns_and_models(comparison):
    text = comparison.to_latex(columns=["saturated share", "mean ‖J‖"], models=["CAE", "ae"], label="tab:mine")
    lines = text.splitlines()
    assert [line.split(" & ")[0] for line in lines if line.endswith(r"\\") and "&" in line][1:] == ["CAE", "AE"]
    assert text.index("saturated") < text.index(r"$\|J\|$")
    assert r"\label{tab:mine}" in text
    assert comparison.to_latex(columns="mean norm", caption="Norms & more.").count(r"\caption{Norms \& more.}") == 1
    assert r"\toprule" in comparison.to_latex()
    assert comparison.to_latex(["mean norm", "mean ‖J‖"], models=["ae", "AE"]) == comparison.to_latex(
        "mean norm", models=["ae"]
    )


def test_figures_are_drawn_alone_or_onto_axes(comparison):
    assert isinstance(comparison.figure("jacobian_spectrum"), Figure)
    run = comparison.run("ae", 0)
    assert isinstance(run.figure("jacobian_norm", examples=5), Figure)
    assert len(run.analyse("jacobian_norm", examples=5)) == 5
    figure, axes = plt.subplots(1, 2)
    comparison.figure("jacobian_spectrum", axes=axes)
    assert all(each.lines for each in figure.axes)
    plt.close(figure)


def test_the_report_is_copied(comparison, tmp_path):
    assert comparison.report(tmp_path / "mine.html").read_bytes() == comparison.report().read_bytes()
    assert comparison.report(tmp_path) == tmp_path / "report.html"


def test_a_temporary_folder_goes_with_the_comparison():
    found = caelab.compare(["ae"], seeds=1, dataset=INPUTS, **QUICK)
    path = found.path
    assert path.is_dir()
    del found
    assert not path.exists()


def test_a_penalty_of_a_cell_is_compared_and_trained_anew_after_a_change(tmp_path):
    before = dict(catalogue().offers)

    def penalty(power):
        @dataclass(eq=False)
        class OfACell:
            weight: float

            @caelab.hookimpl
            def penalty_terms(self, code):
                return {"of-a-cell": self.weight * code.abs().pow(power).sum(dim=1).mean()}

        caelab.register("regularizer", "of-a-cell", OfACell)
        models = ["ae", caelab.recipe("ae", of_a_cell__weight=0.5, label="mine")]
        return caelab.compare(models, seeds=2, dataset=INPUTS, **{**QUICK, "executor": None}, out=tmp_path)

    try:
        first = penalty(2).table.set_index(["model", "seed"])["mean norm"]
        second = penalty(1).table.set_index(["model", "seed"])["mean norm"]
    finally:
        catalogue().offers.clear()
        catalogue().offers.update(before)
    assert first["ae"].equals(second["ae"])
    assert (first["mine"] != second["mine"]).all()


def test_a_run_that_fails_leaves_the_others(tmp_path):
    wide = caelab.recipe("ae", label="wild", learning_rate=1e30)
    with pytest.warns(UserWarning, match="of 4 runs failed"):
        found = caelab.compare(["ae", wide], seeds=2, dataset=INPUTS, **QUICK, out=tmp_path / "some")
    assert found.models == ["ae"]
    assert found.problems["model"].unique().tolist() == ["wild"]


@pytest.mark.parametrize(
    ("models", "changed", "says"),
    [
        (["aee"], {}, "did you mean 'ae'"),
        ([], {}, "at least one model"),
        ({"ae": 1}, {}, "expected models as a list"),
        (["ae", "ae"], {}, "two models"),
        ([3], {}, "expected a config"),
        (["ae"], {"seeds": 0}, "expected how many seeds"),
        (["ae"], {"seeds": "3"}, "expected how many seeds"),
        (["ae"], {"analyses": ["jacobian_nor"]}, "did you mean 'jacobian_norm'"),
        (["ae"], {"analyses": {"jacobian_norm": {"exmples": 3}}}, "did you mean 'examples'"),
        (["ae"], {"dataset": "digts"}, "did you mean 'digits'"),
        (["ae"], {"dataset": INPUTS * np.nan}, "expected finite inputs"),
        (["ae"], {"dataset": "abc:x"}, "unknown dataset 'abc'"),
        (["ae"], {"dataset": INPUTS * 5}, "cross-entropy expects inputs in [0, 1]"),
        (["ae"], {"splits": (1, 2)}, "expected splits as three whole numbers"),
        (["ae"], {"wieght": 3}, "unknown setting of 'ae' 'wieght'"),
        (["ae"], {"contractive__weight": 3}, "no model of this comparison has the setting 'contractive__weight'"),
        (["ae"], {"label": "mine"}, "a label is of one model"),
        (["ae"], {"workers": 0}, "expected workers as a whole number"),
        (["ae"], {"executor": "procs"}, "did you mean 'processes'"),
        (["ae"], {"claims": ["mine"]}, "unknown claim 'mine'"),
        (["ae", caelab.recipe("cae", dataset="digits")], {"dataset": None}, "the models have different data"),
    ],
)
def test_what_cannot_be_compared_is_told_before_anything_is_trained(models, changed, says, tmp_path):
    with pytest.raises(CaelabError) as caught:
        caelab.compare(models, **{"seeds": 2, "dataset": INPUTS, **QUICK, **changed}, out=tmp_path / "out")
    assert says in str(caught.value)
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda it: it.test("ae", "ae", on="mean norm"), "expected two different models"),
        (lambda it: it.test("ae", "caee", on="mean norm"), "did you mean 'cae'"),
        (lambda it: it.test("ae", "cae", on="mean nrm"), "did you mean 'mean norm'"),
        (lambda it: it.test("ae", "cae", on="seed"), "says which run a row is about"),
        (lambda it: it.test("ae", 3, on="mean norm"), "expected the name of a model as a text"),
        (lambda it: it.figure("filters"), "unknown analysis of this comparison 'filters'"),
        (lambda it: it.to_latex(columns=["norm"]), "did you mean 'mean norm'"),
        (lambda it: it.to_latex(columns=[]), "at least one column"),
        (lambda it: it.to_latex(models=[]), "at least one model"),
        (lambda it: it.to_latex(columns="mean norm", path=os.devnull + "/x"), "cannot be"),
        (lambda it: it.run("ae", 9), "no run of the seed 9, only of 0, 1, 2, 3"),
        (lambda it: it.run("ae", 0).encode(INPUTS[:, :3]), "expected inputs of shape (batch, 16)"),
        (lambda it: it.run("ae", 0).encode(torch.zeros(5, 3)), "expected inputs of shape (batch, 16)"),
        (lambda it: it.run("ae", 0).encode([[0.5, 0.5]]), "(1, 2) came"),
        (lambda it: it.run("ae", 0).encode(INPUTS[0]), "(16,) came"),
        (lambda it: it.run("ae", 0).encode("x"), "but 'x' came"),
        (lambda it: it.run("ae", 0).encode(INPUTS * np.nan), "expected finite inputs"),
        (lambda it: caelab.analyse([], "jacobian_norm"), "expected a run"),
        (lambda it: caelab.analyse([3], "jacobian_norm"), "but 3 came"),
        (lambda it: caelab.load_comparison(it.path / "runs"), "holds no finished comparison"),
    ],
)
def test_what_a_comparison_cannot_answer_is_told(ask, says, comparison):
    with pytest.raises(CaelabError) as caught:
        ask(comparison)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "ask",
    [
        lambda it: it.test("ae", "cae", on="mean nrm"),
        lambda it: it.test("ae", "caee", on="mean norm"),
        lambda it: it.figure("filters"),
        lambda it: it.to_latex(columns=["norm"]),
        lambda it: it.run("ae", 0).encode(INPUTS[:, :3]),
        lambda it: it.run("ae", 0).reconstruct(INPUTS * np.nan),
        lambda it: it.run("ae", 0).encode(np.full((2, 16), "a")),
        lambda it: caelab.draw("jacobian_norm", None),
        lambda it: caelab.draw("jacobian_norm", it.tables["jacobian_norm"].iloc[:0]),
    ],
)
def test_a_value_that_does_not_fit_is_a_value_error(ask, comparison):
    with pytest.raises(ValueError, match=r"did you mean|unknown|expected"):
        ask(comparison)


def test_sparse_inputs_are_encoded_as_the_same_dense_ones(comparison):
    run = comparison.run("ae", 0)
    np.testing.assert_array_equal(run.encode(scipy.sparse.csr_array(INPUTS)), run.encode(INPUTS))


def test_options_of_the_data_are_keywords_for_given_ones_too():
    found = caelab.compare(["ae"], seeds=1, dataset=INPUTS * 9 - 4, splits=(60, 30, 30), minmax="clip", **QUICK)
    inputs = found.run("ae", 0).dataset.train_inputs
    assert torch.equal(inputs.amin(0), torch.zeros(16))
    assert torch.equal(inputs.amax(0), torch.ones(16))


def test_progress_is_shown_where_it_is_asked_for(capfd):
    caelab.compare(["ae"], seeds=2, dataset=INPUTS, **QUICK)
    assert capfd.readouterr() == ("", "")
    caelab.compare(["ae"], seeds=2, dataset=INPUTS, progress=True, **QUICK)
    assert "ae, seed 1" in capfd.readouterr().err


def test_of_a_study_of_two_data_sets_each_comparison_is_loaded_with_its_runs(tmp_path):
    models = [
        {
            "label": data,
            "config": caelab.recipe("pca", label=data, dataset=data, splits=(60, 20, 20), hidden=1).as_dict(),
        }
        for data in ("circle", "sphere")
    ]
    file = {
        "study": "two",
        "models": models,
        "seeds": 1,
        "analyses": {"jacobian_norm": {}},
        "out": str(tmp_path / "two"),
    }
    folder = caelab.run_study(file, executor="serial")
    with pytest.raises(CaelabError, match=r"for each data set; load one of them: .*circle, .*sphere"):
        caelab.load_comparison(folder)
    comparison = caelab.load_comparison(folder / "circle")
    (run,) = comparison.runs
    assert run.label == comparison.run("circle", 0).label == "circle"


def test_infinite_numbers_are_no_runs_of_a_mean(comparison):
    rows = comparison.table.copy()
    rows.loc[0, "mean norm"] = np.inf
    changed = replace(comparison, stored=replace(comparison.stored, rows=rows))
    first = changed.summary.set_index(["number", "model"]).loc["mean norm", "ae"]
    assert first["runs"] == 3
    assert first["mean"] == pytest.approx(rows["mean norm"][1:4].mean())


def test_a_report_that_is_gone_is_told(comparison, tmp_path):
    with pytest.raises(CaelabError, match="cannot be used"):
        replace(comparison, path=tmp_path).report(tmp_path / "mine.html")
